"""Tokens: integer inputs that index tables of the model's, such as embeddings, and the way from one to the other.

No derivative leads to an integer. What a table returns for a token is a leaf of the model all the same, and its
relevance, summed over features, is the token's. Between an input and a table there may be what only moves tokens, such
as views, rolls and paddings: relevance goes back through these as through any other move. Where an index is computed
from an input (positions that are counted from a mask), the table is a constant of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling, words
from ..ops.table import name_of, op_of
from .calls import Call, zeros_like


@dataclass(frozen=True)
class Tokens:
    """What of a graph is tokens.

    Parameters
    ----------
    lookups : Mapping
        From the call that reads a table to the tokens that index it.
    moved : frozenset of torch.fx.Node
        Inputs that are tokens, and the calls that move them on to a table.
    without_relevance : frozenset of torch.fx.Node
        Inputs that are no tokens and no floating-point tensors.
    """

    lookups: Mapping[fx.Node, fx.Node]
    moved: frozenset[fx.Node]
    without_relevance: frozenset[fx.Node]


def tokens_of(graph: fx.Graph) -> Tokens:
    """Find tokens, by the types of inputs; without an example, of what indexes an embedding.

    Parameters
    ----------
    graph : torch.fx.Graph
        With the row of each operation on its node.

    Returns
    -------
    Tokens
    """
    integers: set[fx.Node] = set()
    inputs = {node for node in graph.nodes if node.op == "placeholder"}
    indexed = _inputs_of_embeddings(graph, inputs)
    smooth = {node for node in inputs if node not in indexed and _is_smooth(node)}
    dependent = set(smooth)
    lookups: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and node not in smooth and node.meta.get("dtype") is not torch.bool:
            integers.add(node)
        if node.op != "call_function":
            continue
        if (op := op_of(node)) is not None and op.returns == "number":
            continue  # a size, which does not depend on values
        table, index = lookup(node)
        if isinstance(index, fx.Node) and index in integers and table not in dependent and _is_smooth(node):
            lookups[node] = index
            dependent.add(node)
        elif not dependent.isdisjoint(node.all_input_nodes):
            dependent.add(node)
        elif _moves_tokens(node, integers):
            integers.add(node)
    moved: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in integers and any(lookups.get(user) is node or user in moved for user in node.users):
            moved.add(node)
    return Tokens(lookups, frozenset(moved), frozenset(inputs - smooth - moved))


def is_smooth_type(dtype: torch.dtype | None) -> bool:
    """Whether tensors of a type can be differentiated by; a type that is not known may be."""
    return dtype is None or dtype.is_floating_point or dtype.is_complex


def _is_smooth(node: fx.Node) -> bool:
    return is_smooth_type(node.meta.get("dtype"))


def lookup(node: fx.Node) -> tuple[Any, Any]:
    """Return the table that a call reads and the index that picks its rows; None for another call."""
    name, args = spelling(node.target), node.args
    given = dict(node.kwargs)
    if name == "embedding":
        if isinstance(node.target, torch._ops.OpOverload) or node.target is torch.embedding:
            return _first(args, given, "weight indices")
        return _first(args, given, "input weight")[::-1]
    if name == "index_select" and len(args) == 3 and args[1] == 0:
        return args[0], args[2]
    if name in {"index", "getitem"} and len(args) == 2:
        index, *others = args[1] if isinstance(args[1], tuple | list) and args[1] else (args[1],)
        whole = all(part is ... or part == slice(None) or (part is None and name == "index") for part in others)
        return (args[0], index) if isinstance(index, fx.Node) and whole else (None, None)
    return None, None


def source_of(index: fx.Node) -> fx.Node:
    """Return the input that an index was moved from."""
    while index.op != "placeholder":
        index = index.all_input_nodes[0]
    return index


def is_unchanged(index: fx.Node) -> bool:
    """Whether an index is an input as it is given, or a view of it."""
    while index.op != "placeholder":
        if spelling(index.target) not in _VIEWS and name_of(index.target) != "of_shape":
            return False
        index = index.all_input_nodes[0]
    return True


_VIEWS: Final = words("view reshape flatten unflatten squeeze unsqueeze long int to _to_copy contiguous")


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: str) -> tuple[Any, Any]:
    given = dict(zip(names.split(), args, strict=False)) | dict(kwargs)
    first, second = (given.get(name) for name in names.split())
    return first, second


def _inputs_of_embeddings(graph: fx.Graph, inputs: set[fx.Node]) -> set[fx.Node]:
    """Return the inputs of which no more is known than that they index embeddings, which only integers can."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function" or spelling(node.target) != "embedding":
            continue
        _, index = lookup(node)
        while isinstance(index, fx.Node) and _moves_tokens(index, set(index.all_input_nodes[:1])):
            index = index.all_input_nodes[0]
        if index in inputs:
            found.add(index)
    return found


def _moves_tokens(node: fx.Node, tokens: set[fx.Node]) -> bool:
    """Whether a call moves tokens and nothing else that varies, apart from sizes and masks."""
    op = op_of(node)
    if op is None or tokens.isdisjoint(node.all_input_nodes):
        return False
    if spelling(node.target) in _PICKS and (node.args[0] not in tokens or not tokens.isdisjoint(_nodes(node.args[1:]))):
        return False
    if spelling(node.target) in _CASTS:
        return not is_smooth_type(node.meta.get("dtype", torch.int64)) and node.meta.get("dtype") is not torch.bool
    return op.kind == "move" and spelling(node.target) not in _NO_MOVES


_CASTS: Final = words("to _to_copy long int type type_as")
_NO_MOVES: Final = words("embedding")
_PICKS: Final = words("gather take take_along_dim index getitem index_select masked_select repeat_interleave")


def _nodes(args: Any) -> list[fx.Node]:
    return [a for a in pytree.tree_leaves(args) if isinstance(a, fx.Node)]


def looked_up(relevance: Tensor, index: Tensor) -> tuple[Tensor]:
    """Sum the relevance of what a table returned over its features: that of the tokens."""
    return (relevance.flatten(index.ndim).sum(-1) if relevance.ndim > index.ndim else relevance,)


@dataclass(frozen=True, eq=False)
class Moved:
    """Relevance on its way back through a call that moves tokens: ``(relevance, *values) -> relevances``.

    Parameters
    ----------
    call : Call
        The call, whose data slots are tokens.
    """

    call: Call

    @property
    def __name__(self) -> str:
        return f"tokens_{self.call.name}"

    def __call__(self, relevance: Tensor, *values: Any) -> tuple[Any, ...]:
        """Move relevance as numbers of its own type: a call that moves values does so whatever they are."""
        if self.call.spelling in _CASTS:
            return tuple(relevance for _ in self.call.data)
        given = [
            zeros_like(value).to(relevance.dtype) if i in self.call.data else value for i, value in enumerate(values)
        ]
        return self.call.transpose(relevance, *given)
