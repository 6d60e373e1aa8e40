"""In place: operations that write to their argument become operations that return a new value.

A write ``y = f_(x)`` becomes ``y = f(x)``, and who reads ``x`` later reads ``y`` instead. Why that is the same:

- A reader of ``x`` before the write sees what it saw. One behind it saw what was written, which is ``y``; a view of
  ``x`` made behind the write is such a reader, so it and all that is made of it are right as well.
- What is left are other names of the same memory: views of ``x`` made before, what ``x`` is itself a view of, and other
  views of that. A reader of one of these behind the write saw what was written, and would not any more: it is refused.
  One before the write saw the old values, and still does.
- The memory of inputs and parameters is read by the caller, behind everything: writing to any name of it is refused.

Names of one memory are found by following calls whose output may be memory of their first argument, forwards and
backwards. Whether it may is a column of the operation's row, of torch's other operations what their schemas say, and
assumed of functions that nobody knows: refusing too much is an error that says so, refusing too little a wrong result.
"""

import inspect
import operator
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import RelfuncError
from ..ops.spellings import is_in_place, may_share, spelling
from ..ops.table import Op, find, known_as
from .graphs import calls, described


class CanonizeError(RelfuncError, ValueError):
    """A graph uses an operation in a way that has no functional form."""


def make_functional(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Replace each in-place operation, and let later readers of what it wrote to read its result.

    Calls are taken in the order in which they run, so that of several writes to one tensor each finds what the one
    before returned in the place of the tensor.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.

    Raises
    ------
    CanonizeError
        If an operation writes to an input, a parameter, or memory that is read later under another name.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    numbers = _numbers(graph)
    for node in calls(graph):
        if node.kwargs.get("out") is not None:
            raise CanonizeError(f"{described(node)} writes to its argument out: use what it returns instead")
        function = _functional(node)
        if function is None:
            continue
        node.target = function
        written = node.args[0] if node.args else node.kwargs["input"]
        if not isinstance(written, fx.Node) or written in numbers:
            continue
        for alias in _aliases(written, rows, node):
            if alias.op in _OWN:
                raise CanonizeError(
                    f"{described(node)} writes to the model's own {_OWN[alias.op]} '{alias}': clone it first"
                )
            if alias is not written and any(order[user] > order[node] for user in alias.users):
                raise CanonizeError(
                    f"{described(node)} writes to a view of '{alias}', which is read later: clone it first"
                )
        written.replace_all_uses_with(node, lambda user, node=node: order[user] > order[node])


_OWN: Final = {"placeholder": "input", "get_attr": "parameter or buffer"}


@known_as("written")
def written(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return ``x`` with ``value`` at ``index``."""
    copy = x.clone()
    copy[index] = value
    return copy


@known_as("copied_onto")
def copied_onto(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Return ``source`` in the shape and type of ``x``, as ``x.copy_(source)`` does."""
    return source.expand_as(x).to(x.dtype)


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """Find sizes and what is computed from them: numbers are no memory, so that ``n += 1`` writes to nothing."""
    numbers: set[fx.Node] = set()
    for node in calls(graph):
        home = getattr(node.target, "__module__", "")
        of_numbers = home in {"_operator", "math", "builtins"} and numbers.issuperset(node.all_input_nodes)
        if spelling(node.target) in _SIZES or (of_numbers and node.all_input_nodes):
            numbers.add(node)
    return numbers


_SIZES: Final = {"size", "dim", "ndimension", "numel", "getattr", "len", "stride", "sym_size", "sym_numel"}


def _functional(node: fx.Node) -> Any:
    """Out-of-place form of an in-place call, whose flag is dropped; None if it is not in place."""
    target: Any = node.target
    if spelling(target) is None:
        return None
    if target is torch.ops.aten.copy.default:  # what export makes of writing to a part; it has no derivative
        node.target = copied_onto
        return None
    if isinstance(target, FunctionType) and "inplace" in inspect.signature(target).parameters:
        given = inspect.signature(target).bind(*node.args, **node.kwargs)
        in_place = given.arguments.pop("inplace", False)
        node.args, node.kwargs = given.args, given.kwargs
        return target if in_place else None
    if not is_in_place(target):
        return None
    if target is operator.setitem:
        return written
    if spelling(target) == "copy":
        return copied_onto
    name = getattr(target, "__name__", "")
    if getattr(target, "__module__", "") == "_operator":
        return getattr(operator, {"iand": "and_", "ior": "or_"}.get(name, name[1:]))
    bare = name.partition(".")[0].rstrip("_")
    for home in (torch, Tensor, F):
        if hasattr(home, bare):
            return getattr(home, bare)
    raise CanonizeError(f"{described(node)} is in place and has no functional form")


def _aliases(node: fx.Node, rows: Mapping[Any, Op], writer: fx.Node) -> Iterator[fx.Node]:
    """Yield the node and the nodes whose memory it may share, but for what writes to it.

    Both directions are followed from every node that is found: of two views of one tensor, the way from one to the
    other leads back to the tensor and forth again. The write itself is left out: what it returns is the new value.
    """
    pending, seen = [node], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        if _may_share(current, rows):
            pending.extend(current.all_input_nodes[:1])
        pending.extend(
            user
            for user in current.users
            if user is not writer and _may_share(user, rows) and user.all_input_nodes[0] is current
        )


def _may_share(node: fx.Node, rows: Mapping[Any, Op]) -> bool:
    """Whether a call's output may be memory of its first argument."""
    if node.op != "call_function":
        return False
    op, name = find(node.target, rows), spelling(node.target)
    if op is None:
        return name is None or may_share(name)
    return op.memory == "shared" or (not op.memory and op.kind in {"move", "other"})
