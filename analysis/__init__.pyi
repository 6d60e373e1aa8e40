from . import compensate, plan, plot
from .engine.execution import run
from .engine.store import Entry, Store
from .errors import DataError, KeyingError, PlanError, StoreError
from .evidence.copies import duplicates
from .evidence.failure import slices
from .evidence.finding import findings
from .evidence.moved import contrast
from .plan.places import replace
from .plan.presets import spray
from .plan.tree import Chain, Each, Place, Step, chain, each, place, step
from .report.write import write_report
from .results.rank import ranking
from .results.sweeps import sweep
from .results.table import text
from .results.words import verdict
from .roles import makes, per_sample
from .steps.chance import apart, chance
from .steps.cluster import agglomerative, dbscan, hdbscan, kmeans, minibatch_kmeans, spectral_clustering
from .steps.embed import lle, pca, spectral, tsne, umap
from .steps.estimators import estimator
from .steps.graph import approximate_neighbor_graph, as_edges, as_matrix, neighbor_graph
from .steps.preprocess import (
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
from .steps.scores import eigengap, purity, separability, silhouette, size, stability

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
    "apart",
    "approximate_neighbor_graph",
    "as_edges",
    "as_matrix",
    "chain",
    "chance",
    "compensate",
    "contrast",
    "dbscan",
    "duplicates",
    "each",
    "eigengap",
    "estimator",
    "findings",
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
    "slices",
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
    "verdict",
    "write_report",
]
