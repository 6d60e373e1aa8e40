"""Rules that follow an operation's own derivative, or what stands in the place of a ReLU's."""

from typing import Any, Final

import torch
from torch import Tensor

from ..errors import RuleError
from ..graph.transposes import TRANSPOSES
from ..ops.table import Op, Sign
from .read import parameters_of
from .step import Reads, RuleRow, Step, summed
from .tables import Elementary

__all__ = ["beta_smooth", "deconvnet", "gradient", "guided_backprop"]


def gradient() -> Elementary:
    """Relevance follows the operation's own derivative, as an ordinary cotangent.

    For max pooling this is winner-takes-all; for operations that only move values it is exact.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(gradient())
    gradient()
    """
    return Elementary("gradient")


def _gradient(step: Step, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    name = step.call.transposed
    if name:
        weight, _ = parameters_of(step.call, values[1:])
        return (TRANSPOSES[name](relevance, values[0], weight, **step.call.kwargs),)
    return step.call.transpose(relevance, *values)


def _reads(step: Any) -> Reads:
    """Ask for no values where the adjoint is written out and takes only their shapes."""
    adjoint = step.call.adjoint
    return () if adjoint is not None and adjoint.by_shape else ("values",)


def _vanishes(rule: Any, op: Op | None) -> Sign:
    """Relevance is zero where the input is, if it is where the output is: each value of the output is one of the input.

    That is not so of what writes or adds other values, and therefore is not said to keep the input's sign.
    """
    if op is not None and (op.type == "max_pool" or (op.kind == "move" and op.sign == "kept")):
        return "kept"
    return "unknown"


def _absorbs(step: Step, passed: float, relevance: Any, output: Any, *values: Any) -> dict[str, float]:
    """Book what arrived at the model's own values, which an operation moved to places beside those of its inputs."""
    joins = step.call.op is not None and step.call.op.kind in {"move", "pool"}
    return {"tables": summed(relevance) - passed} if joins else {}


def guided_backprop() -> Elementary:
    """Gradient of a ReLU, cut where the cotangent is negative.

    Returns
    -------
    Elementary

    References
    ----------
    Springenberg et al., "Striving for simplicity: the all convolutional net", ICLR workshop 2015, section 3.4.

    Examples
    --------
    >>> print(guided_backprop())
    guided_backprop()
    """
    return Elementary("guided_backprop")


def _guided_backprop(step: Step, relevance: Tensor, output: Any, *values: Any) -> tuple[Tensor, ...]:
    return _gradient(step, relevance.clamp(min=0), output, *values)


def deconvnet() -> Elementary:
    """Use a ReLU of the cotangent in place of a ReLU's gradient.

    Returns
    -------
    Elementary

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2.1.

    Examples
    --------
    >>> print(deconvnet())
    deconvnet()
    """
    return Elementary("deconvnet")


def _deconvnet(step: Step, relevance: Tensor, output: Any, *values: Any) -> tuple[Tensor, ...]:
    return (relevance.clamp(min=0),)


def beta_smooth(beta: float = 10.0) -> Elementary:
    """Gradient of a softplus of sharpness β in place of a ReLU's.

    Parameters
    ----------
    beta : float
        Positive; the limit of large β is the gradient.

    Returns
    -------
    Elementary

    References
    ----------
    Dombrowski et al., "Explanations can be manipulated and geometry is to blame", NeurIPS 2019, section 4.

    Examples
    --------
    >>> print(beta_smooth())
    beta_smooth(beta=10.0)
    """
    if not 0 < beta < float("inf"):
        raise RuleError(f"beta is {beta}: give a finite positive number")
    return Elementary("beta_smooth", (("beta", float(beta)),))


def _beta_smooth(
    step: Step, relevance: Tensor, output: Any, x: Tensor, *values: Any, beta: float
) -> tuple[Tensor, ...]:
    return (torch.sigmoid(beta * x) * relevance,)


ROWS: Final = (
    RuleRow(
        "gradient",
        make=gradient,
        propagate=_gradient,
        reads=_reads,
        vanishes=_vanishes,
        absorbs=_absorbs,
        memory="shared",
        base="max_pool|move",
    ),
    RuleRow(
        "guided_backprop",
        make=guided_backprop,
        propagate=_guided_backprop,
        memory="shared",
        meant_for="activation",
    ),
    RuleRow("deconvnet", make=deconvnet, propagate=_deconvnet, reads=(), memory="own", meant_for="activation"),
    RuleRow("beta_smooth", make=beta_smooth, propagate=_beta_smooth, memory="own", meant_for="activation"),
)
