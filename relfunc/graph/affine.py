"""Affine operations: one form for each, and batch norms as part of the linear operation beside them.

Every affine call becomes ``f(input, weight, bias, **options)``; a batch norm becomes a scale and shift, which is folded
into the operation before or behind it where that leaves the model as it is. What is folded is a graph expression of the
parameters, so that they can still be trained, exchanged and differentiated.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import CanonizeError
from ..ops.spellings import spelling
from ..ops.table import Op, find, known_as
from .detached import standardized
from .graphs import bound, calls, described, shape_of_constant, substitute, varying
from .operands import op_at

_CONVOLUTION: Final = "input weight bias stride padding dilation groups"
_TRANSPOSED: Final = "input weight bias stride padding output_padding groups dilation"
_ARGUMENTS: Final = {
    "linear": "input weight bias",
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONVOLUTION),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _TRANSPOSED),
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
}
_TORCH_BATCH_NORM: Final = "input weight bias running_mean running_var training momentum eps cudnn_enabled"


def bind_affine(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Give every affine call of torch's the form ``f(input, weight, bias, **options)``.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.

    Raises
    ------
    CanonizeError
        If a batch norm would update its statistics.
    """
    for node in calls(graph):
        op = find(node.target, rows)
        name = spelling(node.target)
        if op is None or op.kind != "affine" or name is None:
            continue
        if "batch_norm" in name:
            names = _ARGUMENTS["batch_norm"] if node.target is F.batch_norm else _TORCH_BATCH_NORM
            _scale_and_shift(graph, node, bound(node, names))
        elif name in _ARGUMENTS:
            given = bound(node, _ARGUMENTS[name])
            node.target = getattr(F, name)
            node.args = (given.pop("input"), given.pop("weight"), given.pop("bias", None))
            node.kwargs = given


# --- batch norm ------------------------------------------------------------------------------------


@known_as("scale_shift")
def scale_shift(x: Tensor, scale: Tensor, shift: Tensor | None, *, channelwise: bool = True) -> Tensor:
    """Scale and shift: a batch norm with nothing to fold it into.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    scale, shift : Tensor
        One number for each channel (dimension 1) if ``channelwise``; else what broadcasts to ``x``.
    channelwise : bool
        Which of the two.

    Returns
    -------
    Tensor
    """
    scaled = x * by_channel(scale, x, channelwise)
    return scaled if shift is None else scaled + by_channel(shift, x, channelwise)


def by_channel(a: Tensor, x: Tensor, channelwise: bool = True) -> Tensor:
    """Give constants the type of a tensor, and numbers per channel a shape that broadcasts to it."""
    a = a.to(x.dtype) if x.is_floating_point() or x.is_complex() else a
    return a.view(1, -1, *(1,) * (x.ndim - 2)) if channelwise else a


def norm_scale(variance: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Factor per channel of a batch norm."""
    scale = torch.rsqrt(variance + eps)
    return scale if weight is None else scale * weight


def norm_shift(mean: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Offset per channel of a batch norm."""
    shift = -mean * scale
    return shift if bias is None else shift + bias


@known_as("two_dimensional")
def two_dimensional(x: Tensor) -> Tensor:
    """Check what folding a batch norm into a linear layer takes for granted: that features are dimension 1."""
    if x.ndim != 2:
        raise CanonizeError(
            f"a batch norm behind a linear layer met shape {tuple(x.shape)}: relfunc takes (sample, feature), unless "
            "it sees another shape when it captures the model: give example_inputs"
        )
    return x


def _scale_and_shift(graph: fx.Graph, node: fx.Node, given: dict[str, Any]) -> None:
    """Replace a batch norm by a scale and shift per channel."""
    mean, variance = given.get("running_mean"), given.get("running_var")
    eps = given.get("eps", given.get("epsilon", 1e-5))
    if given.get("training") and mean is not None:
        raise CanonizeError(f"{described(node)} is in training mode and would update its statistics: call model.eval()")
    if mean is None or variance is None:
        return  # as it is written out, by the statistics of the batch
    with graph.inserting_before(node):
        scale = graph.call_function(norm_scale, (variance, given.get("weight"), eps))
        shift = graph.call_function(norm_shift, (mean, scale, given.get("bias")))
    node.target, node.args, node.kwargs = scale_shift, (given["input"], scale, shift), {}


# --- folding ----------------------------------------------------------------------------------------


def per_channel(a: Tensor, channels: int, weight: Tensor) -> Tensor:
    """Return one number for each channel, from as many numbers or from one, of the type of a weight."""
    return a.reshape(-1).expand(channels).to(weight)


def fold_behind(weight: Tensor, scale: Tensor, groups: int, transposed: bool) -> Tensor:
    """Weight of an affine operation with a scale per output channel behind it."""
    if not transposed:
        return weight * per_channel(scale, len(weight), weight).view(-1, *(1,) * (weight.ndim - 1))
    grouped = weight.unflatten(0, (groups, -1))
    each = per_channel(scale, groups * weight.shape[1], weight)
    return (grouped * each.view(groups, 1, -1, *(1,) * (weight.ndim - 2))).flatten(0, 1)


def fold_bias(
    bias: Tensor | None, scale: Tensor, shift: Tensor, weight: Tensor, groups: int, transposed: bool
) -> Tensor:
    """Bias of an affine operation with a scale and shift behind it."""
    channels = groups * weight.shape[1] if transposed else len(weight)
    shift = per_channel(shift, channels, weight)
    return shift if bias is None else bias * per_channel(scale, channels, weight) + shift


def fold_before(weight: Tensor, scale: Tensor, groups: int) -> Tensor:
    """Weight of a linear or unpadded convolution with a scale per input channel before it."""
    grouped = weight.unflatten(0, (groups, -1))
    each = per_channel(scale, groups * weight.shape[1], weight)
    return (grouped * each.view(groups, 1, -1, *(1,) * (weight.ndim - 2))).flatten(0, 1)


def fold_bias_before(weight: Tensor, bias: Tensor | None, shift: Tensor, groups: int) -> Tensor:
    """Bias of a linear or unpadded convolution with a shift before it."""
    each = per_channel(shift, groups * weight.shape[1], weight)
    grouped = weight.unflatten(0, (groups, -1)) * each.view(groups, 1, -1, *(1,) * (weight.ndim - 2))
    added = grouped.flatten(0, 1).flatten(1).sum(1)
    return added if bias is None else bias + added


def fold_batch_norms(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Make batch norms part of the linear operation before them, or behind them if there is none before.

    The scale and shift of a norm by the value's own statistics stay with that norm, however it is written: what follows
    it is a layer of its own.

    Parameters
    ----------
    graph : torch.fx.Graph
        With bound affine calls; it is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    data = varying(graph)
    known = {node: op for node in calls(graph) if (op := op_at(node, find(node.target, rows), data)) is not None}
    norms = standardized(graph, data, known)
    for node in calls(graph):
        if node.target is scale_shift and node.args[0] not in norms and not _fold_into_previous(graph, node, rows):
            _fold_into_next(graph, node, rows)


def _fold_into_previous(graph: fx.Graph, norm: fx.Node, rows: Mapping[Any, Op]) -> bool:
    operands: tuple[Any, ...] = norm.args
    before, scale, shift = operands
    name = _foldable(before, rows)
    if not name or len(before.users) > 1 or not _fits(norm, name, before, before):
        return False
    x, weight, bias = before.args
    transposed, groups = name.startswith("conv_transpose"), before.kwargs.get("groups", 1)
    with graph.inserting_before(norm):
        if name == "linear" and norm.kwargs.get("channelwise", True):
            x = graph.call_function(two_dimensional, (x,))
        folded = graph.call_function(fold_behind, (weight, scale, groups, transposed))
        bias = graph.call_function(fold_bias, (bias, scale, shift, weight, groups, transposed))
        _replace(graph, norm, before, (x, folded, bias))
    graph.erase_node(before)
    return True


def _fold_into_next(graph: fx.Graph, norm: fx.Node, rows: Mapping[Any, Op]) -> bool:
    operands: tuple[Any, ...] = norm.args
    x, scale, shift = operands
    after: Any = next(iter(norm.users), None)
    name = _foldable(after, rows)
    if len(norm.users) != 1 or not name or after.args[0] is not norm or not _fits(norm, name, x, after):
        return False
    if name.startswith("conv_transpose") or not _is_unpadded(after.kwargs.get("padding", 0)):
        return False
    weight, bias, groups = after.args[1], after.args[2], after.kwargs.get("groups", 1)
    with graph.inserting_before(after):
        if name == "linear" and norm.kwargs.get("channelwise", True):
            x = graph.call_function(two_dimensional, (x,))
        folded = graph.call_function(fold_before, (weight, scale, groups))
        after.meta["merged"] = (*after.meta.get("merged", ()), *norm.meta.get("returned", ()))
        bias = graph.call_function(fold_bias_before, (weight, bias, shift, groups))
        _replace(graph, after, after, (x, folded, bias))
    graph.erase_node(norm)
    return True


def _fits(norm: fx.Node, name: str, of: Any, affine: fx.Node) -> bool:
    """Whether a scale and shift is one per channel of an affine operation beside it, whatever the number of axes."""
    if norm.kwargs.get("channelwise", True):
        if "of any rank" in norm.meta:
            return name != "linear"
        ndim = getattr(of.meta.get("val"), "ndim", 2) if isinstance(of, fx.Node) else 2
        return name != "linear" or ndim == 2
    weight = shape_of_constant(affine.args[1])
    if weight is None or len(weight) < 2:
        return False
    behind, transposed = affine is of, name.startswith("conv_transpose")
    groups: Any = affine.kwargs.get("groups", 1)
    channels = weight[1] * groups if behind == transposed else weight[0]
    return all(_is_per_channel(shape, len(weight) - 2, channels) for shape in norm.meta["shapes"])


def _is_per_channel(shape: tuple[int, ...], spatial: int, channels: int) -> bool:
    """Whether a shape is that of one number per channel, before the spatial axes, and enlarges nothing."""
    return (all(size == 1 for size in shape) and len(shape) <= spatial + 2) or (
        len(shape) > spatial
        and shape[len(shape) - 1 - spatial] == channels
        and all(size == 1 for d, size in enumerate(shape) if d != len(shape) - 1 - spatial)
    )


def _replace(graph: fx.Graph, node: fx.Node, like: Any, args: tuple[Any, ...]) -> None:
    """Put a call like ``like``, with other arguments, in the place of ``node``."""
    new = graph.call_function(like.target, args, dict(like.kwargs))
    merged = like.meta.get("returned", ()) if like is not node else ()
    new.meta = {**like.meta, "returned": (), "merged": (*like.meta.get("merged", ()), *merged)}
    substitute(graph, node, new)


def _foldable(node: Any, rows: Mapping[Any, Op]) -> str:
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return ""
    op, name = find(node.target, rows), spelling(node.target)
    return name if name is not None and name in _ARGUMENTS and op is not None and op.kind == "affine" else ""


def _is_unpadded(padding: Any) -> bool:
    return padding == "valid" or (
        not isinstance(padding, str) and not any(padding if isinstance(padding, tuple | list) else (padding,))
    )
