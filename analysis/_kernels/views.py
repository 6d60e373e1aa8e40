"""Views of maps: as they are, window by window, and their spectra.

A strategy's mark is often local (a patch, a word in a corner) or nowhere in particular (a texture), and natural
variety, which moves and bends what there is, is neither. In a window or in the spectrum a small mark is not outvoted
by all else in which samples differ.
"""

import itertools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHORT: Final = 4
"""Axes that are no longer, such as channels, are not cut."""
MOST: Final = {1: 1024, 2: 32, 3: 16}
"""Longer axes are averaged in blocks until they are as long at most, by how many long axes there are."""
WINDOW: Final = {1: 64, 2: 8, 3: 4}
"""How long a window is along each long axis, by how many there are; windows overlap by half."""
MOST_FEATURES: Final = 4096
"""So many features without an order are left, or of more than three long axes."""
ROUNDED: Final = 8
"""Differences of so many times the precision of the values are rounding errors."""


class View(NamedTuple):
    """Features, and the windows of them that are looked at one by one.

    Parameters
    ----------
    values : ndarray of float32, shape (n, d)
        Without ``mean``, in units of ``unit``, in which squares are neither too large nor too small; 0 where there is
        nothing but rounding error.
    windows : ndarray of int, shape (w, k)
        Positions of features.
    alike : bool
        Whether a feature of less variance says less. It does in a map; frequencies differ in variance anyway.
    mean : ndarray of float64, shape (d,)
    unit : float
    """

    values: NDArray
    windows: NDArray
    alike: bool
    mean: NDArray
    unit: float


def views(maps: NDArray, like: list[View] | None = None) -> list[View]:
    """Return the views of samples: all features, windows of them, and windows of the moduli of their spectrum.

    Parameters
    ----------
    maps : ndarray, shape (n, d) or (n, c, ...)
        Of features without an order, the first shape, there is the first view alone.
    like : list of View, optional
        Of other samples, whose mean and unit are taken.
    """
    whole = maps.reshape(len(maps), -1)
    found = [(whole, np.arange(whole.shape[1])[None], True)]
    if maps.ndim > 2:
        spectrum, windows = _spectrum(maps), _windows(maps.shape[1:])
        found += [(whole, windows, True)] if len(windows) > 1 else []
        found.append((spectrum.reshape(len(maps), -1), _windows(spectrum.shape[1:]), False))
    if like is None:
        precision = ROUNDED * float(np.finfo(np.result_type(maps, np.float32)).eps)
        return [_view(*part, *_scale(part[0], precision)) for part in found]
    return [_view(*part, other.mean, other.unit) for part, other in zip(found, like, strict=True)]


def _scale(values: NDArray, precision: float) -> tuple[NDArray, float]:
    """Return the mean and the unit of a view."""
    mean = values.mean(0, dtype=np.float64)
    most = float(np.abs(values - mean).max(initial=0))
    return mean, 2.0 ** np.floor(np.log2(most)) if most > precision * np.abs(values).max(initial=0) else np.inf


def _view(values: NDArray, windows: NDArray, alike: bool, mean: NDArray, unit: float) -> View:
    return View(((values - mean) / unit).astype(np.float32), windows, alike, mean, unit)


def laid_out(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Return features (n, d) as maps (n, 1, …) of that shape, in which neighbours are averaged where they are many.

    Where features agree that are averaged, distances stay. Of more than three long axes, they stay features.
    """
    longer = _longer(shape)
    if longer not in MOST:
        return pooled(x)
    maps = x.reshape(len(x), 1, *shape)
    for axis, length in enumerate(maps.shape[1:], start=1):
        maps = _averaged(maps, axis, -(-length // MOST[longer]))
    return maps


def pooled(x: NDArray) -> NDArray:
    """Average neighbouring features (n, d), so that at most 4,096 are left; where they agree, distances stay."""
    return _averaged(x, 1, -(-x.shape[1] // MOST_FEATURES))


def _averaged(x: NDArray, axis: int, block: int) -> NDArray:
    """Average blocks of neighbours along an axis, as precise as they are; what is missing from the last one is zero."""
    if block <= 1:
        return x
    length = x.shape[axis]
    padded = np.pad(x, [(0, -length % block) if at == axis else (0, 0) for at in range(x.ndim)])
    parts = padded.reshape(*x.shape[:axis], -1, block, *x.shape[axis + 1 :])
    kind = np.result_type(x, np.float32).type  # more digits would make differences of rounding errors
    return parts.mean(axis + 1, dtype=kind) * kind(np.sqrt(block))


def _windows(shape: tuple[int, ...]) -> NDArray:
    """Return the positions of the features of each window, (w, k)."""
    sides = [length if length <= SHORT else min(length, WINDOW[_longer(shape)]) for length in shape]
    offsets = [_offsets(length, side) for length, side in zip(shape, sides, strict=True)]
    inner = np.ravel_multi_index(np.indices(sides).reshape(len(sides), -1), shape)
    first = np.ravel_multi_index(np.array(list(itertools.product(*offsets))).T, shape)
    return np.add.outer(first, inner)


def _longer(shape: tuple[int, ...]) -> int:
    """Return how many axes are long; of features, one is."""
    return max(sum(length > SHORT for length in shape), 1)


def _offsets(length: int, side: int) -> list[int]:
    return sorted({*range(0, length - side, max(side // 2, 1)), length - side})


def _spectrum(maps: NDArray) -> NDArray:
    """Return the moduli of the Fourier transform along all axes, low frequencies of all but the last in the middle."""
    axes = tuple(range(2, maps.ndim))
    return np.abs(np.fft.fftshift(np.fft.rfftn(maps.astype(np.float64), axes=axes), axes=axes[:-1]))
