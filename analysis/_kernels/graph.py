"""From nearest neighbours to a symmetric weighted graph."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SYMMETRIES = ("mean", "either", "mutual")
WEIGHTS = ("binary", "gaussian", "self-tuning")


def affinity(index: NDArray, distance: NDArray, *, symmetry: str, weights: str) -> sparse.csr_array:
    """Return the symmetric affinity matrix of a neighbour table; its diagonal is empty.

    Parameters
    ----------
    index, distance : ndarray, shape (n, k)
        Neighbours as :func:`analysis._kernels.neighbors.neighbors` returns them.
    symmetry : {"mean", "either", "mutual"}
        (W + Wᵀ) / 2, the larger of W and Wᵀ, or the smaller.
    weights : {"binary", "gaussian", "self-tuning"}
        1; exp(−d² / 2σ²) with σ the median distance to the k-th neighbour; or exp(−d² / σ_i σ_j) with σ_i the
        distance of i to its k-th neighbour (Zelnik-Manor and Perona 2004, section 2).
    """
    n, k = index.shape
    source, target = np.repeat(np.arange(n), k), index.ravel()
    if weights == "binary" or k == 0:
        value = np.ones(source.size)
    else:
        scale = distance[:, -1]
        square = 2 * np.median(scale) ** 2 if weights == "gaussian" else scale[source] * scale[target]
        # a scale of 0 means coinciding points, whose affinity is 1, and to others 0
        far = np.full(source.size, np.inf)
        exponent = np.divide(distance.ravel() ** 2, square, out=far, where=np.asarray(square) > 0)
        value = np.exp(-np.where(distance.ravel() == 0, 0, exponent))
    directed = sparse.csr_array((value, (source, target)), shape=(n, n))
    turned = sparse.csr_array(directed.T)
    match symmetry:
        case "mean":
            both = (directed + turned) / 2
        case "either":
            both = directed.maximum(turned)
        case _:
            both = directed.minimum(turned)
    both = sparse.csr_array(both)
    both.eliminate_zeros()
    both.sort_indices()
    return both
