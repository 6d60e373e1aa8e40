"""Plans from the literature."""

from collections.abc import Iterable

from ..steps import chance, cluster, embed, graph, preprocess, scores
from .tree import Chain, chain, each, step


def spray(
    *,
    n_neighbors: int | None = 10,
    n_eigenvalues: int = 16,
    clusters: Iterable[int] = range(2, 9),
    approximate: bool = False,
    tsne: bool = True,
    seed: int = 0,
) -> Chain:
    """Return the plan of spectral relevance analysis (SpRAy) [1]_ with the scores of [2]_.

    Heatmaps are compared as distributions of relevance, by their Hellinger distance. The Euclidean distance of the
    heatmaps themselves, as in [1]_, is ruled by the few strongest pixels.

    Parameters
    ----------
    n_neighbors : int, optional
        Neighbours in the graph; ⌈ln n⌉ for None. Strategies of fewer samples than that cannot stand apart.
    n_eigenvalues : int
        Dimensions of the spectral embedding.
    clusters : iterable of int
        The numbers of clusters that k-means tries.
    approximate : bool
        Whether neighbours are found by :func:`analysis.approximate_neighbor_graph`, for hundreds of thousands of
        samples in one category.
    tsne : bool
        Whether to map the spectral embedding to two dimensions.
    seed : int
        Seed of k-means, t-SNE and the search for approximate neighbours.

    Returns
    -------
    Chain

    References
    ----------
    .. [1] Lapuschkin et al. 2019, Unmasking Clever Hans predictors and assessing what machines really learn, Nature
       Communications 10.
    .. [2] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77 (arXiv 1912.11425).

    Examples
    --------
    >>> print(spray(tsne=False))
    chain
    ├─ sum_channels()
    ├─ absolute()
    ├─ normalize(by='sum')
    ├─ square_root()
    ├─ flatten()
    ├─ neighbor_graph(n_neighbors=10)
    ├─ spectral(laplacian='symmetric', n_eigenvalues=16)
    ├─ kmeans(clusters=(2, 3, 4, 5, 6, 7, 8), n_dims=0, seed=0, unit_rows=True)
    ├─ apart(seed=0)
    └─ each
       ├─ chance(seed=0)
       ├─ eigengap()
       ├─ separability()
       ├─ silhouette(n_dims=8)
       └─ size()
    """
    exact = step(graph.neighbor_graph, n_neighbors=n_neighbors)
    drawn = (step(embed.tsne, seed=seed),) if tsne else ()
    return chain(
        step(preprocess.sum_channels),
        step(preprocess.absolute),
        step(preprocess.normalize, by="sum"),
        step(preprocess.square_root),
        step(preprocess.flatten),
        step(graph.approximate_neighbor_graph, n_neighbors=n_neighbors, seed=seed) if approximate else exact,
        step(embed.spectral, n_eigenvalues=n_eigenvalues, laplacian="symmetric"),
        step(cluster.kmeans, clusters=clusters, n_dims=0, unit_rows=True, seed=seed),
        step(chance.apart, seed=seed),
        each(
            step(chance.chance, seed=seed),
            step(scores.eigengap),
            step(scores.separability),
            step(scores.silhouette, n_dims=8),
            step(scores.size),
            *drawn,
        ),
    )
