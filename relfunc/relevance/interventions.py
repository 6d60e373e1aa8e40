"""Interventions: the values inside a model, and the model with functions applied to some of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from ..graph.canonize import resolved
from ..graph.captured import Captured, Program, captured_for
from ..graph.facts import facts
from ..graph.nodes import find_node
from ..ops.table import OPS, Ops

Intervention: TypeAlias = Callable[[Tensor], Tensor]


def intervene(
    model: nn.Module,
    functions: Mapping[str, Intervention],
    *,
    ops: Ops = OPS,
    example_inputs: Any = None,
) -> Captured:
    """Return a model in which functions are applied to the values of some nodes before anyone reads them.

    The model is captured, not changed; its parameters are read whenever the new one runs.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode; or what this function returned, whose own functions then come after the new ones.
    functions : mapping
        From the name of a node to a function ``value -> value``. Names are those of operations as
        :func:`relfunc.plan` lists them, paths of modules, meaning their last operation, or the model's arguments.
        For relevance of the result, ``ops`` must have the function, or the function an attribute ``op``.
    ops : mapping
        The operations, as for :func:`relfunc.lrp`.
    example_inputs : Tensor, tuple or mapping, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    Captured
        A module with the parameters of the model, for everything that takes a model.

    Raises
    ------
    UnknownNodeError
        If there is no such node.
    CaptureError, CanonizeError
        As :func:`relfunc.lrp`.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> off = intervene(model, {"1": torch.zeros_like})
    >>> bool((off(torch.rand(4, 2)) == model[2].bias).all())
    True
    """
    captured = captured_for(model, example_inputs, ops)
    origin = captured._origin
    graph = resolved(captured.graph, origin.ops)
    known = facts(graph)
    found = [(find_node(graph, known, name), function) for name, function in functions.items()]
    for node, function in found:
        with graph.inserting_after(node):
            changed = graph.call_function(function, (node,))
        changed.meta = {"path": "", "module": type(origin.model), "around": (), "line": ""}
        node.replace_all_uses_with(changed, lambda user, changed=changed: user is not changed)
    return Captured(replace(origin, graph=resolved(graph, origin.ops), base=origin))


def activations(
    model: nn.Module,
    nodes: Sequence[str],
    *,
    ops: Ops = OPS,
    example_inputs: Any = None,
) -> Callable[..., tuple[Any, dict[str, Tensor]]]:
    """Return intermediate values beside the output: what any operations or modules return.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    nodes : sequence of str
        Names as :func:`intervene` takes them.
    ops : mapping
        The operations, as for :func:`relfunc.lrp`.
    example_inputs : Tensor, tuple or mapping, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    callable
        ``(*inputs) -> (output, {node: value})``, differentiable.

    Raises
    ------
    UnknownNodeError
        If there is no such node.
    CaptureError, CanonizeError
        As :func:`relfunc.lrp`.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> _, values = activations(model, ["1"])(torch.rand(4, 2))
    >>> values["1"].shape, bool((values["1"] >= 0).all())
    (torch.Size([4, 3]), True)
    """
    origin = captured_for(model, example_inputs, ops)._origin
    graph = origin.graph
    known = facts(graph)
    program = Program(graph, [find_node(graph, known, name) for name in nodes])

    def run(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Tensor]]:
        given = origin.arguments.values(args, kwargs)
        output, values = program(origin.model, given)
        origin.check(args, kwargs, given, output)
        return output, dict(zip(nodes, values, strict=True))

    return run


def parameters_behind(model: nn.Module, node: str, *, ops: Ops = OPS, example_inputs: Any = None) -> list[str]:
    """Name the parameters that act on a value, rather than before it or beside it.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    node : str
        A name as :func:`intervene` takes them.
    ops : mapping
        The operations, as for :func:`relfunc.lrp`.
    example_inputs : Tensor, tuple or mapping, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    list of str
        As in ``model.named_parameters()``.

    Raises
    ------
    UnknownNodeError
        If there is no such node.
    CaptureError, CanonizeError
        As :func:`relfunc.lrp`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    >>> parameters_behind(model, "1")
    ['2.weight', '2.bias']
    """
    graph = captured_for(model, example_inputs, ops).graph
    known = facts(graph)
    behind, read = {find_node(graph, known, node)}, set[fx.Node]()
    for later in graph.nodes:
        if behind.intersection(later.all_input_nodes):
            behind.add(later)
            read.update(set(later.all_input_nodes) - known.data)
    for earlier in reversed(graph.nodes):
        if earlier in read:
            read.update(earlier.all_input_nodes)
    paths = {constant.target for constant in read if constant.op == "get_attr"}
    return [name for name, _ in model.named_parameters() if name in paths]
