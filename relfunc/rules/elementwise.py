"""Rules for elementwise operations."""

from typing import Any, Final

from ..graph.calls import zeros_like
from ..graph.transposes import sum_to
from ..ops.table import Op, Sign
from .step import PropagateError, RuleRow, Step
from .tables import Elementary

__all__ = ["constant", "pass_"]


def pass_() -> Elementary:
    """Relevance passes an elementwise operation unchanged.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(pass_())
    pass()
    """
    return Elementary("pass")


def constant() -> Elementary:
    """Take the output for a constant: it gets no relevance, and what it multiplies gets all.

    Products and sums with it are the scalings and shifts that they are with a parameter, unlike where a rule only drops
    what arrives. :func:`relfunc.plan` lists what remains.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(constant())
    constant()
    """
    return Elementary("constant")


def _constant(step: Step, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    return tuple(zeros_like(values[slot]) for slot in step.call.data)


def _pass(step: Step, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    slot, *others = step.call.data
    if others:
        raise PropagateError(f"pass() is for operations of one tensor, not '{step.call.name}'")
    return (sum_to(relevance, values[slot].shape),)


def _vanishes(rule: Any, op: Op | None) -> Sign:
    """Relevance is zero where the input is, if the output is zero there too."""
    return "kept" if op is not None and op.type in {"relu", "scaling"} else "unknown"


ROWS: Final = (
    RuleRow(
        "pass",
        make=pass_,
        propagate=_pass,
        reads=(),
        vanishes=_vanishes,
        unchanged=True,
        memory="shared",
        meant_for="activation scaling affine",
        base="activation|batch_norm|scaling|normalization",
    ),
    RuleRow("constant", make=constant, propagate=_constant, receives=lambda data, gates: (), constant=True),
)
