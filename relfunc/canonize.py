"""Canonize: graph to graph, until every operation has one form.

Methods become functions, in-place becomes out-of-place, and batch norm becomes part of the linear operation beside it
(or a scale and shift per channel where there is none). What is folded is a graph expression of the parameters, so that
they can still be trained, exchanged and differentiated.
"""

import inspect
import operator
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from .errors import RelfuncError
from .ops import OPS, Ops, find, name_of


class CanonizeError(RelfuncError, ValueError):
    """A graph uses an operation in a way that has no functional form."""


def canonize(graph: fx.Graph, ops: Ops = OPS) -> fx.Graph:
    """Bring a captured graph into the form that the rest of relfunc works on.

    Parameters
    ----------
    graph : torch.fx.Graph
        From :func:`relfunc.capture.capture`. It is not changed.
    ops : mapping
        The operations, as :data:`relfunc.ops.OPS`.

    Returns
    -------
    torch.fx.Graph
        A graph with the same outputs.

    Raises
    ------
    CanonizeError
        If a view is written to, a batch norm is in training mode, or an operation writes somewhere it should not.
    """
    canonical = _copy(graph)
    _call_functions(canonical)
    _unpack(canonical)
    _drop_dropout(canonical, ops)
    _make_functional(canonical, ops)
    _recognise(canonical)
    _bind_affine(canonical, ops)
    _fold_batch_norms(canonical)
    canonical.eliminate_dead_code()
    named = _copy(canonical)
    named.lint()
    return named


def _copy(graph: fx.Graph) -> fx.Graph:
    """Copy a graph; its calls are named after their functions and numbered in the order in which they run."""
    copy = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), copies.__getitem__)
        name = name_of(node.target) if node.op == "call_function" else node.name
        copies[node] = copy.create_node(node.op, node.target, args, kwargs, name, node.type)
        copies[node].meta = dict(node.meta)
    return copy


def _call_functions(graph: fx.Graph) -> None:
    """Turn ``x.relu()`` into a call of ``torch.Tensor.relu``."""
    for node in graph.find_nodes(op="call_method"):
        node.op = "call_function"
        node.target = getattr(torch.Tensor, str(node.target))


def _unpack(graph: fx.Graph) -> None:
    """Replace an operation that returns statistics or indices beside its result, and nobody reads them."""
    for node in list(graph.nodes):
        if node.op != "call_function" or name_of(node.target) not in _WITH_EXTRAS:
            continue
        readers = list(node.users)
        if all(reader.target is operator.getitem and reader.args[1] == 0 for reader in readers):
            node.target = _WITH_EXTRAS[name_of(node.target)] or node.target
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "return_indices"}
            for reader in readers:
                reader.replace_all_uses_with(node)
                graph.erase_node(reader)


_WITH_EXTRAS = {
    "max_pool1d_with_indices": F.max_pool1d,
    "max_pool2d_with_indices": F.max_pool2d,
    "max_pool3d_with_indices": F.max_pool3d,
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "native_batch_norm")),
}


# --- in place --------------------------------------------------------------------------------------


def _make_functional(graph: fx.Graph, ops: Ops) -> None:
    """Replace each in-place operation, and let later readers of what it wrote read its result."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    numbers = _numbers(graph, ops)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.kwargs.get("out") is not None:
            raise CanonizeError(f"{_named(node)} writes to its argument out: use what it returns instead")
        function = _functional(node)
        if function is None:
            continue
        node.target = function
        written = node.args[0] if node.args else node.kwargs["input"]
        if not isinstance(written, fx.Node) or written in numbers:
            continue
        for alias in _aliases(written, ops):
            if alias.op in {"placeholder", "get_attr"}:
                raise CanonizeError(
                    f"{_named(node)} writes to the model's own {_OWN[alias.op]} '{alias}': clone it first"
                )
            if alias is not written and any(order[user] > order[node] for user in alias.users):
                raise CanonizeError(
                    f"{_named(node)} writes to a view of '{alias}', which is read later: clone it first"
                )
        written.replace_all_uses_with(node, lambda user, node=node: order[user] > order[node])


_OWN = {"placeholder": "input", "get_attr": "parameter or buffer"}


def _numbers(graph: fx.Graph, ops: Ops) -> set[fx.Node]:
    """Sizes and what is computed from them: ``n += 1`` writes to nothing."""
    numbers: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        op, home = find(node.target, ops), getattr(node.target, "__module__", "")
        of_numbers = home in {"_operator", "math", "builtins"} and numbers.issuperset(node.all_input_nodes)
        if (op is not None and op.kind == "static") or (of_numbers and node.all_input_nodes):
            numbers.add(node)
    return numbers


def _functional(node: fx.Node) -> Any:
    """Out-of-place form of an in-place call, whose flag is dropped; None if it is not in place."""
    target: Any = node.target
    name = getattr(target, "__name__", "")
    if isinstance(target, FunctionType) and "inplace" in inspect.signature(target).parameters:
        bound = inspect.signature(target).bind(*node.args, **node.kwargs)
        in_place = bound.arguments.pop("inplace", False)
        node.args, node.kwargs = bound.args, bound.kwargs
        return target if in_place else None
    if getattr(target, "__module__", "") == "_operator" and name in _IN_PLACE_OPERATORS:
        return getattr(operator, name[1:])
    if name.endswith("_") and not name.startswith("_"):
        for home in (torch, torch.Tensor, F):
            if hasattr(home, name.rstrip("_")):
                return getattr(home, name.rstrip("_"))
        raise CanonizeError(f"{_named(node)} is in place and has no functional form")
    return None


_IN_PLACE_OPERATORS = {"iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul"}


def _aliases(node: fx.Node, ops: Ops) -> Iterator[fx.Node]:
    """Yield the node and the nodes whose memory it may share."""
    pending, seen = [node], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        if _is_view(current, ops):
            pending.extend(current.all_input_nodes[:1])
        pending.extend(user for user in current.users if _is_view(user, ops))


def _is_view(node: fx.Node, ops: Ops) -> bool:
    if node.op != "call_function":
        return False
    op = find(node.target, ops)
    return op is not None and op.kind == "move" and name_of(node.target) not in _COPIES


_COPIES = {"clone", "repeat", "roll", "flip", "pad", "constant_pad_nd", "cat", "concat", "concatenate", "stack"}


# --- dropout ------------------------------------------------------------------------------------------


def _drop_dropout(graph: fx.Graph, ops: Ops) -> None:
    """Remove what does nothing in evaluation mode."""
    for node in _of_type(graph, ops, "dropout"):
        bound = _bound(node, _DROPOUT_ARGUMENTS.get(name_of(node.target), "input p training"))
        if bound.get("training", bound.get("train", True)):
            raise CanonizeError(
                f"{_named(node)} is in training mode, so that relevance would be random: pass it training=self.training"
            )
        source: Any = bound["input"]
        node.replace_all_uses_with(source)
        graph.erase_node(node)


_DROPOUT_ARGUMENTS = {"stochastic_depth": "input p mode training"}


# --- affine operations -----------------------------------------------------------------------------

_CONVOLUTION = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_ARGUMENTS = {
    "linear": "input weight bias",
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONVOLUTION),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _TRANSPOSED),
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
}
_TORCH_BATCH_NORM = "input weight bias running_mean running_var training momentum eps cudnn_enabled"


def _bind_affine(graph: fx.Graph, ops: Ops) -> None:
    """Give every affine call the form ``f(input, weight, bias, **options)``."""
    for node in _of_type(graph, ops, "linear", "convolution", "batch_norm"):
        name = name_of(node.target)
        bound = _bound(node, _TORCH_BATCH_NORM if node.target is torch.batch_norm else _ARGUMENTS.get(name, ""))
        if "batch_norm" in name:
            _scale_and_shift(graph, node, bound)
        elif name in _ARGUMENTS:
            node.target = getattr(F, name)
            node.args = (bound.pop("input"), bound.pop("weight"), bound.pop("bias", None))
            node.kwargs = bound


def _bound(node: fx.Node, names: str) -> dict[str, Any]:
    """Arguments of a call by name."""
    if isinstance(node.target, torch._ops.OpOverload):
        names = " ".join(argument.name for argument in node.target._schema.arguments)
    return dict(zip(names.split(), node.args, strict=False)) | dict(node.kwargs)


def _of_type(graph: fx.Graph, ops: Ops, *types: str) -> list[fx.Node]:
    calls = [node for node in graph.nodes if node.op == "call_function"]
    return [node for node in calls if (op := find(node.target, ops)) is not None and op.type in types]


def _recognise(graph: fx.Graph) -> None:
    """Find linear layers and batch norms that are spelled out in simpler operations."""
    varying: set[fx.Node] = set()
    channelwise: set[fx.Node] = set()
    for node in list(graph.nodes):
        if node.op == "placeholder" or varying.intersection(node.all_input_nodes):
            varying.add(node)
        elif _is_channelwise(node, channelwise):
            channelwise.add(node)
        if node.op != "call_function" or node not in varying:
            continue
        name = name_of(node.target)
        if name in {"mm", "addmm"} and len(node.args) == 3 - (name == "mm") and not node.kwargs:
            *bias, x, weight = node.args
            if isinstance(weight, fx.Node) and weight not in varying and not varying.intersection(bias):
                with graph.inserting_before(node):
                    weight = graph.call_function(torch.t, (weight,))
                node.target, node.args = F.linear, (x, weight, *bias)
        if name == "add" and len(node.args) == 2 and not node.kwargs and node.args[1] in channelwise:
            scaled: Any = node.args[0]
            if name_of(scaled.target) == "mul" and len(scaled.users) == 1 and scaled.args[1] in channelwise:
                with graph.inserting_before(node):
                    scale, shift = (graph.call_function(torch.flatten, (a,)) for a in (scaled.args[1], node.args[1]))
                node.target, node.args = scale_shift, (scaled.args[0], scale, shift)
                graph.erase_node(scaled)


def _is_channelwise(node: fx.Node, channelwise: set[fx.Node]) -> bool:
    """Whether a constant has shape (1, channel, 1, ...), from its reshaping or from what it is made of."""
    if node.op != "call_function":
        return False
    name = name_of(node.target)
    if name in {"view", "reshape"}:
        sizes: Any = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[1:]
        return len(sizes) > 2 and all(size == 1 for d, size in enumerate(sizes) if d != 1)
    nodes = node.all_input_nodes
    return name in {"add", "sub", "mul", "div", "truediv", "rsqrt", "sqrt", "neg"} and (
        bool(nodes) and channelwise.issuperset(nodes)
    )


# --- batch norm ------------------------------------------------------------------------------------


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift each channel (dimension 1): a batch norm with nothing to fold it into."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return x * scale.view(shape) + shift.view(shape)


def norm_scale(variance: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Factor per channel of a batch norm."""
    scale = torch.rsqrt(variance + eps)
    return scale if weight is None else scale * weight


def norm_shift(mean: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Offset per channel of a batch norm."""
    shift = -mean * scale
    return shift if bias is None else shift + bias


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel over the batch, for a batch norm without running statistics."""
    return torch.var_mean(x, [d for d in range(x.ndim) if d != 1], correction=0)


def two_dimensional(x: Tensor) -> Tensor:
    """Check what folding a batch norm into a linear layer takes for granted: that features are dimension 1."""
    if x.ndim != 2:
        raise CanonizeError(
            f"a batch norm behind a linear layer met shape {tuple(x.shape)}: relfunc takes (sample, feature)"
        )
    return x


def fold_behind(weight: Tensor, scale: Tensor, groups: int, transposed: bool) -> Tensor:
    """Weight of an affine operation with a scale per output channel behind it."""
    if not transposed:
        return weight * scale.view(-1, *(1,) * (weight.ndim - 1))
    grouped = weight.unflatten(0, (groups, -1))
    return (grouped * scale.view(groups, 1, -1, *(1,) * (weight.ndim - 2))).flatten(0, 1)


def fold_bias(bias: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    """Bias of an affine operation with a scale and shift behind it."""
    return shift if bias is None else bias * scale + shift


def fold_before(weight: Tensor, scale: Tensor, groups: int) -> Tensor:
    """Weight of a linear or unpadded convolution with a scale per input channel before it."""
    grouped = weight.unflatten(0, (groups, -1))
    return (grouped * scale.view(groups, 1, -1, *(1,) * (weight.ndim - 2))).flatten(0, 1)


def fold_bias_before(weight: Tensor, bias: Tensor | None, shift: Tensor, groups: int) -> Tensor:
    """Bias of a linear or unpadded convolution with a shift before it."""
    grouped = weight.unflatten(0, (groups, -1)) * shift.view(groups, 1, -1, *(1,) * (weight.ndim - 2))
    added = grouped.flatten(0, 1).flatten(1).sum(1)
    return added if bias is None else bias + added


def _scale_and_shift(graph: fx.Graph, node: fx.Node, bound: dict[str, Any]) -> None:
    """Replace a batch norm by a scale and shift per channel."""
    mean, variance = bound.get("running_mean"), bound.get("running_var")
    if bound.get("training") and mean is not None:
        raise CanonizeError(f"{_named(node)} is in training mode and would update its statistics: call model.eval()")
    with graph.inserting_before(node):
        if mean is None or variance is None:
            statistics = graph.call_function(batch_statistics, (bound["input"],))
            variance = graph.call_function(operator.getitem, (statistics, 0))
            mean = graph.call_function(operator.getitem, (statistics, 1))
        scale = graph.call_function(norm_scale, (variance, bound.get("weight"), bound.get("eps", 1e-5)))
        shift = graph.call_function(norm_shift, (mean, scale, bound.get("bias")))
    node.target, node.args, node.kwargs = scale_shift, (bound["input"], scale, shift), {}


def _fold_batch_norms(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        foldable = node.target is scale_shift and not _from_statistics(node.args[1])
        if foldable and not _fold_into_previous(graph, node):
            _fold_into_next(graph, node)


def _fold_into_previous(graph: fx.Graph, norm: fx.Node) -> bool:
    operands: tuple[Any, ...] = norm.args
    before, scale, shift = operands
    if not _is_foldable(before) or len(before.users) > 1:
        return False
    x, weight, bias = before.args
    transposed = name_of(before.target).startswith("conv_transpose")
    with graph.inserting_before(norm):
        if before.target is F.linear:
            x = graph.call_function(two_dimensional, (x,))
        weight = graph.call_function(fold_behind, (weight, scale, before.kwargs.get("groups", 1), transposed))
        bias = graph.call_function(fold_bias, (bias, scale, shift))
        _replace(graph, norm, before, (x, weight, bias))
    graph.erase_node(before)
    return True


def _fold_into_next(graph: fx.Graph, norm: fx.Node) -> bool:
    operands: tuple[Any, ...] = norm.args
    x, scale, shift = operands
    after: Any = next(iter(norm.users), None)
    if len(norm.users) != 1 or not _is_foldable(after) or after.args[0] is not norm:
        return False
    if name_of(after.target).startswith("conv_transpose") or not _is_unpadded(after.kwargs.get("padding", 0)):
        return False
    weight, bias, groups = after.args[1], after.args[2], after.kwargs.get("groups", 1)
    with graph.inserting_before(after):
        if after.target is F.linear:
            x = graph.call_function(two_dimensional, (x,))
        folded = graph.call_function(fold_before, (weight, scale, groups))
        bias = graph.call_function(fold_bias_before, (weight, bias, shift, groups))
        _replace(graph, after, after, (x, folded, bias))
    graph.erase_node(norm)
    return True


def _replace(graph: fx.Graph, node: fx.Node, like: Any, args: tuple[Any, ...]) -> None:
    """Put a call like ``like``, with other arguments, in the place of ``node``."""
    new = graph.call_function(like.target, args, dict(like.kwargs))
    new.meta = dict(like.meta)
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _is_foldable(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and name_of(node.target) in _ARGUMENTS


def _is_unpadded(padding: Any) -> bool:
    return padding == "valid" or (
        not isinstance(padding, str) and not any(padding if isinstance(padding, tuple | list) else (padding,))
    )


def _from_statistics(node: Any) -> bool:
    return node.target is batch_statistics or any(map(_from_statistics, node.all_input_nodes))


def _named(node: fx.Node) -> str:
    """How messages call a node: its function, name and source line."""
    line = node.meta.get("line")
    return f"'{name_of(node.target)}' (node '{node.name}'{f', {line}' if line else ''})"
