"""Exporting: the front end that asks :func:`torch.export.export` what a model does."""

import threading
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from ..ops.table import known_as
from .arguments import Arguments, placeholder_names
from .module_tree import kept
from .written import Constant


def export(model: nn.Module, arguments: Arguments) -> fx.Graph:
    """Export a model, with a free batch size where it allows that.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    arguments : Arguments
        With examples.

    Returns
    -------
    torch.fx.Graph
        As :func:`relfunc.graph.tracing.trace` returns it.

    Raises
    ------
    CaptureError
        If the model cannot be exported, or is no function of its input.
    """
    with _EXPORTING, kept(model):
        program = _exported(model, arguments)
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise CaptureError(f"{type(model).__name__} writes to its buffers or inputs when it runs: it is no function")
    attributes = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    if any("set_grad_enabled" in str(node.target) for node in program.graph.nodes):
        raise CaptureError(
            f"{type(model).__name__} switches gradients off in its forward, where relevance would stop: leave that "
            "out; parameters that are not to be trained take requires_grad_(False)"
        )
    names = [name for slot in arguments.slots if not slot.fixed for name in placeholder_names(slot)]
    inputs = iter(names)
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in attributes:
            copies[node] = graph.get_attr(attributes[node.name])
            copies[node].meta["val"] = node.meta["val"].to("meta")
        elif node.op == "placeholder" and node.name in constants:
            constant: Any = program.constants[constants[node.name]]
            copies[node] = graph.call_function(Constant(constant))
        elif node.op == "placeholder":
            name = next(inputs)
            copies[node] = graph.placeholder(name) if name else None
        elif node.op == "output":
            copies[node] = graph.output(_nested(program, fx.map_arg(list(node.args[0]), copies.__getitem__)))
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        if isinstance(copies[node], fx.Node) and node.op != "output":
            _describe(copies[node], node, model)
            if copies[node].op == "placeholder":
                sizes = [size if isinstance(size, int) else None for size in node.meta["val"].shape]
                meta = copies[node].meta
                copies[node] = graph.call_function(of_shape, (copies[node], sizes))
                copies[node].meta = dict(meta)
    _drop_checks(graph)
    return graph


_EXPORTING = threading.Lock()


def _describe(copy: fx.Node, node: fx.Node, model: nn.Module) -> None:
    paths = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()] or [""]
    *around, (path, module) = ((path, _class_at(model, path)) for path in dict.fromkeys(paths))
    kept = {"val": copy.meta["val"]} if copy.op == "get_attr" else {}
    copy.meta = {"path": path, "module": module, "around": tuple(around), "line": _line(node.stack_trace), **kept}


def _class_at(model: nn.Module, path: str) -> type[nn.Module]:
    """Class of the module at a path, of which export tells no more than the name."""
    try:
        return type(model.get_submodule(path))
    except AttributeError:
        return nn.Module


def _exported(model: nn.Module, arguments: Arguments) -> torch.export.ExportedProgram:
    """Export with a free batch size where the model allows it.

    Export takes a dimension of size one as fixed, so that a single example is doubled.
    """

    def free(x: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(x, Tensor) and x.ndim else None

    args, kwargs = arguments.placed(lambda _, example: _batch_of_two(example))
    shapes = (*pytree.tree_map(free, args), *pytree.tree_map(free, tuple(kwargs.values())))
    try:
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False).run_decompositions({})
    except Exception:  # the batch size cannot be free, or the model cannot be exported, which the next lines tell
        args, kwargs = arguments.placed(lambda _, example: example)
    try:
        return torch.export.export(model, args, kwargs, strict=False).run_decompositions({})
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        raise CaptureError(
            f"{type(model).__name__} cannot be exported: {reason}. Rewrite that line, or explain the part of the model "
            "behind it"
        ) from error


def _batch_of_two(x: Any) -> Any:
    return torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim and len(x) == 1 else x


@known_as("of_shape")
def of_shape(x: Tensor, sizes: list[int | None]) -> Tensor:
    """Check that an input has the shape that its model was exported with; None leaves a size free.

    Parameters
    ----------
    x : Tensor
        The input.
    sizes : list of int or None
        What its shape must be.

    Returns
    -------
    Tensor
        ``x``.

    Raises
    ------
    CaptureError
        If it has another shape.
    """
    if x.ndim != len(sizes) or any(
        free is not None and size != free for size, free in zip(x.shape, sizes, strict=True)
    ):
        raise CaptureError(
            f"the model was exported for inputs of shape {tuple(sizes)} (None: any size), and got {tuple(x.shape)}: "
            "capture it with example_inputs of this shape"
        )
    return x


def _nested(program: torch.export.ExportedProgram, values: list[Any]) -> Any:
    """Arrange the flat outputs of an exported program as the model returned them."""
    spec = program.call_spec.out_spec
    if spec is None:
        return values[0]
    return _as_tuples(pytree.tree_unflatten(values, spec))


def _as_tuples(a: Any) -> Any:
    """Make tuples of torch's own sequences, such as what topk returns, which no graph holds."""
    if hasattr(a, "n_sequence_fields"):
        return tuple(a)
    if isinstance(a, tuple | list):
        items = [_as_tuples(item) for item in a]
        return type(a)(*items) if hasattr(a, "_fields") else type(a)(items)
    return {key: _as_tuples(item) for key, item in a.items()} if type(a) is dict else a


def _drop_checks(graph: fx.Graph) -> None:
    """Erase what export adds to check that arguments and sizes are as they were."""
    for node in list(graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "").startswith("_assert"):
            conditions = node.all_input_nodes
            graph.erase_node(node)
            for condition in conditions:
                if not condition.users and condition.op == "call_function":
                    graph.erase_node(condition)


def _line(trace: str | None) -> str:
    """Source line of the innermost frame outside torch, as ``file.py:41``."""
    frames = [line.strip() for line in (trace or "").splitlines() if line.strip().startswith("File ")]
    own = [frame for frame in frames if "/torch/" not in frame] or frames
    if not own:
        return ""
    _, path, rest = own[-1].split('"', 2)
    return f"{path.rpartition('/')[2]}:{rest.split('line ')[1].split(',')[0]}"
