"""In place: operations that write to their argument become operations that return a new value.

Each becomes its form that returns, and who reads the memory behind it, by whatever name, reads what was returned
(:mod:`relfunc.graph.sharing`).
"""

import inspect
import operator
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import CanonizeError
from ..ops.spellings import is_in_place, spelling
from ..ops.table import Op
from .graphs import bound, calls, described, identity
from .sharing import SIZES, Memory, written_by
from .written import copied_onto, written


def make_functional(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Replace each in-place operation, and let later readers of what it wrote to read its result.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.

    Raises
    ------
    CanonizeError
        If an operation writes to an input, a parameter, or memory that may be read later under another name.
    """
    numbers, writing = _numbers(graph), set()
    for node in calls(graph):
        if node.kwargs.get("out") is not None:
            raise CanonizeError(f"{described(node)} writes to its argument out: use what it returns instead")
        function = _functional(node, numbers)
        if function is not None:
            node.target = function
            to = written_by(node)
            if isinstance(to, fx.Node) and to not in numbers:
                writing.add(node)
    if not writing:
        return
    memory = Memory(graph, rows, numbers)
    for node in list(graph.nodes):
        (memory.write if node in writing else memory.read)(node)


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """Find sizes and what is computed from them: numbers are no memory, so that ``n += 1`` writes to nothing."""
    numbers: set[fx.Node] = set()
    for node in calls(graph):
        home = getattr(node.target, "__module__", "")
        of_numbers = home in {"_operator", "math", "builtins"} and numbers.issuperset(node.all_input_nodes)
        if spelling(node.target) in SIZES or (of_numbers and node.all_input_nodes):
            numbers.add(node)
    return numbers


def _functional(node: fx.Node, numbers: set[fx.Node]) -> Any:
    """Out-of-place form of an in-place call, whose flag is dropped; None if it is not in place."""
    target: Any = node.target
    name = spelling(target)
    if name is None:
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
    if name == "fill":
        value = bound(node, "input value").get("value")
        number = value in numbers if isinstance(value, fx.Node) else not isinstance(value, Tensor)
        return torch.full_like if number else copied_onto
    if name in _FORMS:
        return _FORMS[name]
    bare = getattr(target, "__name__", "").partition(".")[0].rstrip("_")
    if getattr(target, "__module__", "") == "_operator":
        return getattr(operator, {"iand": "and_", "ior": "or_"}.get(bare, bare[1:]))
    for home in (torch, Tensor, F):
        if callable(getattr(home, bare, None)):
            return getattr(home, bare)
    raise CanonizeError(f"{described(node)} is in place and has no functional form")


_FORMS: Final[dict[str, Any]] = {
    "setitem": written,
    "copy": copied_onto,
    "zero": torch.zeros_like,
    "requires_grad": identity,
}
"""By canonical name, where that is not what the function without the underscore does."""
