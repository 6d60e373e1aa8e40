"""Eigenvalues and eigenvectors of the graph Laplacians, against dense float64 algebra."""

import numpy as np
import pytest
from scipy import linalg, sparse

from analysis._kernels import eigen
from analysis._kernels.graph import affinity
from analysis._kernels.neighbors import neighbors


def dense_laplacian(weights: np.ndarray, kind: str) -> np.ndarray:
    """Write the Laplacian down as its definition has it, one entry at a time."""
    n, degree = len(weights), weights.sum(1)
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if kind == "unnormalized":
                found[i, j] = (i == j) * degree[i] - weights[i, j]
            elif degree[i] > 0 and degree[j] > 0:
                scale = degree[i] if kind == "random-walk" else np.sqrt(degree[i] * degree[j])
                found[i, j] = (i == j) - weights[i, j] / scale
    return found


def graph(n: int, groups: int = 1, seed: int = 0) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) + 1000 * (np.arange(n) % groups)[:, None]
    k = max(0, min(6, n // groups - 1))
    return affinity(*neighbors(x, k), symmetry="mean", weights="binary")


@pytest.fixture(params=["dense", "krylov"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "krylov":
        monkeypatch.setattr(eigen, "DENSE", 0)
    return request.param


@pytest.mark.parametrize("kind", eigen.LAPLACIANS)
@pytest.mark.parametrize(("n", "groups"), [(2, 1), (3, 1), (5, 2), (17, 1), (60, 3), (150, 1), (500, 4)])
def test_eigenvalues_and_vectors_satisfy_the_definition(kind: str, n: int, groups: int, solver: str) -> None:
    weights = graph(n, groups)
    k = min(12, n)
    matrix = dense_laplacian(weights.toarray(), kind)
    expected = np.sort(linalg.eigvals(matrix).real)[:k]
    values, vectors = eigen.smallest(weights, k, kind)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1)
    assert np.linalg.matrix_rank(vectors, tol=1e-4) == k
    assert (np.diff(values) >= 0).all()
    if kind != "unnormalized":
        assert values.min() >= 0
        assert values.max() <= 2 + 1e-12


def against_dense(n: int, groups: int, kind: str) -> None:
    """Compare eigenvalues with those of a dense symmetric matrix; the random walk's are the symmetric Laplacian's."""
    weights = graph(n, groups, seed=n)
    k = min(16, n)
    dense = dense_laplacian(weights.toarray(), "symmetric" if kind == "random-walk" else kind)
    expected = linalg.eigh(dense, eigvals_only=True)[:k]
    np.testing.assert_allclose(eigen.smallest(weights, k, kind)[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", eigen.LAPLACIANS)
@pytest.mark.parametrize("groups", [1, 3, 20])
def test_eigenvalues_are_those_of_a_dense_solver(kind: str, groups: int, solver: str) -> None:
    for n in (2, 4, 7, 33, 90, 210):
        against_dense(n, min(groups, n), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", eigen.LAPLACIANS)
def test_eigenvalues_are_those_of_a_dense_solver_for_every_size(kind: str, solver: str) -> None:
    """For n = 2 … 500, in one component and in several, down to isolated vertices."""
    for n in range(2, 501):
        against_dense(n, 1 + n % 7 * (n > 20), kind)


def test_more_components_than_eigenvalues() -> None:
    weights = graph(120, 30)
    for kind in eigen.LAPLACIANS:
        values, vectors = eigen.smallest(weights, 9, kind)
        assert (values == 0).all()
        np.testing.assert_allclose(dense_laplacian(weights.toarray(), kind) @ vectors, 0, atol=1e-12)
        assert np.linalg.matrix_rank(vectors) == 9


def test_zero_has_one_eigenvector_per_component() -> None:
    values, vectors = eigen.smallest(graph(60, 3), 5, "random-walk")
    assert (values[:3] == 0).all()
    assert values[3] > 1e-3
    for component, vector in enumerate(vectors.T[:3]):
        members = np.flatnonzero(vector)
        assert len({*(members % 3)}) == 1, component
        np.testing.assert_allclose(vector[members], vector[members][0])


def test_bipartite_graph_reaches_two() -> None:
    weights = sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(eigen.smallest(weights, 2, "symmetric")[0], [0, 2])


def test_isolated_vertex_is_a_component() -> None:
    values, vectors = eigen.smallest(sparse.csr_array(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])), 3, "symmetric")
    np.testing.assert_allclose(values, [0, 0, 2])
    np.testing.assert_allclose(vectors[:, 1], [0, 0, 1])


def test_single_vertex() -> None:
    values, vectors = eigen.smallest(sparse.csr_array((1, 1)), 1, "symmetric")
    assert values.tolist() == [0]
    assert vectors.tolist() == [[1]]


@pytest.mark.parametrize("kind", eigen.LAPLACIANS)
def test_laplacian_is_its_definition(kind: str) -> None:
    weights = graph(40, 2)
    np.testing.assert_allclose(
        eigen.laplacian(weights, kind).toarray(), dense_laplacian(weights.toarray(), kind), atol=1e-12
    )


def test_twice_the_same_bits(solver: str) -> None:
    first, second = (eigen.smallest(graph(200, 2), 10, "symmetric") for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_largest_entry_is_positive(solver: str) -> None:
    _, vectors = eigen.smallest(graph(200), 10, "symmetric")
    assert (vectors[np.abs(vectors).argmax(0), np.arange(10)] > 0).all()
