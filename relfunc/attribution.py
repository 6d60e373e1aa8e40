"""Attribution methods as transforms: each takes a function and returns ``(x, target) -> (output, attribution)``."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .errors import RelfuncError
from .explanation import Explain, method
from .function import Relevance
from .memory import is_transformed

Target: TypeAlias = int | Tensor | Callable[[Any], Any] | None


class TargetError(RelfuncError, ValueError):
    """A target does not fit the output it was given for."""


class InputError(RelfuncError, ValueError):
    """An input cannot be explained."""


def seed(target: Target) -> Callable[[Any], Any]:
    """Turn a target into the function from a model's output to the relevance it starts with.

    Parameters
    ----------
    target : int, Tensor, callable or None
        A class; a tensor of class indices ``(sample,)``; a tensor of the output's shape, taken as it is; a function
        from the output to such a tensor; or None for the output itself.

    Returns
    -------
    callable
        For classes, the relevance is 1 at the class and 0 elsewhere.

    Raises
    ------
    TargetError
        When it is called, if the target does not fit the output.

    Examples
    --------
    >>> seed(torch.tensor([1, 0]))(torch.zeros(2, 3))
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """
    if target is None:
        return lambda output: output
    if isinstance(target, bool) or not (isinstance(target, int | Tensor) or callable(target)):
        raise TargetError(f"a target is an int, a tensor, a function of the output or None, not {target!r}")
    if not isinstance(target, int | Tensor):
        return target

    def from_class(output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise TargetError(
                f"the model returned a {type(output).__name__}, of which {_described(target)} names no part: "
                "give a function from the output to relevance of the same structure"
            )
        if isinstance(target, Tensor) and target.shape == output.shape and target.is_floating_point():
            return target.to(output)
        return _one_hot(target, output)

    return from_class


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
        ``(x, target=None) -> (output, attribution)``. ``x`` is a floating-point tensor, ``(sample, ...)``, or a tuple
        of them for a model of several inputs; ``target`` is what :func:`seed` takes; the attribution has the shape and
        dtype of ``x``.

    Raises
    ------
    InputError
        When it is called, if ``x`` is not a finite floating-point tensor.
    TargetError
        When it is called, if the target does not fit the output.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 3).eval()
    >>> output, attribution = gradient(model)(torch.ones(1, 2), 1)
    >>> bool((attribution == model.weight[1]).all())
    True
    """

    def explain(x: Tensor | tuple[Tensor, ...], target: Target = None) -> tuple[Any, Any]:
        xs, transformed = _checked(x, f)
        tracked = create_graph or transformed
        if isinstance(f, Relevance):
            with torch.set_grad_enabled(tracked and torch.is_grad_enabled()):
                output, attributions = f.relevance(f.inputs(*xs), seed(target))
        elif transformed:
            output, vjp = torch.func.vjp(f, *xs)[:2]
            attributions = vjp(seed(target)(output))
        else:
            output, attributions = _autograd(f, xs, seed(target), create_graph)
        return output, attributions if isinstance(x, tuple) else attributions[0]

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
        ``x -> (output, attribution)``, the attribution of shape ``(class, *x.shape)``.

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

    def explain(x: Tensor) -> tuple[Tensor, Tensor]:
        _, transformed = _checked((x,), f)
        with torch.no_grad():
            output = f(x)
        if not isinstance(output, Tensor) or output.ndim != 2:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise TargetError(f"the model's output is {got}, not (sample, class): it has no classes to go through")
        explain_one = gradient(f)

        def of_class(hot: Tensor) -> Tensor:
            return explain_one(x, lambda y: hot.expand(y.shape))[1]

        classes = torch.eye(output.shape[1], dtype=output.dtype, device=output.device)
        # each class's attribution would otherwise keep all that it was computed from
        with torch.set_grad_enabled((create_graph or transformed) and torch.is_grad_enabled()):
            return output, torch.func.vmap(of_class, chunk_size=chunk_size)(classes)

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
    names = [f.node_named(node) for node in nodes]
    program = f.program_at(names)

    def explain(x: Tensor | tuple[Tensor, ...], target: Target = None) -> tuple[Any, dict[str, Tensor]]:
        xs, tracked = _checked(x, f)
        with torch.set_grad_enabled(tracked and torch.is_grad_enabled()):
            output, relevances = program.run(*f.inputs(*xs), *f.parameter_values(), seed(target))
        return output, dict(zip(nodes, relevances[len(xs) :], strict=True))

    return explain


def _autograd(
    f: Callable[..., Any], xs: tuple[Tensor, ...], start: Callable[[Any], Any], create_graph: bool
) -> tuple[Any, tuple[Tensor, ...]]:
    with torch.enable_grad():
        leaves = xs if create_graph else tuple(x.detach() for x in xs)
        leaves = tuple(x if x.requires_grad else x.detach().requires_grad_() for x in leaves)
        output = f(*leaves)
        outputs, cotangents = pytree.tree_leaves(output), pytree.tree_leaves(start(output))
        attributions = torch.autograd.grad(outputs, leaves, cotangents, create_graph=create_graph)
    if not create_graph:
        output = pytree.tree_map_only(Tensor, Tensor.detach, output)
    return output, attributions


def _checked(x: Any, f: Callable[..., Any]) -> tuple[tuple[Any, ...], bool]:
    """Return the inputs, checked unless a transform hides their values, and whether one does."""
    xs = x if isinstance(x, tuple) else (x,)
    transformed = is_transformed()
    if not transformed:
        for value in xs:
            _check_input(value, f)
    return xs, transformed


def _check_input(x: Any, f: Callable[..., Any]) -> None:
    if not isinstance(x, Tensor):
        raise InputError(f"an input is a {type(x).__name__}, not a tensor: convert it with torch.as_tensor")
    if not x.is_floating_point():
        raise InputError(f"the input is {x.dtype}, which has no gradient: convert it, as with x.float()")
    device = next((p.device for p in f.parameters()), x.device) if isinstance(f, torch.nn.Module) else x.device
    if device != x.device:
        raise InputError(f"the input is on {x.device} and the model on {device}: move one, as with x.to('{device}')")
    finite = torch.isfinite(x)
    if not finite.all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise InputError(f"the input is {x[where].item()} at {where}: relevance of it would be NaN everywhere")


def _one_hot(target: int | Tensor, output: Tensor) -> Tensor:
    if output.ndim != 2:
        raise TargetError(
            f"the model's output has shape {tuple(output.shape)}, not (sample, class), so that {_described(target)} "
            "names no part of it: give a tensor of that shape, or a function from the output to one"
        )
    samples, classes = output.shape
    index = torch.as_tensor(target, device=output.device)
    if index.is_floating_point() or index.dtype == torch.bool or index.shape not in {(), (samples,)}:
        raise TargetError(
            f"{_described(target)} fits no output of shape {tuple(output.shape)}: give an int, one class index for "
            f"each of the {samples} samples, or a floating-point tensor of the output's shape"
        )
    if not is_transformed() and bool(((index < 0) | (index >= classes)).any()):
        raise TargetError(f"{_described(target)} is out of range: the model has classes 0 … {classes - 1}")
    hot = torch.arange(classes, device=output.device) == index.unsqueeze(-1)
    return hot.to(output.dtype).expand(output.shape)


def _described(target: int | Tensor) -> str:
    if isinstance(target, int):
        return f"target {target}"
    if target.numel() <= 16 and not is_transformed():
        return f"target {target.tolist()}"
    return f"a target of shape {tuple(target.shape)} and {target.dtype}"
