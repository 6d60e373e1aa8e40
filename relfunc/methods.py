"""Attribution methods made from many evaluations: smoothed, integrated, and by occlusion.

Each is a transform like :func:`relfunc.gradient`: it takes a model, or what :func:`relfunc.lrp` returned, and returns
``(x, target=None) -> (output, attribution)``. The evaluations of all samples are stacked into batches of
``chunk_size``; ``progress`` is called with (done, total) after each.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .attribution import InputError, Target, gradient, seed
from .errors import RelfuncError
from .explanation import Explain, method

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

    def explained(x: Tensor, target: Target = None) -> tuple[Any, Tensor]:
        output, attribution = explain(x, target)
        return output, x * attribution

    return explained


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
        Of the noise; the same noise for the same seed and shape.
    chunk_size : int, optional
        Most inputs to evaluate at once; all by default.
    progress : callable, optional
        Called with the number of evaluations done and their total.

    Returns
    -------
    callable
        ``(x, target=None) -> (output, attribution)``; the output is that of ``x`` without noise.

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

    def explained(x: Tensor, target: Target = None) -> tuple[Any, Tensor]:
        generator = torch.Generator(x.device).manual_seed(seed)
        rest = tuple(range(1, x.ndim))
        scale = noise * (x.amax(rest, keepdim=True) - x.amin(rest, keepdim=True))

        def copy(_: int) -> Tensor:
            return x + scale * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

        mean = _weighted_sum(f, x, target, copy, [1 / samples] * samples, chunk_size, progress)
        return _output(f, x), mean

    return explained


@method
def integrated_gradients(
    f: Callable[..., Any],
    *,
    baseline: float | Tensor | Callable[[Tensor], Tensor] = 0.0,
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
    baseline : float, Tensor or callable
        Where the line starts: a number or tensor that broadcasts to the input, or a function of it.
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
        ``(x, target=None) -> (output, attribution)``. With a class as target, the attributions of a sample sum to the
        difference of its output from that at the baseline, up to the error of the quadrature.

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

    def explained(x: Tensor, target: Target = None) -> tuple[Any, Tensor]:
        start = baseline(x) if callable(baseline) else baseline
        try:
            start = torch.as_tensor(start, dtype=x.dtype, device=x.device).expand(x.shape)
        except RuntimeError as error:
            raise InputError(f"the baseline does not broadcast to an input of shape {tuple(x.shape)}") from error
        line = x - start
        mean = _weighted_sum(f, x, target, lambda i: start + nodes[i] * line, weights, chunk_size, progress)
        return _output(f, x), line * mean

    return explained


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
        output weighted by a target of its shape, or the sum of what a target function returns. Where windows overlap,
        a value gets the mean over those that cover it; where none does, 0.

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
    def explained(x: Tensor, target: Target = None) -> tuple[Any, Tensor]:
        shape = x.shape[2:] if x.ndim > 2 else x.shape[1:]
        windows = _windows(shape, _per_axis(window, shape, "window"), _per_axis(stride, shape, "stride"))
        output = f(x)
        whole = _score(target, output)
        total = torch.zeros_like(x)
        covered = torch.zeros(shape, dtype=x.dtype, device=x.device)
        copies = max(1, (chunk_size or len(windows) * len(x)) // len(x))
        for first in range(0, len(windows), copies):
            part = windows[first : first + copies]
            hidden = torch.cat([_hide(x, at, fill, mode) for at in part])
            for at, seen in zip(part, f(hidden).split(len(x)), strict=True):
                score = whole - _score(target, seen) if mode == "drop" else _score(target, seen)
                total[(..., *at)] += score.view(-1, *(1,) * (x.ndim - 1))
                covered[at] += 1
            if progress is not None:
                progress(min(first + copies, len(windows)) * len(x), len(windows) * len(x))
        return output, total / covered.clamp(min=1)

    return explained


# --- many evaluations ---------------------------------------------------------------------------------


def _weighted_sum(
    f: Callable[..., Any],
    x: Tensor,
    target: Target,
    copy: Callable[[int], Tensor],
    weights: Sequence[float],
    chunk_size: int | None,
    progress: Progress | None,
) -> Tensor:
    """Sum the attributions of copies of ``x``, as many at a time as fit in a chunk."""
    explain, start = gradient(f), seed(target)
    copies = max(1, (chunk_size or len(weights) * len(x)) // len(x))

    def start_each(output: Tensor) -> Tensor:
        return torch.cat([start(part) for part in output.split(len(x))])

    total = torch.zeros_like(x)
    for first in range(0, len(weights), copies):
        part = range(first, min(first + copies, len(weights)))
        _, attribution = explain(torch.cat([copy(i) for i in part]), start_each)
        weight = torch.tensor([weights[i] for i in part], dtype=x.dtype, device=x.device)
        total = total + torch.tensordot(weight, attribution.unflatten(0, (len(part), len(x))), 1)
        if progress is not None:
            progress(part.stop * len(x), len(weights) * len(x))
    return total


def _output(f: Callable[..., Any], x: Tensor) -> Any:
    with torch.no_grad():
        return f(x)


def _score(target: Target, output: Tensor) -> Tensor:
    """Return one number for each sample."""
    started = seed(target)(output)
    if isinstance(target, int | Tensor):
        started = started * output
    return started.flatten(1).sum(1)


def _windows(shape: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> list[tuple[slice, ...]]:
    axes = [
        [slice(at, min(at + w, size)) for at in range(0, size, s)]
        for size, w, s in zip(shape, window, stride, strict=True)
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
