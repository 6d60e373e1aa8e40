"""Rules for products of values that depend on the input."""

from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph.calls import Slot
from ..graph.memory import packed, times
from ..graph.transposes import sum_to
from .stabilizers import Plain, Stabilizer, quotient
from .stabilizers import stabilizer as as_stabilizer
from .step import Reads, RuleRow, Step, summed
from .tables import Elementary

__all__ = ["bilinear", "signal", "weighted"]


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


def weighted(*, stabilizer: float | Stabilizer = 1e-6) -> Elementary:
    """Relevance of a matrix product by weights goes to what they weigh; as :func:`bilinear` where no factor is weights.

    Weights are a factor that the graph shows to lie between 0 and 1, such as those of attention.

    Parameters
    ----------
    stabilizer : float or callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    Elementary

    References
    ----------
    Ali et al., "XAI for transformers: better explanations through conservative propagation", ICML 2022, section 4.1.

    Examples
    --------
    >>> print(weighted())
    weighted(stabilizer=Plain(epsilon=1e-06))
    """
    return Elementary("weighted", (("stabilizer", as_stabilizer(stabilizer)),))


def _bilinear(step: Step, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer) -> tuple[Any, ...]:
    """Share relevance among the factors of a sum of products, and within each in proportion to its products."""
    data, receivers = step.call.data, step.receivers
    share = quotient(relevance, output, stabilizer, owned=step.owned, factor=len(receivers))
    if _is_plain(step, values):
        return tuple(times(grad, values[slot]) for slot, grad in zip(data, _grads(share, *values), strict=True))
    grads = step.call.transpose(share, *values)
    return tuple(
        pytree.tree_map(torch.mul, values[slot], grad) if slot in receivers else pytree.tree_map(torch.zeros_like, grad)
        for slot, grad in zip(data, grads, strict=True)
    )


def _is_plain(step: Step, values: tuple[Any, ...]) -> bool:
    """Whether an operation is the product of two matrices that both get relevance."""
    of_two = step.call.spelling in {"matmul", "bmm", "mm"} and len(values) == 2 and not step.call.kwargs
    return of_two and step.receivers == (0, 1) and all(value.ndim > 1 for value in values)


def _grads(share: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply by the transposed Jacobian of a product of matrices, in fresh memory."""
    share = share.contiguous()  # once, and not for each of two products
    return sum_to(share @ packed(b).mT, a.shape), sum_to(packed(a).mT @ share, b.shape)


def _absorbed(
    step: Step, passed: float, relevance: Tensor, output: Any, *values: Any, stabilizer: Stabilizer
) -> dict[str, float]:
    total = len(step.receivers) * output
    share = relevance / stabilizer(total)
    bias = _bias(step, values)
    absorbed = 0.0 if bias is None else len(step.receivers) * summed(share * bias)
    return {"bias": absorbed, "stabilizer": summed(relevance - share * total)}


def _bias(step: Step, values: tuple[Any, ...]) -> Any:
    """Return what a layer adds to its products, if it is one, in a shape that broadcasts to them."""
    name = step.call.spelling or ""
    place = _BIASES.get(name)
    given = None if place is None else dict(enumerate(step.call.args)).get(place, step.call.kwargs.get("bias"))
    bias: Any = values[given.index] if isinstance(given, Slot) else given
    if bias is None or not name.startswith("conv"):
        return bias
    return bias.reshape(-1, *(1,) * int(name[-2]))


_BIASES: Final = {
    "bilinear": 3,
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), 2),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 2),
}


def signal() -> Elementary:
    """Relevance of a product goes to the signal, none to its gate; in equal shares where no factor is a gate.

    A gate is a factor that the graph shows to lie between 0 and 1, such as the output of a sigmoid; or to be a
    statistic of the signal, such as the deviation that a norm divides by. The weights by which experts are mixed are
    gates; :func:`bilinear` gives these their share as well, which is what a router would have received. Of a chain of
    products every factor gets an equal share, however the products are associated.

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
    factors = dict(zip(step.call.data, step.factors or (1,) * len(step.call.data), strict=True))
    total = sum(factors[slot] for slot in step.receivers)
    shares = []
    for slot in step.call.data:
        if slot in step.receivers:
            part = relevance if factors[slot] == total else relevance * (factors[slot] / total)
            shares.append(sum_to(part, values[slot].shape))
        else:
            shares.append(torch.zeros_like(values[slot]))
    return tuple(shares)


def _sums(step: Any) -> bool:
    """Whether an operation sums products, so that no factor is a gate of all that it enters."""
    return step.call.op is not None and step.call.op.matrix


def _signal_reads(step: Any) -> Reads:
    return ("values", "output") if _sums(step) else ()


def _signals(data: tuple[int, ...], gates: frozenset[int]) -> tuple[int, ...]:
    return tuple(slot for slot in data if slot not in gates) or data


def _signal_absorbs(step: Step, passed: float, relevance: Tensor, output: Any, *values: Any) -> dict[str, float]:
    return _absorbed(step, passed, relevance, output, *values, stabilizer=Plain()) if _sums(step) else {}


ROWS: Final = (
    RuleRow(
        "bilinear",
        make=bilinear,
        propagate=_bilinear,
        reads=("values", "output"),
        absorbs=_absorbed,
        memory="own",
        meant_for="product",
        base="matrix_product",
    ),
    RuleRow(
        "weighted",
        make=weighted,
        propagate=_bilinear,
        reads=("values", "output"),
        receives=_signals,
        absorbs=_absorbed,
        memory="own",
        meant_for="product",
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
