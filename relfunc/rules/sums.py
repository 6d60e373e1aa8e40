"""Rules for sums of several values, such as a residual connection."""

from dataclasses import replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from ..errors import RuleError
from ..graph.transposes import sum_to
from .linear import norm
from .read import TABLE
from .stabilizers import Stabilizer
from .stabilizers import stabilizer as as_stabilizer
from .step import PropagateError, RuleRow, Step, summed
from .tables import AnyRule, Elementary

__all__ = ["residual"]


def residual(
    by: Literal["magnitude", "positive"] = "magnitude", *, stabilizer: float | Stabilizer = 1e-6
) -> Elementary:
    r"""Relevance of a sum of several values by their magnitudes, :math:`|a| / (|a| + |b|)`, or by their positive parts.

    Unlike shares in proportion to values of either sign, as :func:`norm` gives them, these stay between 0 and 1 where
    the values cancel. A sum of the elements of one value is shared as by :func:`norm`.

    Parameters
    ----------
    by : {"magnitude", "positive"}
        What shares are in proportion to.
    stabilizer : float or callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(residual("positive"))
    residual(by=positive, stabilizer=Plain(epsilon=1e-06))
    """
    if by not in {"magnitude", "positive"}:
        raise RuleError(f"by is {by!r}: give 'magnitude' or 'positive'")
    return Elementary("residual", (("by", by), ("stabilizer", as_stabilizer(stabilizer))))


def _residual(
    step: Step, relevance: Any, output: Any, *values: Any, by: str, stabilizer: Stabilizer
) -> tuple[Any, ...]:
    if len(step.call.data) == 1:
        return TABLE.propagate(replace(step, rule=norm(stabilizer=stabilizer)), relevance, output, *values)
    parts = _parts(step, by, values)
    share = relevance / stabilizer(_sum(parts))
    return tuple(sum_to(share * part, values[slot].shape) for slot, part in zip(step.call.data, parts, strict=True))


def _absorbs(
    step: Step, passed: float, relevance: Any, output: Any, *values: Any, by: str, stabilizer: Stabilizer
) -> dict[str, float]:
    if len(step.call.data) == 1:
        return TABLE.absorbs(replace(step, rule=norm(stabilizer=stabilizer)), passed, relevance, output, *values)
    total = _sum(_parts(step, by, values))
    return {"stabilizer": summed(relevance - relevance / stabilizer(total) * total)}


def _parts(step: Step, by: str, values: tuple[Any, ...]) -> list[Tensor]:
    """Return what the share of each value is in proportion to, at every element of the sum."""
    if step.call.spelling not in {"add", "sub", "rsub"}:
        raise PropagateError(
            f"residual() is for sums of values element by element, not '{step.call.name}': give norm()"
        )
    added: list[Tensor] = []
    for slot in step.call.data:
        alone = (torch.zeros_like(v) if i in step.call.data and i != slot else v for i, v in enumerate(values))
        added.append(step.call(*alone))
    return [part.abs() if by == "magnitude" else part.clamp(min=0) for part in added]


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def _vanishes(rule: AnyRule, op: Any) -> Literal["always"]:
    """Relevance is zero where the input is: it adds nothing there."""
    return "always"


ROWS: Final = (
    RuleRow(
        "residual",
        make=residual,
        propagate=_residual,
        reads=("values", "output"),
        vanishes=_vanishes,
        absorbs=_absorbs,
        memory="own",
        meant_for="combination",
    ),
)
