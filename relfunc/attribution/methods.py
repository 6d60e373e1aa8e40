"""Attribution methods made from many evaluations: smoothed, integrated, and by occlusion.

Each is a transform like :func:`relfunc.gradient`: it takes a model, or what :func:`relfunc.lrp` returned, and returns
``(x, target=None) -> (output, attribution)``, where ``x`` and the attribution are one tensor or several, as it says.
:mod:`relfunc.relevance.target` says what a target means: it is read at the output of ``x``, and holds for all
evaluations. These are stacked into batches of ``chunk_size``, or made one after the other if the first axis of some
input is not the samples; ``progress`` is called with (done, total) after each.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InputError, RelfuncError, TargetError
from ..graph.memory import is_transformed
from ..relevance.inputs import Inputs, attributed, call, checked, explained, is_stackable, of_explained, stacked
from ..relevance.target import Seed, Target, score
from ..relevance.target import seed as seed_of
from .explanation import Explain, method
from .transforms import gradient

Progress: TypeAlias = Callable[[int, int], None]


class MethodError(RelfuncError, ValueError):
    """An attribution method was given options it cannot work with."""


@method
def input_x_gradient(f: Callable[..., Any]) -> Explain:
    """Attribute by the product of the input and the gradient (or relevance).

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``, as :func:`relfunc.gradient` describes.

    References
    ----------
    Shrikumar et al., "Not just a black box: learning important features through propagating activation differences",
    2016, section 2.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False).eval()
    >>> y, attribution = input_x_gradient(model)(torch.ones(1, 2), 0)
    >>> bool(torch.isclose(attribution.sum(), y.sum()))
    True
    """
    explain = gradient(f)

    def explain_product(x: Inputs, target: Target = None) -> tuple[Any, Any]:
        output, attribution = explain(x, target)
        x = checked(x, f)
        return output, attributed(x, [a * r for a, r in zip(explained(x), of_explained(x, attribution), strict=True)])

    return explain_product


@method
def smoothgrad(
    f: Callable[..., Any],
    *,
    samples: int = 20,
    noise: float = 0.1,
    seed: int = 0,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Explain:
    """Attribute by the mean gradient (or relevance) over noisy copies of the input.

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned.
    samples : int
        Noisy copies of each input.
    noise : float
        Standard deviation of the Gaussian noise, relative to the range (maximum − minimum) of each input.
    seed : int
        Of the noise; the same noise for the same seed and shape. Several inputs get theirs one after the other, as
        they are given.
    chunk_size : int, optional
        Most inputs to evaluate at once; all by default.
    progress : callable, optional
        Called with the number of evaluations done and their total.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``; the output is that of ``x`` without noise, and all copies start
        with the relevance that the target gives it.

    References
    ----------
    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, equation 1.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1).eval()
    >>> _, attribution = smoothgrad(model, samples=3)(torch.ones(1, 2), 0)
    >>> bool(torch.allclose(attribution, model.weight))
    True
    """
    _check_at_least_one(samples=samples)
    if not noise >= 0:
        raise MethodError(f"noise is {noise}: give a standard deviation of 0 or more, relative to the input's range")

    def explain(x: Inputs, target: Target = None) -> tuple[Any, Any]:
        x = checked(x, f)
        output = _output(f, x)
        weights = seed_of(target)(output)
        values = explained(x)
        generators = {value.device: torch.Generator(value.device).manual_seed(seed) for value in values}
        scales = [noise * _range(value) for value in values]

        def gaussian(value: Tensor) -> Tensor:
            on = value.device
            return torch.randn(value.shape, generator=generators[on], dtype=value.dtype, device=on)

        def copy(_: int) -> list[Tensor]:
            return [value + scale * gaussian(value) for value, scale in zip(values, scales, strict=True)]

        mean = _weighted_sum(f, x, output, lambda y: weights, copy, [1 / samples] * samples, chunk_size, progress)
        return output, attributed(x, mean)

    return explain


@method
def integrated_gradients(
    f: Callable[..., Any],
    *,
    baseline: Any = 0.0,
    steps: int = 20,
    rule: Literal["gauss_legendre", "riemann"] = "gauss_legendre",
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Explain:
    """Attribute by the gradient (or relevance) integrated along the line from a baseline to the input.

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned.
    baseline : float, Tensor, tuple, mapping, None or callable
        Where the line starts: a number or tensor that broadcasts to the input; for several inputs, a number, or these
        in the structure of the inputs; or a function of the input. None is 0.
    steps : int
        Evaluations along the line.
    rule : {"gauss_legendre", "riemann"}
        Quadrature: Gauss–Legendre converges fast for smooth models; ``riemann`` is the right Riemann sum.
    chunk_size : int, optional
        Most inputs to evaluate at once; all by default.
    progress : callable, optional
        Called with the number of evaluations done and their total.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``. The attributions of a sample sum to the difference of its score,
        as :func:`relfunc.relevance.target.score` describes, from that at the baseline, up to the error of the
        quadrature; the score is the output of the target's class, and the sum of the output without a target.

    References
    ----------
    Sundararajan et al., "Axiomatic attribution for deep networks", ICML 2017, equations 1 and 3.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).eval()
    >>> x = torch.randn(2, 3)
    >>> y, attribution = integrated_gradients(model)(x, 0)
    >>> bool(torch.allclose(attribution.sum(1), (y - model(torch.zeros(1, 3)))[:, 0].detach(), atol=1e-5))
    True
    """
    _check_at_least_one(steps=steps)
    if rule == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = ((points + 1) / 2).tolist(), (weights / 2).tolist()
    elif rule == "riemann":
        nodes, weights = [(i + 1) / steps for i in range(steps)], [1 / steps] * steps
    else:
        raise MethodError(f"rule is {rule!r}: give 'gauss_legendre' or 'riemann'")

    def explain(x: Inputs, target: Target = None) -> tuple[Any, Any]:
        x = checked(x, f)
        output = _output(f, x)
        starts = _line_starts(baseline(x) if callable(baseline) else baseline, x)
        lines = [value - start for value, start in zip(explained(x), starts, strict=True)]

        def copy(i: int) -> list[Tensor]:
            return [start + nodes[i] * line for start, line in zip(starts, lines, strict=True)]

        _, slope = score(target, output)
        mean = _weighted_sum(f, x, output, slope, copy, weights, chunk_size, progress)
        return output, attributed(x, [line * part for line, part in zip(lines, mean, strict=True)])

    return explain


@method
def occlusion(
    f: Callable[..., Any],
    *,
    window: int | Sequence[int] = 8,
    stride: int | Sequence[int] = 8,
    fill: float = 0.0,
    mode: Literal["drop", "keep"] = "drop",
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Explain:
    """Attribute by how the output changes when a window of the input is hidden.

    Parameters
    ----------
    f : callable
        A model, or what :func:`relfunc.lrp` returned.
    window, stride : int or sequence of int
        Size of the window and distance between windows, for each axis behind ``(sample, channel)`` (or behind
        ``sample``, for an input of two axes), or one number for all of them. The last window of an axis is cut short.
    fill : float
        What hidden values become.
    mode : {"drop", "keep"}
        ``drop`` hides the window, and attributes how much the score falls; ``keep`` hides all but the window, and
        attributes the score that is left.
    chunk_size : int, optional
        Most inputs to evaluate at once; all by default.
    progress : callable, optional
        Called with the number of evaluations done and their total.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``. The score is the output of the target's class, the sum of the
        output weighted by a target of its shape, the sum of the output without a target, or what
        :func:`relfunc.relevance.target.score` says of a target function. Where windows overlap, a value gets the mean
        over those that cover it; where none does, 0. Of several inputs, one after the other is hidden, and the others
        kept whole; of an input that the samples share, the attribution is the sum over them.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.

    Examples
    --------
    >>> model = torch.nn.Linear(3, 1, bias=False).eval()
    >>> x = torch.ones(1, 3)
    >>> _, attribution = occlusion(model, window=1, stride=1)(x, 0)
    >>> bool(torch.allclose(attribution, model.weight))
    True
    """
    if mode not in {"drop", "keep"}:
        raise MethodError(f"mode is {mode!r}: give 'drop' or 'keep'")

    @torch.no_grad()
    def explain(x: Inputs, target: Target = None) -> tuple[Any, Any]:
        x = checked(x, f)
        values, output = explained(x), call(f, x)
        samples, (scored, _) = _samples(output), score(target, output)
        whole = scored(output)
        hidings = [(i, at) for i, value in enumerate(values) for at in _windows(_axes(value), window, stride)]
        totals = [torch.zeros_like(value) for value in values]
        covered = [torch.zeros(_axes(value), dtype=value.dtype, device=value.device) for value in values]
        for part in _parts(x, samples, len(hidings), chunk_size):
            copies = [
                [_hide(value, at, fill, mode) if i == hidden else value for i, value in enumerate(values)]
                for hidden, at in (hidings[k] for k in part)
            ]
            outputs = _split(call(f, stacked(x, copies)), samples, len(part))
            for (i, at), seen in zip((hidings[k] for k in part), outputs, strict=True):
                change = whole - scored(seen) if mode == "drop" else scored(seen)
                is_shared = values[i].ndim == 0 or len(values[i]) != samples
                totals[i][(..., *at)] += change.sum() if is_shared else change.view(-1, *(1,) * (values[i].ndim - 1))
                covered[i][at] += 1
            if progress is not None:
                progress(part.stop * samples, len(hidings) * samples)
        means = [total / count.clamp(min=1) for total, count in zip(totals, covered, strict=True)]
        return output, attributed(x, means)

    return explain


# --- many evaluations ---------------------------------------------------------------------------------


def _weighted_sum(
    f: Callable[..., Any],
    x: Inputs,
    output: Any,
    start: Seed,
    copy: Callable[[int], list[Tensor]],
    weights: Sequence[float],
    chunk_size: int | None,
    progress: Progress | None,
) -> list[Tensor]:
    """Sum the attributions of copies of ``x``, as many at a time as fit in a chunk."""
    explain, samples, values = gradient(f), _samples(output), explained(x)
    totals = [torch.zeros_like(value) for value in values]
    for part in _parts(x, samples, len(weights), chunk_size):

        def start_each(outputs: Any, copies: int = len(part)) -> Any:
            return _joined([start(one) for one in _split(outputs, samples, copies)])

        _, attribution = explain(stacked(x, [copy(i) for i in part]), start_each)
        for i, found in enumerate(of_explained(x, attribution)):
            weight = torch.tensor([weights[k] for k in part], dtype=found.dtype, device=found.device)
            totals[i] = totals[i] + torch.tensordot(weight, found.reshape(len(part), *values[i].shape), 1)
        if progress is not None:
            progress(part.stop * samples, len(weights) * samples)
    return totals


def _parts(x: Inputs, samples: int, count: int, chunk_size: int | None) -> Iterator[range]:
    """Say which copies of the inputs are evaluated at once."""
    copies = (chunk_size or count * samples) // max(1, samples) if is_stackable(x, samples) else 1
    for first in range(0, count, max(1, copies)):
        yield range(first, min(first + max(1, copies), count))


def _split(output: Any, samples: int, copies: int) -> list[Any]:
    """Undo the stacking of copies."""
    if copies == 1:
        return [output]
    leaves, spec = pytree.tree_flatten(output)
    each = [leaf.split(samples) if isinstance(leaf, Tensor) else (leaf,) * copies for leaf in leaves]
    return [pytree.tree_unflatten(part, spec) for part in zip(*each, strict=True)]


def _joined(parts: list[Any]) -> Any:
    """Stack what copies start with."""
    return pytree.tree_map(lambda *of: torch.cat(of) if isinstance(of[0], Tensor) else of[0], *parts)


def _output(f: Callable[..., Any], x: Inputs) -> Any:
    with torch.set_grad_enabled(is_transformed() and torch.is_grad_enabled()):
        return call(f, x)


def _samples(output: Any) -> int:
    shapes = [leaf.shape for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    if not shapes or not all(shapes):
        raise TargetError("the model's output has no axis of samples: return one value or more for each sample")
    return shapes[0][0]


def _range(x: Tensor) -> Tensor:
    rest = tuple(range(1, x.ndim))
    return x.amax(rest, keepdim=True) - x.amin(rest, keepdim=True)


def _line_starts(baseline: Any, x: Inputs) -> list[Tensor]:
    given = [baseline]
    if not isinstance(x, Tensor):
        leaves, spec = pytree.tree_flatten(x)
        given = pytree._broadcast_to_and_flatten(baseline, spec)
        if given is None:
            raise InputError(
                f"the baseline is a {type(baseline).__name__} without the structure of the inputs: give one number "
                "for all of them, or numbers and tensors in their structure"
            )
        given = [start for start, leaf in zip(given, leaves, strict=True) if explained((leaf,))]
    return [_line_start(start, value) for start, value in zip(given, explained(x), strict=True)]


def _line_start(start: Any, value: Tensor) -> Tensor:
    start = torch.as_tensor(0.0 if start is None else start, dtype=value.dtype, device=value.device)
    try:
        return start.expand(value.shape)
    except RuntimeError as error:
        raise InputError(f"the baseline does not broadcast to an input of shape {tuple(value.shape)}") from error


def _axes(x: Tensor) -> torch.Size:
    return x.shape[2:] if x.ndim > 2 else x.shape[1:]


def _windows(shape: Sequence[int], window: int | Sequence[int], stride: int | Sequence[int]) -> list[tuple[slice, ...]]:
    sizes, strides = _per_axis(window, shape, "window"), _per_axis(stride, shape, "stride")
    axes = [
        [slice(at, min(at + w, size)) for at in range(0, size, s)]
        for size, w, s in zip(shape, sizes, strides, strict=True)
    ]
    return list(product(*axes))


def _hide(x: Tensor, at: tuple[slice, ...], fill: float, mode: str) -> Tensor:
    hidden = x.clone() if mode == "drop" else torch.full_like(x, fill)
    hidden[(..., *at)] = fill if mode == "drop" else x[(..., *at)]
    return hidden


def _per_axis(value: int | Sequence[int], shape: Sequence[int], name: str) -> tuple[int, ...]:
    values = (value,) * len(shape) if isinstance(value, int) else tuple(value)
    if len(values) != len(shape) or any(v < 1 for v in values) or math.prod(shape) == 0:
        raise MethodError(f"{name} is {value} for axes of sizes {tuple(shape)}: give a positive size for each of them")
    return values


def _check_at_least_one(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise MethodError(f"{name} is {value}: give at least 1")
