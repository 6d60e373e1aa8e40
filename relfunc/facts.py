"""Facts that a canonical graph proves about its values, before anything runs.

They simplify rules (:func:`relfunc.tables.simplify`): a term for negative inputs is dropped where no input can be
negative, a branch for negative outputs where no relevance can arrive at one. What cannot be proved is not assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from .ops import OPS, Op, Ops, find, name_of
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
        Data nodes whose values lie between 0 and 1 by a sigmoid or its like.
    ops : Mapping
        The operation of every data node that the table knows.
    """

    data: frozenset[fx.Node]
    nonnegative: frozenset[fx.Node]
    gates: frozenset[fx.Node]
    ops: Mapping[fx.Node, Op]


def facts(graph: fx.Graph, ops: Ops = OPS) -> Facts:
    """Collect the facts that follow from the operations alone.

    Parameters
    ----------
    graph : torch.fx.Graph
        From :func:`relfunc.canonize.canonize`.
    ops : mapping
        The operations, as :data:`relfunc.ops.OPS`.

    Returns
    -------
    Facts
    """
    data: set[fx.Node] = set()
    nonnegative: set[fx.Node] = set()
    gates: set[fx.Node] = set()
    known: dict[fx.Node, Op] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            data.add(node)
        if node.op != "call_function":
            continue
        op = _at(node, find(node.target, ops), data)
        inputs = data.intersection(node.all_input_nodes)
        if not inputs or (op is not None and op.kind == "static"):
            continue
        data.add(node)
        if op is None:
            continue
        known[node] = op
        if (
            op.sign == "always"
            or _raises_to_nonnegative(node)
            or (op.sign == "kept" and inputs <= nonnegative and _constants_are_nonnegative(node, data))
        ):
            nonnegative.add(node)
        if op.gate or (op.kind == "move" and inputs <= gates):
            gates.add(node)
    return Facts(frozenset(data), frozenset(nonnegative), frozenset(gates), known)


def _at(node: fx.Node, op: Op | None, data: set[fx.Node]) -> Op | None:
    """Return what an operation is for the inputs it has here: a product or sum with a constant is neither."""
    if op is None:
        return None
    name = name_of(node.target)
    operands: tuple[Any, ...] = (*node.args, *node.kwargs.values())
    varying = (
        len([a for a in operands if a in data]) if name in _OF_TWO else len(data.intersection(node.all_input_nodes))
    )
    if op.kind == "scaling":
        return op if varying == 1 and operands[0] in data else None
    if name in _OF_TWO and varying == 1:
        return replace(op, kind="scaling", type="shift" if name in {"add", "sub", "rsub"} else "scaling")
    if op.kind == "product" and name not in _OF_TWO:
        return replace(op, kind="combination", type="sum") if varying == 1 else None
    return op


_OF_TWO = {"add", "sub", "rsub", "mul", "multiply"}


def _constants_are_nonnegative(node: fx.Node, data: set[fx.Node]) -> bool:
    """Whether no constant that enters an operation can bring a negative value."""
    name = name_of(node.target)
    operands: tuple[Any, ...] = (*node.args, *node.kwargs.values())
    if name in {"add", "mul", "multiply", "div", "truediv", "divide"}:
        return all(a in data or (isinstance(a, int | float) and a >= 0) for a in operands)
    if name in {"cat", "concat", "concatenate", "stack"}:
        return data.issuperset(node.all_input_nodes)
    if name in {"pad", "constant_pad_nd"}:
        return _is_nonnegative(_argument(node, 3 if name == "pad" else 2, "value", 0))
    if name in {"hardtanh", "clamp", "clip"}:
        return _is_nonnegative(_argument(node, 2, "max_val" if name == "hardtanh" else "max", 1))
    if name in {"interpolate", "upsample"}:
        return _argument(node, 3, "mode", "nearest") in {"nearest", "nearest-exact", "linear", "bilinear", "trilinear"}
    return True


def _raises_to_nonnegative(node: fx.Node) -> bool:
    """Whether an operation clamps to bounds of which none is negative, as a ReLU6 spelled out does."""
    name = name_of(node.target)
    if name not in {"hardtanh", "clamp", "clip", "clamp_min"}:
        return False
    low, high = ("min_val", "max_val") if name == "hardtanh" else ("min", "max")
    lower = _argument(node, 1, low, None)
    return lower is not None and _is_nonnegative(lower) and _is_nonnegative(_argument(node, 2, high, 1))


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    value = node.args[position] if len(node.args) > position else node.kwargs.get(name)
    return default if value is None else value


def _is_nonnegative(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 0


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
    return rule.name == "gradient" and (op.kind == "move" or op.type == "max_pool") and name_of(user.target) != "pad"


def _is_passed_relu(node: fx.Node, rules: Mapping[fx.Node, AnyRule]) -> bool:
    rule = rules.get(node)
    return name_of(node.target) == "relu" and isinstance(rule, Elementary) and rule.name == "pass"
