"""All steps that come with the package."""

from collections.abc import Callable
from typing import Final

import xarray as xr

from ..steps.chance import apart, chance
from ..steps.cluster import agglomerative, dbscan, hdbscan, kmeans, minibatch_kmeans, spectral_clustering
from ..steps.embed import lle, pca, spectral, tsne, umap
from ..steps.estimators import estimator
from ..steps.graph import approximate_neighbor_graph, neighbor_graph
from ..steps.preprocess import (
    absolute,
    flatten,
    histogram,
    normalize,
    pool,
    positive,
    resize,
    select_channel,
    square_root,
    sum_channels,
)
from ..steps.scores import eigengap, purity, separability, silhouette, size, stability

STEPS: Final[tuple[Callable[..., xr.Dataset], ...]] = (
    absolute,
    agglomerative,
    apart,
    approximate_neighbor_graph,
    chance,
    dbscan,
    eigengap,
    estimator,
    flatten,
    hdbscan,
    histogram,
    kmeans,
    lle,
    minibatch_kmeans,
    neighbor_graph,
    normalize,
    pca,
    pool,
    positive,
    purity,
    resize,
    select_channel,
    separability,
    silhouette,
    size,
    spectral,
    spectral_clustering,
    square_root,
    stability,
    sum_channels,
    tsne,
    umap,
)
"""In the order of their names; what each makes, it declares itself."""
