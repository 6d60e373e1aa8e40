"""Transposes: multiplying by the transposed Jacobian of an operation without running it forward again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from .affine import by_channel
from .grouped import grouped_linear_transpose


def sum_to(a: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting by summing."""
    a = a.sum(tuple(range(a.ndim - len(shape)))) if a.ndim > len(shape) else a
    stretched = tuple(d for d, size in enumerate(shape) if size == 1 and a.shape[d] != 1)
    return a.sum(stretched, keepdim=True) if stretched else a


def _linear_transpose(share: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return share @ weight if weight.ndim > 1 else share.unsqueeze(-1) * weight


def _scale_transpose(share: Tensor, x: Tensor, weight: Tensor, *, channelwise: bool = True) -> Tensor:
    return sum_to(share * by_channel(weight, share, channelwise), x.shape)


def _convolution_transpose(n: int) -> Callable[..., Tensor]:
    convolve_transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]

    def transpose(
        share: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        sizes, kernel = x.shape[x.ndim - n :], weight.shape[2:]
        stride, dilation = each(stride, n), each(dilation, n)
        pads = _pads(padding, kernel, dilation)
        if kernel.numel() == 1 and max(stride) > 1 and not any(pads):
            return _spaced_out(convolve_transposed(share, weight, groups=groups), sizes, stride)
        reached = [
            (out - 1) * s - 2 * pad + d * (k - 1) + 1
            for out, s, pad, d, k in zip(share.shape[share.ndim - n :], stride, pads, dilation, kernel, strict=True)
        ]
        beyond = [max(size - r, 0) for size, r in zip(sizes, reached, strict=True)]
        return _cropped(convolve_transposed(share, weight, None, stride, pads, beyond, groups, dilation), sizes)

    return transpose


def _transposed_convolution_transpose(n: int) -> Callable[..., Tensor]:
    convolve = (F.conv1d, F.conv2d, F.conv3d)[n - 1]

    def transpose(
        share: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        return _cropped(convolve(share, weight, None, stride, padding, dilation, groups), x.shape[x.ndim - n :])

    return transpose


def _cropped(grad: Tensor, sizes: Sequence[int]) -> Tensor:
    """Leave out what a padding on one side, or an output's padding, adds at the end of the last axes."""
    return grad if grad.shape[grad.ndim - len(sizes) :] == sizes else grad[(..., *map(slice, sizes))]


def _spaced_out(grad: Tensor, sizes: Sequence[int], stride: list[int]) -> Tensor:
    """Put zeros between the values along the last axes; convolving with them takes much longer."""
    spaced = grad.new_zeros(*grad.shape[: grad.ndim - len(sizes)], *sizes)
    spaced[(..., *(slice(None, None, s) for s in stride))] = grad
    return spaced


def each(value: Any, n: int) -> list[int]:
    """Return a size for each of ``n`` axes, from one number or a sequence."""
    return [int(value)] * n if isinstance(value, int) else list(value) * (n if len(value) == 1 else 1)


def _pads(padding: Any, kernel: Sequence[int], dilation: list[int]) -> list[int]:
    """Return the padding at the beginning of each axis; at the end it is at most one more."""
    if not isinstance(padding, str):
        return each(padding, len(kernel))
    return [0 if padding == "valid" else d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]


def each_transposed(
    name: str, share: Tensor, x: Tensor, weights: Sequence[Tensor], options: Mapping[str, Any]
) -> list[Tensor]:
    """Multiply one cotangent by the transposes of an operation with each of several weights.

    A convolution's transpose with three channels takes as long as with sixteen: few are done together.
    """
    transpose, channels = TRANSPOSES[name], weights[0].shape[1:2].numel()
    together = name in {"conv1d", "conv2d", "conv3d"} and options.get("groups", 1) == 1
    if len(weights) == 1 or not together or channels * len(weights) > _FEW:
        return [transpose(share, x, weight, **options) for weight in weights]
    grad = transpose(share, x, torch.cat(list(weights), 1), **options)
    return [grad.narrow(1 - weights[0].ndim, i * channels, channels) for i in range(len(weights))]


_FEW = 16


TRANSPOSES: Final[dict[str, Callable[..., Tensor]]] = {
    "linear": _linear_transpose,
    "grouped_linear": grouped_linear_transpose,
    "scale_shift": _scale_transpose,
    **{f"conv{n}d": _convolution_transpose(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _transposed_convolution_transpose(n) for n in (1, 2, 3)},
}
"""By operation: ``(cotangent, x, weight, **options) -> cotangent of x``."""
