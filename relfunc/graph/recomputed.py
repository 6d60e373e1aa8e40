"""Recomputed: what is cheap to compute is computed again where relevance reads it, and not kept until then.

A transformer's peak memory is the values that rules read later. Many of them follow from others that are kept anyway by
a few elementwise operations; the scores and weights of attention, which grow with the square of the tokens, by one
small product. The same operations on the same values give the same bits.
"""

from collections.abc import Mapping
from typing import Final

from torch import fx

from ..ops.spellings import spelling, words
from ..ops.table import Op
from .graphs import mapped
from .lifetimes import shape_of


def recompute(graph: fx.Graph, seeding: fx.Node, ops: Mapping[fx.Node, Op]) -> None:
    """Let relevance read copies of what is cheap, made just before, where what they are made of is kept as it is.

    Parameters
    ----------
    graph : torch.fx.Graph
        Of a program; it is changed.
    seeding : torch.fx.Node
        Behind the model's own operations, before the first that propagates relevance.
    ops : mapping
        The operations whose values depend on the input.
    """
    places = {node: i for i, node in enumerate(graph.nodes)}
    if seeding not in places:  # nothing that has relevance is asked for
        return
    last = places[seeding]
    kept = {
        node
        for node in ops
        if any(places[user] > last and user.target is not shape_of for user in node.users) or _is_small(node, ops)
    }
    cheap: set[fx.Node] = set()
    for node in sorted(ops, key=places.__getitem__):
        if _is_cheap(node, ops) and all(a in cheap or a in kept or a not in ops for a in node.all_input_nodes):
            cheap.add(node)
    copies: dict[fx.Node, fx.Node] = {}

    def copy(node: fx.Node) -> fx.Node:
        if node not in cheap:
            return node
        if node not in copies:
            args, kwargs = mapped(copy, (node.args, dict(node.kwargs)))
            copies[node] = graph.create_node(node.op, node.target, args, kwargs)
            copies[node].meta = dict(node.meta)
        return copies[node]

    for reader, place in places.items():
        if place > last and not cheap.isdisjoint(reader.all_input_nodes):
            with graph.inserting_before(reader):
                reader.args, reader.kwargs = mapped(copy, (reader.args, dict(reader.kwargs)))


def _name(node: fx.Node, ops: Mapping[fx.Node, Op]) -> str:
    return spelling(node.target) or ops[node].name


def _is_cheap(node: fx.Node, ops: Mapping[fx.Node, Op]) -> bool:
    op = ops[node]
    if op.type == "relu":  # which overwrites its input
        return False
    by_row = op.kind in {"activation", "scaling", "move"} or op.type == "softmax"
    return by_row or _name(node, ops) in _CHEAP or _is_scores(node, ops)


def _is_small(node: fx.Node, ops: Mapping[fx.Node, Op]) -> bool:
    """Whether a value is a reduction, which takes next to no memory."""
    return ops[node].type == "reduction" or _name(node, ops) in _REDUCING


_CHEAP: Final = words("mul div neg scale_shift centred masked_scores")
_REDUCING: Final = words("mean sum amax amin")


def _is_scores(node: fx.Node, ops: Mapping[fx.Node, Op]) -> bool:
    """Whether a matrix product is of queries and keys: what weights are made of."""
    if ops[node].type != "matrix_product":
        return False
    level = [node]
    while level:
        level = [user for value in level for user in value.users if user in ops]
        if any(ops[user].type == "softmax" for user in level):
            return True
        level = [user for user in level if ops[user].kind in {"scaling", "move"} or _name(user, ops) in _MASKING]
    return False


_MASKING: Final = words("add masked_scores masked_fill where")
