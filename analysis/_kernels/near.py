"""Pairs of points that lie nearer to each other than chance would have it, whatever the density around them.

Where points are spread evenly in m dimensions, the volume up to the nearest of K neighbours is the smallest of K − 1
uniform shares of the volume up to the K-th [1]_: P((d₁ / d_K)^m ≤ u) = 1 − (1 − u)^(K − 1), however dense they are
there. The dimension m is read off d_{K/2} / d_K, with the median over a point and its neighbours, and taken as smaller
than it seems: where dimension or density change from place to place, copies would be seen where there are none.

Many copies of one point are each other's K neighbours, and hide what is around them. So points that lie together, far
from all others for how far they are from each other, are counted as one, and are copies if that one has not even a
neighbour as near as the farthest of them.

References
----------
.. [1] Facco et al. 2017, Estimating the intrinsic dimension of datasets by a minimal neighborhood information,
   Scientific Reports 7 (arXiv 1803.06992).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .neighbors import neighbors

NEIGHBORS: Final = 20
FEWEST: Final = 8
CLUMP: Final = 50
"""More points that lie together are a dense part of the set."""
APART: Final = 5.0
"""So many times as far from all others as from each other are points that are counted as one."""
CAUTION: Final = 0.65
"""Share of the dimension that is counted with. By simulation: no false pair in 0 to 3 of 100 sets at level 0.05."""
COPY: Final = 1e-4
"""Copies differ by a smaller share of their distance to the median: by the rounding errors of a network in single
precision, which depend on what else is in the batch."""
BLOCK: Final = 512
"""So many rows at a time are compared with all."""


def originals(x: NDArray) -> NDArray:
    """Return of which row each is a copy, but for rounding errors, the first of them, (n,); itself if of none.

    Parameters
    ----------
    x : ndarray, shape (n, d)

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(6, 10))
    >>> x[4] = x[1] * (1 + 1e-6)
    >>> originals(x)
    array([0, 1, 2, 3, 1, 5])
    """
    values = x.astype(np.float64)
    centred = values - np.median(values, axis=0)
    centred /= np.abs(centred).max(initial=0) or 1
    square = np.square(centred).sum(1)
    found = np.arange(len(x))
    for start in range(0, len(x), BLOCK):
        own = slice(start, start + BLOCK)
        apart = square[own, None] + square - 2 * centred[own] @ centred.T
        near = apart <= COPY**2 * np.minimum(square[own, None], square)
        found[own] = np.where(near.any(1), np.minimum(near.argmax(1), found[own]), found[own])
    while (found[found] != found).any():
        found = found[found]  # what is near a copy is one of the same row
    return found


def near_pairs(x: NDArray, *, level: float | None, threshold: float | None = None) -> tuple[NDArray, NDArray]:
    """Return pairs of rows that are as good as the same, and their Euclidean distances.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        The points.
    level : float, optional
        About the chance that any pair is named if all points are independent. Of fewer than ``FEWEST`` points, copies
        counted once, none is named, nor of more than ``CLUMP`` that nearly coincide.
    threshold : float, optional
        The distance up to which pairs are named, instead.

    Returns
    -------
    pairs : ndarray of int64, shape (p, 2)
        The smaller row first. Below a threshold, of each row at most ``NEIGHBORS``.
    distance : ndarray of float64, shape (p,)

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 10))
    >>> x[7] = x[3] + 0.001
    >>> near_pairs(x, level=0.05)[0]
    array([[3, 7]])
    """
    k = min(NEIGHBORS, len(x) - 1)
    if k < 1 or (threshold is None and len(x) < FEWEST):
        return np.empty((0, 2), np.int64), np.empty(0)
    index, distance = neighbors(x, k if threshold is not None else min(CLUMP, len(x) - 1))
    near = np.zeros(index.shape, bool)
    if threshold is not None:
        near = distance <= threshold
    else:
        near[:, :k] = _p_values(index[:, :k], distance[:, :k]) <= (level or 0) / len(x)
        clumps = _clumps(index, distance)
        across = np.array([distance[members, members.size - 2].max() for members in clumps])
        for members in _copied(x, clumps, across, level or 0):
            near[members, : members.size - 1] = True
    row, column = np.nonzero(near)
    pairs, first = np.unique(np.sort(np.stack([row, index[row, column]], 1), axis=1), axis=0, return_index=True)
    return pairs, distance[row, column][first]


def _clumps(index: NDArray, distance: NDArray) -> list[NDArray[np.intp]]:
    """Return the largest sets of at least three points that lie ``APART`` times as far from all others."""
    found: list[NDArray[np.intp]] = []
    free = np.ones(len(index), bool)
    for size in range(index.shape[1], 2, -1):
        rows = np.flatnonzero(free & (APART * distance[:, size - 2] <= distance[:, size - 1]))
        sets = np.sort(np.column_stack([rows, index[rows, : size - 1]]), axis=1)
        for members, count in zip(*np.unique(sets, axis=0, return_counts=True), strict=True):
            within, beyond = distance[members, size - 2].max(), distance[members, size - 1].min()
            if count == size and APART * within <= beyond:
                found.append(members)
                free[members] = False
    return found


def _copied(x: NDArray, clumps: list[NDArray[np.intp]], across: NDArray, level: float) -> list[NDArray[np.intp]]:
    """Return the clumps whose farthest pair is nearer than chance would have two points, each clump being one."""
    one = np.ones(len(x), bool)
    for members in clumps:
        one[members[1:]] = False
    kept = np.flatnonzero(one)
    if not clumps or kept.size < FEWEST:
        return []
    index, distance = neighbors(x[kept], min(NEIGHBORS, kept.size - 1))
    scale, dimension = _surroundings(index, distance)
    at = np.searchsorted(kept, [members[0] for members in clumps])
    p = _chance(across, scale[at], dimension[at], index.shape[1])
    return [members for members, small in zip(clumps, p <= level / kept.size, strict=True) if small]


def _p_values(index: NDArray, distance: NDArray) -> NDArray[np.float64]:
    """Return of each pair the larger chance, of its two ends, that the nearest neighbour would be as near."""
    scale, dimension = _surroundings(index, distance)
    k = distance.shape[1]
    own = _chance(distance, scale[:, None], dimension[:, None], k)
    return np.maximum(own, _chance(distance, scale[index], dimension[index], k))


def _chance(distance: NDArray, scale: NDArray, dimension: NDArray, k: int) -> NDArray[np.float64]:
    share = np.minimum(distance / scale, 1.0) ** dimension
    return -np.expm1((k - 1) * np.log1p(-np.minimum(share, 1 - 1e-12)))


def _surroundings(index: NDArray, distance: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far the neighbours of each point reach, and in how many dimensions they are counted with."""
    from scipy import special  # slow to load

    k, half = distance.shape[1], distance.shape[1] // 2
    scale = np.maximum(distance[:, -1], np.finfo(np.float64).tiny)
    middle = np.maximum(distance[:, half - 1], 1e-12 * scale)
    spread = np.log(scale / middle)
    around = np.median(np.concatenate([spread[:, None], spread[index]], axis=1), axis=1)
    dimension = CAUTION * -np.log(special.betaincinv(half, k - half, 0.5)) / np.maximum(around, 1e-6)
    return scale, dimension
