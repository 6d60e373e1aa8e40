"""Interventions: the values inside a model, and the model with functions applied to some of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from .canonize import canonize
from .capture import Captured, capture, parameter
from .facts import facts
from .function import find_node
from .ops import OPS, Ops
from .rewrite import compiled, lifted

Intervention: TypeAlias = Callable[[Tensor], Tensor]


class Intervened(Captured):
    """A model with functions applied to some of its values; made by :func:`intervene`.

    It shares its parameters, buffers and submodules with the model.

    Parameters
    ----------
    made_by : tuple
        What :func:`intervene` was given: the model, the functions, the operations, and example inputs.
    graph : torch.fx.Graph
        The model's canonical graph with calls of the functions.
    """

    made_by: tuple[nn.Module, dict[str, Intervention], Ops, tuple[Any, ...] | None]

    def __init__(
        self, made_by: tuple[nn.Module, dict[str, Intervention], Ops, tuple[Any, ...] | None], graph: fx.Graph
    ) -> None:
        super().__init__()
        model = made_by[0]
        self.__dict__.update(_parameters=model._parameters, _buffers=model._buffers, _modules=model._modules)
        self.__dict__.update(training=False, made_by=made_by, graph=graph)
        self.program = _Program(graph, graph.output_node().args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        model, functions, ops, example_inputs = self.made_by
        return _intervened, (model, functions, None if ops is OPS else ops, example_inputs)

    def forward(self, *inputs: Any) -> Any:
        """Return what the model returns if the functions change its values on the way."""
        return self.program(self, inputs)


def intervene(
    model: nn.Module,
    functions: Mapping[str, Intervention],
    *,
    ops: Ops = OPS,
    example_inputs: tuple[Any, ...] | None = None,
) -> Intervened:
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
    example_inputs : tuple, optional
        As for :func:`relfunc.lrp`.

    Returns
    -------
    Intervened
        A module with the parameters of the model, which takes positional inputs, for everything that takes a model.

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
    graph = _copied(canonize(capture(model, example_inputs), ops))
    known = facts(graph, ops)
    found = [(find_node(graph, known, name), function) for name, function in functions.items()]
    for node, function in found:
        with graph.inserting_after(node):
            changed = graph.call_function(function, (node,))
        changed.meta = {"path": "", "module": type(model), "line": ""}
        node.replace_all_uses_with(changed, lambda user, changed=changed: user is not changed)
    graph.lint()
    return Intervened((model, dict(functions), ops, example_inputs), graph)


def activations(
    model: nn.Module,
    nodes: Sequence[str],
    *,
    ops: Ops = OPS,
    example_inputs: tuple[Any, ...] | None = None,
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
    example_inputs : tuple, optional
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
    graph = canonize(capture(model, example_inputs), ops)
    known = facts(graph, ops)
    program = _Program(graph, (graph.output_node().args[0], [find_node(graph, known, name) for name in nodes]))

    def run(*inputs: Any) -> tuple[Any, dict[str, Tensor]]:
        output, values = program(model, inputs)
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
    example_inputs : tuple, optional
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
    graph = canonize(capture(model, example_inputs), ops)
    known = facts(graph, ops)
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


def _intervened(model: nn.Module, functions: dict[str, Intervention], ops: Ops | None, example: Any) -> Intervened:
    return intervene(model, functions, ops=ops or OPS, example_inputs=example)


def _copied(graph: fx.Graph) -> fx.Graph:
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    return copy


class _Program:
    """Runs a graph with the parameters that a model has at the time.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    returned : Any
        Nodes of it, nested as the program is to return them.
    """

    def __init__(self, graph: fx.Graph, returned: Any) -> None:
        self.paths = tuple(dict.fromkeys(node.target for node in graph.find_nodes(op="get_attr")))
        copy, copies = lifted(graph, self.paths)
        copy.output(fx.map_arg(returned, copies.__getitem__))
        self.function = compiled(copy)

    def __call__(self, model: nn.Module, inputs: Sequence[Any]) -> Any:
        flat = [one for value in inputs for one in (value if isinstance(value, tuple) else (value,))]
        return self.function(*flat, *(parameter(model, path) for path in self.paths))
