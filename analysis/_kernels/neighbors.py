"""Exact nearest neighbours in blocks: memory grows with n, not with n²."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

BLOCK_BYTES = 1 << 27
SPARE = 8
MATMUL_METRICS = ("euclidean", "sqeuclidean", "cosine", "correlation")


def neighbors(x: NDArray, k: int, metric: str = "euclidean", **options: Any) -> tuple[NDArray, NDArray]:
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
    **options : float
        Parameters of the metric, such as ``p``.

    Returns
    -------
    index : ndarray of int64, shape (n, k)
        Equal distances are ordered by index.
    distance : ndarray of float64, shape (n, k)
    """
    if k == 0:
        return np.empty((len(x), 0), np.int64), np.empty((len(x), 0))
    if metric not in MATMUL_METRICS or options:
        return _by_cdist(x, k, metric, options)
    if metric in ("cosine", "correlation"):
        index, chord = _by_matmul(_unit_rows(x, centre=metric == "correlation"), k)
        return index, chord**2 / 2
    index, distance = _by_matmul(x, k)
    return index, distance**2 if metric == "sqeuclidean" else distance


def _unit_rows(x: NDArray, *, centre: bool) -> NDArray:
    """Scale rows to unit length: their Euclidean distance is √(2 · cosine distance). A zero row is 1/2 from all."""
    x = x - x.mean(1, keepdims=True) if centre else x
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def _by_cdist(x: NDArray, k: int, metric: Any, options: dict[str, Any]) -> tuple[NDArray, NDArray]:
    n = len(x)
    # what these two estimate from the data must not depend on the blocks
    if metric == "seuclidean":
        options = {"V": x.var(0, ddof=1), **options}
    elif metric == "mahalanobis":
        options = {"VI": np.linalg.inv(np.atleast_2d(np.cov(x.T))).T, **options}
    rows = max(1, BLOCK_BYTES // (8 * n))
    index, distance = np.empty((n, k), np.int64), np.empty((n, k))
    for start in range(0, n, rows):
        block = cdist(x[start : start + rows], x, metric, **options)
        own = np.arange(len(block))
        block[own, own + start] = np.inf
        order = np.argsort(block, axis=1, kind="stable")[:, :k]
        index[start : start + rows] = order
        distance[start : start + rows] = np.take_along_axis(block, order, 1)
    return index, distance


def _by_matmul(x: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """Candidates by ‖x‖² + ‖y‖² − 2x·y, then their distances by difference in float64.

    The expansion loses digits where points nearly coincide, the more the farther they lie from the origin. So a few
    spare candidates are ranked exactly, and where the rounding error could still hide a neighbour beyond them, all
    that it could hide are.
    """
    import torch  # heavy, so only where it is used

    n, d = x.shape
    points = torch.from_numpy(np.ascontiguousarray(x - x.mean(0)))
    square = (points.double() ** 2).sum(1).to(points.dtype)
    spare = min(k + SPARE, n - 1)
    rows = max(1, BLOCK_BYTES // (points.element_size() * n))
    index, distance = np.empty((n, k), np.int64), np.empty((n, k))
    # the largest error seen is 15 eps (d = 50,176) and grows more slowly than the square root of d
    rounding = (4 + np.sqrt(d)) * torch.finfo(points.dtype).eps
    for start in range(0, n, rows):
        block = torch.addmm(square[None], points[start : start + rows], points.T, alpha=-2)
        own = torch.arange(len(block))
        block[own, own + start] = torch.inf
        farthest, candidates = block.topk(spare, largest=False)
        near, far = _ranked(x, start, np.sort(candidates.numpy(), axis=1))
        index[start : start + rows], distance[start : start + rows] = near[:, :k], far[:, :k]
        if spare < n - 1:
            own_square = square[start : start + rows].double().numpy()
            reach = far[:, k - 1] ** 2 + rounding * (own_square + float(square.max()))
            for row in np.flatnonzero(reach >= farthest[:, -1].double().numpy() + own_square).tolist():
                within = np.flatnonzero(block[row].numpy() <= reach[row] - own_square[row])
                near, far_row = _ranked(x, start + row, within[None])
                index[start + row], distance[start + row] = near[0, :k], far_row[0, :k]
    return index, distance


def _ranked(x: NDArray, start: int, candidates: NDArray) -> tuple[NDArray, NDArray]:
    """Rank candidates, ascending by index, of the rows from ``start`` by their exact distance."""
    distance = np.empty(candidates.shape)
    for row, others in enumerate(candidates):
        difference = x[others].astype(np.float64) - x[start + row]
        distance[row] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distance, axis=1, kind="stable")
    return np.take_along_axis(candidates, order, 1), np.take_along_axis(distance, order, 1)
