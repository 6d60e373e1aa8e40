"""Softmax: recognised where it is written by hand, so that its relevance is that of torch's own.

Exponentials that are divided by their sum, whatever is subtracted from all of them before and however the quotient is
written, are a softmax; and scores from which the logarithm of the sum of their exponentials is subtracted are its
logarithm. A number that is added to the sum, against division by zero or for attention to nothing, stays where it is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, fx

from ..ops.spellings import spelling, words
from ..ops.table import Op, find, known_as
from .graphs import bound, calls, is_call, origin_of, substitute, varying


@known_as("softmax_over")
def softmax_over(
    x: Tensor, over: tuple[int, ...], added: float, shifted: bool, least: float = 0.0, kept: Tensor | None = None
) -> Tensor:
    """Softmax over several axes, of some of the scores, or with another number than the sum of exponentials below.

    Parameters
    ----------
    x : Tensor
        Scores.
    over : tuple of int
        The axes; none for all of them.
    added : float
        What is added to the sum; not negative.
    shifted : bool
        Whether the greatest score is subtracted before.
    least : float
        What the sum is at least.
    kept : Tensor, optional
        By what the exponentials are multiplied: which of them there are.

    Returns
    -------
    Tensor
    """
    weights, total = exponentials(x, over, added, shifted, kept)
    return weights / (total.clamp(min=least) if least else total)


def exponentials(
    x: Tensor, over: tuple[int, ...], added: float, shifted: bool, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the exponentials of scores and their sum; parameters as for :func:`softmax_over`."""
    weights = torch.exp(x - x.amax(over, keepdim=True) if shifted else x)
    weights = weights if kept is None else weights * kept
    return weights, weights.sum(over, keepdim=True) + added


@known_as("weighted_softmax")
def weighted_softmax(
    x: Tensor, over: tuple[int, ...], added: float, shifted: bool, least: float, kept: Tensor
) -> Tensor:
    """Softmax of exponentials that constants of any sign multiply; parameters as for :func:`softmax_over`."""
    return softmax_over(x, over, added, shifted, least, kept)


def recognise_softmax(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Find softmax and its logarithm where they are written in simpler operations.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    pattern = _Pattern(rows, varying(graph))
    for node in calls(graph):
        total, value = pattern.total(node), None
        if total is not None and is_call(total.part, "matmul", rows) and total.over == (-1,):
            part, value = total.part.args  # values are weighed before the sum divides them
            total = replace(total, part=part)
        found = None if total is None else pattern.weights(total)
        if found is None and (found := pattern.log_weights(node)) is None:
            continue
        with graph.inserting_before(node):
            new = _call(graph, node, *found)
            new = new if value is None else _call(graph, node, torch.matmul, new, value)
        substitute(graph, node, new)


def _call(graph: fx.Graph, node: fx.Node, function: Any, *args: Any) -> fx.Node:
    args = tuple(_call(graph, node, *a.call) if isinstance(a, _Made) else a for a in args)
    made = graph.call_function(function, args)
    made.meta = origin_of(node)
    return made


@dataclass(frozen=True)
class _Reduced:
    """What a node is a reduction of, over which axes (None for all), where the axes are kept."""

    x: Any
    over: tuple[int, ...] | None


@dataclass(frozen=True)
class _Made:
    """A call that the graph has not yet."""

    call: tuple[Any, ...]


@dataclass(frozen=True)
class _Total(_Reduced):
    """A part that is divided by the sum of ``x``, to which a number is added, and which is at least another."""

    part: Any = None
    added: float = 0.0
    least: float = 0.0


@dataclass(frozen=True)
class _Pattern:
    """Reads calls as parts of a softmax."""

    rows: Mapping[Any, Op]
    varying: Collection[fx.Node]

    def total(self, node: fx.Node) -> _Total | None:
        """Read a division by a sum."""
        if self._is(node, "normalize"):
            given = bound(node, "input p dim eps")
            x, dim = given["input"], given.get("dim", 1)
            if given.get("p", 2) != 1 or not isinstance(dim, int) or given.get("out") is not None:
                return None
            return _Total(x, (dim,), x, 0.0, given.get("eps", 1e-12))
        part, denominator = self._quotient(node)
        sums, least = self._at_least(denominator)
        sums, added = self._added(sums)
        found = self._reduced(sums, ("sum",)) or self._norm_of_one(sums)
        return None if found is None else _Total(found.x, found.over, part, added, least)

    def weights(self, total: _Total) -> tuple[Any, ...] | None:
        """Read exponentials that are divided by their sum: a softmax, the scores and its options."""
        bare, kept = self._kept(total.part)
        scores = self._of(bare, "exp")
        if scores is None or not _same(total.x, total.part):
            return None
        x, by = self._unshifted(scores, total.over)
        over, added, least = total.over or (), total.added, total.least
        by_greatest = by is not None and by.over == total.over and self._is_greatest(scores.args[1])
        if not added and kept is None and (not least or (by_greatest and least <= 1)):
            return (torch.softmax, x, *over) if len(over) == 1 else (softmax_over, x, over, 0.0, True)
        if by is not None and not by_greatest:
            return None
        if kept is None:
            return softmax_over, x, over, added, by_greatest, least
        function = softmax_over if isinstance(kept, _Made) or self._is_boolean(kept) else weighted_softmax
        return function, x, over, added, by_greatest, least, kept

    def _kept(self, part: Any) -> tuple[Any, Any]:
        """Return exponentials without the mask that they are multiplied by, and the mask; None if there is none."""
        for bare, mask in (self._operands(part, "mul"), self._operands(part, "mul")[::-1]):
            if self._of(bare, "exp") is not None and isinstance(mask, fx.Node) and self._is_mask(mask):
                return bare, mask
        if self._is(part, "masked_fill") and part.args[2:] in {(0,), (-0.0,)}:
            return part.args[0], _Made((torch.logical_not, part.args[1]))
        if self._is(part, "where") and len(part.args) == 3:
            condition, a, b = part.args
            if not isinstance(b, fx.Node) and b == 0:
                return a, _Made((torch.logical_or, condition, condition))
            if not isinstance(a, fx.Node) and a == 0:
                return b, _Made((torch.logical_not, condition))
        return part, None

    def _is_mask(self, node: fx.Node) -> bool:
        """Whether a value has no relevance: a constant, or made of truth values."""
        return node not in self.varying or self._is_boolean(node)

    def _is_boolean(self, node: fx.Node) -> bool:
        while node in self.varying or node.op == "call_function":
            op = find(node.target, self.rows) if node.op == "call_function" else None
            if node.meta.get("dtype") is torch.bool or (op is not None and spelling(node.target) in _COMPARISONS):
                return True
            if op is None or op.kind != "move" or len(node.all_input_nodes) != 1:
                return False
            (node,) = node.all_input_nodes
        return node.meta.get("dtype") is torch.bool

    def _at_least(self, node: Any) -> tuple[Any, float]:
        """Return a sum without the number that it is at least, and the number."""
        while any(self._is(node, name) for name in _AROUND):
            node = node.args[0]
        given = bound(node, "input min max") if self._is(node, "clamp") else {}
        given = bound(node, "input min") if self._is(node, "clamp_min") else given
        least = given.get("min")
        if isinstance(least, int | float) and least >= 0 and given.get("max") is None:
            return given["input"], float(least)
        return node, 0.0

    def log_weights(self, node: fx.Node) -> tuple[Any, ...] | None:
        """Read scores from which the logarithm of the sum of their exponentials is subtracted."""
        scores, subtracted = self._operands(node, "sub")
        sums = self._log_of_sum(subtracted)
        if sums is None or len(sums.over or ()) != 1 or not _same(scores, sums.x):
            return None
        return torch.log_softmax, self._unshifted(scores, sums.over)[0], *(sums.over or ())

    def _log_of_sum(self, node: Any) -> _Reduced | None:
        found = self._reduced(node, ("logsumexp",))
        if found is not None:
            return found
        sums = self._reduced(self._of(node, "log"), ("sum",))
        if sums is not None and (scores := self._of(sums.x, "exp")) is not None:
            return _Reduced(scores, sums.over)
        for shift, rest in (self._operands(node, "add"), self._operands(node, "add")[::-1]):
            inner = self._log_of_sum(rest) if shift is not None else None
            if inner is not None and _same(self._operands(inner.x, "sub")[1], shift):
                return _Reduced(self._operands(inner.x, "sub")[0], inner.over)
        return None

    def _quotient(self, node: fx.Node) -> tuple[Any, Any]:
        """Return numerator and denominator, also where a reciprocal is multiplied by."""
        if self._is(node, "div"):
            return self._operands(node, "div")
        for a, b in (self._operands(node, "mul"), self._operands(node, "mul")[::-1]):
            if self._operands(b, "mul")[1] == 1:  # what export makes of one over a value
                b = self._operands(b, "mul")[0]
            denominator = self._of(b, "reciprocal")
            for name, number, place in (("div", 1, 0), ("pow", -1, 1)):
                operands = self._operands(b, name)
                if isinstance(operands[place], int | float) and operands[place] == number:
                    denominator = operands[1 - place]
            if denominator is not None:
                return a, denominator
        return None, None

    def _added(self, node: Any) -> tuple[Any, float]:
        """Return a sum without a number that is added to it, and the number."""
        for total, number in (self._operands(node, "add"), self._operands(node, "add")[::-1]):
            if isinstance(number, int | float) and number >= 0:
                return total, float(number)
        return node, 0.0

    def _unshifted(self, scores: Any, over: tuple[int, ...] | None) -> tuple[Any, _Reduced | None]:
        """Return scores without what is subtracted from all of them along the axes, and what that is."""
        x, shift = self._operands(scores, "sub")
        found = self._reduced(shift, _SHIFTS)
        if found is None or not _same(found.x, x):
            return scores, None
        is_constant = found.over is None or (over is not None and set(over) <= set(found.over))
        return (x, found) if is_constant else (scores, None)

    def _reduced(self, node: Any, names: tuple[str, ...]) -> _Reduced | None:
        """Read a reduction whose axes are kept, or given back as axes of one element."""
        while any(self._is(node, name) for name in _AROUND):
            node = node.args[0]
        axis = bound(node, "input dim").get("dim") if self._is(node, "unsqueeze") else None
        if self._is(node, "getitem"):
            axis = _added_axis(node.args[1])
        node = node.args[0] if axis is not None else node
        while any(self._is(node, name) for name in _AROUND):
            node = node.args[0]
        if self._is(node, "getitem") and node.args[1] == 0 and self._is(node.args[0], "max"):
            node = node.args[0]  # its values
        if not any(self._is(node, name) for name in names):
            return None
        given = bound(node, "input dim keepdim")
        dim = given.get("dim", given.get("axis"))
        if given.get("dtype") is not None:
            return None
        if dim is None:
            return _Reduced(given["input"], None) if axis is None else None
        over = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
        kept = given.get("keepdim", False)
        is_kept = kept if axis is None else (not kept and over == (axis,))
        return _Reduced(given["input"], over) if is_kept and over and all(isinstance(a, int) for a in over) else None

    def _norm_of_one(self, node: Any) -> _Reduced | None:
        """Read a sum of magnitudes, which exponentials are themselves."""
        while any(self._is(node, name) for name in _AROUND):
            node = node.args[0]
        if not any(self._is(node, name) for name in ("linalg.vector_norm", "norm")):
            return None
        given = bound(node, "input ord dim keepdim")
        dim, order = given.get("dim"), given.get("ord", given.get("p"))
        over: Any = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
        is_sum = order == 1 and given.get("keepdim", False) and given.get("dtype") is None
        return _Reduced(given["input"], over) if is_sum and all(isinstance(a, int) for a in over) else None

    def _is_greatest(self, node: Any) -> bool:
        return self._reduced(node, ("max", "amax")) is not None

    def _of(self, node: Any, name: str) -> Any:
        """Return what a function of one tensor is called with; None for another."""
        return bound(node, "input").get("input") if self._is(node, name) else None

    def _operands(self, node: Any, name: str) -> tuple[Any, Any]:
        if self._is(node, name) and len(node.args) == 2 and not node.kwargs:
            return node.args[0], node.args[1]
        return None, None

    def _is(self, node: Any, name: str) -> bool:
        return is_call(node, name, self.rows)


def _added_axis(index: Any) -> int | None:
    """Return the axis that an index adds where it takes all else there is; None for another index."""
    parts = list(index) if isinstance(index, tuple) else [index]
    others = [part for part in parts if part is not None]
    if len(parts) != len(others) + 1 or any(part != slice(None) for part in others if part is not ...):
        return None
    place = parts.index(None)
    return place - len(parts) if ... in parts[:place] else place


_COMPARISONS: Final = words("eq ne lt le gt ge logical_not logical_and logical_or logical_xor isfinite isinf isnan")
_AROUND: Final = words("detach expand expand_as")
_SHIFTS: Final = tuple(words("max amax mean logsumexp"))


def _same(a: Any, b: Any) -> bool:
    """Whether two values are computed in the same way from the same."""
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or a is b:
        return a is b or (not isinstance(a, fx.Node) and not isinstance(b, fx.Node) and a == b)
    is_call = a.op == b.op == "call_function" and a.target == b.target and a.kwargs == b.kwargs
    return is_call and len(a.args) == len(b.args) and all(map(_same, a.args, b.args))
