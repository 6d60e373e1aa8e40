"""Exact nearest neighbours in blocks: memory grows with n, not with n²."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from tqdm import tqdm

BLOCK_BYTES = 1 << 26
SPARE = 4
COLUMN_BLOCKS = 4  # in one block, so that the points moved to their mean take less than the distances
MATMUL_METRICS = ("euclidean", "sqeuclidean", "cosine", "correlation")


def neighbors(
    x: NDArray, k: int, metric: str = "euclidean", *, rows: NDArray | None = None, **options: Any
) -> tuple[NDArray, NDArray]:
    """Return the indices and distances of the ``k`` nearest other rows, ascending; a row is never its own neighbour.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        The points.
    k : int
        How many; at most ``n - 1``.
    metric : str
        Any metric of :func:`scipy.spatial.distance.cdist`. The four in ``MATMUL_METRICS`` are computed by matrix
        multiplication.
    rows : ndarray of int, shape (m,), optional
        The rows whose neighbours are sought; all, if not given.
    **options : float
        Parameters of the metric, such as ``p``.

    Returns
    -------
    index : ndarray of int64, shape (m, k)
        Equal distances are ordered by index.
    distance : ndarray of float64, shape (m, k)

    Raises
    ------
    ValueError
        If the metric is unknown, or has no value for two of the points.
    """
    rows = np.arange(len(x)) if rows is None else rows
    if k == 0:
        return np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0))
    if metric not in MATMUL_METRICS or options:
        return _by_cdist(x, rows, k, metric, options)
    if metric in ("cosine", "correlation"):
        index, chord = _by_matmul(_unit_rows(x, centre=metric == "correlation"), rows, k)
        return index, chord**2 / 2
    index, distance = _by_matmul(x, rows, k)
    return index, distance**2 if metric == "sqeuclidean" else distance


def _unit_rows(x: NDArray, *, centre: bool) -> NDArray:
    """Scale rows to unit length: their Euclidean distance is √(2 · cosine distance). A zero row is 1/2 from all."""
    x = x - x.mean(1, keepdims=True) if centre else x
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def _by_cdist(x: NDArray, rows: NDArray, k: int, metric: Any, options: dict[str, Any]) -> tuple[NDArray, NDArray]:
    # what these two estimate from the data must not depend on the blocks
    if metric == "seuclidean":
        options = {"V": x.var(0, ddof=1), **options}
    elif metric == "mahalanobis":
        options = {"VI": np.linalg.inv(np.atleast_2d(np.cov(x.T))).T, **options}
    index, distance = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
    for part in _parts(len(rows), 8 * len(x), "neighbours"):
        block = cdist(x[rows[part]], x, metric, **options)
        block[np.arange(len(block)), rows[part]] = np.inf
        if np.isnan(block).any():
            a, b = np.argwhere(np.isnan(block))[0]
            raise ValueError(f"the distance of rows {rows[part][a]} and {b} is not a number")
        last = np.partition(block, k - 1, axis=1)[:, k - 1]
        for row, own, most in zip(range(part.start, part.stop), block, last, strict=True):
            within = np.flatnonzero(own <= most)
            index[row] = within[np.argsort(own[within], kind="stable")[:k]]
            distance[row] = own[index[row]]
    return index, distance


def _by_matmul(x: NDArray, rows: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """Candidates by ‖x‖² + ‖y‖² − 2x·y, then their distances by difference in float64.

    The expansion loses digits where points nearly coincide, the more the farther they lie from the origin. So the
    points are moved to their mean, a few spare candidates are ranked exactly, and where the rounding error could
    still hide a neighbour beyond them, all that it could hide are.
    """
    import torch  # heavy, so only where it is used

    n, d = x.shape
    mean = x.mean(0)
    dtype = (x[:1] - mean).dtype
    square = np.empty(n, dtype)
    for part in _parts(n, COLUMN_BLOCKS * 8 * d):
        points = x[part] - mean
        square[part] = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    spare = min(k + SPARE, n - 1)
    index, distance = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
    # the largest error seen is 15 eps (d = 50,176) and grows more slowly than the square root of d
    rounding = (4 + np.sqrt(d)) * np.finfo(dtype).eps
    for part in _parts(len(rows), dtype.itemsize * n, "neighbours"):
        own = rows[part]
        queries = x[own] - mean
        if len(own) == n and np.array_equal(own, np.arange(n)):
            # NumPy knows that the product of a matrix and its transpose is symmetric, and computes half of it
            queries *= np.sqrt(2)
            product = queries @ queries.T
            block = torch.from_numpy(np.subtract(square, product, out=product))
        else:
            block = torch.empty(len(own), n, dtype=getattr(torch, dtype.name))
            for columns in _parts(n, COLUMN_BLOCKS * dtype.itemsize * d):
                points, squares = (torch.from_numpy(part) for part in (x[columns] - mean, square[columns]))
                torch.addmm(squares, torch.from_numpy(queries), points.T, alpha=-2, out=block[:, columns])
        block[torch.arange(len(own)), torch.from_numpy(own)] = torch.inf
        farthest, candidates = block.topk(spare, largest=False)
        near, far = _ranked(x, own, np.sort(candidates.numpy(), axis=1))
        index[part], distance[part] = near[:, :k], far[:, :k]
        if spare < n - 1:
            own_square = square[own].astype(np.float64)
            reach = far[:, k - 1] ** 2 + rounding * (own_square + float(square.max()))
            for row in np.flatnonzero(reach >= farthest[:, -1].double().numpy() + own_square).tolist():
                within = np.flatnonzero(block[row].numpy() <= reach[row] - own_square[row])
                near, far_row = _ranked(x, own[row : row + 1], within[None])
                index[part.start + row], distance[part.start + row] = near[0, :k], far_row[0, :k]
        del block  # or else it is still there while the next one is made
    return index, distance


def _ranked(x: NDArray, rows: NDArray, candidates: NDArray) -> tuple[NDArray, NDArray]:
    """Rank candidates, ascending by index, of some rows by their exact distance."""
    from .compiled import squared_distances  # Numba is heavy, too

    distance = np.sqrt(squared_distances(x, rows, candidates))
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(distance, order, 1)


def _parts(n: int, row_bytes: int, title: str = "") -> Iterator[slice]:
    """Cut n rows into slices of a block's size; with a title, a bar shows how far they are once it takes long."""
    rows = max(1, BLOCK_BYTES // max(row_bytes, 1))
    parts = [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
    yield from tqdm(parts, title, delay=5, leave=False, disable=None) if title else parts
