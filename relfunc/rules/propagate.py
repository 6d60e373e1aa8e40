"""Propagate relevance through one operation: what a program calls, made of an operation and its rule's row.

Whatever a rule does is ordinary differentiable torch operations, so that relevance can be vmapped, compiled and
differentiated again. All that can be decided before anything runs is decided when the step is made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph.calls import Call, Slot
from . import row_of
from .step import HALF, PropagateError, Reads, RuleRow, Step
from .tables import Elementary

__all__ = ["Call", "Propagate", "PropagateError", "Slot"]


@dataclass(frozen=True, eq=False)
class Propagate(Step):
    """Backward of one operation under a rule: ``(relevance, output, *values) -> relevance of each data slot``.

    Attributes
    ----------
    row : RuleRow
        What is known of the rule.
    reads : tuple of str
        What it reads of the operation: ``"values"``, else only their shapes; ``"output"``, else None is given.
    options : dict
        The keyword arguments of the row's functions.
    """

    row: RuleRow = field(init=False)
    reads: Reads = field(init=False)
    options: dict[str, Any] = field(init=False)
    _open: bool = field(init=False)
    _run_again: bool = field(init=False)

    def __post_init__(self) -> None:
        row = row_of(self.rule)
        derived = {
            "row": row,
            "reads": row.reads if isinstance(row.reads, tuple) else row.reads(self),
            "options": dict(self.rule.options) if isinstance(self.rule, Elementary) else {},
            "_open": bool(self.call.transposed) and self.call.is_open,
            "_run_again": self.rectified and not row.takes_rectified(self.rule),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def __name__(self) -> str:
        return f"{getattr(self.rule, 'name', getattr(self.rule, '__name__', 'custom'))}_{self.call.name}"

    def __call__(self, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
        """Return the relevance of each data slot, in single precision where the model computes in half."""
        given = (relevance, output, *values)
        is_flat = all(isinstance(one, Tensor | int | None) for one in given)
        leaves = [leaf for leaf in (given if is_flat else pytree.tree_leaves(given)) if isinstance(leaf, Tensor)]
        device = leaves[0].device.type
        autocast = torch.is_autocast_enabled(device)
        if not autocast and not any(leaf.dtype in HALF for leaf in leaves):
            return self._asked(self.row.propagate, relevance, output, *values)
        with torch.autocast(device, enabled=False):
            return self._asked(self.row.propagate, *pytree.tree_map_only(Tensor, self.row.widened, given))

    def absorbed(self, passed: float, relevance: Any, output: Any, *values: Any) -> dict[str, float]:
        """Sum the relevance that reached no input, by what absorbed it."""

        def absorbs(step: Step, *given: Any, **options: Any) -> dict[str, float]:
            return self.row.absorbs(step, passed, *given, **options)

        return self._asked(absorbs, relevance, output, *values)

    def _asked(self, function: Callable[..., Any], relevance: Any, output: Any, *values: Any) -> Any:
        """Call a function of the row, with the operation's own output where the rule cannot do with a ReLU of it."""
        if self._run_again and output is not None:
            output = self.call(*values)
        step = replace(self, call=self.call.closed(values)) if self._open else self
        return function(step, relevance, output, *values, **self.options)
