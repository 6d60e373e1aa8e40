"""A copy of a model's modules that can be traced: nothing the forward writes reaches the model.

The copies are of the same classes, with the same attributes, hooks and replaced forwards; their parameters and buffers
are stand-ins that refer to the model's by path.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from ..errors import CaptureError, warn


class Tracer(Protocol):
    """What the copies ask for stand-ins, and tell of their calls."""

    def attribute(self, path: str, tensor: Tensor | Callable[[], Tensor]) -> Any:
        """Return what stands for a tensor of the model's."""
        ...

    def hooked(self, hook: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a hook of a module's."""
        ...

    def entered(self, path: str, module: type) -> int:
        """Begin a module's call; returns a depth for :meth:`left`."""
        ...

    def left(self, path: str, depth: int, given: Any, output: Any) -> Any:
        """End a module's call; returns what it is to return."""
        ...


class ModuleTree:
    """The copies of a model's modules.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. It is not changed.
    tracer : Tracer
        Gives the stand-ins.

    Attributes
    ----------
    root : torch.nn.Module
        The copy of the model.
    """

    def __init__(self, model: nn.Module, tracer: Tracer) -> None:
        self._tracer = tracer
        self._copies: dict[nn.Module, nn.Module] = {}
        self._paths: dict[int, str] = {}
        self._originals = {id(m): m for m in model.modules()}
        self.root = self._copy(model, "")
        for copy in self._copies.values():
            self._bind(copy)

    def path_of(self, tensor: Tensor) -> str | None:
        """Return the path of one of the model's own tensors, by identity."""
        return self._paths.get(id(tensor))

    def _copy(self, module: nn.Module, path: str) -> nn.Module:
        if module in self._copies:
            return self._copies[module]
        if module._backward_hooks or module._backward_pre_hooks:
            warn(
                f"{f'module {path!r}' if path else 'the model'} has backward hooks, which may change gradients where "
                "relfunc does not see them: relevance is propagated without them",
                UserWarning,
            )
        copy = self._copies[module] = module.__class__.__new__(module.__class__)
        prefix = f"{path}." if path else ""
        state = {name: _shallow(value) for name, value in vars(module).items()}
        for name, tensor in vars(module).items():
            if isinstance(tensor, Tensor):
                self._paths.setdefault(id(tensor), prefix + name)
        for kind in ("_parameters", "_buffers"):
            for name, tensor in state[kind].items():
                if tensor is not None:
                    if is_lazy(tensor):
                        raise CaptureError(f"{prefix}{name} has no shape yet: call the model once, then capture it")
                    self._paths.setdefault(id(tensor), prefix + name)
                    state[kind][name] = self._tracer.attribute(self._paths[id(tensor)], tensor)
        state["_modules"] = {
            name: child if child is None else self._copy(child, prefix + name)
            for name, child in module._modules.items()
        }
        state.update(_backward_hooks=OrderedDict(), _backward_pre_hooks=OrderedDict(), _compiled_call_impl=None)
        object.__getattribute__(copy, "__dict__").update(state)
        self._replace_forward(module, copy, path)
        self._tell(module, copy, path)
        return copy

    def _replace_forward(self, module: nn.Module, copy: nn.Module, path: str) -> None:
        """Let wrappers call what they wrap, and what is computed of parameters be read from the model."""
        state, inner = vars(copy), wrapped(module)
        if inner is not None:
            child = self._copies[inner]
            state["forward"] = lambda *args, **kwargs: child(*args, **kwargs)
        elif isinstance(module, ParametrizationList):
            owner, _, name = path.rpartition("parametrizations.")
            state["forward"] = lambda: self._tracer.attribute(f"{owner}{name}", module.forward)
        elif type(module).__module__.startswith("torch.nn."):
            state.update({name: _nothing_to_check for name in dir(module) if name.startswith("_check_")})

    def _tell(self, module: nn.Module, copy: nn.Module, path: str) -> None:
        """Let the tracer know which module runs, by a first and a last hook."""
        depths: list[int] = []

        def enter(copy: nn.Module, args: Any) -> None:
            depths.append(self._tracer.entered(path, type(module)))

        def leave(copy: nn.Module, args: Any, output: Any) -> Any:
            return self._tracer.left(path, depths.pop(), args, output)

        state = vars(copy)
        before, behind = (
            [(number, self._hook(hook)) for number, hook in state[kind].items()]
            for kind in ("_forward_pre_hooks", "_forward_hooks")
        )
        state["_forward_pre_hooks"] = OrderedDict([(_OURS, enter), *before])
        state["_forward_hooks"] = OrderedDict([*behind, (_OURS, leave)])

    def _hook(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._tracer.hooked(self._bound(hook), args, kwargs)

    def _bind(self, copy: nn.Module) -> None:
        """Let attributes that hold modules of the model hold their copies."""
        state = vars(copy)
        for name, value in list(state.items()):
            if name not in {"_modules", "_parameters", "_buffers"}:
                state[name] = self._bound(value)

    def _bound(self, value: Any) -> Any:
        kind: Any = type(value)
        if isinstance(value, nn.Module):
            return self._copies.get(value, value)
        if isinstance(value, MethodType):
            owner: Any = value.__self__
            return MethodType(value.__func__, self._copies[owner]) if id(owner) in self._originals else value
        if isinstance(value, partial):
            args, keywords = map(self._bound, value.args), {k: self._bound(v) for k, v in value.keywords.items()}
            return partial(self._bound(value.func), *args, **keywords)
        if kind in (list, tuple, set):
            return kind(map(self._bound, value))
        if kind in (dict, OrderedDict):
            return kind((key, self._bound(item)) for key, item in value.items())
        return value


_OURS = -1  # hooks have numbers from 0


def wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper calls, on one device, as it is: data parallel, or compiled.

    Parameters
    ----------
    module : torch.nn.Module
        Any module.

    Returns
    -------
    torch.nn.Module or None
        None for a module that is no such wrapper.
    """
    if isinstance(module, nn.DataParallel | DistributedDataParallel):
        return module.module
    return module._modules.get("_orig_mod") if type(module).__name__ == "OptimizedModule" else None


def _nothing_to_check(*_: Any) -> None:
    """Stand for torch's checks of an input's shape, which the operations make again."""


def _shallow(value: Any) -> Any:
    return value.copy() if type(value) in _CONTAINERS else value


@contextlib.contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Let no attribute of a model be other than before, whatever its forward writes to it.

    Transformers of torch's own take no fast path meanwhile: without gradients it leaves out what is padded.

    Parameters
    ----------
    model : torch.nn.Module
        Any.
    """
    before = [(module, {k: _shallow(v) for k, v in vars(module).items()}) for module in model.modules()]
    containers = [(module, {k: v for k, v in vars(module).items() if type(v) in _CONTAINERS}) for module, _ in before]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for (module, state), (_, held) in zip(before, containers, strict=True):
            now = vars(module)
            for name in [name for name in now if name not in state]:
                del now[name]
            for name, value in state.items():
                if name in held:
                    _refill(held[name], value)
                    now[name] = held[name]
                elif now.get(name) is not value:
                    now[name] = value


_CONTAINERS = (list, dict, set, OrderedDict)


def _refill(container: Any, items: Any) -> None:
    if isinstance(container, list):
        container[:] = items
    else:
        container.clear()
        container.update(items)
