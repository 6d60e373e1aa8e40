"""Rules for max pooling; its own derivative, which lets the winner take all, is :func:`relfunc.rules.gradient`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..graph.transposes import each
from .stabilizers import Stabilizer
from .stabilizers import stabilizer as as_stabilizer
from .step import PropagateError, RuleRow, Step, summed
from .tables import Elementary

__all__ = ["proportional"]


def proportional(*, stabilizer: float | Stabilizer = 1e-6) -> Elementary:
    """Relevance of a max pooling spread over its window in proportion to the inputs.

    Parameters
    ----------
    stabilizer : float or callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(proportional())
    proportional(stabilizer=Plain(epsilon=1e-06))
    """
    return Elementary("proportional", (("stabilizer", as_stabilizer(stabilizer)),))


def _proportional(
    step: Step, relevance: Tensor, output: Any, x: Tensor, *values: Any, stabilizer: Stabilizer
) -> tuple[Tensor, ...]:
    """Spread over each window of a max pooling, as its sum pooling would: the average's factor cancels."""
    z, vjp = torch.func.vjp(_averaged(step), x)[:2]
    return (x * vjp(relevance / stabilizer(z))[0],)


def _absorbs(
    step: Step, passed: float, relevance: Tensor, output: Any, x: Tensor, *values: Any, stabilizer: Stabilizer
) -> dict[str, float]:
    z = _averaged(step)(x)
    return {"stabilizer": summed(relevance - relevance / stabilizer(z) * z)}


def _averaged(step: Step) -> Callable[[Tensor], Tensor]:
    """Return the average pooling over the windows of a max pooling."""
    name = step.call.spelling
    average = getattr(F, name.replace("max", "avg"), None)
    if average is None or "max" not in name:
        raise PropagateError(f"proportional() is for max pooling, not '{step.call.name}'")
    names = _ADAPTIVE_POOL if name.startswith("adaptive") else _MAX_POOL
    options = dict(zip(names, step.call.args[1:], strict=False)) | step.call.kwargs
    dilation = options.pop("dilation", 1)
    if options.pop("return_indices", False) or any(d != 1 for d in each(dilation, 1)):
        raise PropagateError(f"proportional() takes a '{name}' without indices and dilation")
    if not name.startswith("adaptive"):
        options["count_include_pad"] = True
    return partial(average, **options)


_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE_POOL = ("output_size", "return_indices")

ROWS: Final = (
    RuleRow(
        "proportional",
        make=proportional,
        propagate=_proportional,
        absorbs=_absorbs,
        memory="own",
        meant_for="pool",
    ),
)
