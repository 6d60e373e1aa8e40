"""Functions of graphs: parameters become arguments, and a finished graph becomes something to call."""

import re
from collections.abc import Sequence

import torch
from torch import fx

from .graphs import mapped
from .lifetimes import overwrite_unread


def lifted(
    graph: fx.Graph, paths: Sequence[str], further: Sequence[str] = ()
) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """Copy a graph without its output, with its parameters as placeholders behind the inputs."""
    copy = fx.Graph()
    copies = {node: copy.placeholder(node.name) for node in graph.nodes if node.op == "placeholder"}
    identifiers = [re.sub(r"\W", "_", path) for path in paths]
    parameters = {
        path: copy.placeholder(f"p{i}_{name}") for i, (path, name) in enumerate(zip(paths, identifiers, strict=True))
    }
    for name in further:
        copy.placeholder(name)
    for node in graph.nodes:
        if node.op == "get_attr":
            copies[node] = parameters[node.target]
        elif node.op == "call_function":
            args, kwargs = mapped(copies.__getitem__, (node.args, dict(node.kwargs)))
            copies[node] = copy.create_node(node.op, node.target, args, kwargs, node.name)
            copies[node].meta = dict(node.meta)
    return copy, copies


def compiled(graph: fx.Graph) -> fx.GraphModule:
    """Turn a finished graph without attributes into a function."""
    graph.eliminate_dead_code()
    overwrite_unread(graph)
    graph.lint()
    return fx.GraphModule(torch.nn.Module(), graph)
