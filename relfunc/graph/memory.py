"""Arithmetic that may overwrite its first operand, for tensors that nobody else reads.

Fresh memory for a large tensor costs more than the arithmetic on it. Autograd, the transforms of :mod:`torch.func` and
compilers get the ordinary operations: they need the operands later, or manage memory themselves. Under a vmap alone,
what it batches is memory like any other.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch._C._functorch import TransformType, is_batchedtensor
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters


def is_transformed() -> bool:
    """Whether a transform of torch.func or torch.compile is at work, so that values cannot be looked at."""
    return torch.compiler.is_compiling() or bool(retrieve_all_functorch_interpreters())


def times(a: Tensor, b: Tensor) -> Tensor:
    """Multiply."""
    return a.mul_(b) if _is_free(a, b) else a * b


def over(a: Tensor, b: Tensor) -> Tensor:
    """Divide."""
    return a.div_(b) if _is_free(a, b) else a / b


def plus(a: Tensor, b: Tensor) -> Tensor:
    """Add."""
    return a.add_(b) if _is_free(a, b) else a + b


def plus_product(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Add ``b * c`` to ``a``."""
    return a.addcmul_(b, c) if _is_free(a, b) else torch.addcmul(a, b, c)


def one_sided(a: Tensor, sign: int) -> Tensor:
    """Clamp at zero what has another sign than the given one; 0 keeps all."""
    if sign == 0:
        return a
    bounds = {"min": 0} if sign > 0 else {"max": 0}
    return a.clamp_(**bounds) if _is_free(a, a) else a.clamp(**bounds)


def rectified(a: Tensor) -> Tensor:
    """Return the positive part."""
    return a.relu_() if _is_free(a, a) else a.relu()


def packed(a: Tensor) -> Tensor:
    """Return matrices without gaps, by rows or by columns as they are: a product would copy them row by row."""
    return a.mT.contiguous().mT if a.stride(-2) == 1 != a.stride(-1) else a.contiguous()


def in_blocks(function: Callable[..., Tensor], a: Tensor, *others: Tensor, owned: bool = False) -> Tensor:
    """Call a function of each row along the last axis, a few rows at a time: what it makes stays in the cache.

    Parameters
    ----------
    function : callable
        ``(a, *others) -> Tensor`` of the same shape and dtype, each row of it made of the same row of all arguments.
        It may overwrite ``a`` if that is owned.
    a, *others : Tensor
        Of one shape and dtype.
    owned : bool
        Whether nobody else reads ``a``, so that it may be overwritten.

    Returns
    -------
    Tensor
        The same as the function of the whole.
    """
    if a.numel() <= 2 * _BLOCK or not is_plain(a) or not all(_is_beside(a, b) for b in (a, *others)):
        return function(a, *others)
    result, rows = a if owned else torch.empty_like(a), max(_BLOCK // a.shape[-1], 1)
    pieces = (b.view(-1, b.shape[-1]).split(rows) for b in (result, a, *others))
    for made, *given in zip(*pieces, strict=True):
        made.copy_(function(*given))
    return result


def is_plain(a: Tensor) -> bool:
    """Whether a tensor's values can be looked at without waiting, and nobody will differentiate what is made of it."""
    return a.device.type == "cpu" and not torch.is_grad_enabled() and not is_transformed()


def _is_beside(a: Tensor, b: Tensor) -> bool:
    return b.is_contiguous() and a.shape == b.shape and a.dtype == b.dtype


_BLOCK: Final = 2**16
"""Numbers that fit in a core's cache several times."""


def _is_free(a: Tensor, b: Tensor) -> bool:
    if torch.is_grad_enabled() or a.shape != b.shape or a.dtype != b.dtype or torch.compiler.is_compiling():
        return False
    if 0 in a.stride() and a.numel() > 1:  # expanded: one number in the place of several
        return False
    transforms = retrieve_all_functorch_interpreters()
    if not transforms:
        return True
    return len(transforms) == 1 and transforms[0].key() == TransformType.Vmap and is_batchedtensor(a)
