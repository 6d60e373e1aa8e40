"""Detached: what multiplies a value without taking relevance from it, as the graph proves.

A *statistic* is a reduction of a value that meets the value again by broadcasting, such as the root mean square that a
norm divides by. And where a value meets a function of itself, element by element, as in ``x * tanh(softplus(x))``, the
product is an elementwise function of it like any other, through which relevance passes. Neither is known by a name:
both are seen from where the factors of a product come from.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import fx

from ..ops.spellings import spelling, words
from ..ops.table import OPS, Op
from .graphs import within


@dataclass(frozen=True)
class Origin:
    """The value that another is a function of, by elementwise operations, reductions and moves alone.

    Parameters
    ----------
    root : torch.fx.Node
        That value.
    kept : bool
        Whether it is reached without a reduction on the way.
    elementwise : bool
        Whether each element is a function of one element of the root.
    steps : int
        How many operations lie between.
    linear : bool
        Whether all of these are linear, as those of a mean are.
    """

    root: fx.Node
    kept: bool = True
    elementwise: bool = True
    steps: int = 0
    linear: bool = True


def detached(
    graph: fx.Graph, data: Collection[fx.Node], known: Mapping[fx.Node, Op], gates: Collection[fx.Node]
) -> dict[fx.Node, frozenset[fx.Node]]:
    """Find the products of which a factor is a statistic of another, or a function of it.

    Factors are those of the whole chain of products, so that it does not matter how they are associated.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    data : collection of torch.fx.Node
        What carries relevance.
    known : mapping
        The operation of each.
    gates : collection of torch.fx.Node
        Values between 0 and 1, which get no relevance as factors.

    Returns
    -------
    dict
        From product or quotient to the factors that get no relevance.
    """
    carrying = set(data)
    origins, products = _products(graph, carrying, known)
    found: dict[fx.Node, set[fx.Node]] = {node: set() for node in products}
    inside: set[fx.Node] = set()
    for node in reversed(products):
        if node not in inside:
            chain = _chain(node, products, carrying, known)
            inside.update(product for product, _ in chain)
            _detach(chain, origins, found)
    for node, operands in products.items():  # a product of nothing but these is one of them
        for operand in operands:
            if found.get(factor := _moved(operand, carrying, known)) and _is_spent(factor, products, found, gates):
                found[node].add(operand)
    return {node: frozenset(factors) for node, factors in found.items() if factors}


def standardized(graph: fx.Graph, data: Collection[fx.Node], known: Mapping[fx.Node, Op]) -> set[fx.Node]:
    """Find the products of a value and a statistic of it, as in a norm; parameters as for :func:`detached`."""
    origins, products = _products(graph, set(data), known)
    return {
        node
        for node, (a, b) in products.items()
        if origins[a].root is origins[b].root and origins[a].kept != origins[b].kept
    }


def _products(
    graph: fx.Graph, carrying: set[fx.Node], known: Mapping[fx.Node, Op]
) -> tuple[dict[fx.Node, Origin], dict[fx.Node, list[fx.Node]]]:
    """Return the origin of each value, and the two factors of each product and quotient."""
    origins: dict[fx.Node, Origin] = {}
    products: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if node not in carrying:
            continue
        operands = within(node.all_input_nodes, carrying)
        origins[node] = _origin(node, known.get(node), operands, origins)
        if spelling(node.target) in _PRODUCTS and len(node.args) == 2 and not node.kwargs and len(operands) == 2:
            products[node] = operands
    return origins, products


_PRODUCTS: Final = words("mul div")


def _chain(
    node: fx.Node, products: Mapping[fx.Node, list[fx.Node]], carrying: set[fx.Node], known: Mapping[fx.Node, Op]
) -> list[tuple[fx.Node, fx.Node]]:
    """Return the factors of a chain of products, each with the product it stands in; what is read elsewhere ends it."""
    found: list[tuple[fx.Node, fx.Node]] = []
    for operand in products[node]:
        inner = _moved(operand, carrying, known)
        alone = inner in products and len(inner.users) == 1
        found += _chain(inner, products, carrying, known) if alone else [(node, operand)]
    return found


def _moved(node: fx.Node, carrying: set[fx.Node], known: Mapping[fx.Node, Op]) -> fx.Node:
    """Follow a factor back through constants that scale and what only moves its values."""
    while node in known and len(operands := within(node.all_input_nodes, carrying)) == 1 and len(node.users) == 1:
        if known[node].type != "scaling" and known[node].kind != "move":
            break
        (node,) = operands
    return node


def _detach(
    chain: list[tuple[fx.Node, fx.Node]],
    origins: Mapping[fx.Node, Origin],
    found: dict[fx.Node, set[fx.Node]],
) -> None:
    factors = {factor for _, factor in chain}
    for product, factor in chain:
        is_power = power_of(factor) > 1 and not factors.isdisjoint(factor.all_input_nodes)
        if not is_power and any(_is_lesser(origins[factor], origins[other]) for other in factors):
            found[product].add(factor)


def power_of(node: fx.Node) -> int:
    """Return how often a power has its base as a factor; 0 if it is no power, or none of a whole number."""
    name = spelling(node.target)
    if name == "square":
        return 2
    exponent = node.args[1] if name in {"pow", "float_power"} and len(node.args) == 2 else 0
    return abs(int(exponent)) if isinstance(exponent, int | float) and exponent == int(exponent) else 0


def _is_lesser(a: Origin, b: Origin) -> bool:
    """Whether a factor is a statistic of another, or a function of the same element that is further from it.

    A mean that a deviation divides is the mean of what it divides: of two statistics the linear one is the value.
    """
    if a.root is not b.root:
        return False
    if not b.kept:
        return not a.kept and b.linear and not a.linear
    return not a.kept or (a.elementwise and b.elementwise and a.steps > b.steps)


def _is_spent(
    node: fx.Node,
    products: Mapping[fx.Node, list[fx.Node]],
    found: Mapping[fx.Node, set[fx.Node]],
    gates: Collection[fx.Node],
) -> bool:
    return all(factor in found[node] or factor in gates for factor in products[node])


def _origin(node: fx.Node, op: Op | None, operands: list[fx.Node], origins: Mapping[fx.Node, Origin]) -> Origin:
    name = spelling(node.target) or (op.name if op is not None and op is OPS.get(op.name) else "")
    of = [origins[operand] for operand in (operands[:1] if name in _RESHAPING else operands)]
    if op is None or not of or len({origin.root for origin in of}) > 1:
        return Origin(node)
    kept, steps = any(origin.kept for origin in of), 1 + max(origin.steps for origin in of)
    root, elementwise = of[0].root, all(origin.elementwise for origin in of)
    linear = all(origin.linear for origin in of) and (op.kind in {"combination", "scaling", "move"})
    if _is_reduction(node, name, op):
        return Origin(root, False, False, steps, linear)
    if name in _RESHAPING or name == "centred" or (name == "getitem" and adds_axes(node.args[1])):
        return Origin(root, kept, False, steps, linear)
    if not kept and op.kind == "move":  # such as the values of a maximum
        return Origin(root, False, False, steps, linear)
    if (op.kind in {"activation", "scaling"} and op.type != "normalization") or name in _ELEMENTWISE | _CHOICES:
        return Origin(root, kept, elementwise and all(origin.kept for origin in of), steps, linear)
    return Origin(node)


def _is_reduction(node: fx.Node, name: str, op: Op) -> bool:
    """Whether a call sums up values of its input, or products of these."""
    if name == "einsum" and op.kind == "product":
        labels = str(node.args[0]).replace(" ", "").partition("->")[0].split(",")
        return len(set(labels)) == 1
    if name in _CHOICES:
        return len(node.args) < 2 or not isinstance(node.args[1], fx.Node)
    return name in _REDUCTIONS or (name in _DOT_PRODUCTS and op.kind == "product")


def adds_axes(index: Any) -> bool:
    """Whether an index takes all there is, and adds axes."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or part == slice(None) for part in parts)


_REDUCTIONS: Final = words(
    "mean sum nanmean nansum var std norm amax amin logsumexp prod linalg.norm linalg.vector_norm inverse_deviation "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
_CHOICES: Final = words("max min maximum minimum fmax fmin")
_DOT_PRODUCTS: Final = words("linalg.vecdot dot vdot")
_RESHAPING: Final = words(
    "view reshape flatten unflatten permute transpose movedim t squeeze unsqueeze expand expand_as broadcast_to "
    "reshape_as view_as _unsafe_view pad constant_pad_nd repeat tile repeat_interleave"
)
_ELEMENTWISE: Final = words(
    "add sub rsub neg mul div to float double half bfloat16 type _to_copy contiguous clone alias"
)
