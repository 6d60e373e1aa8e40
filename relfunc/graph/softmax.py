"""Softmax: recognised where it is written by hand, so that its relevance is that of torch's own.

Exponentials that are divided by their sum, whatever is subtracted from all of them before and however the quotient is
written, are a softmax; and scores from which the logarithm of the sum of their exponentials is subtracted are its
logarithm. A number that is added to the sum, against division by zero or for attention to nothing, stays where it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx

from ..ops.spellings import words
from ..ops.table import Op, known_as
from .graphs import bound, calls, is_call, origin_of, substitute


@known_as("softmax_over")
def softmax_over(x: Tensor, over: tuple[int, ...], added: float, shifted: bool) -> Tensor:
    """Softmax over several axes, or with a number beside the sum of exponentials.

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

    Returns
    -------
    Tensor
    """
    weights = torch.exp(x - x.amax(over, keepdim=True) if shifted else x)
    return weights / (weights.sum(over, keepdim=True) + added)


def recognise_softmax(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Find softmax and its logarithm where they are written in simpler operations.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    pattern = _Pattern(rows)
    for node in calls(graph):
        found = pattern.weights(node)
        if found is None and (found := pattern.log_weights(node)) is None:
            continue
        x, (function, *options) = found
        with graph.inserting_before(node):
            new = graph.call_function(function, (x, *options))
        new.meta = origin_of(node)
        substitute(graph, node, new)


@dataclass(frozen=True)
class _Reduced:
    """What a node is a reduction of, over which axes (None for all), where the axes are kept."""

    x: Any
    over: tuple[int, ...] | None


@dataclass(frozen=True)
class _Pattern:
    """Reads calls as parts of a softmax."""

    rows: Mapping[Any, Op]

    def weights(self, node: fx.Node) -> tuple[Any, tuple[Any, ...]] | None:
        """Read exponentials that are divided by their sum: the scores, and what softmax they enter."""
        exponentials, denominator = self._quotient(node)
        scores = self._of(exponentials, "exp")
        if scores is None:
            return None
        total, added = self._added(denominator)
        sums = self._reduced(total, ("sum",))
        if sums is None or not _same(sums.x, exponentials):
            return None
        x, by = self._unshifted(scores, sums.over)
        over = sums.over or ()
        if added:
            by_greatest = by is not None and by.over == sums.over and self._is_greatest(scores.args[1])
            return (x, (softmax_over, over, added, by_greatest)) if by is None or by_greatest else None
        return x, ((torch.softmax, *over) if len(over) == 1 else (softmax_over, over, 0.0, True))

    def log_weights(self, node: fx.Node) -> tuple[Any, tuple[Any, ...]] | None:
        """Read scores from which the logarithm of the sum of their exponentials is subtracted."""
        scores, subtracted = self._operands(node, "sub")
        sums = self._log_of_sum(subtracted)
        if sums is None or len(sums.over or ()) != 1 or not _same(scores, sums.x):
            return None
        return self._unshifted(scores, sums.over)[0], (torch.log_softmax, *(sums.over or ()))

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
        if self._is(node, "getitem") and node.args[1] == (..., None):
            axis = -1
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


_AROUND: Final = words("detach expand expand_as")
_SHIFTS: Final = tuple(words("max amax mean logsumexp"))


def _same(a: Any, b: Any) -> bool:
    """Whether two values are computed in the same way from the same."""
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or a is b:
        return a is b or (not isinstance(a, fx.Node) and not isinstance(b, fx.Node) and a == b)
    is_call = a.op == b.op == "call_function" and a.target == b.target and a.kwargs == b.kwargs
    return is_call and len(a.args) == len(b.args) and all(map(_same, a.args, b.args))
