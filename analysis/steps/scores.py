"""Scores that say how many strategies there are and how far apart they lie."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score, pairwise_distances, silhouette_score

from relfunc.schema import CLASS, CLUSTERING, EIGENVALUE, NOISE, PREDICTION, SAMPLE

from .._kernels import fisher
from ..errors import DataError
from ..measures import largest_gap, largest_share
from ..roles import CLUSTER, FEATURES, SCORE, having, makes, matrix, result, variable
from ..roles import CLUSTERING as CLUSTERING_ROLE
from .cluster import kmeans
from .graph import SOURCE, TARGET, WEIGHT, as_matrix


@makes(SCORE)
def eigengap(data: xr.Dataset, *, most: int | None = None) -> xr.Dataset:
    """Count the strategies by the widest gap between neighbouring eigenvalues of the Laplacian [1]_ [2]_.

    Where all eigenvalues are zero, the gap lies behind the last of them: then the connected components of the graph are
    counted, each of which is a strategy.

    Parameters
    ----------
    data : xarray.Dataset
        With ``eigenvalue(eigen)``, ascending, and perhaps the graph that they are of.
    most : int, optional
        Gaps after at most so many eigenvalues are looked at; all of them, if not given.

    Returns
    -------
    xarray.Dataset
        ``eigengap``, the widest λ_{i+1} − λ_i, and ``n_strategies``, its i, counted from 1. The gap is NaN for one
        eigenvalue, and where all are zero.

    References
    ----------
    .. [1] Lapuschkin et al. 2019, Unmasking Clever Hans predictors, Nature Communications 10, methods.
    .. [2] von Luxburg 2007, A tutorial on spectral clustering, Statistics and Computing 17, sections 3 and 8.3.

    Examples
    --------
    >>> found = eigengap(xr.Dataset({"eigenvalue": ("eigen", [0.0, 0.1, 0.7, 0.8])}))
    >>> float(found["eigengap"].round(6)), int(found["n_strategies"])
    (0.6, 2)
    """
    eigenvalues = np.sort(variable(data, EIGENVALUE, "eigengap").values)
    strategies = largest_gap(eigenvalues, most=most)
    inside = strategies < eigenvalues.size
    gap = float(eigenvalues[strategies] - eigenvalues[strategies - 1]) if inside else np.nan
    if not inside and {SOURCE, TARGET, WEIGHT} <= set(data.data_vars):
        strategies = int(connected_components(as_matrix(data), directed=False)[0])
    attrs = {} if most is None else {"most": most}
    return xr.Dataset(
        {
            "eigengap": result(SCORE, (), gap, **attrs),
            "n_strategies": result(SCORE, (), float(strategies), **attrs),
        }
    )


@makes(SCORE)
def separability(
    data: xr.Dataset,
    *,
    of: str = FEATURES,
    n_dims: int | None = None,
    ridge: float = 0.1,
) -> xr.Dataset:
    """Score every clustering by Fisher's discriminant, whole [1]_, and each cluster against the rest, held out.

    τ = max_w (wᵀ S_b w) / (wᵀ (S_w + λI) w), with the between- and within-cluster scatter S_b and S_w, and
    λ = ``ridge`` · tr(S_b + S_w) / min(n, d), without which τ is infinite for fewer samples than dimensions.

    Any partition into compact parts looks separable to a discriminant that has seen it. So for one cluster against
    the rest, every sample is projected by the discriminant fitted to all the others, and τ is the ratio of between-
    to within-group variance of these held-out projections.

    Parameters
    ----------
    data : xarray.Dataset
        With clusterings and the variable ``of``.
    of : str
        Where separability is measured: "features", or an embedding.
    n_dims : int, optional
        Only its first so many columns; all, if not given.
    ridge : float
        Strength of the regularisation.

    Returns
    -------
    xarray.Dataset
        ``separability(clustering)`` and ``cluster_separability(clustering, cluster)``; NaN where there is only one
        cluster, or one has a single sample. Noise belongs to the rest, and is left out of the first.

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77, section 3.1 (arXiv 1912.11425).

    Examples
    --------
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0], [0.2], [1.0], [1.2]])})
    >>> data["kmeans-02"] = xr.Variable("sample", [0, 0, 1, 1], {"role": "clustering"})
    >>> separability(data, ridge=0)["separability"].values.round(6)
    array([25.])
    """
    x = matrix(data, of, "separability")[:, :n_dims]
    attrs = {"of": of, "n_dims": x.shape[1], "ridge": ridge}
    clusterings = clusterings_of(data, "separability")
    whole = np.full(len(clusterings), np.nan)
    each = np.full((len(clusterings), most_clusters(clusterings)), np.nan)
    samples = fisher.hat(x, ridge)
    for row, labels in enumerate(clusterings.values()):
        inside = labels != NOISE
        names, size = np.unique(labels[inside], return_counts=True)
        if names.size > 1 and size.min() > 1:
            clustered = samples if inside.all() else fisher.hat(x[inside], ridge)
            whole[row] = fisher.separability(clustered, labels[inside])
        judged = names[(size > 1) & (labels.size - size > 1)]
        each[row, judged] = fisher.held_out(samples, labels[:, None] == judged)
    return _scores(
        clusterings,
        separability=result(SCORE, (CLUSTERING,), whole, **attrs),
        cluster_separability=result(SCORE, (CLUSTERING, CLUSTER), each, **attrs),
    )


@makes(SCORE)
def silhouette(
    data: xr.Dataset,
    *,
    of: str = "spectral",
    n_dims: int | None = None,
    most: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Score every clustering by its mean silhouette coefficient [1]_.

    Parameters
    ----------
    data : xarray.Dataset
        With clusterings and the variable ``of``.
    of : str
        Where distances are measured: an embedding, or "features".
    n_dims : int, optional
        Only its first so many columns; all, if not given.
    most : int
        Of more samples than this, so many are drawn at random, as the cost grows with their square.
    seed : int
        Seed of the draw.

    Returns
    -------
    xarray.Dataset
        ``silhouette(clustering)`` in [−1, 1]; NaN unless 2 ≤ clusters < samples. Noise is left out.

    References
    ----------
    .. [1] Rousseeuw 1987, Silhouettes, Journal of Computational and Applied Mathematics 20.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [0.0], [1.0], [1.0]])})
    >>> data["kmeans-02"] = xr.Variable("sample", [0, 0, 1, 1], {"role": "clustering"})
    >>> silhouette(data)["silhouette"].values
    array([1.])
    """
    x = matrix(data, of, "silhouette")[:, :n_dims]
    clusterings = clusterings_of(data, "silhouette")
    values = np.full(len(clusterings), np.nan)
    drawn = np.arange(len(x))
    if len(x) > most:
        drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
    distance = pairwise_distances(x[drawn])
    for row, labels in enumerate(clusterings.values()):
        inside = labels[drawn] != NOISE
        if 2 <= np.unique(labels[drawn][inside]).size < inside.sum():
            values[row] = silhouette_score(
                distance[np.ix_(inside, inside)], labels[drawn][inside], metric="precomputed"
            )
    return _scores(clusterings, silhouette=result(SCORE, (CLUSTERING,), values, of=of, n_dims=x.shape[1], seed=seed))


@makes(SCORE)
def size(data: xr.Dataset) -> xr.Dataset:
    """Count the samples of every cluster.

    Parameters
    ----------
    data : xarray.Dataset
        With clusterings.

    Returns
    -------
    xarray.Dataset
        ``size(clustering, cluster)``, 0 for clusters a clustering does not have, and ``noise(clustering)``.

    Examples
    --------
    >>> data = xr.Dataset({"kmeans-02": ("sample", [0, 0, 1], {"role": "clustering"})})
    >>> size(data)["size"].values
    array([[2., 1.]])
    """
    clusterings = clusterings_of(data, "size")
    counts = np.zeros((len(clusterings), most_clusters(clusterings)))
    for row, labels in enumerate(clusterings.values()):
        counts[row] = np.bincount(labels[labels != NOISE], minlength=counts.shape[1])
    noise = np.array([float(np.sum(labels == NOISE)) for labels in clusterings.values()])
    return _scores(
        clusterings,
        size=result(SCORE, (CLUSTERING, CLUSTER), counts),
        noise=result(SCORE, (CLUSTERING,), noise),
    )


@makes(SCORE)
def purity(data: xr.Dataset, *, against: str = PREDICTION) -> xr.Dataset:
    """Score how far clusters agree with a variable, such as the prediction or a suspected confounder.

    Parameters
    ----------
    data : xarray.Dataset
        With clusterings and the variable ``against``.
    against : str
        A variable over ``sample``, or ``prediction(sample, class)``, of which the largest output counts.

    Returns
    -------
    xarray.Dataset
        ``purity(clustering, cluster)``, the share of a cluster's samples that have its commonest value [1]_, and
        ``agreement(clustering)``, the adjusted Rand index [2]_ of the clusters and the variable. Noise is left out.

    References
    ----------
    .. [1] Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, section 16.3.
    .. [2] Hubert and Arabie 1985, Comparing partitions, Journal of Classification 2.

    Examples
    --------
    >>> data = xr.Dataset({"kmeans-02": ("sample", [0, 0, 1], {"role": "clustering"}), "tag": ("sample", [1, 2, 2])})
    >>> purity(data, against="tag")["purity"].values
    array([[0.5, 1. ]])
    """
    values = variable(data, against, "purity")
    if values.dims not in ((SAMPLE,), (SAMPLE, CLASS)):
        raise DataError(f"purity: against={against!r} has dimensions {values.dims}, not ('sample',)")
    known = values.values if values.ndim == 1 else values.values.argmax(1)
    clusterings = clusterings_of(data, "purity")
    pure = np.full((len(clusterings), most_clusters(clusterings)), np.nan)
    agreement = np.full(len(clusterings), np.nan)
    for row, labels in enumerate(clusterings.values()):
        inside = labels != NOISE
        for cluster in np.unique(labels[inside]):
            pure[row, cluster] = largest_share(known[labels == cluster])
        if inside.any():
            agreement[row] = adjusted_rand_score(known[inside], labels[inside])
    return _scores(
        clusterings,
        purity=result(SCORE, (CLUSTERING, CLUSTER), pure, against=against),
        agreement=result(SCORE, (CLUSTERING,), agreement, against=against),
    )


@makes(SCORE)
def stability(
    data: xr.Dataset,
    *,
    clusters: Sequence[int] = (2,),
    embedding: str = "spectral",
    n_dims: int | None = None,
    unit_rows: bool = False,
    n_seeds: int = 5,
    seed: int = 0,
    name: str = "kmeans",
) -> xr.Dataset:
    """Score how far k-means finds the same clusters from other starts: one start for each seed, all pairs compared.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``embedding``.
    clusters : sequence of int
        The numbers of clusters.
    embedding, n_dims, unit_rows
        As :func:`analysis.kmeans` takes them.
    n_seeds : int
        How many seeds, from ``seed`` on.
    seed : int
        The first of them.
    name : str
        The clusterings that :func:`analysis.kmeans` makes.

    Returns
    -------
    xarray.Dataset
        ``stability(clustering)``, the mean adjusted Rand index over all pairs of seeds.

    Examples
    --------
    >>> data = xr.Dataset({"spectral": (("sample", "eigen"), [[0.0], [9.0], [0.1], [0.2]])})
    >>> stability(data)["stability"].values
    array([1.])
    """
    if n_seeds < 2:
        raise DataError(f"stability: n_seeds={n_seeds} leaves nothing to compare: give at least 2")
    options: dict[str, Any] = {"embedding": embedding, "n_dims": n_dims, "unit_rows": unit_rows, "name": name}
    starts = [kmeans(data, clusters=clusters, n_init=1, seed=seed + i, **options) for i in range(n_seeds)]
    means = [
        np.mean([adjusted_rand_score(a[clustering], b[clustering]) for a, b in itertools.combinations(starts, 2)])
        for clustering in starts[0].data_vars
    ]
    values = result(SCORE, (CLUSTERING,), np.array(means), n_seeds=n_seeds, seed=seed, embedding=embedding)
    return xr.Dataset({"stability": values}, coords={CLUSTERING: list(map(str, starts[0].data_vars))})


def clusterings_of(data: xr.Dataset, step: str) -> dict[str, NDArray]:
    """Return the labels of each clustering, or say that a step needs one."""
    found = {name: labels.values for name, labels in having(data, CLUSTERING_ROLE).items()}
    if not found:
        raise DataError(f"{step}: there is no clustering to score: put one before this step")
    return found


def most_clusters(clusterings: dict[str, NDArray]) -> int:
    """Return the number of clusters of the clustering that has most, at least one."""
    return max([1, *(int(labels.max(initial=NOISE)) + 1 for labels in clusterings.values())])


def _scores(clusterings: dict[str, NDArray], **scores: xr.Variable) -> xr.Dataset:
    coords: dict[str, list[Any]] = {CLUSTERING: list(clusterings)}
    if any(CLUSTER in score.dims for score in scores.values()):
        coords[CLUSTER] = list(range(most_clusters(clusterings)))
    return xr.Dataset(scores, coords=coords)
