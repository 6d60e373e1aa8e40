"""Facts that a canonical graph proves about its values, before anything runs.

They simplify rules (:func:`relfunc.tables.simplify`): a term for negative inputs is dropped where no input can be
negative, a branch for negative outputs where no relevance can arrive at one. What cannot be proved is not assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import fx
from torch.utils import _pytree as pytree

from .bounds import ANY, Interval, bounds_of
from .ops import Op, op_of
from .spellings import spelling
from .tables import AnyRule, Elementary, Rule


@dataclass(frozen=True)
class Facts:
    """What holds for the nodes of a graph, whatever the input.

    Parameters
    ----------
    data : frozenset of torch.fx.Node
        Nodes that depend on the input and can carry relevance; all else is constant to it.
    nonnegative : frozenset of torch.fx.Node
        Data nodes whose values are never negative.
    gates : frozenset of torch.fx.Node
        Data nodes whose values lie between 0 and 1.
    ops : Mapping
        The operation of every data node that the table knows.
    """

    data: frozenset[fx.Node]
    nonnegative: frozenset[fx.Node]
    gates: frozenset[fx.Node]
    ops: Mapping[fx.Node, Op]


def facts(graph: fx.Graph) -> Facts:
    """Collect the facts that follow from the operations alone.

    Parameters
    ----------
    graph : torch.fx.Graph
        From :func:`relfunc.canonize.canonize`, with the row of each operation on its node.

    Returns
    -------
    Facts
    """
    data: set[fx.Node] = set()
    bounds: dict[fx.Node, Interval] = {}
    known: dict[fx.Node, Op] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            data.add(node)
            bounds[node] = ANY
        if node.op != "call_function" or data.isdisjoint(node.all_input_nodes):
            continue
        op = _at(node, op_of(node), data)
        if op is not None and op.kind == "static":
            continue
        data.add(node)
        bounds[node] = ANY if op is None else bounds_of(node, op, bounds)
        if op is not None:
            known[node] = op
    return Facts(
        frozenset(data),
        frozenset(node for node, (low, _) in bounds.items() if low >= 0),
        frozenset(node for node, (low, high) in bounds.items() if low >= 0 and high <= 1),
        known,
    )


def _at(node: fx.Node, op: Op | None, data: set[fx.Node]) -> Op | None:
    """Return what an operation is for the inputs it has here: a product or sum with a constant is neither."""
    if op is None:
        return None
    operands = pytree.tree_leaves((node.args, dict(node.kwargs)))
    places = [i for i, a in enumerate(operands) if isinstance(a, fx.Node) and a in data]
    if op.kind == "static" or not places:
        return op
    if len(places) == 1 and (op.alone or op.second):
        here = op.second if op.second is not None and places[0] > 0 else op.alone
        return op if here is None else replace(here, name=op.name, type=here.type or here.kind, memory=op.memory)
    if len(places) > 1 and (op.matrix or op.bilinear) and op.kind not in {"product", "other"}:
        return replace(op, kind="other", type="", refused=_NO_SUM.format(op.kind))
    if len(places) > 1 and op.kind == "scaling":
        return replace(op, kind="other", type="", refused=_NO_SCALING)
    return op


_NO_SUM = (
    "the table declares it as {}, but it multiplies two values that depend on the input, which is a product: "
    "declare it as Op('product')"
)
_NO_SCALING = (
    "the table declares it as scaling by a constant, but several of its values depend on the input: declare it as "
    "Op('product') or Op('combination')"
)


def dead_below_zero(graph: fx.Graph, known: Facts, rules: Mapping[fx.Node, AnyRule]) -> dict[fx.Node, fx.Node]:
    """Find the nodes at which relevance vanishes wherever their value is not positive.

    That holds where every reader is a ReLU whose own relevance vanishes where its output is zero, because every
    operation behind it multiplies by its input.

    Parameters
    ----------
    graph : torch.fx.Graph
        A canonical graph.
    known : Facts
        Its facts.
    rules : mapping
        The rule of every operation.

    Returns
    -------
    dict
        From such a node to one ReLU of it, whose values equal the node's wherever relevance arrives.
    """
    vanishing: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in known.data and node.users and all(_vanishes(u, known, rules, vanishing) for u in node.users):
            vanishing.add(node)
    found: dict[fx.Node, fx.Node] = {}
    for node in known.data:
        users = list(node.users)
        if users and all(_is_passed_relu(user, rules) and user in vanishing for user in users):
            found[node] = users[0]
    return found


def _vanishes(user: fx.Node, known: Facts, rules: Mapping[fx.Node, AnyRule], vanishing: set[fx.Node]) -> bool:
    """Whether the relevance that one reader of a value sends to it is zero where the value is zero."""
    if user.op == "output":
        return False
    if user not in known.data:
        return True
    rule, op = rules.get(user), known.ops.get(user)
    if isinstance(rule, Rule):
        return rule.multiplies_input
    if op is None or not isinstance(rule, Elementary) or user not in vanishing:
        return False
    if rule.name == "pass":
        return op.type in {"relu", "scaling"}
    return rule.name == "gradient" and (op.kind == "move" or op.type == "max_pool") and spelling(user.target) != "pad"


def _is_passed_relu(node: fx.Node, rules: Mapping[fx.Node, AnyRule]) -> bool:
    rule = rules.get(node)
    return spelling(node.target) == "relu" and isinstance(rule, Elementary) and rule.name == "pass"
