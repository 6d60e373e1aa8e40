"""Approximate nearest neighbours for very many points, and how many of the true ones they are."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .neighbors import neighbors

SOUGHT: Final = 30
METRICS: Final[Mapping[str, str]] = {
    "euclidean": "euclidean",
    "sqeuclidean": "sqeuclidean",
    "cosine": "cosine",
    "correlation": "correlation",
    "cityblock": "manhattan",
    "chebyshev": "chebyshev",
    "canberra": "canberra",
    "braycurtis": "braycurtis",
}
"""SciPy's names of metrics, and those of pynndescent."""


def approximate_neighbors(x: NDArray, k: int, metric: str, seed: int, checked: int) -> tuple[NDArray, NDArray, float]:
    """Return about the ``k`` nearest other rows by nearest-neighbour descent (Dong, Moses and Li 2011, WWW).

    Parameters
    ----------
    x : ndarray, shape (n, d)
        The points.
    k : int
        How many; at most ``n - 1``.
    metric : str
        One of ``METRICS``.
    seed : int
        Seed of the descent and of the rows that are checked.
    checked : int
        How many rows are compared with the exact search.

    Returns
    -------
    index : ndarray of int64, shape (n, k)
        Never the row itself, and no neighbour twice: rows for which the descent finds too few are searched exactly.
    distance : ndarray of float64, shape (n, k)
        Ascending.
    recall : float
        Share of the exact neighbours' distances that the checked rows attain.
    """
    from pynndescent import NNDescent  # an extra, and slow to load

    n = len(x)
    # the descent finds few neighbours much less surely than many; by several threads it differs between machines
    sought = min(max(2 * k, SOUGHT), n)
    descent: Any = NNDescent(x, METRICS[metric], n_neighbors=sought, random_state=seed, n_jobs=1)
    index, distance = (part.astype(kind) for part, kind in zip(descent.neighbor_graph, (np.int64, float), strict=True))
    by_index = np.argsort(index, axis=1, kind="stable")
    again = np.diff(np.take_along_axis(index, by_index, 1), axis=1, prepend=-1) == 0
    wrong = np.empty_like(again)
    np.put_along_axis(wrong, by_index, again, 1)
    wrong |= (index < 0) | (index == np.arange(n)[:, None])
    order = np.argsort(np.where(wrong, np.inf, distance), axis=1, kind="stable")[:, :k]
    index, distance = np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)
    short = np.flatnonzero(np.take_along_axis(wrong, order, 1).any(1))
    index[short], distance[short] = neighbors(x, k, metric, rows=short)
    some = np.sort(np.random.default_rng(seed).permutation(n)[:checked])
    # the two searches round differently, and of equally near points either may be named
    attained = distance[some] <= neighbors(x, k, metric, rows=some)[1][:, -1:] * (1 + 1e-4) + 1e-6
    return index, distance, float(attained.mean())
