"""Clusterings: which samples share a strategy. Labels are 0, 1, … from the largest cluster down; −1 is noise."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from relfunc.schema import NOISE, SAMPLE

from .errors import DataError
from .steps import CLUSTERING, matrix, result


def kmeans(
    data: xr.Dataset,
    *,
    clusters: Sequence[int] = (2,),
    embedding: str = "spectral",
    n_dims: int | None = None,
    unit_rows: bool = False,
    n_init: int = 10,
    seed: int = 0,
    name: str = "kmeans",
) -> xr.Dataset:
    """Cluster an embedding by k-means, once for every number of clusters.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    clusters : sequence of int
        The numbers of clusters to try.
    embedding : str
        The variable to cluster.
    n_dims : int, optional
        Use only its first so many columns; 0 stands for as many as there are clusters, which is spectral clustering
        [1]_; all, if not given.
    unit_rows : bool
        Whether every row is scaled to unit length first, as in [1]_.
    n_init : int
        How many starts; the best is kept.
    seed : int
        Seed of the starts.
    name : str
        The clusterings are called ``<name>-<k>``, two digits.

    Returns
    -------
    xarray.Dataset
        ``<name>-02(sample)`` and so on, int32. Where there are fewer distinct samples than clusters, each is its own.

    References
    ----------
    .. [1] Ng, Jordan and Weiss 2001, On spectral clustering: analysis and an algorithm, NeurIPS 14, section 2.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [9.0], [0.1], [0.2]])})
    >>> kmeans(data, clusters=[2])["kmeans-02"].values
    array([0, 1, 0, 0], dtype=int32)
    """
    x = matrix(data, embedding, "kmeans")
    if not clusters or min(clusters) < 1:
        raise DataError(f"kmeans: clusters={tuple(clusters)} must name numbers of at least 1")
    found = {}
    for k in clusters:
        part = x if n_dims is None else x[:, : n_dims or k]
        part = _unit_rows(part) if unit_rows else part
        count = min(k, len(np.unique(part, axis=0)))
        # sums over several threads differ in their last bits from run to run
        with threadpool_limits(1, "openmp"):
            labels = KMeans(count, n_init=cast(Any, n_init), random_state=seed).fit_predict(part)
        attrs = {"embedding": embedding, "k": k, "seed": seed}
        found[f"{name}-{k:02d}"] = result(CLUSTERING, (SAMPLE,), by_size(labels), **attrs)
    return xr.Dataset(found)


def by_size(labels: NDArray) -> NDArray[np.int32]:
    """Rename clusters 0, 1, … from the largest down, equal ones by their first sample; noise stays −1."""
    named, first, size = np.unique(labels[labels != NOISE], return_index=True, return_counts=True)
    order = np.lexsort((first, -size))
    new = np.full(labels.shape, NOISE, np.int32)
    for rank, cluster in enumerate(named[order]):
        new[labels == cluster] = rank
    return new


def _unit_rows(x: NDArray) -> NDArray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
