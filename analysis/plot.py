"""What :mod:`analysis.results.plot` has, under its public name."""

from .results.plot import COLOURS, FRAME, GREY, INK, cluster_means, dendrogram, eigenvalues, embedding, ranking

__all__ = [
    "COLOURS",
    "FRAME",
    "GREY",
    "INK",
    "cluster_means",
    "dendrogram",
    "eigenvalues",
    "embedding",
    "ranking",
]
