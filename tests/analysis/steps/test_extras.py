"""Steps of optional extras: approximate neighbours and UMAP."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import DataError, Store, chain, run, spray, step
from analysis._kernels import approximate
from analysis._kernels.neighbors import neighbors

from ..data import attributions


def points(n: int = 900, d: int = 12, *, copies: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) + 8 * rng.normal(size=(3, d))[np.arange(n) % 3]
    x[: copies * 3] = np.repeat(x[:3], copies, axis=0)
    return x.astype(np.float32)


def graph(x: np.ndarray, **options: Any) -> xr.Dataset:
    return analysis.approximate_neighbor_graph(xr.Dataset({"features": (("sample", "feature"), x)}), **options)


@pytest.mark.slow
@pytest.mark.parametrize("metric", approximate.METRICS)
def test_most_neighbors_are_found_and_the_recall_says_how_many(metric: str) -> None:
    x = points()
    index, distance, recall = approximate.approximate_neighbors(x, 8, metric, seed=0, checked=len(x))
    exact, exact_distance = neighbors(x, 8, metric)
    share = np.mean([len({*a} & {*b}) / 8 for a, b in zip(index, exact, strict=True)])
    assert recall == pytest.approx(share, abs=0.01)
    assert recall > 0.9
    assert (np.diff(distance, axis=1) >= 0).all()
    same = (index == exact).all(1)
    np.testing.assert_allclose(distance[same], exact_distance[same], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_no_neighbor_is_oneself_or_missing_or_named_twice_among_duplicates() -> None:
    index, distance, _ = approximate.approximate_neighbors(points(copies=60), 10, "euclidean", seed=0, checked=50)
    assert index.min() >= 0
    assert (index != np.arange(900)[:, None]).all()
    assert (np.diff(np.sort(index, axis=1), axis=1) > 0).all()
    assert (distance[:180] == 0).all()


class Careless:
    """A descent that leaves gaps, names rows themselves and others twice, as pynndescent may."""

    def __init__(self, x: np.ndarray, metric: str, *, n_neighbors: int, random_state: int, n_jobs: int) -> None:
        index, distance = neighbors(x, n_neighbors, metric)
        index[::3, 1] = -1
        index[1::3, 2] = index[1::3, 1]
        index[2::3, 0] = np.arange(len(x))[2::3]
        index[5, :] = -1
        self.neighbor_graph = index.astype(np.int32), distance.astype(np.float32)


def test_what_a_descent_leaves_out_is_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynndescent")
    monkeypatch.setattr("pynndescent.NNDescent", Careless)
    x = points(300)
    index, _, recall = approximate.approximate_neighbors(x, 8, "euclidean", seed=0, checked=300)
    assert (index >= 0).all()
    assert (index != np.arange(300)[:, None]).all()
    assert (np.diff(np.sort(index, axis=1), axis=1) > 0).all()
    np.testing.assert_array_equal(index[5], neighbors(x, 8)[0][5])
    share = np.mean([len({*a} & {*b}) / 8 for a, b in zip(index, neighbors(x, 8)[0], strict=True)])
    assert recall == pytest.approx(share, abs=2e-3)
    assert 0.8 < recall < 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_graph_and_another_one_almost() -> None:
    x = points(4000, 64)
    first, again, other = (graph(x, n_neighbors=5, seed=seed) for seed in (0, 0, 1))
    assert first.identical(again)
    assert not first.equals(other)
    assert 0.8 < first["recall"].item() <= 1


@pytest.mark.slow
def test_spray_with_approximate_neighbors_reports_their_recall(tmp_path: Any) -> None:
    data = attributions(300, 1)
    tree = run(spray(approximate=True, tsne=False), data, by=None, store=Store(tmp_path))
    assert tree["all/score/recall"].item() > 0.95
    exact = run(spray(tsne=False), data, by=None)
    np.testing.assert_allclose(tree["all/eigenvalue"], exact["all/eigenvalue"], atol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
def test_umap_keeps_groups_apart_and_repeats_itself() -> None:
    x = points(300)
    made = graph(x, n_neighbors=8, weights="self-tuning").assign_coords(sample=np.arange(300))
    found = analysis.umap(made)["umap"].values
    np.testing.assert_array_equal(analysis.umap(made)["umap"].values, found)
    assert not np.array_equal(analysis.umap(made, seed=1)["umap"].values, found)
    nearest = neighbors(found, 5)[0]
    assert (nearest % 3 == np.arange(300)[:, None] % 3).mean() > 0.99


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_umap_of_few_samples_is_finite(n: int) -> None:
    found = analysis.umap(graph(points(n), n_neighbors=2).assign_coords(sample=np.arange(n)))["umap"]
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()


def many() -> xr.Dataset:
    return graph(points(300)[:200], n_neighbors=2).assign_coords(sample=np.arange(200))


@pytest.mark.parametrize(
    ("missing", "call", "message"),
    [
        ("umap.umap_", lambda: analysis.umap(many()), r'umap needs umap-learn .*pip install "relfunc\[umap\]"'),
        ("pynndescent", lambda: graph(points(300)), r'needs pynndescent .*pip install "relfunc\[approximate\]"'),
        ("", lambda: graph(points(), metric="yule"), "metric='yule' is none of 'euclidean', 'sqeuclidean'"),
        ("", lambda: graph(points(), checked=0), "checked=0 leaves the recall unknown"),
        ("", lambda: graph(points(), n_neighbors=0), "approximate_neighbor_graph: n_neighbors=0 joins nothing"),
    ],
)
def test_errors_say_what_to_do(
    missing: str, call: Callable[[], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DataError, match=message):
        call()


def test_a_plan_whose_extra_is_missing_can_be_keyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "umap.umap_", None)
    monkeypatch.setitem(sys.modules, "umap", None)
    plan = chain(step(analysis.flatten), step(analysis.neighbor_graph), step(analysis.umap))
    with pytest.raises(DataError, match="umap needs umap-learn"):
        run(plan, attributions(), by=None, store=Store(tmp_path))
