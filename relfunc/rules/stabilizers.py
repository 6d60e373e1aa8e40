"""Stabilizers: what keeps a rule's denominators off zero.

A rule shares relevance in proportion to contributions, so that it divides by their sum. Where they cancel, the sum is
next to nothing and the shares are huge. A stabilizer moves the sum away from zero; what this keeps from the inputs is
absorbed, and :func:`relfunc.audit` says how much. Rules and composites take as ``stabilizer`` a number, the epsilon of
:class:`Plain` in the units of the output; or one of the classes here, or any function from the denominators to
stabilized ones of their shape.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import RuleError
from ..graph.memory import in_blocks, over, plus


@dataclass(frozen=True)
class Plain:
    r""":math:`z + \epsilon\, \mathrm{sgn}(z)` with :math:`\mathrm{sgn}(0) = 1`.

    In float16 and bfloat16, :math:`\epsilon` is at least the dtype's machine epsilon: anything smaller is lost in
    rounding beside a number of order one, and its reciprocal overflows float16.

    Parameters
    ----------
    epsilon : float
        In the units of ``z``.

    Examples
    --------
    >>> Plain(0.5)(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-1.5000,  0.5000,  2.5000])
    """

    epsilon: float = 1e-6

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        return plus(_signed(torch.tensor(_representable(self.epsilon, z), dtype=z.dtype), z), z)

    def signed(self, z: Tensor, sign: int, *, in_place: bool = False) -> Tensor:
        """As calling it, where the caller knows that no ``z`` has the other sign."""
        return (z.add_ if in_place else z.add)(sign * _representable(self.epsilon, z))


@dataclass(frozen=True)
class Clipping:
    r""":math:`\mathrm{sgn}(z) \max(|z|, \epsilon)` with :math:`\mathrm{sgn}(0) = 1`.

    Parameters
    ----------
    epsilon : float
        In the units of ``z``; at least the machine epsilon in float16 and bfloat16.

    Examples
    --------
    >>> Clipping(0.5)(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-1.0000,  0.5000,  2.0000])
    """

    epsilon: float = 1e-6

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        return _signed(z.abs().clamp(min=_representable(self.epsilon, z)), z)


@dataclass(frozen=True)
class NormScaled:
    r""":math:`z + \mathrm{sgn}(z)\, \epsilon \sqrt{\mathrm{mean}(z^2)}`, the mean over ``dim``.

    Where all values of a mean are zero, they become one.

    Parameters
    ----------
    epsilon : float
        Relative to the root mean square of ``z``.
    dim : tuple of int, optional
        Dimensions of the mean; by default all but the first.
    clip : bool
        Clip at the scaled epsilon as :class:`Clipping` does, instead of adding it.

    Examples
    --------
    >>> NormScaled(0.5)(torch.tensor([[-3.0, 4.0, 0.0]])).round(decimals=3)
    tensor([[-4.4430,  5.4430,  1.4430]])
    """

    epsilon: float = 1e-6
    dim: tuple[int, ...] | None = None
    clip: bool = False

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        dim = tuple(range(1, z.ndim)) if self.dim is None else self.dim
        norm = torch.linalg.vector_norm(z, dim=dim or None, keepdim=True)
        scale = _representable(self.epsilon, z) * norm / math.sqrt(z.numel() / max(norm.numel(), 1))
        scale = torch.where(norm > 0, scale, 1)
        size = torch.maximum(z.abs(), scale) if self.clip else z.abs() + scale
        return _signed(size, z)


Stabilizer: TypeAlias = Callable[[Tensor], Tensor]


def quotient(relevance: Tensor, z: Tensor, stabilizer: Stabilizer, *, owned: bool = False, factor: int = 1) -> Tensor:
    """Divide relevance by stabilized denominators ``factor * z``, in its own memory if nobody else reads it."""

    def divided(relevance: Tensor, z: Tensor) -> Tensor:
        denominator = stabilizer(z if factor == 1 else factor * z)
        return over(relevance, denominator) if owned else relevance / denominator

    if isinstance(stabilizer, Plain | Clipping):  # which look at one denominator at a time
        return in_blocks(divided, relevance, z, owned=owned)
    return divided(relevance, z)


def _signed(size: Tensor, z: Tensor) -> Tensor:
    """Give a size the sign of ``z``; adding zero makes a negative zero positive. Several times as fast as ``where``."""
    return torch.copysign(size, z + 0.0)


def _representable(epsilon: float, z: Tensor) -> float:
    return max(epsilon, torch.finfo(z.dtype).eps) if z.dtype.itemsize == 2 else epsilon


def stabilizer(value: float | Stabilizer) -> Stabilizer:
    """Return a stabilizer as it is, and :class:`Plain` for a number.

    Parameters
    ----------
    value : float or callable
        Epsilon, or a function from a tensor to one of its shape.

    Returns
    -------
    callable

    Raises
    ------
    RuleError
        If it is neither, or a negative or infinite number.

    Examples
    --------
    >>> stabilizer(0.5)
    Plain(epsilon=0.5)
    """
    if isinstance(value, bool) or not (isinstance(value, int | float) or callable(value)):
        raise RuleError(f"a stabilizer is a number or a function of z, not {value!r}")
    if not isinstance(value, int | float):
        return value
    if not 0 <= value < float("inf"):
        raise RuleError(f"the stabilizer's epsilon is {value}: give a finite number of 0 or more")
    return Plain(float(value))
