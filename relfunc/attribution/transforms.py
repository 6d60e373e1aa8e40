"""Attribution methods as transforms: each takes a function and returns ``(x, target) -> (output, attribution)``."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InputError, TargetError
from ..graph.memory import is_transformed
from ..graph.returned import leaves
from ..relevance.function import Relevance
from ..relevance.inputs import Inputs, attributed, call, checked, explained, replaced, trackable
from ..relevance.target import Seed, Target, part_of, seed
from .explanation import Explain, method

__all__ = ["InputError", "Target", "TargetError", "gradient", "per_class", "relevance_at", "seed"]


@method
def gradient(f: Callable[..., Any], *, create_graph: bool = False) -> Explain:
    """Attribute by the vector-Jacobian product: the gradient of a model, the relevance of what ``lrp`` returned.

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned.
    create_graph : bool
        Whether the attribution can be differentiated again by autograd. Inside transforms of :mod:`torch.func` it
        always can.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``. ``x`` is a floating-point tensor, ``(sample, ...)``; or, for a
        model of several inputs, a tuple of its positional arguments or a mapping of arguments by name, which may be
        nested tuples, lists and dicts. ``target`` is what :func:`relfunc.relevance.target.seed` takes. The attribution
        has the structure of ``x``, and the shape and dtype of each floating-point tensor; it is None for what else is
        among the arguments, such as masks, which are passed on. Of what ``lrp`` returned, integers that index tables
        of the model's, such as token ids, have relevance of their own shape in floating point: that of the rows which
        were looked up, summed over features.

    Raises
    ------
    InputError
        When it is called, if ``x`` has no floating-point tensor, or one that is not finite; or if the output does
        not depend on it.
    TargetError
        When it is called, if the target does not fit the output.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 3).eval()
    >>> output, attribution = gradient(model)(torch.ones(1, 2), 1)
    >>> bool((attribution == model.weight[1]).all())
    True
    """

    def explain(x: Inputs, target: Target = None) -> tuple[Any, Any]:
        x, start, transformed = checked(x, f, tokens=True), seed(target), is_transformed()
        if isinstance(f, Relevance):
            with torch.set_grad_enabled((create_graph or transformed) and torch.is_grad_enabled()):
                return f.relevance(x, start)
        output, attributions = _vjp(f, x, start) if transformed else _autograd(f, x, start, create_graph)
        return output, attributed(x, attributions)

    return explain


def per_class(
    f: Callable[..., Any], *, chunk_size: int | None = None, create_graph: bool = False
) -> Callable[[Any], tuple[Tensor, Any]]:
    """Attribute every class at once: one backward batched over the classes, and a forward more to count them.

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned; its output is ``(sample, class)``.
    chunk_size : int, optional
        Most classes to propagate at once, each with a forward of its own; all by default.
    create_graph : bool
        Whether the attributions can be differentiated again by autograd, as for :func:`gradient`.

    Returns
    -------
    callable
        ``x -> (output, attribution)``, the attribution of shape ``(class, *x.shape)``; of several inputs, which
        :func:`gradient` describes, in their structure.

    Raises
    ------
    TargetError
        When it is called, if the output is not ``(sample, class)``.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 3).eval()
    >>> output, attribution = per_class(model)(torch.ones(1, 2))
    >>> bool((attribution[:, 0] == model.weight).all())
    True
    """

    def explain(x: Inputs) -> tuple[Tensor, Any]:
        x, transformed = checked(x, f, tokens=True), is_transformed()
        with torch.no_grad():
            output = call(f, x)
        scores = part_of(0, output)
        if scores.ndim != 2:
            raise TargetError(
                f"the model's output is {tuple(scores.shape)}, not (sample, class): it has no classes to go through"
            )
        explain_one = gradient(f)

        structure: list[Any] = []

        def of_class(hot: Tensor) -> list[Tensor]:
            found, spec = pytree.tree_flatten(explain_one(x, lambda y: hot.expand(part_of(0, y).shape))[1])
            structure[:] = [spec, [a is not None for a in found]]
            return [a for a in found if a is not None]

        classes = torch.eye(scores.shape[1], dtype=scores.dtype, device=scores.device)
        # each class's attribution would otherwise keep all that it was computed from
        with torch.set_grad_enabled((create_graph or transformed) and torch.is_grad_enabled()):
            found = iter(torch.func.vmap(of_class, chunk_size=chunk_size)(classes))
        spec, explained_leaves = structure
        return output, pytree.tree_unflatten([next(found) if there else None for there in explained_leaves], spec)

    return explain


def relevance_at(f: Relevance, nodes: Sequence[str]) -> Callable[..., tuple[Any, dict[str, Tensor]]]:
    """Attribute to intermediate values: the relevance of what any operations or modules return.

    Parameters
    ----------
    f : Relevance
        What :func:`relfunc.lrp` returned.
    nodes : sequence of str
        Names of operations as :func:`relfunc.plan` lists them, or paths of modules, meaning their last operation.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, {node: relevance})``, each relevance of the shape of that value.

    Raises
    ------
    InputError
        If there is no such node, or ``f`` is a plain model.

    Examples
    --------
    >>> from relfunc import composites, lrp
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()
    >>> _, at = relevance_at(lrp(model, composites.epsilon_plus()), ["1"])(torch.ones(1, 2), 0)
    >>> at["1"].shape
    torch.Size([1, 3])
    """
    if not isinstance(f, Relevance):
        raise InputError("relevance_at takes what relfunc.lrp returned: a plain model has no named nodes")
    program = f.program_at(nodes)

    def explain(x: Inputs, target: Target = None) -> tuple[Any, dict[str, Tensor]]:
        x = checked(x, f, tokens=True)
        with torch.set_grad_enabled(is_transformed() and torch.is_grad_enabled()):
            output, relevances = f.relevance(x, seed(target), program)
        return output, dict(zip(nodes, relevances, strict=True))

    return explain


def _autograd(f: Callable[..., Any], x: Inputs, start: Seed, create_graph: bool) -> tuple[Any, Sequence[Tensor]]:
    with torch.inference_mode(False), torch.enable_grad():
        x, f = trackable(x), _trackable_model(f)
        # a view, since one tensor may be given as several inputs
        values = [
            value.view_as(value) if create_graph and value.requires_grad else value.detach().requires_grad_()
            for value in explained(x)
        ]
        output = call(f, replaced(x, values))
        seen = output if create_graph else pytree.tree_map_only(Tensor, Tensor.detach, output)
        pairs = zip(leaves(output), leaves(start(seen)), strict=True)
        pairs = [(y, c.to(y)) for y, c in pairs if isinstance(y, Tensor) and y.requires_grad and c is not None]
        if not pairs:
            raise InputError("the model's output does not depend on its input: does it compute with torch.no_grad()?")
        outputs, cotangents = zip(*pairs, strict=True)
        attributions = torch.autograd.grad(
            outputs, values, cotangents, create_graph=create_graph, materialize_grads=True
        )
    return seen, attributions


def _vjp(f: Callable[..., Any], x: Inputs, start: Seed) -> tuple[Any, Sequence[Tensor]]:
    with torch.inference_mode(False):
        x, f = trackable(x), _trackable_model(f)

        def run(*values: Tensor) -> tuple[list[Tensor], Any]:
            output = call(f, replaced(x, values))
            return [part for part in leaves(output) if isinstance(part, Tensor)], output

        found: Any = torch.func.vjp(run, *explained(x), has_aux=True)
        parts, vjp, output = found
        given = [c for part, c in zip(leaves(output), leaves(start(output)), strict=True) if isinstance(part, Tensor)]
        return output, vjp([torch.zeros_like(y) if c is None else c.to(y) for y, c in zip(parts, given, strict=True)])


def _trackable_model(f: Callable[..., Any]) -> Callable[..., Any]:
    """Let a model made in inference mode compute with copies of its parameters."""
    if not isinstance(f, nn.Module):
        return f
    named = chain(f.named_parameters(), f.named_buffers())
    copies = {name: value.detach().clone() for name, value in named if value.is_inference()}
    if not copies:
        return f
    return lambda *args, **kwargs: torch.func.functional_call(f, copies, args, kwargs)
