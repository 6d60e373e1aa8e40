"""Capture: a model becomes an FX graph of functions, its parameters ``get_attr`` nodes that refer to the model's own.

Two front ends give the same kind of graph: symbolic tracing, which keeps batch and image size free, and
:func:`torch.export.export` for models that cannot be traced.
"""

import inspect
import operator
import threading
import traceback
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from .errors import RelfuncError


class CaptureError(RelfuncError, ValueError):
    """A model cannot be turned into a graph of functions."""


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
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name.split("_")[0] in defaults and not node.users:
            graph.erase_node(node)
    return graph


class _Tracer(fx.Tracer):
    """Traces through every module, so that only functions remain.

    While FX traces, it replaces ``nn.Module.__call__`` for the whole process: what other threads call must run as ever.
    """

    proxy_buffer_attributes = True
    record_stack_traces = True

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        if _is_plain_leaf(m):
            forward = MethodType(type(m).forward, _Attributes(m, self))
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


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
        program = torch.export.export(model, example_inputs, strict=False).run_decompositions({})
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
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, module = stack[-1] if stack else ("", type(model))
        copies[node].meta = {"path": path, "module": module, "line": _line(node.stack_trace)}
    return graph


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
    own = [frame for frame in frames if "/torch/" not in frame] or frames
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
