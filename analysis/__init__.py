"""Dataset-wide analysis of attributions: memoized pure functions over labelled datasets."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import plan
from .cluster import agglomerative, dbscan, hdbscan, kmeans, minibatch_kmeans, spectral_clustering
from .embed import lle, pca, spectral, tsne, umap
from .errors import DataError, KeyingError, PlanError, StoreError
from .estimators import estimator
from .execution import run
from .graph import approximate_neighbor_graph, as_edges, as_matrix, neighbor_graph
from .plan import Chain, Each, Step, chain, each, spray, step
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
from .rank import ranking, text
from .scores import eigengap, purity, separability, silhouette, size, stability
from .steps import per_sample
from .store import Entry, Store
from .sweep import sweep

if TYPE_CHECKING:
    from . import compensate, plot

__all__ = [
    "Chain",
    "DataError",
    "Each",
    "Entry",
    "KeyingError",
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
    "minibatch_kmeans",
    "neighbor_graph",
    "normalize",
    "pca",
    "per_sample",
    "plan",
    "plot",
    "pool",
    "positive",
    "purity",
    "ranking",
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


def __getattr__(name: str) -> Any:
    """Import what needs torch or HoloViews when it is first used."""
    if name in {"compensate", "plot"}:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
