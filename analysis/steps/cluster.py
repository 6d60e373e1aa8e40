"""Clusterings: which samples share a strategy. Labels are 0, 1, … from the largest cluster down; −1 is noise."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN, HDBSCAN, KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from relfunc.schema import NOISE, SAMPLE

from ..errors import DataError
from ..roles import CLUSTERING, makes, matrix, result


@makes(CLUSTERING)
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
    found = {}
    for k in _counts(clusters, "kmeans"):
        part = x if n_dims is None else x[:, : n_dims or k]
        part = _unit_rows(part) if unit_rows else part
        count = min(k, len(np.unique(part, axis=0)))
        # sums over several threads differ in their last bits from run to run
        with threadpool_limits(1, "openmp"):
            labels = KMeans(count, n_init=cast(Any, n_init), random_state=seed).fit_predict(part)
        attrs = {"embedding": embedding, "k": k, "seed": seed}
        found[f"{name}-{k:02d}"] = result(CLUSTERING, (SAMPLE,), by_size(labels), **attrs)
    return xr.Dataset(found)


@makes(CLUSTERING)
def spectral_clustering(
    data: xr.Dataset,
    *,
    clusters: Sequence[int] = (2,),
    embedding: str = "spectral",
    n_init: int = 10,
    seed: int = 0,
    name: str = "spectral",
) -> xr.Dataset:
    """Cluster a graph by k-means of the first k eigenvectors of its Laplacian, rows of unit length [1]_.

    Parameters
    ----------
    data : xarray.Dataset
        With an embedding of :func:`analysis.spectral` that has as many eigenvectors as there are clusters; one
        embedding serves all numbers of clusters.
    clusters : sequence of int
        The numbers of clusters to try.
    embedding : str
        The embedding.
    n_init : int
        How many starts; the best is kept.
    seed : int
        Seed of the starts.
    name : str
        The clusterings are called ``<name>-<k>``, two digits.

    Returns
    -------
    xarray.Dataset
        ``<name>-02(sample)`` and so on, int32.

    References
    ----------
    .. [1] Ng, Jordan and Weiss 2001, On spectral clustering: analysis and an algorithm, NeurIPS 14, section 2.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.7, 0.0], [0.0, 1.0], [0.7, 0.0]])})
    >>> spectral_clustering(data)["spectral-02"].values
    array([0, 1, 0], dtype=int32)
    """
    found = matrix(data, embedding, "spectral_clustering").shape
    if max(_counts(clusters, "spectral_clustering")) > found[1] < found[0]:
        raise DataError(
            f"spectral_clustering: clusters={tuple(clusters)} need as many eigenvectors, and '{embedding}' has "
            f"{found[1]}: raise n_eigenvalues"
        )
    return kmeans(
        data, clusters=clusters, embedding=embedding, n_dims=0, unit_rows=True, n_init=n_init, seed=seed, name=name
    )


@makes(CLUSTERING)
def minibatch_kmeans(
    data: xr.Dataset,
    *,
    clusters: Sequence[int] = (2,),
    embedding: str = "spectral",
    n_init: int = 10,
    seed: int = 0,
    name: str = "minibatch",
) -> xr.Dataset:
    """Cluster an embedding by mini-batch k-means [1]_, for very many samples.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    clusters : sequence of int
        The numbers of clusters to try.
    embedding : str
        The variable to cluster.
    n_init : int
        How many starts; the best is kept.
    seed : int
        Seed of the starts and batches.
    name : str
        The clusterings are called ``<name>-<k>``, two digits.

    Returns
    -------
    xarray.Dataset
        ``<name>-02(sample)`` and so on, int32.

    References
    ----------
    .. [1] Sculley 2010, Web-scale k-means clustering, WWW.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [9.0], [0.1], [0.2]])})
    >>> minibatch_kmeans(data)["minibatch-02"].values
    array([0, 1, 0, 0], dtype=int32)
    """
    x = matrix(data, embedding, "minibatch_kmeans")
    found = {}
    for k in _counts(clusters, "minibatch_kmeans"):
        count = min(k, len(np.unique(x, axis=0)))
        with threadpool_limits(1, "openmp"):
            model = MiniBatchKMeans(count, n_init=cast(Any, n_init), random_state=seed)
            labels = model.fit_predict(x)
        attrs = {"embedding": embedding, "k": k, "seed": seed}
        found[f"{name}-{k:02d}"] = result(CLUSTERING, (SAMPLE,), by_size(labels), **attrs)
    return xr.Dataset(found)


@makes(CLUSTERING)
def agglomerative(
    data: xr.Dataset,
    *,
    clusters: Sequence[int] = (2,),
    embedding: str = "spectral",
    linkage: str = "ward",
    metric: str = "euclidean",
    name: str = "agglomerative",
) -> xr.Dataset:
    """Cluster an embedding bottom up: one linkage tree, cut once for every number of clusters.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    clusters : sequence of int
        The numbers of clusters.
    embedding : str
        The variable to cluster. All distances are held in memory, so n² / 2 numbers.
    linkage : {"ward", "single", "complete", "average", "weighted", "centroid", "median"}
        As :func:`scipy.cluster.hierarchy.linkage` has them.
    metric : str
        As :func:`scipy.spatial.distance.pdist` names it; "ward", "centroid" and "median" need "euclidean".
    name : str
        The clusterings are called ``<name>-<k>``, two digits.

    Returns
    -------
    xarray.Dataset
        ``<name>-02(sample)`` and so on, int32; and the tree, ``linkage(merge, part)``.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [9.0], [0.1], [4.0]])})
    >>> agglomerative(data, clusters=[2, 3])["agglomerative-03"].values
    array([0, 1, 0, 2], dtype=int32)
    """
    x = matrix(data, embedding, "agglomerative")
    counts = _counts(clusters, "agglomerative")
    try:
        tree = hierarchy.linkage(x, linkage, metric) if len(x) > 1 else np.empty((0, 4))
    except ValueError as error:
        raise DataError(f"agglomerative: linkage={linkage!r}, metric={metric!r} cannot be computed: {error}") from error
    found = {"linkage": xr.Variable(("merge", "part"), tree)}
    for k in counts:
        cut = _cut(tree, len(x), min(k, len(x)))
        attrs = {"embedding": embedding, "k": k, "linkage": linkage}
        found[f"{name}-{k:02d}"] = result(CLUSTERING, (SAMPLE,), by_size(cut), **attrs)
    return xr.Dataset(found)


@makes(CLUSTERING)
def dbscan(
    data: xr.Dataset,
    *,
    eps: Sequence[float] = (0.5,),
    min_samples: int = 5,
    embedding: str = "spectral",
    metric: str = "euclidean",
    name: str = "dbscan",
) -> xr.Dataset:
    """Cluster an embedding by density [1]_, once for every radius.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    eps : sequence of float
        The radii to try.
    min_samples : int
        Samples within the radius that make a sample part of a cluster's core, itself counted.
    embedding : str
        The variable to cluster.
    metric : str
        As scikit-learn names it.
    name : str
        The clusterings are called ``<name>-eps=<radius>``.

    Returns
    -------
    xarray.Dataset
        One variable over ``sample`` for every radius, int32; −1 is noise.

    References
    ----------
    .. [1] Ester et al. 1996, A density-based algorithm for discovering clusters, KDD.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [9.0], [0.1], [0.2]])})
    >>> dbscan(data, min_samples=2)["dbscan-eps=0.5"].values
    array([ 0, -1,  0,  0], dtype=int32)
    """
    x = matrix(data, embedding, "dbscan")
    found = {}
    for radius in eps:
        if not radius > 0:
            raise DataError(f"dbscan: eps={radius} is no radius: it must be above 0")
        labels = DBSCAN(eps=radius, min_samples=min_samples, metric=metric).fit_predict(x)
        attrs = {"embedding": embedding, "eps": radius, "min_samples": min_samples}
        found[f"{name}-eps={radius:g}"] = result(CLUSTERING, (SAMPLE,), by_size(labels), **attrs)
    return xr.Dataset(found)


@makes(CLUSTERING)
def hdbscan(
    data: xr.Dataset,
    *,
    min_cluster_size: int = 5,
    min_samples: int | None = None,
    embedding: str = "spectral",
    metric: str = "euclidean",
    name: str = "hdbscan",
) -> xr.Dataset:
    """Cluster an embedding by density, where the radius may differ from cluster to cluster [1]_.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    min_cluster_size : int
        Smaller groups are noise.
    min_samples : int, optional
        How many neighbours smooth the density; ``min_cluster_size``, if not given.
    embedding : str
        The variable to cluster.
    metric : str
        As scikit-learn names it.
    name : str
        The clustering's name.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample)``, int32; −1 is noise. Fewer samples than a cluster needs are all noise.

    References
    ----------
    .. [1] Campello, Moulavi and Sander 2013, Density-based clustering based on hierarchical density estimates, PAKDD.

    Examples
    --------
    >>> x = [[0.0], [0.1], [0.2], [9.0], [9.1], [9.2], [50.0]]
    >>> hdbscan(xr.Dataset({"spectral": (("sample", "eigen"), x)}), min_cluster_size=3, min_samples=1)["hdbscan"].values
    array([ 0,  0,  0,  1,  1,  1, -1], dtype=int32)
    """
    x = matrix(data, embedding, "hdbscan")
    if min_cluster_size < 2:
        raise DataError(f"hdbscan: min_cluster_size={min_cluster_size} must be at least 2")
    needed = max(min_cluster_size, min_samples or 1)
    if len(x) < needed:
        labels = np.full(len(x), NOISE)
    else:
        model = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, metric=metric, copy=cast(Any, True))
        labels = model.fit_predict(x)
    attrs = {
        "embedding": embedding,
        "min_cluster_size": min_cluster_size,
        "min_samples": min_samples or min_cluster_size,
    }
    return xr.Dataset({name: result(CLUSTERING, (SAMPLE,), by_size(labels), **attrs)})


def by_size(labels: NDArray) -> NDArray[np.int32]:
    """Rename clusters 0, 1, … from the largest down, equal ones by their first sample; noise stays −1."""
    named, first, size = np.unique(labels[labels != NOISE], return_index=True, return_counts=True)
    order = np.lexsort((first, -size))
    new = np.full(labels.shape, NOISE, np.int32)
    for rank, cluster in enumerate(named[order]):
        new[labels == cluster] = rank
    return new


def _cut(tree: NDArray, n: int, k: int) -> NDArray:
    """Cut a linkage tree of n samples into k clusters: the connected parts after its first n − k merges."""
    merges = n - k
    made = np.repeat(np.arange(n, n + merges), 2)
    parts = tree[:merges, :2].astype(np.int64).ravel()
    joined = sparse.csr_array((np.ones(made.size), (parts, made)), shape=(n + merges, n + merges))
    return connected_components(joined, directed=False)[1][:n]


def _counts(clusters: Sequence[int], step: str) -> Sequence[int]:
    if not clusters or min(clusters) < 1:
        raise DataError(f"{step}: clusters={tuple(clusters)} must name numbers of at least 1")
    return clusters


def _unit_rows(x: NDArray) -> NDArray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
