"""Facts that a canonical graph proves about its values, before anything runs.

They simplify rules (:func:`relfunc.rules.tables.simplify`): a term for negative inputs is dropped where no input can be
negative. What cannot be proved is not assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling
from ..ops.table import Op, op_of
from .bounds import ANY, Interval, bounds_of


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
    if op.kind == "affine" and 1 in places and 2 not in places and spelling(node.target) is not None:
        return replace(op, kind="product", type="matrix_product", matrix=True)  # the weight is a value like another
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
