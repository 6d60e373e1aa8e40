"""Where a group of samples has more relevance than the rest: a region of the input, and how much of it lies there."""

from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import ATTRIBUTION, CHANNEL, INPUT, SAMPLE, X, Y

from .known import in_blocks

FOLDS: Final = 2
HALO: Final = 0.4
"""Relevance smears by the width of a layer's receptive field: what lies below this share of a region's strongest tenth
is not part of it."""
FINEST: Final = 0.5
"""Standard deviation, in pixels, of the least smoothing."""
WIDTH: Final = 128
"""Of larger heatmaps it is the longer side divided by this."""


class Region(NamedTuple):
    """Where a group has more relevance, and means of the two groups."""

    dims: tuple[str, ...]
    mask: NDArray[np.bool]
    held_out: NDArray[np.bool]
    """The region for each fold, as the other folds have it."""
    fold: NDArray[np.intp]
    relevance: tuple[NDArray, NDArray]
    """Mean share of the relevance inside the group, and outside."""
    inputs: tuple[xr.DataArray, xr.DataArray] | None


def spatial(attribution: xr.DataArray) -> tuple[str, ...]:
    """Return the dimensions of a heatmap: all but those of samples and channels."""
    return tuple(str(dim) for dim in attribution.dims if dim not in (SAMPLE, CHANNEL))


def shares(attribution: xr.DataArray, smoothing: float) -> NDArray[np.float64]:
    """Return what share of a sample's relevance lies where: its absolute value, summed over channels, over its sum.

    Parameters
    ----------
    attribution : xarray.DataArray
        Over ``sample`` and what an input has.
    smoothing : float
        Standard deviation of a Gaussian along ``y`` and ``x``, in pixels.

    Returns
    -------
    ndarray
        Over ``sample`` and the dimensions of a heatmap. Where there is no relevance at all, 0.

    Examples
    --------
    >>> shares(xr.DataArray([[1.0, -3.0]], dims=("sample", "feature")), 0)
    array([[0.25, 0.75]])
    """
    from scipy import ndimage  # slow to load

    dims = spatial(attribution)
    heat = attribution.astype(np.float64)
    heat = abs(heat.sum(CHANNEL) if CHANNEL in heat.dims else heat).transpose(SAMPLE, *dims)
    values = heat.values
    total = values.sum(axis=tuple(range(1, values.ndim)), keepdims=True)
    share = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    sigma = tuple(smoothing if dim in (Y, X) else 0.0 for dim in dims)
    return ndimage.gaussian_filter(share, (0.0, *sigma)) if any(sigma) else share


def find(data: xr.Dataset, index: NDArray, inside: NDArray, smoothing: float | None, seed: int) -> Region:
    """Find where a group has more of its relevance than the rest.

    The difference of the two mean heatmaps is cut in two by Otsu's threshold [1]_. Of every fold of the samples the
    region is also found without it, to be measured there.

    Parameters
    ----------
    data : xarray.Dataset
        Attributions, read in blocks.
    index : ndarray of int
        The samples that are compared.
    inside : ndarray of bool
        Which of them are the group.
    smoothing : float, optional
        As :func:`shares` takes it.
    seed : int
        Of the folds.

    References
    ----------
    .. [1] Otsu 1979, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and
       Cybernetics 9.
    """
    dims = spatial(data[ATTRIBUTION])
    fold = _folds(inside, seed)
    smoothing = smoothed(data, smoothing)
    names = [ATTRIBUTION, INPUT] if has_input(data) else [ATTRIBUTION]
    sums = np.zeros((2, FOLDS, *(data.sizes[dim] for dim in dims)))
    totals: list[xr.DataArray | float] = [0.0, 0.0]
    for part, block in in_blocks(data, names, index):
        heat = shares(block[ATTRIBUTION], smoothing)
        for group in (0, 1):
            own = inside[part] == bool(group)
            for number in range(FOLDS):
                sums[group, number] += heat[own & (fold[part] == number)].sum(0)
            if len(names) > 1:
                totals[group] = totals[group] + block[INPUT].astype(np.float64)[own].sum(SAMPLE)
    counts = np.array([[(fold[inside == bool(group)] == k).sum() for k in range(FOLDS)] for group in (0, 1)])

    def means(of: NDArray) -> tuple[NDArray, NDArray]:
        rest, group = (sums[g][of].sum(0) / max(1, counts[g][of].sum()) for g in (0, 1))
        return group, rest

    every = np.arange(FOLDS)
    held_out = np.stack([_more(*means(every != number)) for number in every])
    inputs = None
    if len(names) > 1:
        outside, within = (totals[g] / max(1, counts[g].sum()) for g in (0, 1))
        inputs = xr.DataArray(within), xr.DataArray(outside)
    group, rest = means(every >= 0)
    return Region(dims, _more(group, rest), held_out, fold, (group, rest), inputs)


def smoothed(data: xr.Dataset, smoothing: float | None) -> float:
    """Return the smoothing that is asked for, or else that of heatmaps of this size."""
    if smoothing is not None:
        return smoothing
    return max(FINEST, max((data.sizes[dim] for dim in (Y, X) if dim in data[ATTRIBUTION].dims), default=0) / WIDTH)


def has_input(data: xr.Dataset) -> bool:
    """Whether the data hold the inputs, as numbers that have a mean: ids of tokens have none."""
    return (
        INPUT in data and data[INPUT].dtype.kind in "fiub" and (data[INPUT].ndim > 2 or data[INPUT].dtype.kind == "f")
    )


def _folds(inside: NDArray, seed: int) -> NDArray[np.intp]:
    """Deal the samples of each group out to the folds, in turns."""
    rng = np.random.default_rng(seed)
    fold = np.empty(inside.size, np.intp)
    for group in (inside, ~inside):
        fold[rng.permutation(np.flatnonzero(group))] = np.arange(group.sum()) % FOLDS
    return fold


def _more(group: NDArray, rest: NDArray) -> NDArray[np.bool]:
    """Return where one mean exceeds the other by more than the threshold of Otsu, and more than a halo does."""
    more = (group - rest).clip(min=0)
    ascending = np.sort(more, axis=None)
    below = np.arange(1, ascending.size)
    if not ascending.size > 1 or ascending[0] == ascending[-1]:
        return more > 0
    cumulative = ascending.cumsum()
    lower = cumulative[:-1] / below
    upper = (cumulative[-1] - cumulative[:-1]) / (ascending.size - below)
    between = below * (ascending.size - below) * (upper - lower) ** 2
    high = ascending[between.argmax() + 1 :]
    return more >= max(high[0], HALO * np.quantile(high, 0.9))
