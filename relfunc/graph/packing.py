"""Packing: a graph of functions as plain values that pickle, without the code of the model it was captured from."""

import operator
import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..ops.spellings import spelling
from .graphs import mapped


@dataclass(frozen=True)
class _Ref:
    """A node of a packed graph, by its number."""

    index: int


@dataclass(frozen=True)
class _Named:
    """One of torch's functions that does not pickle, by name."""

    home: str
    name: str

    def found(self) -> Any:
        home: Any = torch.ops if self.home == "ops" else F
        return operator.attrgetter(self.name)(home)


@dataclass(frozen=True)
class _Class:
    """A class of modules, by its name and what it derives from: composites ask for no more."""

    home: str
    name: str
    bases: "tuple[_Class | type, ...]"


def packed(graph: fx.Graph) -> list[Any]:
    """Turn a graph into a list of its nodes.

    Parameters
    ----------
    graph : torch.fx.Graph
        Functional.

    Returns
    -------
    list
        Of what pickles, if the functions of the graph do. Classes of modules are kept by name, but for torch's.
    """
    numbers = {node: _Ref(i) for i, node in enumerate(graph.nodes)}
    nodes = []
    for node in graph.nodes:
        args, kwargs = mapped(numbers.__getitem__, (node.args, dict(node.kwargs)))
        meta = {key: value for key, value in node.meta.items() if key in _KEPT}
        meta["module"] = _packed_class(node.meta.get("module", nn.Module))
        meta["around"] = tuple((path, _packed_class(kind)) for path, kind in node.meta.get("around", ()))
        nodes.append((node.op, _packed_function(node.target), args, kwargs, node.name, meta))
    return nodes


_KEPT = ("path", "line", "returned", "val", "shapes", "dtype", "returns")


def unpacked(nodes: list[Any], model: nn.Module) -> fx.Graph:
    """Make the graph of a list again.

    Parameters
    ----------
    nodes : list
        From :func:`packed`.
    model : torch.nn.Module
        The model it was captured from, or what stands for it. A class of modules that neither it nor the process has
        is a class without code, of that name and derived from the same classes.

    Returns
    -------
    torch.fx.Graph
    """
    graph = fx.Graph()
    made: list[fx.Node] = []
    classes = {_packed_class(kind): kind for module in model.modules() for kind in type(module).__mro__}

    def value(a: Any) -> Any:
        if isinstance(a, _Ref):
            return made[a.index]
        if isinstance(a, tuple | list):
            items = [value(item) for item in a]
            return type(a)(*items) if hasattr(a, "_fields") else type(a)(items)
        if isinstance(a, dict):
            return {key: value(item) for key, item in a.items()}
        return slice(*map(value, (a.start, a.stop, a.step))) if isinstance(a, slice) else a

    for op, target, args, kwargs, name, meta in nodes:
        found = target.found() if isinstance(target, _Named) else target
        made.append(graph.create_node(op, found, value(args), value(kwargs), name))
        around = tuple((path, _unpacked_class(kind, classes)) for path, kind in meta["around"])
        made[-1].meta = {**meta, "module": _unpacked_class(meta["module"], classes), "around": around}
    return graph


def _packed_function(target: Any) -> Any:
    if isinstance(target, torch._ops.OpOverload):
        return _Named("ops", f"{target._schema.name.replace('::', '.')}.{target._overloadname}")
    name = spelling(target)
    return _Named("F", name) if name is not None and getattr(F, name, None) is target else target


def _packed_class(kind: type) -> Any:
    if kind.__module__.partition(".")[0] in {"torch", "builtins"}:
        return kind
    bases = tuple(_packed_class(base) for base in kind.__bases__ if issubclass(base, nn.Module))
    return _Class(kind.__module__, kind.__qualname__, bases)


def _unpacked_class(kind: Any, classes: dict[Any, type]) -> type:
    if isinstance(kind, type):
        return kind
    if kind not in classes:
        try:
            classes[kind] = operator.attrgetter(kind.name)(sys.modules[kind.home])
        except (KeyError, AttributeError):
            bases = tuple(_unpacked_class(base, classes) for base in kind.bases)
            name = kind.name.rpartition(".")[2]
            classes[kind] = type(name, bases, {"__module__": kind.home, "__qualname__": kind.name})
    return classes[kind]
