"""Where a group of samples has more relevance than the rest: a region of the input, and how much of it lies there.

A network often looks at a part of what tells a class, such as the corners of a patch or one side of a border. Where the
inputs differ, too, the region is the whole of that piece.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import ATTRIBUTION, CHANNEL, INPUT, SAMPLE, TOKEN, X, Y

from ..errors import DataError
from .known import in_blocks

FOLDS: Final = 2
HALO: Final = 0.4
"""Relevance smears by the width of a layer's receptive field: what lies below this share of a region's strongest tenth
is not part of it."""
FINEST: Final = 0.5
"""Standard deviation, in pixels, of the least smoothing."""
WIDTH: Final = 128
"""Of larger heatmaps it is the longer side divided by this."""
LARGE: Final = 0.8
"""Inputs differ where their distributions do by so many standard deviations, a large effect (Cohen 1988)."""
NARROW: Final = 0.1
"""A pixel that hardly varies counts as if it did by this share of what all do."""
MOST: Final = 0.5
"""So much of the relevance that the group has more of must lie on a piece of the input, for it to be the region."""


class Region(NamedTuple):
    """Where a group has more relevance, and means of the two groups."""

    dims: tuple[str, ...]
    mask: NDArray[np.bool]
    of_relevance: NDArray[np.bool]
    """The region as relevance alone has it."""
    held_out: NDArray[np.bool]
    """The region for each half of the samples, as the other half has it, and as relevance alone has it there."""
    fold: NDArray[np.intp]
    relevance: tuple[NDArray, NDArray]
    """Mean share of the relevance inside the group, and outside."""
    inputs: tuple[NDArray, NDArray] | None
    """Means of the inputs, over all their dimensions but ``sample``."""


@dataclass
class Moments:
    """Sums over samples, by group and fold: of what is added, and of its square."""

    count: NDArray
    total: NDArray
    square: NDArray | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], *, square: bool) -> "Moments":
        """Return sums of nothing."""
        sums = np.zeros((2, FOLDS, *shape))
        return cls(np.zeros((2, FOLDS)), sums, sums.copy() if square else None)

    def add(self, values: NDArray, inside: NDArray, fold: NDArray) -> None:
        """Add a block of samples."""
        for group in (0, 1):
            for number in range(FOLDS):
                own = values[(inside == bool(group)) & (fold == number)]
                self.count[group, number] += len(own)
                self.total[group, number] += own.sum(0)
                if self.square is not None:
                    self.square[group, number] += (own**2).sum(0)

    def means(self, folds: NDArray) -> tuple[NDArray, NDArray]:
        """Return the mean of the group and of the rest, in some folds."""
        rest, group = (self.total[g][folds].sum(0) / max(1, self.count[g][folds].sum()) for g in (0, 1))
        return group, rest

    def variances(self, folds: NDArray) -> tuple[NDArray, NDArray]:
        """Return the variance of the group and of the rest, in some folds."""
        assert self.square is not None
        of_square = Moments(self.count, self.square).means(folds)
        group, rest = (square - mean**2 for square, mean in zip(of_square, self.means(folds), strict=True))
        return group.clip(min=0), rest.clip(min=0)


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

    Raises
    ------
    DataError
        If some of it is no finite number.

    Examples
    --------
    >>> shares(xr.DataArray([[1.0, -3.0]], dims=("sample", "feature")), 0)
    array([[0.25, 0.75]])
    """
    from scipy import ndimage  # slow to load

    dims = spatial(attribution)
    heat = attribution.astype(np.float64)
    heat = abs(heat.sum(CHANNEL, skipna=False) if CHANNEL in heat.dims else heat).transpose(SAMPLE, *dims)
    values = heat.values
    if not np.isfinite(values).all():
        raise DataError("the attribution of some samples holds NaN or infinity: attribute them anew or drop them")
    total = values.sum(axis=tuple(range(1, values.ndim)), keepdims=True)
    share = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    sigma = tuple(smoothing if dim in (Y, X) else 0.0 for dim in dims)
    return ndimage.gaussian_filter(share, (0.0, *sigma)) if any(sigma) else share


def find(data: xr.Dataset, index: NDArray, inside: NDArray, smoothing: float | None, seed: int) -> Region:
    """Find where a group has more of its relevance than the rest.

    The difference of the two mean heatmaps is cut in two by Otsu's threshold [1]_, and so is that of the inputs, where
    it is large beside their spread and beyond chance. If most of the relevance that the group has more of lies on
    one piece of the input that differs, that is the region. It is also found in each half of the samples alone, to be
    measured in the other.

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
        Of the halves.

    References
    ----------
    .. [1] Otsu 1979, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and
       Cybernetics 9.
    """
    from scipy import ndimage

    dims = spatial(data[ATTRIBUTION])
    fold = _folds(inside, seed)
    width = smoothed(data, smoothing)
    shape = tuple(data.sizes[dim] for dim in dims)
    heat, inputs, images = Moments.of(shape, square=False), None, None
    names = [ATTRIBUTION]
    if has_input(data):
        names.append(INPUT)
        inputs = Moments.of(data[INPUT].shape[1:], square=False)
        if dims == (Y, X) and {Y, X} <= set(data[INPUT].dims) and shape == (data.sizes[Y], data.sizes[X]):
            images = Moments.of((data[INPUT][0].size // (shape[0] * shape[1]), *shape), square=True)
    for part, block in in_blocks(data, names, index):
        heat.add(shares(block[ATTRIBUTION], width), inside[part], fold[part])
        if inputs is not None:
            inputs.add(block[INPUT].values.astype(np.float64), inside[part], fold[part])
        if images is not None:
            smooth = ndimage.gaussian_filter(filled(as_images(block[INPUT])), (0, 0, width, width))
            images.add(smooth, inside[part], fold[part])
    every = np.arange(FOLDS)
    held_out = np.stack([_region(heat, images, every != number) for number in every], axis=1)
    mask, of_relevance = _region(heat, images, every >= 0)
    means = None if inputs is None else inputs.means(every)
    return Region(dims, mask, of_relevance, held_out, fold, heat.means(every), means)


def as_images(inputs: xr.DataArray) -> NDArray:
    """Return inputs over ``y`` and ``x`` as an array (sample, channel, y, x)."""
    values = inputs.transpose(SAMPLE, ..., Y, X).values
    return values.reshape(len(values), -1, *values.shape[-2:])


def filled(values: NDArray) -> NDArray[np.float64]:
    """Return samples as numbers, the mean of each where it has NaN or infinity, so that the rest of it counts.

    Examples
    --------
    >>> filled(np.array([[1.0, np.nan, 3.0], [1.0, 1.0, 1.0]]))
    array([[1., 2., 3.],
           [1., 1., 1.]])
    """
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    own = tuple(range(1, values.ndim))
    mean = values.sum(own, where=finite, keepdims=True) / np.maximum(finite.sum(own, keepdims=True), 1)
    return np.where(finite, values, mean)


def smoothed(data: xr.Dataset, smoothing: float | None) -> float:
    """Return the smoothing that is asked for, or else that of heatmaps of this size."""
    if smoothing is not None:
        return smoothing
    return max(FINEST, max((data.sizes[dim] for dim in (Y, X) if dim in data[ATTRIBUTION].dims), default=0) / WIDTH)


def has_input(data: xr.Dataset) -> bool:
    """Whether the data hold the inputs, as numbers that have a mean: ids of tokens have none."""
    if INPUT not in data:
        return False
    ids = TOKEN in data[INPUT].dims and data[INPUT].dtype.kind in "iu"
    return data[INPUT].dtype.kind in "fiub" and not ids


def _folds(inside: NDArray, seed: int) -> NDArray[np.intp]:
    """Deal the samples of each group out to the folds, in turns."""
    rng = np.random.default_rng(seed)
    fold = np.empty(inside.size, np.intp)
    for group in (inside, ~inside):
        fold[rng.permutation(np.flatnonzero(group))] = np.arange(group.sum()) % FOLDS
    return fold


def _region(heat: Moments, images: Moments | None, folds: NDArray) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Return the region as some folds have it, and as their relevance alone does."""
    from scipy import ndimage

    group, rest = heat.means(folds)
    more = (group - rest).clip(min=0)
    of_relevance = _strong(more)
    if images is None or not of_relevance.any():
        return of_relevance, of_relevance
    around = np.ones((3, 3), bool)
    differ, strongly = (
        np.asarray(ndimage.binary_closing(np.pad(mask, 2), around), bool)[2:-2, 2:-2]
        for mask in _differing(images, folds)
    )
    near = np.asarray(ndimage.binary_dilation(of_relevance, around), bool)
    piece = np.asarray(ndimage.binary_propagation(near & differ, around, differ), bool) & strongly
    gain = np.where(of_relevance, more, 0.0)
    on_piece = gain[np.asarray(ndimage.binary_dilation(piece, around), bool)].sum()
    return (piece if on_piece > MOST * gain.sum() else of_relevance), of_relevance


def _differing(images: Moments, folds: NDArray) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Return where the inputs differ by a large effect and beyond chance in any channel, and where strongly, too.

    The difference of two normal distributions is √((μ₁ − μ₂)² + (σ₁ − σ₂)²), their Wasserstein distance: what is the
    same in all of the group differs from what varies in the rest, also if its mean does not.
    """
    from scipy import special

    group, rest = images.means(folds)
    group_variance, rest_variance = images.variances(folds)
    n, n_rest = np.maximum(images.count[::-1, folds].sum(1), 1)
    variance = (n * group_variance + n_rest * rest_variance) / (n + n_rest)
    floor = NARROW * np.sqrt(variance.mean((1, 2), keepdims=True) + rest.var((1, 2), keepdims=True))
    spread = np.sqrt(variance) + floor
    of_means, of_deviations = (
        np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0) ** 2
        for difference in (group - rest, np.sqrt(group_variance) - np.sqrt(rest_variance))
    )
    # the variance of a mean is σ² / n, and that of a standard deviation half as much
    chance = (of_means + 2 * of_deviations) / (1 / n + 1 / n_rest)
    effect = np.sqrt(of_means + of_deviations)
    beyond = np.logical_and(effect >= LARGE, chance >= special.chdtri(2, 0.05 / effect.size))
    differ: NDArray[np.bool] = np.any(beyond, axis=0)
    return differ, np.logical_and(differ, _strong((effect * spread).max(0)))


def _strong(values: NDArray) -> NDArray[np.bool]:
    """Return where values, none negative, exceed the threshold of Otsu, and more than a halo does."""
    ascending = np.sort(values, axis=None)
    below = np.arange(1, ascending.size)
    if not ascending.size > 1 or ascending[0] == ascending[-1]:
        return values > 0
    cumulative = ascending.cumsum()
    lower = cumulative[:-1] / below
    upper = (cumulative[-1] - cumulative[:-1]) / (ascending.size - below)
    between = below * (ascending.size - below) * (upper - lower) ** 2
    high = ascending[between.argmax() + 1 :]
    return values >= max(high[0], HALO * np.quantile(high, 0.9))
