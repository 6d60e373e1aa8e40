"""The function that :func:`lrp` returns: the model's forward, and a backward that is relevance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..composites.assignment import AnyComposite, assign
from ..graph.arguments import as_call
from ..graph.calls import is_smooth
from ..graph.canonize import canonize
from ..graph.captured import Captured, captured_for, parameter, share
from ..graph.facts import Facts, facts
from ..graph.nodes import find_node
from ..ops.table import OPS, Ops
from ..rules import row_of
from ..rules.tables import AnyRule
from .rewrite import Program, rewrite


def lrp(
    model: nn.Module,
    composite: AnyComposite,
    *,
    ops: Ops = OPS,
    example_inputs: Any = None,
    check: bool = True,
) -> "Relevance":
    """Return a function with a model's forward, whose vector-Jacobian product is layer-wise relevance.

    The model is captured, not changed; its parameters are read whenever the function runs.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode; or what :func:`relfunc.capture` returned.
    composite : callable
        The rule of each operation, such as :func:`relfunc.composites.epsilon_plus_flat`.
    ops : mapping
        The operations, :data:`relfunc.ops.OPS` or a table made from it.
    example_inputs : Tensor, tuple or mapping, optional
        An input, as for :func:`relfunc.capture`; a model that cannot be traced even so is exported.
    check : bool
        Whether to compare what was captured with the model, on the first call for each kind of input.

    Returns
    -------
    Relevance
        A module with the parameters of the model, which takes and returns what the model does, for
        :func:`relfunc.gradient`, :func:`torch.func.vjp`, :func:`torch.autograd.grad` and their relatives.

    Raises
    ------
    CaptureError, CanonizeError
        If the model is in training mode or is no function of its inputs; when it is called, if what was captured is not
        the model.
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
    return _made(captured_for(model, example_inputs, ops, check), composite)


def _made(captured: Captured, composite: AnyComposite) -> "Relevance":
    graph = canonize(captured.graph, captured._origin.ops)
    known = facts(graph)
    rules = assign(graph, known, composite)
    constants = {node for node, rule in rules.items() if row_of(rule).constant}
    if constants:
        known = facts(graph, constants)
        rules = assign(graph, known, composite, warns=False)
    return Relevance(Lrp(captured, composite, graph, known, rules, rewrite(graph, known, rules)))


@dataclass(frozen=True, eq=False)
class Lrp:
    """What a :class:`Relevance` is made of.

    Parameters
    ----------
    captured : Captured
        The model.
    composite : callable
        The rule of each operation.
    graph : torch.fx.Graph
        The model's canonical graph.
    known : Facts
        The graph's facts.
    rules : dict
        The rule of every data operation.
    program : Program
        What computes output and relevance.
    """

    captured: Captured
    composite: AnyComposite
    graph: fx.Graph
    known: Facts
    rules: dict[fx.Node, AnyRule]
    program: Program

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.captured._origin.model

    def at(self, nodes: Sequence[str]) -> Program:
        """Return the program that computes the relevance of further nodes, after the inputs'."""
        return rewrite(self.graph, self.known, self.rules, nodes)

    def values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Arrange the arguments of a call as the program takes them."""
        return self.captured._origin.arguments.values(args, kwargs)

    def parameters(self) -> list[Tensor]:
        """Read the model's parameters and buffers, as they are now."""
        return [parameter(self.model, path) for path in self.program.parameters]

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any], output: Any) -> None:
        """Compare an output with the model's own, where that was not done yet."""
        self.captured._origin.check(args, kwargs, values, output)


class Relevance(nn.Module):
    """A model's forward with relevance as its backward; made by :func:`lrp`.

    It shares its parameters, buffers and submodules with the model. All that is its own is one private attribute, so
    that a model's children may have any name.

    Parameters
    ----------
    lrp : Lrp
        What it was made of.
    """

    _lrp: Lrp

    def __init__(self, lrp: Lrp) -> None:
        super().__init__()
        share(self, lrp.model)
        self.__dict__["_lrp"] = lrp

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._lrp.captured, self._lrp.composite)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns; differentiating it gives relevance."""
        lrp = self._lrp
        values = lrp.values(args, kwargs)
        flat, spec = pytree.tree_flatten(values)
        output = lrp.program.arrange(_WholeModel.apply(lrp.program, spec, *flat, *lrp.parameters()))
        lrp.check(args, kwargs, values, output)
        return output

    def relevance(self, x: Any, seed: Callable[[Any], Any], nodes: Program | None = None) -> tuple[Any, Any]:
        """Run the model and propagate relevance in one go, without autograd.

        Parameters
        ----------
        x : Tensor, tuple or mapping
            The model's input, or a tuple of its positional arguments, or its arguments by name.
        seed : callable
            From the output to its relevance.
        nodes : Program, optional
            A program that returns relevance of further nodes.

        Returns
        -------
        tuple
            The output, and relevance of the structure of ``x``, with None for what is no floating-point tensor; with
            ``nodes`` the relevance of these instead.
        """
        lrp, (args, kwargs) = self._lrp, as_call(x)
        program = nodes or lrp.program
        values = lrp.values(args, kwargs)
        output, relevances = program.run(*values, *lrp.parameters(), seed)
        lrp.check(args, kwargs, values, output)
        if nodes is not None:
            return output, relevances[len(values) :]
        return output, lrp.captured._origin.arguments.arranged(x, list(relevances))

    def program_at(self, names: Sequence[str]) -> Program:
        """Return a program that also returns the relevance of nodes, for :meth:`relevance`.

        Raises
        ------
        UnknownNodeError
            If there is no such operation or module, or several.
        """
        lrp = self._lrp
        return lrp.at([find_node(lrp.graph, lrp.known, name).name for name in names])


class _WholeModel(torch.autograd.Function):
    """The model's forward, with the program's relevance as its backward.

    Only inputs and parameters are saved: the backward runs the program from them, so that it is a differentiable
    function of what the forward was given, and its own derivative is right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(program: Program, spec: pytree.TreeSpec, *flat: Any) -> tuple[Any, ...]:
        outputs = program.forward(*_nested(spec, flat))
        return tuple(y.view_as(y) if isinstance(y, Tensor) else y for y in pytree.tree_leaves(outputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.program, ctx.spec, *flat = inputs
        ctx.others = [None if isinstance(a, Tensor) else a for a in flat]
        ctx.save_for_backward(*(a for a in flat if isinstance(a, Tensor)))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        tensors = iter(ctx.saved_tensors)
        flat = [next(tensors) if a is None else a for a in ctx.others]
        n = ctx.spec.num_leaves
        _, relevances = ctx.program.run(*_nested(ctx.spec, flat), lambda _: ctx.program.arrange(cotangents))
        given = pytree.tree_leaves(list(relevances))
        return (
            None,
            None,
            *(r if isinstance(r, Tensor) and is_smooth(r) else None for r in given),
            *(None for _ in flat[n:]),
        )


def _nested(spec: pytree.TreeSpec, flat: Sequence[Any]) -> list[Any]:
    """Arrange flat inputs and parameters as a program takes them."""
    return [*pytree.tree_unflatten(list(flat[: spec.num_leaves]), spec), *flat[spec.num_leaves :]]
