"""Dataset-wide analysis of attributions: memoized pure functions over labelled datasets."""

from . import plan
from .cluster import kmeans
from .embed import pca, spectral, tsne
from .errors import DataError, KeyingError, PlanError, StoreError
from .execution import run
from .graph import as_edges, as_matrix, neighbor_graph
from .plan import Chain, Each, Step, chain, each, spray, step
from .preprocess import absolute, flatten, normalize, positive, square_root, sum_channels
from .rank import ranking, text
from .scores import eigengap, separability, silhouette, size
from .store import Entry, Store

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
    "as_edges",
    "as_matrix",
    "chain",
    "each",
    "eigengap",
    "flatten",
    "kmeans",
    "neighbor_graph",
    "normalize",
    "pca",
    "plan",
    "positive",
    "ranking",
    "run",
    "separability",
    "silhouette",
    "size",
    "spectral",
    "spray",
    "square_root",
    "step",
    "sum_channels",
    "text",
    "tsne",
]
