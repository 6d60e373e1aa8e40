"""Embeddings: coordinates in which the strategies of a class lie apart."""

import numpy as np
import xarray as xr
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, LocallyLinearEmbedding
from threadpoolctl import threadpool_limits

from relfunc.schema import COMPONENT, EIGEN, EIGENVALUE, SAMPLE

from .._kernels.eigen import LAPLACIANS, smallest
from ..errors import DataError
from ..roles import EMBEDDING, FEATURES, SPECTRUM, choice, makes, matrix, result
from .graph import as_matrix


@makes(EMBEDDING)
def spectral(
    data: xr.Dataset,
    *,
    n_eigenvalues: int = 32,
    laplacian: str = "symmetric",
    name: str = "spectral",
) -> xr.Dataset:
    """Embed the samples by the eigenvectors of their graph's Laplacian with the smallest eigenvalues.

    Parameters
    ----------
    data : xarray.Dataset
        With a graph, as :func:`analysis.neighbor_graph` makes it.
    n_eigenvalues : int
        How many; at most the number of samples are returned.
    laplacian : {"symmetric", "random-walk", "unnormalized"}
        I − D^−½ W D^−½ [1]_, I − D^−1 W, or D − W [2]_.
    name : str
        The embedding's name; its eigenvalues are called ``eigenvalue``, or ``eigenvalue-<name>`` if it is not
        "spectral".

    Returns
    -------
    xarray.Dataset
        ``<name>(sample, eigen)``, unit columns, and ``eigenvalue(eigen)``, ascending, in [0, 2] for the first two
        Laplacians. As many eigenvalues are 0 as the graph has components. The eigenvectors are determined but for
        rotations among equal eigenvalues; their largest entry is positive.

    References
    ----------
    .. [1] Ng, Jordan and Weiss 2001, On spectral clustering, NeurIPS 14.
    .. [2] von Luxburg 2007, A tutorial on spectral clustering, Statistics and Computing 17, section 3.

    Examples
    --------
    >>> from analysis import neighbor_graph
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0], [1.0], [8.0], [9.0]])})
    >>> found = spectral(neighbor_graph(data, n_neighbors=1).assign_coords(sample=range(4)), n_eigenvalues=3)
    >>> found["eigenvalue"].values
    array([0., 0., 2.])
    """
    choice(laplacian, LAPLACIANS, "laplacian", "spectral")
    if n_eigenvalues < 1:
        raise DataError(f"spectral: n_eigenvalues={n_eigenvalues} must be at least 1")
    values, vectors = smallest(as_matrix(data), min(n_eigenvalues, data.sizes[SAMPLE]), laplacian)
    spectrum = EIGENVALUE if name == "spectral" else f"{EIGENVALUE}-{name}"
    return xr.Dataset(
        {
            name: result(EMBEDDING, (SAMPLE, EIGEN), vectors, laplacian=laplacian, eigenvalue=values),
            spectrum: result(SPECTRUM, (EIGEN,), values, embedding=name),
        }
    )


@makes(EMBEDDING)
def pca(
    data: xr.Dataset,
    *,
    n_components: int = 2,
    whiten: bool = False,
    features: str = FEATURES,
    name: str = "pca",
    seed: int = 0,
) -> xr.Dataset:
    """Embed the samples by their principal components.

    Parameters
    ----------
    data : xarray.Dataset
        With ``features(sample, feature)``.
    n_components : int
        How many; components beyond the rank are 0.
    whiten : bool
        Whether every component is scaled to unit variance.
    features : str
        The variable to reduce, features or an embedding.
    name : str
        The embedding's name.
    seed : int
        Seed of the randomised solver, which is used for large inputs.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample, component)``.

    Examples
    --------
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0, 0.0], [3.0, 4.0]])})
    >>> abs(pca(data, n_components=1)["pca"].values.round(6)).tolist()
    [[2.5], [2.5]]
    """
    x = matrix(data, features, "pca")
    embedded = _padded(_principal(x, n_components, whiten=whiten, seed=seed), n_components)
    return xr.Dataset({name: result(EMBEDDING, (SAMPLE, COMPONENT), embedded, features=features)})


@makes(EMBEDDING)
def tsne(
    data: xr.Dataset,
    *,
    features: str = "spectral",
    perplexity: float = 30.0,
    n_components: int = 2,
    seed: int = 0,
    name: str = "tsne",
) -> xr.Dataset:
    """Embed the samples by t-SNE [1]_, a map for the eye: neighbours stay together, distances mean little.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``features``.
    features : str
        What to map: an embedding, or "features".
    perplexity : float
        About how many neighbours count; at most a third of the other samples.
    n_components : int
        Dimensions of the map.
    seed : int
        Seed of the optimisation, which starts from the principal components.
    name : str
        The embedding's name.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample, component)``. Fewer than five samples are laid out by their principal components instead.

    References
    ----------
    .. [1] van der Maaten and Hinton 2008, Visualizing data using t-SNE, JMLR 9.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> dict(tsne(xr.Dataset({"features": (("sample", "feature"), x)}), features="features")["tsne"].sizes)
    {'sample': 20, 'component': 2}
    """
    x = matrix(data, features, "tsne")
    start = _padded(_principal(x, n_components, whiten=False, seed=seed), n_components)
    if len(x) < 5 or not np.ptp(x, axis=0).any():
        embedded = start
    else:
        scale = start[:, 0].std()
        model = TSNE(
            n_components,
            perplexity=min(perplexity, (len(x) - 1) / 3),
            init=(start / scale * 1e-4).astype(np.float32),
            random_state=seed,
            method="barnes_hut" if n_components < 4 else "exact",
        )
        # sums over several threads differ in their last bits from run to run
        with threadpool_limits(1, "openmp"):
            embedded = model.fit_transform(x.astype(np.float32)).astype(np.float64)
    return xr.Dataset({name: result(EMBEDDING, (SAMPLE, COMPONENT), embedded, features=features, seed=seed)})


@makes(EMBEDDING)
def umap(
    data: xr.Dataset,
    *,
    n_components: int = 2,
    min_dist: float = 0.1,
    n_epochs: int | None = None,
    seed: int = 0,
    name: str = "umap",
) -> xr.Dataset:
    """Embed the samples by the layout that UMAP [1]_ gives their graph: no second search for neighbours.

    Parameters
    ----------
    data : xarray.Dataset
        With a graph, as :func:`analysis.neighbor_graph` makes it; ``weights="self-tuning"`` comes near UMAP's own.
    n_components : int
        Dimensions of the map.
    min_dist : float
        How near to each other samples may lie in it.
    n_epochs : int, optional
        Rounds of the optimisation; 500, or 200 for more than 10,000 samples, if not given.
    seed : int
        Seed of the optimisation, which starts from the spectral embedding.
    name : str
        The embedding's name.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample, component)``. Fewer than five samples, or a graph without edges, are laid out by their
        spectral embedding instead.

    Raises
    ------
    DataError
        If the extra ``umap`` is not installed.

    References
    ----------
    .. [1] McInnes, Healy and Melville 2018, UMAP: uniform manifold approximation and projection, arXiv 1802.03426.

    Examples
    --------
    >>> from analysis import neighbor_graph
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0], [1.0], [8.0], [9.0]])})
    >>> dict(umap(neighbor_graph(data, n_neighbors=1).assign_coords(sample=range(4)))["umap"].sizes)
    {'sample': 4, 'component': 2}
    """
    weights = as_matrix(data)
    n = data.sizes[SAMPLE]
    embedded = _padded(smallest(weights, min(n_components + 1, n), "symmetric")[1][:, 1:], n_components)
    if n >= 5 and weights.nnz:
        try:
            from umap.umap_ import find_ab_params, simplicial_set_embedding  # an extra, and slow to load
        except ImportError as error:
            raise DataError(f'umap needs umap-learn ({error}): pip install "relfunc[umap]"') from error
        random = np.random.RandomState(seed)
        spread = embedded + random.normal(scale=1e-4 * embedded.std(), size=embedded.shape)
        a, b = find_ab_params(1.0, min_dist)
        embedded, _ = simplicial_set_embedding(
            spread.astype(np.float32),
            weights,
            n_components,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=n_epochs,
            init=spread,
            random_state=random,
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
        )
        embedded = np.asarray(embedded, np.float64)
    return xr.Dataset({name: result(EMBEDDING, (SAMPLE, COMPONENT), embedded, seed=seed, min_dist=min_dist)})


@makes(EMBEDDING)
def lle(
    data: xr.Dataset,
    *,
    n_components: int = 2,
    n_neighbors: int = 5,
    features: str = FEATURES,
    seed: int = 0,
    name: str = "lle",
) -> xr.Dataset:
    """Embed the samples by locally linear embedding [1]_.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``features``.
    n_components : int
        Dimensions of the map.
    n_neighbors : int
        Neighbours from which every sample is reconstructed; at most n − 1 are taken.
    features : str
        What to map: "features", or an embedding.
    seed : int
        Seed of the eigensolver.
    name : str
        The embedding's name.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample, component)``. Where there are too few samples, they are laid out by their principal components.

    References
    ----------
    .. [1] Roweis and Saul 2000, Nonlinear dimensionality reduction by locally linear embedding, Science 290.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> dict(lle(xr.Dataset({"features": (("sample", "feature"), x)}))["lle"].sizes)
    {'sample': 20, 'component': 2}
    """
    x = matrix(data, features, "lle")
    if len(x) <= n_components + 1 or not np.ptp(x, axis=0).any():
        embedded = _padded(_principal(x, n_components, whiten=False, seed=seed), n_components)
    else:
        model = LocallyLinearEmbedding(
            n_neighbors=min(n_neighbors, len(x) - 1), n_components=n_components, random_state=seed
        )
        embedded = model.fit_transform(x.astype(np.float64))
    return xr.Dataset({name: result(EMBEDDING, (SAMPLE, COMPONENT), embedded, features=features, seed=seed)})


def _principal(x: np.ndarray, n_components: int, *, whiten: bool, seed: int) -> np.ndarray:
    count = min(n_components, *x.shape)
    if len(x) < 2 or not np.ptp(x, axis=0).any():
        return np.zeros((len(x), count))
    return PCA(count, whiten=whiten, random_state=seed).fit_transform(x.astype(np.float64))


def _padded(x: np.ndarray, columns: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, columns - x.shape[1])))
