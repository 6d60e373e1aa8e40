"""The function that :func:`lrp` returns: the model's forward, and a backward that is relevance."""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from .assignment import AnyComposite, assign
from .canonize import canonize
from .capture import capture, parameter
from .errors import RelfuncError
from .facts import Facts, facts
from .ops import OPS, Ops
from .rewrite import Program, rewrite
from .tables import AnyRule


class UnknownNodeError(RelfuncError, KeyError):
    """A model has no operation or module of that name."""

    def __str__(self) -> str:
        return str(self.args[0])


def lrp(
    model: nn.Module,
    composite: AnyComposite,
    *,
    ops: Ops = OPS,
    example_inputs: tuple[Any, ...] | None = None,
) -> "Relevance":
    """Return a function with a model's forward, whose vector-Jacobian product is layer-wise relevance.

    The model is captured, not changed; its parameters are read whenever the function runs.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    composite : callable
        The rule of each operation, such as :func:`relfunc.composites.epsilon_plus_flat`.
    ops : mapping
        The operations, :data:`relfunc.ops.OPS` or a table made from it.
    example_inputs : tuple, optional
        Positional inputs, for models that can only be captured by :func:`torch.export.export`.

    Returns
    -------
    Relevance
        A module with the parameters of the model, which takes and returns what the model does, for
        :func:`relfunc.gradient`, :func:`torch.func.vjp`, :func:`torch.autograd.grad` and their relatives.

    Raises
    ------
    CaptureError, CanonizeError
        If the model is in training mode or is no function of its inputs.
    CompositeError
        If an operation gets no rule.

    References
    ----------
    Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
    propagation", PLoS ONE 2015.

    Examples
    --------
    >>> from relfunc import composites
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)).eval()
    >>> f = lrp(model, composites.epsilon_plus(epsilon=1e-9))
    >>> x = torch.rand(1, 3)
    >>> y, vjp = torch.func.vjp(f, x)
    >>> bool((y == model(x)).all()), bool(torch.isclose(vjp(y)[0].sum(), y.sum()))
    (True, True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"lrp takes a torch.nn.Module, not {type(model).__name__}: wrap the function in one")
    graph = canonize(capture(model, example_inputs), ops)
    known = facts(graph, ops)
    made_by = (model, composite, ops, example_inputs)
    return Relevance(made_by, graph, known, assign(graph, known, composite))


def _captured(
    model: nn.Module, composite: AnyComposite, ops: Ops | None, example_inputs: tuple[Any, ...] | None
) -> "Relevance":
    return lrp(model, composite, ops=ops or OPS, example_inputs=example_inputs)


class Relevance(nn.Module):
    """A model's forward with relevance as its backward; made by :func:`lrp`.

    It shares its parameters, buffers and submodules with the model.

    Parameters
    ----------
    made_by : tuple
        What :func:`lrp` was given: the model, the composite, the operations, and example inputs.
    graph : torch.fx.Graph
        The model's canonical graph.
    known : Facts
        The graph's facts.
    rules : dict
        The rule of every data operation.
    """

    made_by: tuple[nn.Module, AnyComposite, Ops, tuple[Any, ...] | None]

    def __init__(
        self,
        made_by: tuple[nn.Module, AnyComposite, Ops, tuple[Any, ...] | None],
        graph: fx.Graph,
        known: Facts,
        rules: dict[fx.Node, AnyRule],
    ) -> None:
        super().__init__()
        model = made_by[0]
        self.__dict__.update(_parameters=model._parameters, _buffers=model._buffers, _modules=model._modules)
        self.__dict__.update(training=False, made_by=made_by)
        self.graph, self.known, self.rules = graph, known, rules
        self.signature = inspect.signature(model.forward)
        self.program = rewrite(graph, known, rules)

    def __reduce__(self) -> tuple[Any, ...]:
        model, composite, ops, example_inputs = self.made_by
        return _captured, (model, composite, None if ops is OPS else ops, example_inputs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns; differentiating it gives relevance."""
        inputs = self.inputs(*args, **kwargs)
        return self.program.arrange(_WholeModel.apply(self.program, *inputs, *self.parameter_values()))

    def relevance(self, inputs: Sequence[Tensor], seed: Callable[[Any], Any]) -> tuple[Any, tuple[Tensor, ...]]:
        """Run the model and propagate relevance in one go, without autograd.

        Parameters
        ----------
        inputs : sequence of Tensor
            The model's inputs.
        seed : callable
            From the output to its relevance.

        Returns
        -------
        tuple
            The output, and the relevance of each input.
        """
        return self.program.run(*inputs, *self.parameter_values(), seed)

    def node_named(self, name: str) -> str:
        """Return the node of that name, or the last of the module at that path.

        Raises
        ------
        UnknownNodeError
            If there is neither.
        """
        return find_node(self.graph, self.known, name).name

    def program_at(self, nodes: Sequence[str]) -> Program:
        """Rewrite the graph so that the relevance of further nodes is returned, after the inputs'."""
        return rewrite(self.graph, self.known, self.rules, nodes)

    def inputs(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """Arrange the arguments of a call as the graph takes them."""
        bound = self.signature.bind(*args, **kwargs).arguments
        flat: list[Any] = []
        for value in bound.values():
            flat.extend(value if isinstance(value, tuple) else (value,))
        if len(flat) != len(self.program.inputs):
            raise TypeError(f"the model was captured with inputs {self.program.inputs}, and got {len(flat)} values")
        return tuple(flat)

    def parameter_values(self) -> list[Tensor]:
        """Read the model's parameters and buffers, as they are now."""
        return [parameter(self, path) for path in self.program.parameters]


def find_node(graph: fx.Graph, known: Facts, name: str) -> fx.Node:
    """Return the data node of that name, the input so called, or the last node of the module at that path.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.
    name : str
        Of an operation as :func:`relfunc.plan` lists them, of an argument of the model, or the path of a module.

    Returns
    -------
    torch.fx.Node

    Raises
    ------
    UnknownNodeError
        If there is none.
    """
    data = [node for node in graph.nodes if node in known.data]
    exact = [node for node in data if name in {node.name, node.target}]
    inside = [node for node in data if f"{node.meta.get('path', '')}.".startswith(f"{name}.")]
    if not exact and not inside:
        close = get_close_matches(name, [node.name for node in data] + [n.meta.get("path", "") for n in data])
        raise UnknownNodeError(
            f"no operation or module '{name}'{f': did you mean {close[0]!r}?' if close else ''} "
            "(relfunc.plan lists them)"
        )
    return (exact or inside)[-1]


class _WholeModel(torch.autograd.Function):
    """The model's forward, with the program's relevance as its backward.

    Only inputs and parameters are saved: the backward runs the program from them, so that it is a differentiable
    function of what the forward was given, and its own derivative is right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(program: Program, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = dict.fromkeys(pytree.tree_leaves(program.forward(*tensors)))
        return tuple(y.view_as(y) for y in outputs if isinstance(y, Tensor))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.program, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        _, relevances = ctx.program.run(*tensors, lambda y: ctx.program.arrange(cotangents))
        return (None, *relevances, *(None for _ in tensors[len(relevances) :]))
