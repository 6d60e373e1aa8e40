"""Normalization: written out as centring, a factor that statistics give, and a scale and shift.

Layer, group, instance and batch norms become what their definitions say, and a mean that is subtracted from what it is
the mean of becomes the centring that it is; so that a norm is the same whether a layer does it or it is written by
hand. That the factor is a statistic of what it multiplies, to which no relevance goes, is seen in the graph
(:mod:`relfunc.graph.detached`).
"""

import operator
from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..ops.adjoints import axes_over
from ..ops.table import Op, known_as
from .affine import scale_shift
from .graphs import bound, calls, is_call


@known_as("centred")
def centred(x: Tensor, over: Any) -> Tensor:
    """Subtract the mean over some axes.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    over : tuple of int or str
        The axes; or ``"batch"`` for all but that of channels, ``"spatial"`` for all behind that.

    Returns
    -------
    Tensor
    """
    return x - x.mean(axes_over(x, over), keepdim=True)


@known_as("inverse_deviation")
def inverse_deviation(x: Tensor, over: Any, eps: float) -> Tensor:
    """Return one over the standard deviation over some axes, in single precision where the input has half of it."""
    at_least_single = x.float() if x.dtype.itemsize == 2 else x
    squares = centred(at_least_single, over).square()  # four times as fast as torch.var
    variance = squares.mean(axes_over(x, over), keepdim=True)
    return torch.rsqrt(variance + eps).to(x.dtype)


# --- definitions --------------------------------------------------------------------------------------


def _standardized(call: Any, x: Any, over: Any, eps: Any) -> fx.Node:
    return call(operator.mul, call(centred, x, over), call(inverse_deviation, x, over, eps))


def _affine(call: Any, x: fx.Node, weight: Any, bias: Any) -> fx.Node:
    """Scale and shift each channel."""
    if weight is None and bias is None:
        return x
    scale = call(torch.ones_like, bias) if weight is None else weight
    made = call(scale_shift, x, scale, call(torch.zeros_like, scale) if bias is None else bias)
    made.meta["of any rank"] = True  # so that a linear layer behind it need not read its channels
    return made


def _layer_norm(call: Any, given: dict[str, Any]) -> fx.Node:
    over = tuple(range(-len(given["normalized_shape"]), 0))
    x = _standardized(call, given["input"], over, given.get("eps", 1e-5))
    x = x if given.get("weight") is None else call(operator.mul, x, given["weight"])
    return x if given.get("bias") is None else call(operator.add, x, given["bias"])


def _layer_norm_and_statistics(call: Any, given: dict[str, Any]) -> tuple[fx.Node, ...]:
    x, over = given["input"], tuple(range(-len(given["normalized_shape"]), 0))
    return _layer_norm(call, given), call(torch.mean, x, over, True), call(inverse_deviation, x, over, given["eps"])


def _with_mean(function: Any) -> Any:
    """Write a variance or deviation and the mean as calls of their own."""

    def write(call: Any, given: dict[str, Any]) -> tuple[fx.Node, fx.Node]:
        options = dict(given)
        x, dim = options.pop("input"), options.pop("dim", None)
        if isinstance(dim, bool):  # whether it is unbiased, over all axes
            options["unbiased"], dim = dim, None
        axes = {} if dim is None else {"dim": dim}
        kept = {"keepdim": True} if options.get("keepdim") else {}
        return call(function, x, **axes, **options), call(torch.mean, x, **axes, **kept)

    return write


def _rms_norm(call: Any, given: dict[str, Any]) -> fx.Node | None:
    if given.get("weight") is None:
        return None
    x = call(F.rms_norm, given["input"], given["normalized_shape"], None, given.get("eps"))
    return call(operator.mul, x, given["weight"])


def _group_norm(call: Any, given: dict[str, Any]) -> fx.Node:
    grouped = call(torch.unflatten, given["input"], 1, (given["num_groups"], -1))
    x = call(torch.flatten, _standardized(call, grouped, "spatial", given.get("eps", 1e-5)), 1, 2)
    return _affine(call, x, given.get("weight"), given.get("bias"))


def _group_norm_and_statistics(call: Any, given: dict[str, Any]) -> tuple[fx.Node, ...]:
    given = {**given, "num_groups": given["group"]}
    groups = call(torch.flatten, call(torch.unflatten, given["input"], 1, (given["group"], -1)), 2)
    return _group_norm(call, given), call(torch.mean, groups, -1), call(inverse_deviation, groups, (-1,), given["eps"])


def _instance_norm(call: Any, given: dict[str, Any]) -> fx.Node:
    options = (given.get("weight"), given.get("bias"))
    if not given.get("use_input_stats", True):
        mean, variance = given["running_mean"], given["running_var"]
        return call(F.batch_norm, given["input"], mean, variance, *options, False, 0.1, given.get("eps", 1e-5))
    return _affine(call, _standardized(call, given["input"], "spatial", given.get("eps", 1e-5)), *options)


def _batch_norm(call: Any, given: dict[str, Any]) -> fx.Node | None:
    if given.get("running_mean") is not None and given.get("running_var") is not None:
        return None
    eps = given.get("eps", given.get("epsilon", 1e-5))
    return _affine(call, _standardized(call, given["input"], "batch", eps), given.get("weight"), given.get("bias"))


def _arguments(own: Any, further: str) -> Any:
    """Name the arguments of a norm with running statistics, whose order is another in functions of torch.nn."""

    def names(node: fx.Node) -> str:
        statistics, parameters = "running_mean running_var", "weight bias"
        first, second = (statistics, parameters) if node.target is own else (parameters, statistics)
        return f"input {first} {second} {further}"

    return names


_BATCH_NORMS = "batch_norm native_batch_norm cudnn_batch_norm _native_batch_norm_legit"

NORMALIZATIONS: Final[dict[str, tuple[Any, Any]]] = {
    "layer_norm": ("input normalized_shape weight bias eps", _layer_norm),
    "native_layer_norm": ("input normalized_shape weight bias eps", _layer_norm_and_statistics),
    "var_mean": ("input dim unbiased keepdim", _with_mean(torch.var)),
    "std_mean": ("input dim unbiased keepdim", _with_mean(torch.std)),
    "rms_norm": ("input normalized_shape weight eps", _rms_norm),
    "group_norm": ("input num_groups weight bias eps", _group_norm),
    "native_group_norm": ("input weight bias N C HxW group eps", _group_norm_and_statistics),
    "instance_norm": (_arguments(F.instance_norm, "use_input_stats momentum eps"), _instance_norm),
    **dict.fromkeys(_BATCH_NORMS.split(), (_arguments(F.batch_norm, "training momentum eps"), _batch_norm)),
}
"""By canonical name: the names of the arguments, and what writes the definition."""


# --- written by hand ----------------------------------------------------------------------------------


def centre(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Find what is centred: a value from which its own mean is subtracted.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    for node in calls(graph):
        if is_call(node, "sub", rows) and len(node.args) == 2 and not node.kwargs:
            x, mean = node.args
            over = _mean_over(mean, x, rows)
            if over is not None:
                node.target, node.args = centred, (x, over)


def _mean_over(mean: Any, x: Any, rows: Mapping[Any, Op]) -> tuple[int, ...] | None:
    """Axes of which a node is the mean, kept; None if it is no such mean of ``x``."""
    axis: Any = None
    if is_call(mean, "unsqueeze", rows):
        axis = bound(mean, "input dim").get("dim")
        mean = mean.args[0]
    if not is_call(mean, "mean", rows):
        return None
    given = bound(mean, "input dim keepdim")
    over, kept = given.get("dim", given.get("axis")), given.get("keepdim", False)
    if given.get("input") is not x or over is None or given.get("dtype") is not None:
        return None
    axes = tuple(over) if isinstance(over, tuple | list) else (over,)
    if not axes or not all(isinstance(a, int) for a in axes):
        return None
    return axes if (kept if axis is None else not kept and axes == (axis,)) else None
