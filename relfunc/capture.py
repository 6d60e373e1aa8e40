"""Capture: a model becomes an FX graph of functions, its parameters ``get_attr`` nodes that refer to the model's own.

Two front ends give the same kind of graph: symbolic tracing, which keeps batch and image size free, and
:func:`torch.export.export` for models that cannot be traced.
"""

import inspect
import operator
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils import _pytree as pytree

from .errors import RelfuncError


class CaptureError(RelfuncError, ValueError):
    """A model cannot be turned into a graph of functions."""


class Captured(nn.Module):
    """A module that is a graph already, as :func:`capture` returns it.

    Attributes
    ----------
    graph : torch.fx.Graph
        Its ``get_attr`` nodes refer to the module's own attributes.
    """

    graph: fx.Graph


def capture(model: nn.Module, example_inputs: tuple[Any, ...] | None = None) -> fx.Graph:
    """Turn a model into a graph of functions, without changing it.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    example_inputs : tuple, optional
        Positional inputs; with them the model is captured by :func:`torch.export.export` if it cannot be traced.

    Returns
    -------
    torch.fx.Graph
        Placeholders, ``get_attr`` nodes whose targets are attribute paths of ``model``, calls of functions, and the
        output. ``node.meta`` holds ``"path"`` and ``"module"`` (the module it came from and its type) and ``"line"``.

    Raises
    ------
    CaptureError
        If the model is in training mode or cannot be captured.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    >>> [node.name for node in capture(model).nodes]
    ['input_1', '_0_weight', '_0_bias', 'linear', 'relu', 'output']
    """
    if isinstance(model, Captured):
        return model.graph
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        raise CaptureError(
            f"the model is in training mode ({training[0]}), where dropout and batch norm make relevance random: "
            "call model.eval() first"
        )
    try:
        graph = _trace(model)
    except Exception as error:
        if example_inputs is None:
            raise CaptureError(
                f"{type(model).__name__} cannot be traced: {_first_line(error)}{_where(error)}. "
                "Pass example_inputs=(x,) to capture it with torch.export instead"
            ) from error
        with _TRACING:
            graph = _export(model, example_inputs)
    graph.lint()
    return graph


_TRACING = threading.Lock()


def _trace(model: nn.Module) -> fx.Graph:
    tracer = _Tracer()
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.kind is not p.VAR_KEYWORD}
    with _TRACING:
        graph = tracer.trace(model, concrete_args=defaults or None)
    for node in graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, module = stack[-1] if stack else ("", type(model))
        node.meta = {"path": path, "module": module, "line": _line(node.stack_trace)}
        if node.op == "placeholder" and node.args and node.args[0] is inspect.Parameter.empty:
            node.args = ()
    _drop_checks(graph)
    for node in graph.find_nodes(op="placeholder"):
        if str(node.target).rpartition("_")[0] in defaults and not node.users:
            graph.erase_node(node)
    output = graph.output_node()
    output.args = (_returned(output.args[0]),)
    return graph


def _drop_checks(graph: fx.Graph) -> None:
    """Erase what tracers add to check that arguments and sizes are as they were."""
    for node in list(graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "").startswith("_assert"):
            conditions = node.all_input_nodes
            graph.erase_node(node)
            for condition in conditions:
                if not condition.users and condition.op == "call_function":
                    graph.erase_node(condition)


def _returned(value: Any) -> Any:
    """Undo FX's recording of the containers that a model returns as calls of their classes."""
    if isinstance(value, fx.Node) and isinstance(value.target, type):
        if not hasattr(value.target, "_fields"):
            raise CaptureError(
                f"the model returns an object of class {value.target.__name__}: return a tensor, tuple, list, dict or "
                "named tuple; dataclasses.asdict makes a dict of a dataclass"
            )
        value = value.target(*value.args, **value.kwargs)
    if isinstance(value, dict):
        return {key: _returned(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_returned(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


class _Tracer(fx.Tracer):
    """Traces through every module, so that only functions remain.

    While FX traces, it replaces ``nn.Module.__call__`` for the whole process: what other threads call must run as ever.
    """

    proxy_buffer_attributes = True
    record_stack_traces = True

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        if isinstance(m, ParametrizationList):
            owner, _, name = self.path_of_module(m).rpartition("parametrizations.")
            return self.create_proxy("get_attr", f"{owner}{name}", (), {})
        if _is_plain_leaf(m):
            forward = MethodType(type(m).forward, _Attributes(m, self))
        return super().call_module(m, forward, args, kwargs)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor) and not self._has_path(a):
            return self.create_node("call_function", Constant(a), (), {})
        return super().create_arg(a)

    def _has_path(self, tensor: torch.Tensor) -> bool:
        held = (*self.root.parameters(), *self.root.buffers(), *self.tensor_attrs)
        return any(tensor is other for other in held)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that the forward makes itself, as a function without arguments: FX would write it to the model.

    Parameters
    ----------
    value : Tensor
        The tensor.
    """

    value: torch.Tensor
    __name__ = "constant"

    def __call__(self) -> torch.Tensor:
        """Return the tensor."""
        return self.value


class _Proxy(fx.Proxy):
    """Records ``x += y`` as the in-place operation that it is on tensors; FX alone records ``x = x + y``."""

    def __setitem__(self, key: Any, value: Any) -> None:
        raise CaptureError("part of a tensor is written to: build the tensor with torch.cat or torch.where")

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.itruediv, other)

    def _in_place(self, function: Callable[..., Any], other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})


def _is_plain_leaf(module: nn.Module) -> bool:
    """Whether the forward is torch's own and reads only the module's attributes."""
    children = dict(module.named_children())
    children.pop("parametrizations", None)
    return type(module).forward.__module__.startswith("torch.nn.") and not children


class _Attributes:
    """Stands for a module in its forward: parameters, buffers and parametrised weights are ``get_attr`` proxies."""

    def __init__(self, module: nn.Module, tracer: fx.Tracer) -> None:
        self.__module = module
        self.__tracer = tracer

    def __getattr__(self, name: str) -> Any:
        if name == "_check_input_dim":
            return lambda x: None
        value = getattr(self.__module, name)
        if isinstance(value, torch.Tensor):
            path = self.__tracer.path_of_module(self.__module)
            return self.__tracer.create_proxy("get_attr", f"{path}.{name}" if path else name, (), {})
        if isinstance(value, MethodType) and value.__self__ is self.__module:
            return MethodType(value.__func__, self)
        return value


def _export(model: nn.Module, example_inputs: tuple[Any, ...]) -> fx.Graph:
    try:
        program = _exported(model, example_inputs)
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can be neither traced nor exported: {_first_line(error)}{_where(error)}. "
            "Rewrite that line, or explain the part of the model behind it"
        ) from error
    signature, source = program.graph_signature, program.graph
    attributes = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise CaptureError(f"{type(model).__name__} writes to its buffers or inputs when it runs: it is no function")
    if signature.inputs_to_lifted_tensor_constants:
        name = next(iter(signature.inputs_to_lifted_tensor_constants.values()))
        raise CaptureError(f"{type(model).__name__} makes the constant {name} in its forward: register it as a buffer")
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in source.nodes:
        if node.op == "placeholder" and node.name in attributes:
            copies[node] = graph.get_attr(attributes[node.name])
        elif node.op == "output":
            copies[node] = graph.output(_nested_output(program, [copies[n] for n in node.args[0]]))
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        if node.op == "placeholder" and node.name not in attributes:
            sizes = [size if isinstance(size, int) else None for size in node.meta["val"].shape]
            copies[node] = graph.call_function(of_shape, (copies[node], sizes))
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, module = stack[-1] if stack else ("", type(model))
        copies[node].meta = {"path": path, "module": module, "line": _line(node.stack_trace)}
    _drop_checks(graph)
    return graph


def _exported(model: nn.Module, example_inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """Export with a free batch size where the model allows it.

    Export takes a dimension of size one as fixed, so that a single example is doubled.
    """
    batches = tuple(_batch_of_two(x) for x in example_inputs)
    free = tuple({0: torch.export.Dim.AUTO} if isinstance(x, torch.Tensor) and x.ndim else None for x in batches)
    try:
        program = torch.export.export(model, batches, dynamic_shapes=free, strict=False)
    except Exception:
        program = torch.export.export(model, example_inputs, strict=False)
    return program.run_decompositions({})


def _batch_of_two(x: Any) -> Any:
    return torch.cat([x, x]) if isinstance(x, torch.Tensor) and x.ndim and len(x) == 1 else x


def of_shape(x: torch.Tensor, sizes: list[int | None]) -> torch.Tensor:
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
            "call relfunc.lrp with example_inputs of this shape"
        )
    return x


def _nested_output(program: torch.export.ExportedProgram, values: list[fx.Node]) -> Any:
    """Arrange the flat outputs of an exported program as the model returned them."""
    spec = program.call_spec.out_spec
    return values[0] if spec is None else pytree.tree_unflatten(values, spec)


def parameter(model: nn.Module, path: str) -> torch.Tensor:
    """Read an attribute by its path; a parametrised one is computed.

    Parameters
    ----------
    model : torch.nn.Module
        The root of the path.
    path : str
        Such as ``"layer1.0.conv1.weight"``.

    Returns
    -------
    torch.Tensor
    """
    return operator.attrgetter(path)(model)


def _line(trace: str | None) -> str:
    """Source line of the innermost frame outside torch, as ``file.py:41``."""
    frames = [line.strip() for line in (trace or "").splitlines() if line.strip().startswith("File ")]
    own = [frame for frame in frames if "/torch/" not in frame and "relfunc/capture.py" not in frame] or frames
    if not own:
        return ""
    _, path, rest = own[-1].split('"', 2)
    return f"{path.rpartition('/')[2]}:{rest.split('line ')[1].split(',')[0]}"


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
    frames = [f for f in frames if not f.filename.endswith("relfunc/capture.py")]
    return f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
