"""Operations: all that a composite sees of a node of a canonical graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from torch import fx, nn

from ..graph.affine import fold_before, fold_behind, scale_shift
from ..graph.facts import Facts
from ..graph.graphs import bound, shape_of_constant
from ..ops.spellings import spelling, words
from ..ops.table import Op, name_of

Sizes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """What a composite sees of a node of the graph.

    A batch norm that became part of the operation beside it is no operation of its own. What an operation does not
    have, or what depends on the model's input, is None.

    Parameters
    ----------
    node : str
        The node's name in the graph.
    name : str
        The function's name, such as ``conv2d``.
    type, kind : str
        As :class:`relfunc.ops.Op` says, empty if the operation is unknown.
    path : str
        The module whose forward it came from, such as ``layer1.0.conv1``; empty for the model itself.
    preceding : frozenset of str
        Types and kinds of the operations that run before it.
    line : str
        Source file and line.
    module : type
        Class of the module at ``path``.
    around : tuple
        Path and class of each module whose forward called that one, the model first.
    following : frozenset of str
        Types and kinds of the operations that run behind it.
    index : int
        Number of operations that run before it, but for those that only move values, such as views.
    from_input, from_output : int
        Number of linear layers and convolutions on the longest way from an input to it, and from it to an output;
        itself does not count.
    kernel_size, stride, dilation : tuple of int
        Of convolutions and of pooling with windows, one number for each spatial axis.
    padding : tuple of int or str
        As these; ``"same"`` if the convolution was given that.
    groups : int
        Of convolutions.
    weight_shape : tuple of int
        Of linear layers, convolutions and batch norms.
    in_channels, out_channels : int
        Of these; the features of a linear layer.
    role : str
        ``"state_parameter"`` of what says how a recurrent state is kept, written and read, as Δ, B and C of a selective
        state space do; rows by type match it as they match a type.

    Examples
    --------
    >>> import relfunc as rf
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()
    >>> def composite(operation):
    ...     if operation.kernel_size == (5, 5) or operation.from_output == 0 and operation.type == "linear":
    ...         return rf.rules.epsilon()
    ...     return rf.rules.gradient()
    >>> rf.plan(model, composite)["rule"].str.partition("(")[0].tolist()
    ['epsilon', 'gradient', 'gradient', 'epsilon']
    """

    node: str
    name: str
    type: str
    kind: str
    path: str
    preceding: frozenset[str]
    line: str
    module: "type[nn.Module]" = nn.Module
    around: "tuple[tuple[str, type[nn.Module]], ...]" = ()
    following: frozenset[str] = frozenset()
    index: int = 0
    from_input: int = 0
    from_output: int = 0
    kernel_size: Sizes | None = None
    stride: Sizes | None = None
    padding: Sizes | str | None = None
    dilation: Sizes | None = None
    groups: int | None = None
    weight_shape: Sizes | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    role: str = ""


def operations(graph: fx.Graph, known: Facts) -> dict[fx.Node, Operation]:
    """Describe the data operations of a canonical graph, in the order in which they run.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.

    Returns
    -------
    dict
        From node to description.
    """
    nodes = [node for node in graph.nodes if known.is_operation(node)]
    types = {node: (op.type, op.kind) if (op := known.ops.get(node)) else ("", "") for node in nodes}
    preceding, following = _before(nodes, types), _before(nodes[::-1], types)
    from_input = _layers_before(nodes, {node: node.all_input_nodes for node in nodes}, known)
    from_output = _layers_before(nodes[::-1], {node: list(node.users) for node in nodes}, known)
    described: dict[fx.Node, Operation] = {}
    index = 0
    for node in nodes:
        meta = node.meta
        described[node] = Operation(
            node=node.name,
            name=name_of(node.target),
            type=types[node][0],
            kind=types[node][1],
            path=meta.get("path", ""),
            preceding=preceding[node],
            line=meta.get("line", ""),
            module=meta.get("module", nn.Module),
            around=meta.get("around", ()),
            following=following[node],
            index=index,
            role="state_parameter" if node in known.state_parameters else "",
            from_input=from_input[node],
            from_output=from_output[node],
            **_hyperparameters(node, known),
        )
        index += types[node][1] != "move"
    return described


def _before(nodes: list[fx.Node], types: Mapping[fx.Node, tuple[str, str]]) -> dict[fx.Node, frozenset[str]]:
    """Types and kinds of the nodes that stand before each in a list."""
    found: dict[fx.Node, frozenset[str]] = {}
    met: frozenset[str] = frozenset()
    for node in nodes:
        found[node] = met
        met = met if met.issuperset(types[node]) else met.union(types[node])
    return found


def _layers_before(
    nodes: list[fx.Node], neighbours: Mapping[fx.Node, list[fx.Node]], known: Facts
) -> dict[fx.Node, int]:
    """Count the layers on the longest way to each node, through neighbours that stand before it in a list."""
    found: dict[fx.Node, int] = {}
    for node in nodes:
        found[node] = max((found[n] + _is_layer(known.ops.get(n)) for n in neighbours[node] if n in found), default=0)
    return found


def _is_layer(op: Op | None) -> bool:
    return op is not None and op.kind == "affine" and op.type != "batch_norm"


# --- hyper-parameters ----------------------------------------------------------------------------------


def _hyperparameters(node: fx.Node, known: Facts) -> dict[str, Any]:
    op, name = known.ops.get(node), spelling(node.target) or ""
    if op is not None and op.kind == "affine":
        return _of_affine(node, name, known)
    if name in _POOLS:
        given = bound(node, _POOLS[name])
        spatial = int(name[name.index("d") - 1])
        return _windows(given.get("kernel_size"), given, spatial)
    return {}


def _of_affine(node: fx.Node, name: str, known: Facts) -> dict[str, Any]:
    weight: Any = node.args[1] if len(node.args) > 1 else None
    while isinstance(weight, fx.Node) and weight.target in (fold_behind, fold_before):
        weight = weight.args[0]  # of the same shape
    shape = None if weight in known.data else shape_of_constant(weight)
    if shape is None:
        return {}
    found: dict[str, Any] = {"weight_shape": tuple(shape)}
    if node.target is scale_shift:
        channels = math.prod(shape) if node.kwargs.get("channelwise", True) else None
        return {**found, "in_channels": channels, "out_channels": channels}
    if name == "linear" and len(shape) == 2:
        return {**found, "in_channels": shape[1], "out_channels": shape[0]}
    if name not in _CONVOLUTIONS:
        return found
    groups: Any = node.kwargs.get("groups", 1)
    channels = {"in_channels": shape[1] * groups, "out_channels": shape[0]}
    if name.startswith("conv_transpose"):
        channels = {"in_channels": shape[0], "out_channels": shape[1] * groups}
    return {**found, **channels, "groups": groups, **_windows(tuple(shape[2:]), node.kwargs, len(shape) - 2)}


_CONVOLUTIONS: Final = words("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")


def _windows(kernel_size: Any, given: Mapping[str, Any], spatial: int) -> dict[str, Any]:
    """Return how windows lie, with one number for each spatial axis; what is not given is torch's default."""
    kernel = _per_axis(kernel_size, spatial)
    is_pool = "kernel_size" in given
    padding = given.get("padding", 0)
    return {
        "kernel_size": kernel,
        "stride": _per_axis(given.get("stride") or (kernel if is_pool else 1), spatial),
        "padding": padding if padding == "same" else _per_axis(0 if padding == "valid" else padding, spatial),
        "dilation": _per_axis(given.get("dilation", 1), spatial),
    }


def _per_axis(value: Any, spatial: int) -> Sizes | None:
    sizes = tuple(value) if isinstance(value, tuple | list) else (value,)
    sizes = sizes * spatial if len(sizes) == 1 else sizes
    return sizes if all(isinstance(size, int) for size in sizes) else None


_OF_MAX: Final = "input kernel_size stride padding dilation ceil_mode return_indices"
_OF_AVERAGE: Final = "input kernel_size stride padding ceil_mode count_include_pad divisor_override"
_POOLS: Final = {
    **{f"max_pool{n}d{end}": _OF_MAX for n in (1, 2, 3) for end in ("", "_with_indices")},
    **{f"avg_pool{n}d": _OF_AVERAGE for n in (1, 2, 3)},
}
