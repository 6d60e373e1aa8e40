"""The neighbour graph of the samples, kept as its labelled list of edges."""

import math

import numpy as np
import xarray as xr
from scipy import sparse

from relfunc.schema import SAMPLE

from .._kernels import graph as kernels
from .._kernels.approximate import METRICS, approximate_neighbors
from .._kernels.neighbors import neighbors
from ..errors import DataError
from ..roles import FEATURES, GRAPH, SCORE, choice, makes, matrix, result, variable

EDGE = "edge"
SOURCE, TARGET, WEIGHT = "source", "target", "weight"
SMALL = 256  # samples, of which a descent sees nearly all pairs


@makes(GRAPH)
def neighbor_graph(
    data: xr.Dataset,
    *,
    n_neighbors: int | None = None,
    metric: str = "euclidean",
    p: float | None = None,
    symmetry: str = "mean",
    weights: str = "binary",
    features: str = FEATURES,
) -> xr.Dataset:
    """Join every sample with its nearest neighbours in a symmetric graph without self-loops.

    Parameters
    ----------
    data : xarray.Dataset
        With ``features(sample, feature)``.
    n_neighbors : int, optional
        Neighbours of each sample, itself not counted; ⌈ln n⌉, but at least 3, if not given [1]_. At most n − 1 are
        taken.
    metric : str
        As :func:`scipy.spatial.distance.cdist` names it.
    p : float, optional
        The exponent of the metric "minkowski".
    symmetry : {"mean", "either", "mutual"}
        The weight of an edge is the mean, the larger or the smaller of its two directions' weights.
    weights : {"binary", "gaussian", "self-tuning"}
        1; exp(−d² / 2σ²), σ the median distance to the last neighbour; or exp(−d² / σ_i σ_j), σ_i the distance of i
        to its last neighbour [2]_.
    features : str
        The variable that is compared.

    Returns
    -------
    xarray.Dataset
        ``source(edge)``, ``target(edge)`` (positions of samples) and ``weight(edge)``; every edge in both directions,
        in the order of a CSR matrix.

    References
    ----------
    .. [1] Lapuschkin et al. 2019, Unmasking Clever Hans predictors, Nature Communications 10, supplement: k ≈ log n.
    .. [2] Zelnik-Manor and Perona 2004, Self-tuning spectral clustering, NeurIPS 17, section 2.

    Examples
    --------
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0], [1.0], [5.0]])})
    >>> graph = neighbor_graph(data, n_neighbors=1)
    >>> list(zip(graph["source"].values.tolist(), graph["target"].values.tolist(), graph["weight"].values.tolist()))
    [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 0.5), (2, 1, 0.5)]
    """
    x, k = _prepared(data, features, n_neighbors, symmetry, weights, "neighbor_graph")
    options: dict[str, float] = {} if p is None else {"p": p}
    try:
        index, distance = neighbors(x, k, metric, rows=None, **options)
    except (TypeError, ValueError) as error:
        raise DataError(f"neighbor_graph: metric={metric!r} cannot be computed: {error}") from error
    return as_edges(kernels.affinity(index, distance, symmetry=symmetry, weights=weights))


@makes(GRAPH)
def approximate_neighbor_graph(
    data: xr.Dataset,
    *,
    n_neighbors: int | None = None,
    metric: str = "euclidean",
    symmetry: str = "mean",
    weights: str = "binary",
    features: str = FEATURES,
    checked: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Join every sample with about its nearest neighbours, found by descent [1]_, for hundreds of thousands of samples.

    The time grows with n log n instead of n². Some samples are searched exactly too, to say how good the graph is.

    Parameters
    ----------
    data : xarray.Dataset
        With ``features(sample, feature)``.
    n_neighbors, symmetry, weights, features
        As :func:`analysis.neighbor_graph` takes them.
    metric : {"euclidean", "sqeuclidean", "cosine", "correlation", "cityblock", "chebyshev", "canberra", "braycurtis"}
        As SciPy names it.
    checked : int
        How many samples are searched exactly too.
    seed : int
        Seed of the descent, and of which samples those are. The descent runs on one core, so that equal seeds mean
        equal graphs.

    Returns
    -------
    xarray.Dataset
        As :func:`analysis.neighbor_graph`; and the score ``recall``, the share of the true neighbours among those
        found.

    Raises
    ------
    DataError
        If the extra ``approximate`` is not installed.

    References
    ----------
    .. [1] Dong, Moses and Li 2011, Efficient k-nearest neighbor graph construction for generic similarity measures,
       WWW.

    Examples
    --------
    >>> data = xr.Dataset({"features": (("sample", "feature"), np.random.default_rng(0).normal(size=(100, 3)))})
    >>> approximate_neighbor_graph(data)["recall"].item()
    1.0
    """
    choice(metric, tuple(METRICS), "metric", "approximate_neighbor_graph")
    x, k = _prepared(data, features, n_neighbors, symmetry, weights, "approximate_neighbor_graph")
    if checked < 1:
        raise DataError(f"approximate_neighbor_graph: checked={checked} leaves the recall unknown: give at least 1")
    if len(x) <= SMALL:
        index, distance = neighbors(x, k, metric)
        recall = 1.0
    else:
        try:
            index, distance, recall = approximate_neighbors(x, k, metric, seed, checked)
        except ImportError as error:
            raise DataError(
                f'approximate_neighbor_graph needs pynndescent ({error}): pip install "relfunc[approximate]"'
            ) from error
    edges = as_edges(kernels.affinity(index, distance, symmetry=symmetry, weights=weights))
    return edges.assign(recall=result(SCORE, (), recall, checked=checked, seed=seed))


def _prepared(
    data: xr.Dataset, features: str, n_neighbors: int | None, symmetry: str, weights: str, step: str
) -> tuple[np.ndarray, int]:
    """Check what the graphs have in common; return the samples and the number of neighbours."""
    choice(symmetry, kernels.SYMMETRIES, "symmetry", step)
    choice(weights, kernels.WEIGHTS, "weights", step)
    x = matrix(data, features, step)
    if n_neighbors is None:
        n_neighbors = max(3, math.ceil(math.log(max(len(x), 1))))
    if n_neighbors < 1:
        raise DataError(f"{step}: n_neighbors={n_neighbors} joins nothing: it must be at least 1")
    return x, min(n_neighbors, len(x) - 1)


def as_edges(weights: sparse.csr_array) -> xr.Dataset:
    """Return a sparse matrix as the labelled list of its entries.

    Parameters
    ----------
    weights : scipy.sparse.csr_array, shape (n, n)

    Returns
    -------
    xarray.Dataset
        ``source``, ``target`` and ``weight`` over ``edge``.

    Examples
    --------
    >>> as_edges(sparse.csr_array([[0.0, 2.0], [2.0, 0.0]]))["weight"].values
    array([2., 2.])
    """
    entries = weights.tocoo()
    return xr.Dataset(
        {
            SOURCE: (EDGE, entries.row.astype(np.int64)),
            TARGET: (EDGE, entries.col.astype(np.int64)),
            WEIGHT: (EDGE, entries.data.astype(np.float64)),
        }
    )


def as_matrix(data: xr.Dataset) -> sparse.csr_array:
    """Return the graph of a dataset as a sparse matrix.

    Parameters
    ----------
    data : xarray.Dataset
        With ``source(edge)``, ``target(edge)``, ``weight(edge)`` and the dimension ``sample``.

    Returns
    -------
    scipy.sparse.csr_array, shape (sample, sample)

    Examples
    --------
    >>> edges = as_edges(sparse.csr_array([[0.0, 2.0], [2.0, 0.0]]))
    >>> as_matrix(edges.assign_coords(sample=[0, 1])).toarray()
    array([[0., 2.],
           [2., 0.]])
    """
    source, target, weight = (variable(data, name, "as_matrix").values for name in (SOURCE, TARGET, WEIGHT))
    n = data.sizes[SAMPLE]
    return sparse.csr_array((weight, (source, target)), shape=(n, n))
