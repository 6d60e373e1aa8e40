"""Nearest neighbours and the graph of them, against sorting all distances."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

import analysis
from analysis import DataError
from analysis._kernels import neighbors as kernel
from analysis._kernels.graph import SYMMETRIES, WEIGHTS, affinity


def slow(x: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    distance = squareform(pdist(x.astype(np.float64), metric))
    np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, 1)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "correlation", "cityblock", "seuclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(2, 1, 1), (30, 4, 29), (200, 16, 10)])
def test_neighbors_are_those_of_all_distances(metric: str, dtype: type, n: int, d: int, k: int) -> None:
    d = d + 2 if metric in ("correlation", "cosine") else d
    x = np.random.default_rng(n).normal(size=(n, d)).astype(dtype)
    index, distance = kernel.neighbors(x, k, metric)
    expected_index, expected = slow(x, k, metric)
    np.testing.assert_allclose(distance, expected, rtol=1e-4 if dtype is np.float32 else 1e-9, atol=1e-12)
    if metric == "euclidean":
        np.testing.assert_array_equal(index, expected_index)


METRICS = (
    *("braycurtis", "canberra", "chebyshev", "cityblock", "correlation", "cosine", "dice", "euclidean", "hamming"),
    *("jaccard", "jensenshannon", "mahalanobis", "minkowski", "rogerstanimoto", "russellrao", "seuclidean"),
    *("sokalsneath", "sqeuclidean", "yule"),
)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_cdist_is_known(metric: str) -> None:
    rng = np.random.default_rng(0)
    boolean = metric in ("dice", "jaccard", "rogerstanimoto", "russellrao", "sokalsneath", "yule")
    x = rng.random((60, 7)) > 0.5 if boolean else rng.random((60, 7))
    index, distance = kernel.neighbors(x, 5, metric)
    every = squareform(pdist(x, metric))
    np.fill_diagonal(every, np.inf)
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :5], atol=1e-9)
    np.testing.assert_allclose(distance, np.take_along_axis(every, index, 1), atol=1e-9)
    assert (np.diff(np.sort(index, axis=1), axis=1) > 0).all()


def test_the_exponent_of_minkowski_counts() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    data = xr.Dataset({"features": (("sample", "feature"), x)}, {"sample": np.arange(40)})
    for p in (1.5, 3.0):
        found = analysis.as_matrix(
            data.merge(analysis.neighbor_graph(data, metric="minkowski", p=p, n_neighbors=4, symmetry="either"))
        )
        order = np.argsort(squareform(pdist(x, "minkowski", p=p)) + 1e9 * np.eye(40), axis=1)[:, :4]
        expected = np.zeros((40, 40))
        np.put_along_axis(expected, order, 1, axis=1)
        np.testing.assert_array_equal(found.toarray(), np.maximum(expected, expected.T))


def test_equal_distances_are_ordered_by_index() -> None:
    x = np.array([[0.0], [1.0], [-1.0], [1.0], [-1.0], [5.0]])
    for metric in ("euclidean", "cityblock"):
        np.testing.assert_array_equal(kernel.neighbors(x, 3, metric)[0][0], [1, 2, 3])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock", "mahalanobis"])
def test_some_rows_have_the_neighbors_they_have_among_all(metric: str) -> None:
    x = np.random.default_rng(0).normal(size=(100, 5))
    rows = np.array([3, 50, 99])
    for found, among_all in zip(kernel.neighbors(x, 6, metric, rows=rows), kernel.neighbors(x, 6, metric), strict=True):
        np.testing.assert_allclose(found, among_all[rows])


def test_a_distance_that_is_not_a_number_is_an_error() -> None:
    x = np.zeros((4, 3))
    x[0] = 1
    data = xr.Dataset({"features": (("sample", "feature"), x)})
    with pytest.raises(DataError, match="metric='braycurtis' cannot be computed: the distance of rows 1 and 2"):
        analysis.neighbor_graph(data, metric="braycurtis")


@pytest.mark.parametrize("block", [1, 5000, 1 << 27])
def test_blocks_do_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK_BYTES", block)
    x = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    for metric in ("euclidean", "cityblock", "seuclidean", "mahalanobis"):
        np.testing.assert_array_equal(kernel.neighbors(x, 7, metric)[0], slow(x, 7, metric)[0])


def test_near_duplicates_far_from_the_origin_are_told_apart() -> None:
    """In float32 the expansion of the square alone cannot rank these: all its distances round to 0."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(4, 8)) * 1000, 40, axis=0) + rng.normal(size=(160, 8)) * 1e-3
    x = x.astype(np.float32)
    np.testing.assert_array_equal(kernel.neighbors(x, 5)[0], slow(x, 5, "euclidean")[0])


def test_duplicates_are_not_their_own_neighbors() -> None:
    x = np.repeat(np.eye(5, dtype=np.float32), 40, axis=0)
    index, distance = kernel.neighbors(x, 10)
    assert (index != np.arange(200)[:, None]).all()
    assert (distance == 0).all()


@given(st.integers(1, 25), st.integers(1, 6), st.integers(0, 2**31), st.sampled_from(["euclidean", "cosine"]))
@settings(max_examples=40, deadline=None)
def test_any_small_input(n: int, d: int, seed: int, metric: str) -> None:
    x = np.random.default_rng(seed).integers(-2, 3, size=(n, d)).astype(np.float64)
    k = min(3, n - 1)
    index, distance = kernel.neighbors(x, k, metric)
    assert index.shape == distance.shape == (n, k)
    assert (index != np.arange(n)[:, None]).all()
    assert np.isfinite(distance).all()
    assert (np.diff(distance, axis=1) >= 0).all()
    if metric == "euclidean":
        np.testing.assert_allclose(distance, slow(x, k, metric)[1], atol=1e-9)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_affinity_is_its_definition(symmetry: str, weights: str) -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[:6] = x[0]
    index, distance = kernel.neighbors(x, 4)
    n = len(index)
    directed = np.zeros((n, n))
    for i in range(n):
        for j, d in zip(index[i], distance[i], strict=True):
            if weights == "binary" or d == 0:
                directed[i, j] = 1
            else:
                gaussian = 2 * np.median(distance[:, -1]) ** 2
                scale = gaussian if weights == "gaussian" else distance[i, -1] * distance[j, -1]
                directed[i, j] = np.exp(-(d**2) / scale) if scale > 0 else 0
    combine = {"mean": lambda a, b: (a + b) / 2, "either": np.maximum, "mutual": np.minimum}[symmetry]
    found = affinity(index, distance, symmetry=symmetry, weights=weights)
    np.testing.assert_allclose(found.toarray(), combine(directed, directed.T), atol=1e-12)
    assert (found.diagonal() == 0).all()
    assert (found.data > 0).all()
