from . import compensate, plan, plot
from .cluster import agglomerative, dbscan, hdbscan, kmeans, minibatch_kmeans, spectral_clustering
from .embed import lle, pca, spectral, tsne, umap
from .errors import DataError, KeyingError, PlanError, StoreError
from .estimators import estimator
from .execution import run
from .graph import approximate_neighbor_graph, as_edges, as_matrix, neighbor_graph
from .places import replace
from .preprocess import (
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
from .presets import spray
from .rank import ranking
from .roles import makes, per_sample
from .scores import eigengap, purity, separability, silhouette, size, stability
from .store import Entry, Store
from .sweeps import sweep
from .table import text
from .tree import Chain, Each, Place, Step, chain, each, place, step

__all__ = [
    "Chain",
    "DataError",
    "Each",
    "Entry",
    "KeyingError",
    "Place",
    "PlanError",
    "Step",
    "Store",
    "StoreError",
    "absolute",
    "agglomerative",
    "approximate_neighbor_graph",
    "as_edges",
    "as_matrix",
    "chain",
    "compensate",
    "dbscan",
    "each",
    "eigengap",
    "estimator",
    "flatten",
    "hdbscan",
    "histogram",
    "kmeans",
    "lle",
    "makes",
    "minibatch_kmeans",
    "neighbor_graph",
    "normalize",
    "pca",
    "per_sample",
    "place",
    "plan",
    "plot",
    "pool",
    "positive",
    "purity",
    "ranking",
    "replace",
    "resize",
    "run",
    "select_channel",
    "separability",
    "silhouette",
    "size",
    "spectral",
    "spectral_clustering",
    "spray",
    "square_root",
    "stability",
    "step",
    "sum_channels",
    "sweep",
    "text",
    "tsne",
    "umap",
]
