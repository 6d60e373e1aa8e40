"""The right end of a graph Laplacian's spectrum, component by component."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

DENSE = 512
LAPLACIANS = ("symmetric", "random-walk", "unnormalized")


def laplacian(weights: sparse.csr_array, kind: str) -> sparse.csr_array:
    """Return L = D − W, or I − D^−½ W D^−½ ("symmetric"), or I − D^−1 W ("random-walk"); 0 for isolated vertices."""
    degree = np.asarray(weights.sum(1), dtype=np.float64)
    if kind == "unnormalized":
        return sparse.csr_array(sparse.diags_array(degree) - weights)
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)
    present = sparse.diags_array((degree > 0).astype(np.float64))
    if kind == "random-walk":
        return sparse.csr_array(present - sparse.diags_array(inverse) @ weights)
    root = sparse.diags_array(np.sqrt(inverse))
    return sparse.csr_array(present - root @ weights @ root)


def smallest(weights: sparse.csr_array, k: int, kind: str) -> tuple[NDArray, NDArray]:
    """Return the ``k`` smallest eigenvalues of the Laplacian, ascending, and their eigenvectors.

    Each connected component is solved by itself: a Krylov method started from one vector finds only one copy of a
    repeated eigenvalue, and a graph of c components has the eigenvalue 0 c times. The eigenvectors of 0 so are the
    components themselves, largest first.

    Parameters
    ----------
    weights : csr_array, shape (n, n)
        Symmetric, non-negative, without self-loops.
    k : int
        How many; at most n.
    kind : {"symmetric", "random-walk", "unnormalized"}
        The random walk's eigenvalues are those of the symmetric Laplacian, its eigenvectors D^−½ u.

    Returns
    -------
    values : ndarray of float64, shape (k,)
    vectors : ndarray of float64, shape (n, k)
        Unit columns; the entry of largest magnitude is positive.
    """
    n = _order(weights)
    count, member = connected_components(weights, directed=False)
    largest_first = np.argsort(-np.bincount(member, minlength=count), kind="stable")
    # every component has the eigenvalue 0, so each adds at most as many above 0 as are wanted beyond those
    most = 1 + max(k - count, 0)
    found = []
    for component in largest_first[:k]:
        inside = np.flatnonzero(member == component)
        values, vectors = _connected(weights[inside][:, inside], min(most, inside.size), kind)
        found += [(value, inside, vector) for value, vector in zip(values, vectors.T, strict=True)]
    found = sorted(found, key=lambda entry: entry[0])[:k]
    spread = np.zeros((n, len(found)))
    for column, (_, inside, vector) in enumerate(found):
        spread[inside, column] = vector * np.sign(vector[np.argmax(np.abs(vector))])
    return np.array([value for value, _, _ in found]), spread


def _connected(weights: sparse.csr_array, k: int, kind: str) -> tuple[NDArray, NDArray]:
    """Solve one connected graph; its smallest eigenvalue is 0 exactly."""
    n = _order(weights)
    if n == 1:
        return np.zeros(1), np.ones((1, 1))
    matrix = laplacian(weights, "symmetric" if kind == "random-walk" else kind)
    if n <= DENSE or k >= n // 2:
        values, vectors = linalg.eigh(matrix.toarray(), subset_by_index=(0, k - 1))
    else:
        # eigsh finds the largest eigenvalues best, so turn the spectrum round: bound − L ≥ 0 by Gershgorin's theorem
        bound = 2.0 if kind != "unnormalized" else 2.0 * matrix.diagonal().max()
        start = np.random.default_rng(0).uniform(0.5, 1.5, n)
        turned = sparse.csr_array(bound * sparse.eye_array(n) - matrix)
        values, vectors = eigsh(turned, k, which="LA", v0=start, ncv=min(n, max(2 * k + 1, 40)))
        order = np.argsort(-values, kind="stable")
        values, vectors = bound - values[order], vectors[:, order]
    values = np.maximum(values, 0)
    values[0] = 0
    if kind == "random-walk":
        degree = np.asarray(weights.sum(1), dtype=np.float64)
        vectors = vectors / np.sqrt(degree)[:, None]
        vectors /= np.linalg.norm(vectors, axis=0)
    return values, vectors


def _order(weights: sparse.csr_array) -> int:
    rows, _ = cast(tuple[int, int], weights.shape)
    return rows
