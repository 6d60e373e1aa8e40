"""Transposes: multiplying by the transposed Jacobian of an operation without running it forward again."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor


def _linear_transpose(share: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return share @ weight if weight.ndim > 1 else share.unsqueeze(-1) * weight


def _scale_transpose(share: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return share * weight.view(1, -1, *(1,) * (x.ndim - 2))


def _convolution_transpose(transposed: bool) -> Callable[..., Tensor]:
    def transpose(
        share: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        n = weight.ndim - 2
        dilation = each(dilation, n)
        pads = _pads(padding, weight, dilation)
        if pads is None:  # an even kernel padded to "same" is padded on one side more than on the other
            call = F.conv1d if n == 1 else F.conv2d if n == 2 else F.conv3d
            forward = partial(call, weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
            return torch.func.vjp(forward, x)[1](share)[0]
        batched = x.ndim == n + 2
        grad, _, _ = torch.ops.aten.convolution_backward(
            share if batched else share[None],
            x if batched else x[None],
            weight,
            None,
            each(stride, n),
            pads,
            dilation,
            transposed,
            each(output_padding, n),
            groups,
            (True, False, False),
        )
        return grad if batched else grad[0]

    return transpose


def each(value: Any, n: int) -> list[int]:
    """Return a size for each of ``n`` axes, from one number or a sequence."""
    return [int(value)] * n if isinstance(value, int) else list(value) * (n if len(value) == 1 else 1)


def _pads(padding: Any, weight: Tensor, dilation: list[int]) -> list[int] | None:
    if not isinstance(padding, str):
        return each(padding, weight.ndim - 2)
    totals = [0 if padding == "valid" else d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return None if any(t % 2 for t in totals) else [t // 2 for t in totals]


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
    sizes = [-1] * x.ndim
    dim = 1 - weights[0].ndim
    sizes[dim] = channels * len(weights)
    grad = transpose(share, x.narrow(dim, 0, 1).expand(sizes), torch.cat(list(weights), 1), **options)
    return [grad.narrow(dim, i * channels, channels) for i in range(len(weights))]


_FEW = 16


TRANSPOSES: Final[dict[str, Callable[..., Tensor]]] = {
    "linear": _linear_transpose,
    "scale_shift": _scale_transpose,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution_transpose(False)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution_transpose(True)),
}
"""By operation: ``(cotangent, x, weight, **options) -> cotangent of x``."""
