"""Rules for softmax and for reductions: by first-order terms."""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..graph.memory import in_blocks, times
from ..graph.softmax import exponentials
from .stabilizers import Stabilizer
from .stabilizers import stabilizer as as_stabilizer
from .step import RuleRow, Step, at_least_single, summed
from .tables import Elementary

__all__ = ["first_order", "softmax"]


def softmax() -> Elementary:
    r"""Relevance of a softmax :math:`y` by its Taylor expansion: :math:`x \odot (R - y \sum R)`.

    The sum is along the axis of the softmax. The constant of the expansion is no input's; what is masked by an infinite
    score gets none. A log-softmax is the logarithm of a softmax, through which relevance passes.

    Returns
    -------
    Elementary

    References
    ----------
    Achtibat et al., "AttnLRP: attention-aware layer-wise relevance propagation for transformers", ICML 2024,
    proposition 3.1.

    Examples
    --------
    >>> print(softmax())
    softmax()
    """
    return Elementary("softmax")


def _softmax(step: Step, relevance: Tensor, output: Tensor, x: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
    dim, least = _axis(step, x), step.call.args[4:5]
    plain = dim in (-1, x.ndim - 1) and not kept and not any(least)

    def shared(relevance: Tensor, output: Tensor, x: Tensor) -> Tensor:
        scores, weights = _expanded(step, output, x, *kept)
        total = relevance.sum(-1 if plain else dim, keepdim=True)
        return times(relevance - weights * total, scores)

    given = relevance, output, x
    return (in_blocks(shared, *given, owned=step.owned) if plain else shared(*given),)


def _softmax_absorbs(
    step: Step, passed: float, relevance: Tensor, output: Tensor, x: Tensor, *kept: Tensor
) -> dict[str, float]:
    """Book the constant of the expansion: of each weight, by its part of it, what no score explains."""
    dim, (scores, weights) = _axis(step, x), _expanded(step, output, x, *kept)
    return {"softmax": summed(relevance * (1 - scores + (weights * scores).sum(dim, keepdim=True)))}


def _axis(step: Step, x: Tensor) -> Any:
    """Return the axis of a softmax, or several."""
    args = step.call.args[1:]
    dim: Any = args[0] if args else None
    if dim is None:  # as torch chooses it
        dim = 0 if x.ndim in {0, 1, 3} else 1
    return dim


def _expanded(step: Step, output: Tensor, x: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and the shares in which each lessens the weights of all, both zero where masked."""
    weights = output.exp() if step.call.spelling == "log_softmax" else output
    scores, weights = F.threshold(_widened(x), -_MASKED, 0.0), weights.nan_to_num(0.0)  # NaN where all are masked
    if kept:
        scores = scores.masked_fill(kept[0] == 0, 0.0)
    args = step.call.args[1:]
    if len(args) > 3 and args[3]:  # a sum that is less than it has to be does not change with the scores
        weights = weights * (exponentials(x, *args[:3], *kept)[1] >= args[3])
    return scores, weights


_MASKED: Final = torch.finfo(torch.float32).max / 2
"""Below minus this, a score is minus infinity, or the least number that there is, which masks as infinity does."""


def _widened(a: Tensor) -> Tensor:
    """Return scores in single precision; minus infinity, where they are the least number of half precision."""
    if a.dtype is not torch.float16:
        return at_least_single(a)
    return a.float().masked_fill(a < _LEAST, -torch.inf)


_LEAST: Final = -torch.finfo(torch.float16).max + 256
"""The least number of half precision, with a score added to it."""


def first_order(*, stabilizer: float | Stabilizer = 1e-6) -> Elementary:
    r"""Relevance of a reduction in proportion to first-order terms: :math:`x \odot J^T (R / \mathrm{st}(J x))`.

    For a norm or deviation :math:`y` the denominator is :math:`y`, for a variance it is :math:`2 y`.

    Parameters
    ----------
    stabilizer : float or callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(first_order())
    first_order(stabilizer=Plain(epsilon=1e-06))
    """
    return Elementary("first_order", (("stabilizer", as_stabilizer(stabilizer)),))


def _first_order(
    step: Step, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer
) -> tuple[Tensor, ...]:
    grads = step.call.transpose(relevance / stabilizer(_terms(step, *values)), *values)
    return tuple(values[slot] * grad for slot, grad in zip(step.call.data, grads, strict=True))


def _terms(step: Step, *values: Any) -> Tensor:
    """Sum the first-order terms of all inputs."""

    def of_data(*data: Tensor) -> Tensor:
        filled = list(values)
        for slot, x in zip(step.call.data, data, strict=True):
            filled[slot] = x
        return step.call(*filled)

    data = tuple(values[slot] for slot in step.call.data)
    output, vjp = torch.func.vjp(of_data, *data)[:2]
    return torch.func.vjp(vjp, torch.zeros_like(output))[1](data)[0]  # the transpose of the transpose


def _absorbed(
    step: Step, passed: float, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer
) -> dict[str, float]:
    terms = _terms(step, *values)
    return {"stabilizer": summed(relevance - relevance / stabilizer(terms) * terms)}


ROWS: Final = (
    RuleRow(
        "softmax",
        make=softmax,
        propagate=_softmax,
        reads=("values", "output"),
        absorbs=_softmax_absorbs,
        memory="own",
        meant_for="other",
        base="softmax",
        widened=_widened,
    ),
    RuleRow(
        "first_order",
        make=first_order,
        propagate=_first_order,
        absorbs=_absorbed,
        memory="own",
        meant_for="other",
        base="reduction",
    ),
)
