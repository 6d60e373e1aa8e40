"""Rules for products of values that depend on the input."""

from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph.transposes import sum_to
from .stabilizers import Plain, Stabilizer
from .stabilizers import stabilizer as as_stabilizer
from .step import Reads, RuleRow, Step, summed
from .tables import Elementary

__all__ = ["bilinear", "signal"]


def bilinear(*, stabilizer: float | Stabilizer = 1e-6) -> Elementary:
    """Relevance of a matrix product in equal shares to its factors, in each in proportion to its products.

    Parameters
    ----------
    stabilizer : float or callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    Elementary

    References
    ----------
    Achtibat et al., "AttnLRP: attention-aware layer-wise relevance propagation for transformers", ICML 2024,
    proposition 3.3.

    Examples
    --------
    >>> print(bilinear())
    bilinear(stabilizer=Plain(epsilon=1e-06))
    """
    return Elementary("bilinear", (("stabilizer", as_stabilizer(stabilizer)),))


def _bilinear(step: Step, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer) -> tuple[Any, ...]:
    """Share relevance among the factors of a sum of products, and within each in proportion to its products."""

    def product(*data: Any) -> Any:
        filled = list(values)
        for slot, value in zip(step.call.data, data, strict=True):
            filled[slot] = value
        return step.call(*filled)

    factors = tuple(values[slot] for slot in step.call.data)
    z, vjp = torch.func.vjp(product, *factors)[:2]
    grads = vjp(relevance / (len(factors) * stabilizer(z)))
    return tuple(pytree.tree_map(torch.mul, factor, grad) for factor, grad in zip(factors, grads, strict=True))


def _absorbed(
    step: Step, passed: float, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer
) -> dict[str, float]:
    z = step.call(*values)
    return {"stabilizer": summed(relevance - relevance / stabilizer(z) * z)}


def signal() -> Elementary:
    """Relevance of a product goes to the signal, none to its gate; in equal shares where neither is a gate.

    A gate is a factor that the graph shows to be the output of a sigmoid, hard sigmoid or softmax.

    Returns
    -------
    Elementary

    References
    ----------
    Arras et al., "Explaining and interpreting LSTMs", 2019, section 11.3.2 (signal-take-all); Achtibat et al.,
    "AttnLRP", ICML 2024, proposition 3.3 (equal shares).

    Examples
    --------
    >>> print(signal())
    signal()
    """
    return Elementary("signal")


def _signal(step: Step, relevance: Tensor, output: Any, *values: Any) -> tuple[Any, ...]:
    """Give all relevance of a product to its signal, or equal shares to its factors."""
    if _sums(step):
        return _bilinear(step, relevance, output, *values, stabilizer=Plain())
    part = relevance / len(step.receivers)
    shares = []
    for slot in step.call.data:
        summed = sum_to(part, values[slot].shape) if slot in step.receivers else torch.zeros_like(values[slot])
        shares.append(summed)
    return tuple(shares)


def _sums(step: Any) -> bool:
    """Whether an operation sums products, so that no factor is a gate of all that it enters."""
    return step.call.op is not None and step.call.op.matrix


def _signal_reads(step: Any) -> Reads:
    return ("values",) if _sums(step) else ()


def _signals(data: tuple[int, ...], gates: frozenset[int]) -> tuple[int, ...]:
    return tuple(slot for slot in data if slot not in gates) or data


def _signal_absorbs(step: Step, passed: float, relevance: Tensor, output: Any, *values: Any) -> dict[str, float]:
    return _absorbed(step, passed, relevance, output, *values, stabilizer=Plain()) if _sums(step) else {}


ROWS: Final = (
    RuleRow(
        "bilinear",
        make=bilinear,
        propagate=_bilinear,
        absorbs=_absorbed,
        memory="own",
        meant_for="product",
        base="matrix_product",
    ),
    RuleRow(
        "signal",
        make=signal,
        propagate=_signal,
        reads=_signal_reads,
        receives=_signals,
        absorbs=_signal_absorbs,
        memory="shared",
        meant_for="product",
        base="product",
    ),
)
