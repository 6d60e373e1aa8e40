"""Facts that a canonical graph proves about its values, before anything runs.

They simplify rules (:func:`relfunc.rules.tables.simplify`): a term for negative inputs is dropped where no input can be
negative. What cannot be proved is not assumed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling
from ..ops.table import Op, op_of
from .bounds import ANY, PICKING, Interval, bounds_of
from .detached import detached, power_of
from .graphs import within
from .operands import op_at
from .states import state_parameters
from .tokens import Tokens, is_smooth_type, tokens_of


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
    tokens : Tokens
        Integer inputs that index tables: what a table returns for them is data as well, and has no rule.
    detached : Mapping
        From a product to the factors that are statistics or functions of another, or divide by more than one.
    factors : Mapping
        Of data nodes that are products: how many factors their chain of products has, of those that get relevance.
    state_parameters : frozenset of torch.fx.Node
        What of a recurrent state says how it is kept, written and read.
    """

    data: frozenset[fx.Node]
    nonnegative: frozenset[fx.Node]
    gates: frozenset[fx.Node]
    ops: Mapping[fx.Node, Op]
    tokens: Tokens
    detached: Mapping[fx.Node, frozenset[fx.Node]] = field(default_factory=dict)
    factors: Mapping[fx.Node, int] = field(default_factory=dict)
    state_parameters: frozenset[fx.Node] = frozenset()

    def is_gate(self, node: fx.Node, factor: fx.Node) -> bool:
        """Whether a factor of a product leaves all relevance to the others."""
        return factor in self.gates or factor in self.detached.get(node, ())

    def is_operation(self, node: fx.Node) -> bool:
        """Whether a node is a call that carries relevance by a rule."""
        return node.op == "call_function" and node in self.data and node not in self.tokens.lookups


def facts(graph: fx.Graph, constants: Collection[fx.Node] = frozenset()) -> Facts:
    """Collect the facts that follow from the operations alone.

    Parameters
    ----------
    graph : torch.fx.Graph
        From :func:`relfunc.canonize.canonize`, with the row of each operation on its node.
    constants : collection of torch.fx.Node
        What is taken for a constant although it depends on the input.

    Returns
    -------
    Facts
    """
    tokens = tokens_of(graph)
    without_relevance = tokens.moved | tokens.without_relevance
    data: set[fx.Node] = set()
    bounds: dict[fx.Node, Interval] = {}
    known: dict[fx.Node, Op] = {}
    for node in graph.nodes:
        if (node.op == "placeholder" and node not in without_relevance) or node in tokens.lookups:
            data.add(node)
            bounds[node] = ANY
            continue
        if node.op != "call_function" or node in constants or data.isdisjoint(node.all_input_nodes):
            continue
        if not is_smooth_type(node.meta.get("dtype")):
            continue
        op = op_at(node, op_of(node), data)
        if op is not None and op.kind == "static":
            continue
        data.add(node)
        bounds[node] = ANY if op is None else bounds_of(node, op, bounds)
        if op is not None:
            known[node] = op
    gates = _gates(bounds, known)
    taken = detached(graph, data, known, gates)
    for node, divisor in _dividing_gates(bounds, known):
        taken[node] = taken.get(node, frozenset()) | {divisor}
    found = Facts(
        frozenset(data),
        frozenset(node for node, (low, _) in bounds.items() if low >= 0),
        gates,
        known,
        tokens,
        taken,
        state_parameters=state_parameters(graph, data, known),
    )
    return replace(found, factors=_factors(graph, found))


def _gates(bounds: Mapping[fx.Node, Interval], known: Mapping[fx.Node, Op]) -> frozenset[fx.Node]:
    """Find what lies between 0 and 1; and what was picked of it, as experts' weights are, whatever scales that."""
    found: set[fx.Node] = set()
    picked: set[fx.Node] = set()
    for node, (low, high) in bounds.items():
        op, before = known.get(node), [a for a in node.all_input_nodes if a in bounds]
        numbers = [a for a in node.args if isinstance(a, int | float)]
        scaled = op is not None and op.type == "scaling" and len(numbers) == 1 and numbers[0] > 0
        moved = op is not None and op.kind == "move" and low >= 0
        is_gate = low >= 0 and high <= 1
        of_picked = not picked.isdisjoint(before) and (is_gate or (picked.issuperset(before) and (scaled or moved)))
        if of_picked or (is_gate and _picks(node)):
            picked.add(node)
        if is_gate or of_picked:
            found.add(node)
    return frozenset(found)


def _dividing_gates(
    bounds: Mapping[fx.Node, Interval], known: Mapping[fx.Node, Op]
) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield quotients with a divisor of at least one, as of a sigmoid that is written out: one over it is a gate."""
    for node, op in known.items():
        if op.kind != "product" or spelling(node.target) != "div" or len(node.args) != 2 or node.kwargs:
            continue
        divisor = node.args[1]
        if isinstance(divisor, fx.Node) and divisor in bounds and bounds[divisor][0] >= 1:
            yield node, divisor


def _picks(node: fx.Node) -> bool:
    """Whether a call picks some of several values, such as the largest."""
    if spelling(node.target) == "getitem" and isinstance(several := node.args[0], fx.Node):
        return spelling(several.target) in PICKING
    return spelling(node.target) in {"gather", "take_along_dim"}


def _factors(graph: fx.Graph, known: Facts) -> dict[fx.Node, int]:
    """Count the factors of chains of products, through constants that scale and what only moves values."""
    found: dict[fx.Node, int] = {}
    data = set(known.data)
    for node in graph.nodes:
        op = known.ops.get(node)
        if op is None:
            continue
        operands = within(pytree.tree_leaves((node.args, dict(node.kwargs))), data)
        signals = [a for a in operands if not known.is_gate(node, a)] or operands
        if op.kind == "product" and not op.matrix:
            found[node] = sum(found.get(a, 1) for a in signals)
        elif len(operands) == 1 and (op.type == "scaling" or op.kind == "move" or spelling(node.target) == "neg"):
            found[node] = found.get(operands[0], 1)
        elif len(operands) == 1 and (power := power_of(node)) > 1:
            found[node] = power * found.get(operands[0], 1)
    return found
