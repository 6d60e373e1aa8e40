"""Canonize: graph to graph, until every operation has one form, and its row of the table written on it.

A captured graph is *functional*: methods are functions, what nobody reads of an operation's results is left out,
dropout is gone, and in-place is out-of-place (:mod:`relfunc.graph.in_place`). It holds the model's own operations. A
*canonical* graph is what relevance is propagated through: spellings become what they mean
(:mod:`relfunc.graph.meaning`), affine operations get one form, and batch norms become part of them
(:mod:`relfunc.graph.affine`).
"""

import operator
from collections.abc import Mapping
from typing import Any, Final

import torch.nn.functional as F
from torch import fx

from ..errors import CanonizeError
from ..ops.spellings import spelling
from ..ops.table import OPS, Op, Ops, find, table
from .affine import bind_affine, fold_batch_norms
from .complex_maps import collapse_complex
from .graphs import bound, calls, copied, described, identity, substitute
from .grouped import group
from .in_place import make_functional
from .meaning import expand, recognise, reunite
from .normalization import centre
from .softmax import recognise_softmax

__all__ = ["CanonizeError", "canonize", "functional", "resolved"]


def canonize(graph: fx.Graph, ops: Ops = OPS) -> fx.Graph:
    """Bring a captured graph into the form that relevance is propagated through.

    The passes build on each other. What is unused goes first, so that a value with one reader is seen to have one.
    Definitions are written out next, since some hold a matrix product; linear layers, biases, scales and shifts are
    recognised among calls that are all in one form; and batch norms are folded last, into what is affine by then. Every
    pass looks rows up anew, since the one before has changed the calls.

    Parameters
    ----------
    graph : torch.fx.Graph
        Such as ``relfunc.capture(model).graph``. It is not changed.
    ops : mapping
        The operations, as :data:`relfunc.ops.OPS`.

    Returns
    -------
    torch.fx.Graph
        A graph with the same outputs; ``node.meta["op"]`` of its calls is their row.

    Raises
    ------
    CanonizeError
        If a view is written to, a batch norm is in training mode, or an operation writes somewhere it should not.
    """
    rows, canonical = table(ops), functional(graph, ops)
    _unpack(canonical, rows, _WITH_STATISTICS)
    drop_identities(canonical)
    reunite(canonical, rows)
    expand(canonical, rows)
    recognise_softmax(canonical, rows)
    collapse_complex(canonical, rows)
    centre(canonical, rows)
    group(canonical, rows)
    bind_affine(canonical, rows)
    recognise(canonical, rows)
    fold_batch_norms(canonical, rows)
    return resolved(canonical, ops)


def functional(graph: fx.Graph, ops: Ops = OPS) -> fx.Graph:
    """Bring a captured graph into a functional form: the model's own operations, and every value a module returns.

    Parameters
    ----------
    graph : torch.fx.Graph
        Captured. It is not changed.
    ops : mapping
        The operations.

    Returns
    -------
    torch.fx.Graph
        A graph with the same outputs.

    Raises
    ------
    CanonizeError
        As :func:`canonize`.
    """
    rows, result = table(ops), copied(graph)
    _refuse_random(result, rows)
    _unpack(result, rows, _WITH_INDICES)
    _drop_dropout(result, rows)
    make_functional(result, rows)
    return resolved(result, ops)


def resolved(graph: fx.Graph, ops: Ops = OPS) -> fx.Graph:
    """Copy a graph without what nobody reads, named anew, with the row of each operation on its node.

    Parameters
    ----------
    graph : torch.fx.Graph
        Of functions; dead code is erased from it.
    ops : mapping
        The operations.

    Returns
    -------
    torch.fx.Graph
    """
    rows = table(ops)
    graph.eliminate_dead_code()
    named = copied(graph)
    for node in calls(named):
        node.meta["op"] = find(node.target, rows)
    named.lint()
    return named


def drop_identities(graph: fx.Graph) -> None:
    """Remove what returns its input, unless that is read elsewhere too, so that the two are not the same value.

    Parameters
    ----------
    graph : torch.fx.Graph
        Functional; it is changed.
    """
    for node in calls(graph):
        if node.target is identity and len(node.all_input_nodes[0].users) == 1:
            substitute(graph, node, node.all_input_nodes[0])


def _refuse_random(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Refuse what draws random numbers: its relevance would be another on each call, and nobody would see it."""
    for node in calls(graph):
        op = find(node.target, rows)
        if op is not None and op.random:
            raise CanonizeError(
                f"{described(node)} draws random numbers, so that the model is no function of its input: pass the "
                "noise as an input, or leave it out in evaluation mode"
            )


def _unpack(graph: fx.Graph, rows: Mapping[Any, Op], alone: Mapping[str, Any]) -> None:
    """Replace an operation that returns statistics or indices beside its result, and nobody reads them.

    The result is then the call itself and no longer an item of a tuple, as if the operation had been written without
    them, and the call bears the name of the module that returned it. Who reads the others keeps the tuple: their
    relevance is that of several outputs.
    """
    for node in calls(graph):
        name = spelling(node.target) or ""
        if name not in alone or find(node.target, rows) is None:
            continue
        for reader in [reader for reader in node.users if not reader.users and reader.target is operator.getitem]:
            graph.erase_node(reader)
        readers = list(node.users)
        if all(reader.target is operator.getitem and reader.args[1] == 0 for reader in readers):
            node.target = alone[name] or node.target
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "return_indices"}
            for reader in readers:
                node.meta["returned"] = (*node.meta.get("returned", ()), *reader.meta.get("returned", ()))
                reader.replace_all_uses_with(node)
                graph.erase_node(reader)


_WITH_INDICES: Final[dict[str, Any]] = {
    "native_dropout": None,
    "max_pool1d_with_indices": F.max_pool1d,
    "max_pool2d_with_indices": F.max_pool2d,
    "max_pool3d_with_indices": F.max_pool3d,
}
_WITH_STATISTICS: Final[dict[str, Any]] = dict.fromkeys(
    ("_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "native_batch_norm")
)


def _drop_dropout(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Replace what does nothing in evaluation mode by the identity, which keeps the value that the module returns."""
    for node in calls(graph):
        op = find(node.target, rows)
        if op is None or op.type != "dropout" or spelling(node.target) is None:
            continue
        given = bound(node, "input p training")
        if given.get("training", given.get("train", True)):
            raise CanonizeError(
                f"{described(node)} is in training mode, so that relevance would be random: pass it "
                "training=self.training"
            )
        node.target, node.args, node.kwargs = identity, (given["input"],), {}
