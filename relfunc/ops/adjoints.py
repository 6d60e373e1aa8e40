"""Adjoints: the transposed Jacobians of common operations without parameters, written out.

Differentiating an operation runs it forward again, and compilers do not take a derivative within a derivative; what is
not in the table here is differentiated all the same (:meth:`relfunc.graph.calls.Call.transpose`).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from .spellings import words


@dataclass(frozen=True)
class Adjoint:
    """The transposed Jacobian of an operation.

    Parameters
    ----------
    apply : callable
        ``(cotangent of the output, *the operation's arguments) -> cotangent of its first argument``.
    by_shape : bool
        Whether it reads nothing of that argument but its shape.
    """

    apply: Callable[..., Any]
    by_shape: bool


def _reshaped(cotangent: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return cotangent.reshape(x.shape)


def _permuted(cotangent: Tensor, x: Tensor, *dims: Any) -> Tensor:
    order = dims[0] if isinstance(dims[0], Sequence) else dims
    return cotangent.permute(sorted(range(x.ndim), key=lambda d: order[d] % x.ndim))


def _swapped(cotangent: Tensor, x: Tensor, *dims: int) -> Tensor:
    return cotangent.transpose(*dims) if dims else cotangent.t()


def _split_up(cotangent: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Sequence[Tensor]:
    sizes = [0 if x.shape == (0,) else x.shape[dim] for x in tensors]  # torch joins an empty tensor of one axis to any
    return [part.reshape(x.shape) for part, x in zip(cotangent.split(sizes, dim), tensors, strict=True)]


def _joined(cotangents: Sequence[Tensor], x: Tensor, _: Any, dim: int = 0) -> Tensor:
    return torch.cat(list(cotangents), dim)


def _restacked(cotangents: Sequence[Tensor], x: Tensor, dim: int = 0) -> Tensor:
    return torch.stack(list(cotangents), dim)


def _put(cotangent: Any, x: Any, index: Any) -> Any:
    if isinstance(x, Tensor):
        grad = cotangent.new_zeros(x.shape)
        grad[index] = cotangent
        return grad
    if isinstance(x, Mapping):
        return {key: cotangent if key == index else _nothing(part) for key, part in x.items()}
    chosen = (
        dict(zip(range(len(x))[index], cotangent, strict=True))
        if isinstance(index, slice)
        else {index % len(x): cotangent}
    )
    parts = [chosen[i] if i in chosen else _nothing(part) for i, part in enumerate(x)]
    return type(x)(*parts) if hasattr(x, "_fields") else parts if isinstance(x, list) else tuple(parts)


def _put_slice(cotangent: Tensor, x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    if cotangent.shape == x.shape:
        return cotangent
    return _put(cotangent, x, (*(slice(None),) * (dim % x.ndim), slice(start, end, step)))


def _put_one(cotangent: Tensor, x: Tensor, dim: int, index: int) -> Tensor:
    return _put(cotangent, x, (*(slice(None),) * (dim % x.ndim), index))


def _gathered(cotangent: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return cotangent.sum_to_size(x.shape)


def _nothing(part: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.zeros_like, part)


def _spread(cotangent: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    dim = axis if dim is None else dim
    dims = range(x.ndim) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    kept = {d % x.ndim for d in dims} if x.ndim else set()
    shape = [1 if d in kept else size for d, size in enumerate(x.shape)]
    return cotangent.reshape(shape).expand(x.shape)


def _averaged(cotangent: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _spread(cotangent * (cotangent.numel() / max(x.numel(), 1)), x, *args, **kwargs)


def _centred(cotangent: Tensor, x: Tensor, over: Any) -> Tensor:
    return cotangent - cotangent.mean(axes_over(x, over), keepdim=True)


def axes_over(x: Tensor, over: Any) -> tuple[int, ...]:
    """Return axes, given as they are, or as ``"batch"`` (all but channels) or ``"spatial"`` (all behind channels)."""
    behind = tuple(range(2, x.ndim))
    return {"batch": (0, *behind), "spatial": behind}[over] if isinstance(over, str) else tuple(over)


def _max_pool2d(
    cotangent: Tensor,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    cotangent = cotangent[0] if return_indices else cotangent
    _, indices = F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    window = [_pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation)]
    return torch.ops.aten.max_pool2d_with_indices_backward(cotangent, x, *window, ceil_mode, indices)


def _avg_pool2d(
    cotangent: Tensor,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    window = [_pair(kernel_size), _pair(stride or kernel_size), _pair(padding)]
    return torch.ops.aten.avg_pool2d_backward(cotangent, x, *window, ceil_mode, count_include_pad, divisor_override)


def _adaptive_avg_pool2d(cotangent: Tensor, x: Tensor, output_size: Any) -> Tensor:
    return torch.ops.aten._adaptive_avg_pool2d_backward(cotangent.contiguous(), x)


def _relu(cotangent: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(cotangent, x, 0)


def _pair(value: Any) -> list[int]:
    return [int(value)] * 2 if isinstance(value, int) else [*value] * (3 - len(value))


def adjoint_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Adjoint | None:
    """Look up the adjoint of a call, unless its arguments are such as the adjoint does not take."""
    adjoint = ADJOINTS.get(name)
    if adjoint is None or not args or (name == "getitem" and not _is_basic(args[1])):
        return None
    try:
        inspect.signature(adjoint.apply).bind(None, *args, **kwargs)
    except TypeError:
        return None
    return adjoint


def _is_basic(index: Any) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return all(
        i is None or i is Ellipsis or (isinstance(i, int | slice | str) and not isinstance(i, bool)) for i in items
    )


_SHAPES: Final = {
    **dict.fromkeys(
        ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone"), _reshaped
    ),
    **dict.fromkeys(("transpose", "t"), _swapped),
    "cat": _split_up,
    **dict.fromkeys(("chunk", "split"), _joined),
    "unbind": _restacked,
    "permute": _permuted,
    "getitem": _put,
    "slice": _put_slice,
    "select": _put_one,
    **dict.fromkeys(words("expand expand_as broadcast_to"), _gathered),
    "sum": _spread,
    "mean": _averaged,
    "centred": _centred,
}
_VALUES: Final = {
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "relu": _relu,
}

ADJOINTS: Final[dict[str, Adjoint]] = {
    **{name: Adjoint(apply, by_shape=True) for name, apply in _SHAPES.items()},
    **{name: Adjoint(apply, by_shape=False) for name, apply in _VALUES.items()},
}
"""By canonical name of torch's operation."""
