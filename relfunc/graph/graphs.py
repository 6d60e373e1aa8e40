"""Graphs: small things that every pass over a graph of functions needs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from ..ops.spellings import spelling
from ..ops.table import OPS, Op, find, known_as, name_of


@known_as("identity")
def identity(x: Any) -> Any:
    """Return what is given: the value of a module that hands on its input, as a value of its own."""
    return x


def calls(graph: fx.Graph) -> list[fx.Node]:
    """Return the calls of a graph, in the order in which they run; the graph may change meanwhile."""
    return [node for node in graph.nodes if node.op == "call_function"]


def copied(graph: fx.Graph) -> fx.Graph:
    """Copy a graph; its calls are named after their operations and numbered in the order in which they run.

    No call gets the name of a module or an argument, so that either can be meant by a name.
    """
    copy = fx.Graph()
    taken = {node.target for node in graph.find_nodes(op="placeholder")}
    for node in graph.nodes:
        taken.update(node.meta.get("path", "").split(".", 1)[:1])
        taken.update(path for path, _, _ in node.meta.get("returned", ()))
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        args, kwargs = mapped(copies.__getitem__, (node.args, dict(node.kwargs)))
        name = name_of(node.target).replace(".", "_") if node.op == "call_function" else node.name
        copies[node] = copy.create_node(node.op, node.target, args, kwargs, name, node.type)
        while node.op == "call_function" and copies[node].name in taken:
            spare = copy.create_node(node.op, node.target, args, kwargs, name, node.type)
            copy.erase_node(copies[node])
            copies[node] = spare
        copies[node].meta = dict(node.meta)
    return copy


def substitute(graph: fx.Graph, old: fx.Node, new: fx.Node) -> None:
    """Let another node take the place of one that goes, and be known as what it was."""
    new.meta["returned"] = (*new.meta.get("returned", ()), *old.meta.get("returned", ()))
    old.replace_all_uses_with(new, lambda user: user is not new)
    graph.erase_node(old)


def bound(node: fx.Node, names: str) -> dict[str, Any]:
    """Return the arguments of a call by name; an overload knows its own names."""
    if isinstance(node.target, torch._ops.OpOverload):
        names = " ".join(argument.name for argument in node.target._schema.arguments)
    given = dict(zip(names.split(), node.args, strict=False)) | dict(node.kwargs)
    return {"input" if name == "self" else name: value for name, value in given.items()}


def is_call(node: Any, name: str, rows: Mapping[Any, Op]) -> bool:
    """Whether a node calls one of torch's operations, by its canonical name, that the table says nothing else of."""
    called = isinstance(node, fx.Node) and node.op == "call_function" and spelling(node.target) == name
    return called and find(node.target, rows) == OPS[name]


def described(node: fx.Node) -> str:
    """Return how messages call a node: its function, name and source line."""
    line = node.meta.get("line")
    return f"'{name_of(node.target)}' (node '{node.name}'{f', {line}' if line else ''})"


def origin_of(node: fx.Node) -> dict[str, Any]:
    """Return where a node comes from: its module, the modules around that, and the source line."""
    return {key: node.meta[key] for key in ("path", "module", "around", "line") if key in node.meta}


def mapped(function: Callable[[fx.Node], Any], structure: Any) -> Any:
    """Replace every node in nested arguments, slices included, and keep the types of what holds them."""
    if isinstance(structure, fx.Node):
        return function(structure)
    if isinstance(structure, tuple | list):
        items = [mapped(function, item) for item in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*items)
        return items if isinstance(structure, list) else tuple(items)
    if isinstance(structure, dict):
        return {key: mapped(function, item) for key, item in structure.items()}
    if isinstance(structure, slice):
        return slice(*(mapped(function, item) for item in (structure.start, structure.stop, structure.step)))
    return structure


def varying(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that depend on the model's input in any way, sizes included."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def within(nodes: Iterable[Any], found: set[fx.Node]) -> list[fx.Node]:
    """Return those of some arguments that are nodes of a set."""
    return [node for node in nodes if isinstance(node, fx.Node) and node in found]


def shape_of_constant(node: Any) -> torch.Size | None:
    """Return the shape of what depends on no input; None if that cannot be told without running the model."""
    known = _without_values(node)
    return known.shape if isinstance(known, Tensor) else None


def _without_values(node: Any) -> Any:
    if not isinstance(node, fx.Node):
        return node
    if "val" not in node.meta and node.op == "call_function":
        args, kwargs = mapped(_without_values, (node.args, dict(node.kwargs)))
        target: Any = node.target
        try:
            with torch.no_grad(), torch.device("meta"):
                result = target(*args, **kwargs)
            node.meta["val"] = result.to("meta") if isinstance(result, Tensor) else result
        except Exception:  # what needs values: its shape stays unknown, and nothing is made of it
            node.meta["val"] = None
    return node.meta.get("val")
