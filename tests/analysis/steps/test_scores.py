"""Scores against their definitions, written out sample by sample and pair by pair."""

import itertools
from math import comb

import numpy as np
import pytest
import xarray as xr
from scipy import linalg

import analysis
from analysis.results.rank import most_separable
from viewer.draw.spectrum import drawing


def clustered(n: int = 40, noise: int = 0, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 4)) + 2 * labels[:, None]
    labels[:noise] = -1
    return xr.Dataset(
        {
            "features": (("sample", "feature"), x),
            "spectral": (("sample", "eigen"), x),
            "k": ("sample", labels, {"role": "clustering"}),
            "tag": ("sample", rng.integers(0, 4, n)),
        }
    )


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """Rousseeuw 1987, equations 2 and 3: mean of (b − a) / max(a, b), 0 for a cluster of one."""
    values = []
    for i, own in enumerate(labels):
        distance = np.sqrt(((x - x[i]) ** 2).sum(1))
        alike = (labels == own) & (np.arange(len(x)) != i)
        if not alike.any():
            values.append(0.0)
            continue
        a = distance[alike].mean()
        b = min(distance[labels == other].mean() for other in {*labels} - {own})
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> float:
    """Hubert and Arabie 1985, equation 5, from the contingency table."""
    pairs = sum(comb(int(((a == i) & (b == j)).sum()), 2) for i in {*a} for j in {*b})
    of_a, of_b = (sum(comb(int((labels == i).sum()), 2) for i in {*labels}) for labels in (a, b))
    expected = of_a * of_b / comb(len(a), 2)
    return (pairs - expected) / ((of_a + of_b) / 2 - expected)


@pytest.mark.parametrize("noise", [0, 5])
def test_silhouette_is_rousseeuws(noise: int) -> None:
    data = clustered(noise=noise)
    inside = data["k"].values >= 0
    expected = silhouette(data["spectral"].values[inside], data["k"].values[inside])
    assert analysis.silhouette(data)["silhouette"].item() == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0, 5])
def test_agreement_is_hubert_and_arabies_and_purity_a_share(noise: int) -> None:
    data = clustered(noise=noise)
    found = analysis.purity(data, against="tag")
    labels, tag = data["k"].values, data["tag"].values
    assert found["agreement"].item() == pytest.approx(adjusted_rand(labels[labels >= 0], tag[labels >= 0]))
    for cluster in range(3):
        of_cluster = tag[labels == cluster]
        most = max(int((of_cluster == value).sum()) for value in range(4))
        assert found["purity"].values[0, cluster] == pytest.approx(most / of_cluster.size)


def test_stability_is_the_mean_agreement_of_pairs_of_seeds() -> None:
    data = clustered(60)
    runs = [analysis.kmeans(data, clusters=(5,), n_init=1, seed=seed)["kmeans-05"].values for seed in range(3, 7)]
    expected = np.mean([adjusted_rand(a, b) for a, b in itertools.combinations(runs, 2)])
    found = analysis.stability(data, clusters=(5,), n_seeds=4, seed=3)
    assert found["stability"].item() == pytest.approx(expected)
    assert expected < 1


@pytest.mark.parametrize("noise", [0, 5])
def test_separability_is_fishers_and_leaves_noise_out(noise: int) -> None:
    data = clustered(noise=noise)
    inside = data["k"].values >= 0
    x, labels = data["features"].values[inside], data["k"].values[inside]
    between = sum((labels == c).sum() * np.outer(d, d) for c in range(3) for d in [x[labels == c].mean(0) - x.mean(0)])
    total = (x - x.mean(0)).T @ (x - x.mean(0))
    ridge = 0.1 * np.trace(total) / min(x.shape)
    expected = linalg.eigh(between, total - between + ridge * np.eye(4), eigvals_only=True)[-1]
    found = analysis.separability(data)
    assert found["separability"].item() == pytest.approx(expected)
    assert found["cluster_separability"].dims == ("clustering", "cluster")
    # no direction tells the cluster in the middle from those on both its sides
    np.testing.assert_array_equal(found["cluster_separability"].values[0] > 0, [True, False, True])


def test_eigengap_is_the_widest_difference() -> None:
    values = np.sort(np.random.default_rng(0).random(12))
    found = analysis.eigengap(xr.Dataset({"eigenvalue": ("eigen", values)}), most=8)
    gaps = [values[i + 1] - values[i] for i in range(8)]
    assert found["eigengap"].item() == max(gaps)
    assert found["n_strategies"].item() == 1 + gaps.index(max(gaps))


def test_size_counts_samples_and_noise() -> None:
    data = clustered(noise=5)
    found = analysis.size(data)
    assert found["size"].values[0].tolist() == [(data["k"].values == c).sum() for c in range(3)]
    assert found["noise"].item() == 5


def graph_of(components: int, size: int = 3) -> xr.Dataset:
    """Make a ring of ``size`` samples for each component, and their features."""
    at = np.arange(components * size)
    after = at // size * size + (at + 1) % size
    edges = {"source": np.r_[at, after], "target": np.r_[after, at], "weight": np.ones(2 * at.size)}
    return xr.Dataset({name: ("edge", values) for name, values in edges.items()}, {"sample": at})


@pytest.mark.parametrize("laplacian", ["symmetric", "random-walk", "unnormalized"])
@pytest.mark.parametrize("most", [None, 1, 4, 8])
@pytest.mark.parametrize("n_eigenvalues", [1, 2, 8, 16])
@pytest.mark.parametrize("components", [1, 2, 7, 8, 9, 15, 16, 17, 40])
def test_components_are_counted_however_many(
    components: int, n_eigenvalues: int, most: int | None, laplacian: str
) -> None:
    graph = graph_of(components)
    data = graph.merge(analysis.spectral(graph, n_eigenvalues=n_eigenvalues, laplacian=laplacian))
    found = analysis.eigengap(data, most=most)
    # without the graph, each of the eigenvalues, which are zero, is a strategy, and there may be more
    seen = components if components < data["eigenvalue"].size else data["eigenvalue"].size
    assert found["n_strategies"].item() == components
    assert analysis.eigengap(data[["eigenvalue"]], most=most)["n_strategies"].item() == seen
    assert np.isnan(found["eigengap"]) == (seen == data["eigenvalue"].size)


@pytest.mark.parametrize("zeros", [1, 5, 10, 12, 16])
def test_the_score_the_plot_and_the_viewer_count_alike(zeros: int) -> None:
    values = np.concatenate([np.zeros(zeros), np.linspace(0.5, 0.8, 16 - zeros)])
    counted = analysis.eigengap(xr.Dataset({"eigenvalue": ("eigen", values)}))["n_strategies"].item()
    node = xr.Dataset({"eigenvalue": ("eigen", values)})
    plotted = analysis.plot.eigenvalues(xr.DataTree.from_dict({"/cat": node}), "cat").get(2).data - 0.5
    assert counted == plotted == zeros
    assert f"the largest gap after {zeros}" in drawing(values)


@pytest.mark.parametrize("smallest", [1, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_most_separable_cluster_is_the_smaller_of_the_best(seed: int, smallest: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(0, 20, (3, 4)).astype(float)
    tau = np.where(rng.random((3, 4)) < 0.3, np.nan, rng.integers(0, 3, (3, 4)))  # with ties
    dims = "clustering", "cluster"
    scores = xr.Dataset({"cluster_separability": (dims, tau), "size": (dims, size)})
    scores = scores.assign_coords(clustering=["a", "b", "c"], cluster=range(4))
    allowed = [
        (-tau[i, k], size[i, k], i, k)
        for i, k in itertools.product(range(3), range(4))
        if smallest <= size[i, k] <= 30 - smallest and not np.isnan(tau[i, k])
    ]
    negative, of, i, k = min(allowed)
    assert most_separable(scores, 30, smallest=smallest) == (-negative, "abc"[i], k, of)
    tree = xr.DataTree.from_dict({"/x": xr.Dataset({"index": ("sample", range(30))}), "/x/score": scores})
    row = analysis.ranking(tree, smallest=smallest).isel(category=0)
    found = [row[name].item() for name in ("separability", "clustering", "cluster", "size")]
    assert found == [-negative, "abc"[i], k, of]
