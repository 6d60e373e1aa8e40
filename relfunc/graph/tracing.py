"""Tracing: the front end that runs a model on stand-ins for tensors and writes down what is done to them.

Batch and image size stay free. Of constants (parameters, and what is made of them), and of inputs that were given as
examples, shapes and types are known, so that control flow on them can be followed. What the model asked about an
example's sizes is written down as well, and checked whenever the graph runs.
"""

import contextlib
import inspect
import linecache
import operator
import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType, MethodType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from ..ops.spellings import is_in_place, spelling
from ..ops.table import find
from . import module_tree, standins
from .arguments import Arguments
from .graphs import identity, mapped
from .module_tree import ModuleTree, kept
from .returned import plain, returned
from .standins import UNKNOWN, Number, Value, called, known_of, like, value, without_values
from .written import Constant, as_captured


class UntraceableError(CaptureError):
    """A model does what tracing cannot follow; :func:`torch.export.export` may."""


def trace(model: nn.Module, arguments: Arguments) -> fx.Graph:
    """Write down what a model does, by running a copy of its modules on stand-ins.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. It is not changed.
    arguments : Arguments
        What it is called with.

    Returns
    -------
    torch.fx.Graph
        Placeholders, ``get_attr`` nodes whose targets are paths of the model, calls, and the output.

    Raises
    ------
    CaptureError
        If the model cannot be followed, or is no function of its input.
    """
    tracer = _Tracer(model, arguments)
    args, kwargs = arguments.placed(tracer.placeholder)
    with kept(model), tracer.at_work():
        output = tracer.tree.root(*args, **kwargs)
        tracer.graph.output(tracer.returned(output)).meta["returns"] = returned(output)
    if tracer.failure is not None:
        raise UntraceableError(f"{tracer.failure}, in an error that the model catches itself")
    return tracer.graph


class _Tracer:
    """The graph that is being written, and what is known meanwhile."""

    def __init__(self, model: nn.Module, arguments: Arguments) -> None:
        self.graph = fx.Graph()
        self.failure: CaptureError | None = None
        self._over = False
        self._model = model
        self._kind: type[Value] = type("Value", (Value,), {"_recorder": self})
        self._stack: list[tuple[str, type]] = [("", type(model))]
        self._runs: dict[str, int] = {}
        self._data: set[fx.Node] = set()
        self._of_tensors: set[fx.Node] = set()
        self._attributes: dict[str, Value] = {}
        self._constants: dict[tuple[int, int], tuple[fx.Node, Tensor]] = {}
        self._rewritten: set[int] = set()
        self._sizes: dict[fx.Node, Any] = {}
        self._autocast = _autocast()
        devices = {t.device for t in (*model.parameters(), *model.buffers(), *arguments.examples.values())}
        self._device: Any = devices.pop() if len(devices) == 1 else UNKNOWN
        self.tree = ModuleTree(model, self)
        star = next(
            (s.name for s in arguments.slots if s.kind is inspect.Parameter.VAR_POSITIONAL and not s.spec), None
        )
        self._star = star
        if star is not None:
            _take_star_as_one(self.tree.root)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Set what a forward finds: gradients on, and compiled functions not compiled."""
        compiled = "torch._dynamo" in sys.modules
        eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
        with torch.inference_mode(False), torch.enable_grad(), eager, _Watch(self):
            try:
                yield
            finally:
                self._over = True

    def _check_running(self) -> None:
        if self._over:
            raise CaptureError(
                "a stand-in of a capture that is over was used: the model's forward put it where it outlives the call, "
                "such as a cache by size or a list; empty that, and give example_inputs, on which it runs first"
            )

    # --- stand-ins --------------------------------------------------------------------------------

    def placeholder(self, name: str, example: Tensor | None) -> Any:
        """Add an input; without an example nothing is known of it."""
        node = self.graph.placeholder(name)
        node.meta = {"path": "", "module": type(self._model), "around": (), "line": ""}
        if example is not None:
            node.meta["dtype"] = example.dtype
        self._data.add(node)
        if name == self._star:
            self._of_tensors.add(node)
            return Number(self, node)
        known = UNKNOWN if example is None else without_values(example)
        if known is not UNKNOWN:
            node.meta["val"] = known
        return value(self._kind, node, known)

    def attribute(self, path: str, tensor: Tensor | Callable[[], Tensor]) -> Value:
        """Read a tensor of the model's; what is computed for it is looked at only if the forward asks."""
        if path not in self._attributes:

            def known() -> Any:
                return without_values(tensor if isinstance(tensor, Tensor) else tensor())

            def node() -> fx.Node:
                read = self._described(self.graph.get_attr(path))
                read.meta["val"] = known()
                return read

            made: Any = value(self._kind, node, known)
            made._is_param = isinstance(tensor, nn.Parameter)
            self._attributes[path] = made
        return self._attributes[path]

    def _standing_for(self, node: fx.Node, result: Any) -> Any:
        """Stand for a result that is known: for tensors and numbers that depend on the input."""
        if isinstance(result, Tensor):
            node.meta["val"], node.meta["dtype"] = result, result.dtype
            return value(self._kind, node, result)
        if isinstance(result, tuple | list) and any(isinstance(a, Tensor) for a in pytree.tree_leaves(list(result))):
            items = [self._standing_for(self._call(operator.getitem, (node, i), {}), a) for i, a in enumerate(result)]
            return type(result)(items) if hasattr(result, "n_sequence_fields") else like(result, items)
        raw = result is None or isinstance(result, torch.dtype | torch.device | torch.layout | torch.memory_format)
        if raw or node not in self._data:
            return result
        self._sizes[node] = result
        return Number(self, node, result)

    # --- nodes --------------------------------------------------------------------------------------

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Write down a call, and return what stands for its result."""
        self._check_running()
        function = _OPERATORS.get(function, function)
        if function in _CHECKS:
            return None
        if function is getattr:
            if args[1] in _OF_DEVICE and self._device is not UNKNOWN:
                return self._device if args[1] == "device" else self._device.type == args[1][3:]
            if args[0]._node in self._of_tensors and args[1] in _FIELDS:
                function, args = operator.getitem, (args[0], _FIELDS[args[1]])
        if is_in_place(function) and isinstance(args[0], Tensor) and not isinstance(args[0], Value):
            self._rewritten.add(_storage(args[0]))
        node = self._call(function, self.argument(args), self.argument(kwargs))
        self._check_context(node)
        result = self._result(function, args, kwargs)
        return self._unknown(function, args, kwargs, node) if result is UNKNOWN else self._standing_for(node, result)

    def _unknown(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], node: fx.Node) -> Any:
        """Stand for a result of which nothing is known; whether it is a tensor follows from the function."""
        name, op, of = spelling(function), find(function), args[0] if args else None
        returns = "tensor" if op is None else op.returns
        parts = type(of) is Number and of._node in self._of_tensors
        picks = len(args) > 1 or "dim" in kwargs
        compared = len(args) > 1 and isinstance(args[1], Tensor)
        if returns == "several" or (returns == "over an axis" and picks and not compared):
            self._of_tensors.add(node)
            return Number(self, node)
        if parts and name == "getitem":
            if not any(isinstance(index, slice) for index in args[1:]):
                return value(self._kind, node)
            self._of_tensors.add(node)
            return Number(self, node)
        if parts and name == "getattr":
            return value(self._kind, node)
        of_numbers = getattr(function, "__module__", "") in _OF_NUMBERS and not any(
            isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((args, kwargs))
        )
        return Number(self, node) if returns == "number" or of_numbers else value(self._kind, node)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> fx.Node:
        node = self._described(self.graph.call_function(function, args, kwargs))
        if not self._data.isdisjoint(node.all_input_nodes):
            self._data.add(node)
        return node

    def _described(self, node: fx.Node) -> fx.Node:
        path, module = self._stack[-1]
        around = tuple(outer for outer in dict(self._stack).items() if outer[0] != path)
        node.meta = {"path": path, "module": module, "around": around, "line": _line(_own_frame())}
        return node

    def argument(self, a: Any) -> Any:
        """Turn an argument into what a node may hold."""
        if isinstance(a, Value) or type(a) is Number:
            return a._node
        if isinstance(a, Tensor):
            path = self.tree.path_of(a)
            if path is not None:
                return self.attribute(path, a)._node
            return self._constant_node(a)
        if isinstance(a, tuple | list):
            return like(tuple(a) if isinstance(a, torch.Size) else a, [self.argument(item) for item in a])
        if isinstance(a, dict):
            return {key: self.argument(item) for key, item in a.items()}
        if isinstance(a, slice):
            return slice(self.argument(a.start), self.argument(a.stop), self.argument(a.step))
        if isinstance(a, np.ndarray | np.generic):
            return self.argument(torch.as_tensor(a))
        if a is None or a is Ellipsis or isinstance(a, _PLAIN):
            return a
        raise CaptureError(
            f"the forward gives a torch function an object of class {type(a).__name__}{_where()}, which no graph "
            "holds: call what it does by functions and modules of its own"
        )

    def _constant_node(self, a: Tensor) -> fx.Node:
        """Hold a tensor that the forward made, as it is now; it is kept, so that no other gets its identity."""
        key = id(a), 0 if a.is_inference() else a._version
        if key not in self._constants:
            node = self._call(Constant(a.detach().clone()), (), {})
            node.meta["storage"] = _storage(a)
            self._constants[key] = node, a
        return self._constants[key][0]

    def is_rewritten(self, given: Any) -> bool:
        """Whether some arguments hold a tensor of the forward's own, to which it wrote what is only known later."""
        return bool(self._rewritten) and any(
            isinstance(leaf, Tensor) and not isinstance(leaf, Value) and _storage(leaf) in self._rewritten
            for leaf in pytree.tree_leaves(given)
        )

    def returned(self, a: Any) -> Any:
        """Turn what a model returned into the output of a graph."""
        return plain(a, self.argument, is_leaf=lambda leaf: isinstance(leaf, Tensor) or type(leaf) is Number)

    # --- what is known --------------------------------------------------------------------------------

    def _result(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call on tensors without values, if enough is known of its arguments; ``UNKNOWN`` if not."""
        known = known_of((args, kwargs))
        if known is UNKNOWN or (function is getattr and args[1] in _OF_DEVICE):
            return UNKNOWN
        try:
            with torch.no_grad():
                result = function(*known[0], **known[1])
        except Exception:  # whatever needs values or devices; what is wrong with the model itself shows when it runs
            return UNKNOWN
        return without_values(result) if isinstance(result, Tensor) else result  # zeros may be on a device

    def unpacked(self, standin: Any, length: int) -> None:
        """Write down that a forward takes something to be so long."""
        self._call(as_captured, (self._call(len, (standin._node,), {}), length), {})

    def answer(self, standin: Any, question: str, *, tried: bool = False) -> Any:
        """Return a number of the example's or a constant's value, and let the graph check that it stays so."""
        self._check_running()
        node = standin._node
        known = standin.known() if type(standin) is Number else UNKNOWN
        if known is UNKNOWN:
            known = self._constant(node)
        if known is UNKNOWN:
            what = "the values of its input" if isinstance(standin, Value) else "the sizes of its input"
            error = UntraceableError(f"its control flow depends on {what}, by {question}{_where()}")
            self.failure = self.failure or (None if tried else error)
            raise error
        self._call(as_captured, (node, known), {})
        return known

    def _constant(self, node: fx.Node) -> Any:
        """Compute what depends on no values of the input, as a number; of its sizes, which are checked, it may."""
        if not self._is_of_sizes(node):
            return UNKNOWN

        def of(a: fx.Node) -> Any:
            if a in self._sizes:
                return self._sizes[a]
            if a.op == "get_attr":
                return operator.attrgetter(str(a.target))(self._model)
            args, kwargs = mapped(of, (a.args, dict(a.kwargs)))
            target: Any = a.target
            return target(*args, **kwargs)

        with torch.no_grad():
            result = of(node)
        if not isinstance(result, Tensor):
            return result
        return result.item() if result.numel() == 1 else UNKNOWN

    def _is_of_sizes(self, node: fx.Node) -> bool:
        """Whether a node is computed of constants, and of sizes that are known."""
        if node not in self._data or node in self._sizes:
            return True
        return node.op == "call_function" and all(map(self._is_of_sizes, node.all_input_nodes))

    def _check_context(self, node: fx.Node) -> None:
        if _autocast() != self._autocast:
            raise CaptureError(
                f"the model switches autocast on or off in its forward{_where()}, which no graph of functions holds: "
                "leave it out, and call the result under torch.autocast"
            )
        if not torch.is_grad_enabled() and node in self._data:
            raise UntraceableError(  # as it may for sizes alone, or within an autograd function, which export tells
                f"the model switches gradients off in its forward{_where()}, where relevance would stop: leave that "
                "out; parameters that are not to be trained take requires_grad_(False)"
            )

    # --- modules ---------------------------------------------------------------------------------------

    def hooked(self, hook: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a hook; one that needs values is taken for one that only looks at them, which the check will tell."""
        failure = self.failure
        try:
            return hook(*args, **kwargs)
        except UntraceableError:
            self.failure = failure
            return None

    def entered(self, path: str, module: type) -> int:
        """Begin a module's call."""
        self._stack.append((path, module))
        return len(self._stack) - 1

    def left(self, path: str, depth: int, given: Any, output: Any) -> Any:
        """End a module's call, and let what it returned bear its path; what it was given becomes a value of its own."""
        inputs = {id(leaf) for leaf in pytree.tree_leaves(given) if isinstance(leaf, Value)}
        changed = pytree.tree_map(
            lambda leaf: self.record(identity, (leaf,), {}) if id(leaf) in inputs else leaf, output
        )
        del self._stack[depth:]
        run = self._runs[path] = self._runs.get(path, -1) + 1
        for i, part in enumerate(leaf for leaf in pytree.tree_leaves(changed) if isinstance(leaf, Value)):
            meta = part._node.meta
            meta["returned"] = (*meta.get("returned", ()), (path, run, i))
        return changed


class _Watch(TorchFunctionMode):
    """Sees what a forward asks of torch beside what it does to stand-ins.

    Parameters
    ----------
    tracer : _Tracer
        Writes down what is done to tensors to which a stand-in was written.
    """

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        op = find(func)
        if op is not None and op.random:
            raise CaptureError(
                f"the model draws random numbers in its forward, by {op.name}{_where()}, so that it is no function of "
                "its input: pass the noise as an input, or leave it out in evaluation mode"
            )
        if self._tracer.is_rewritten((args, kwargs)):
            return self._tracer.record(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_PLAIN: Final = (
    *(bool, int, float, complex, str, bytes, type, range),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
)
_OPERATORS: Final[dict[Any, Any]] = {Tensor.__setitem__: operator.setitem, Tensor.__getitem__: operator.getitem}
_CHECKS: Final = {torch._assert}
_OF_DEVICE: Final = {"device", "is_cuda", "is_meta", "is_cpu", "is_mps"}
_OF_NUMBERS: Final = {"_operator", "math", "builtins", called.__module__}
_FIELDS: Final = {"values": 0, "indices": 1, "min": 0, "max": 1}
_FILES: Final = {__file__, standins.__file__, module_tree.__file__, contextlib.__file__}


def _storage(a: Tensor) -> int:
    """Return a number that tensors have in common whose memory is the same."""
    with torch._C.DisableTorchFunction():
        return (a.untyped_storage().data_ptr() if a.layout is torch.strided else 0) or id(a)


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))


def _take_star_as_one(root: nn.Module) -> None:
    """Let the forward's ``*xs`` be one argument, so that a stand-in can take the place of the whole tuple."""
    forward = inspect.unwrap(root.forward)
    function = getattr(forward, "__func__", forward)
    if not isinstance(function, FunctionType) or function is not getattr(root.forward, "__func__", root.forward):
        raise UntraceableError("its forward takes any number of arguments, and is wrapped by another function")
    code = function.__code__
    flags = code.co_flags & ~inspect.CO_VARARGS
    one = FunctionType(
        code.replace(co_flags=flags, co_argcount=code.co_argcount + 1),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    one.__kwdefaults__ = function.__kwdefaults__
    root.__dict__["forward"] = MethodType(one, root)


def _own_frame() -> FrameType | None:
    """Innermost frame of the model's own code; of torch's, where a model is made of torch's modules only."""
    frame, of_torch = sys._getframe(1), None
    while frame is not None and frame.f_code is not trace.__code__:
        if frame.f_code.co_filename not in _FILES:
            if "/torch/" not in frame.f_code.co_filename:
                return frame
            if of_torch is None or "/nn/modules/" not in of_torch.f_code.co_filename:
                of_torch = frame
        frame = frame.f_back
    return of_torch


def _line(frame: FrameType | None) -> str:
    return f"{frame.f_code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{frame.f_lineno}" if frame else ""


def _where() -> str:
    frame = _own_frame()
    if frame is None:
        return ""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f" ({_line(frame)}{f': {text}' if text else ''})"
