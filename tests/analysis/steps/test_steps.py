"""Steps one by one, against slow versions of what they say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from sklearn.cluster import AgglomerativeClustering, MeanShift, SpectralClustering
from sklearn.decomposition import FastICA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score

import analysis
from analysis import DataError, chain, plan, step
from analysis.steps.cluster import by_size

from ..data import attributions


def heatmaps(n: int = 5, channels: int = 2, height: int = 7, width: int = 6) -> xr.Dataset:
    values = np.random.default_rng(0).normal(size=(n, channels, height, width))
    return xr.Dataset({"attribution": (("sample", "channel", "y", "x"), values)})


def points(n: int = 30, d: int = 3, seed: int = 0, role: str | None = None) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 6 * (np.arange(n) % 3)[:, None]
    data = xr.Dataset({"features": (("sample", "feature"), x), "spectral": (("sample", "eigen"), x)})
    return data if role is None else data.assign({role: ("sample", np.arange(n) % 3, {"role": "clustering"})})


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 6), (14, 13), (10, 4)])
def test_resize_shares_every_pixel_by_area(size: tuple[int, int]) -> None:
    data = heatmaps()
    values = data["attribution"].values
    found = analysis.resize(data, height=size[0], width=size[1])["attribution"].values
    # repeat every pixel until both grids divide the image, then sum
    fine = np.repeat(np.repeat(values, size[0], axis=2), size[1], axis=3) / (size[0] * size[1])
    expected = fine.reshape(5, 2, size[0], 7, size[1], 6).sum((3, 5))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum((2, 3)), values.sum((2, 3)))


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_pool_sums_windows(window: int) -> None:
    values = heatmaps()["attribution"].values
    found = analysis.pool(heatmaps(), window=window)["attribution"].values
    for i in range(found.shape[2]):
        for j in range(found.shape[3]):
            part = values[:, :, i * window : (i + 1) * window, j * window : (j + 1) * window]
            np.testing.assert_allclose(found[:, :, i, j], part.sum((2, 3)))
    np.testing.assert_allclose(found.sum(), values.sum())


@pytest.mark.parametrize("dim", [None, "channel"])
def test_histogram_has_the_same_bins_for_all(dim: str | None) -> None:
    values = heatmaps()["attribution"].values
    found = analysis.histogram(heatmaps(), bins=8, dim=dim)["features"].values
    limits = (values.min(), values.max())
    for sample, features in zip(values, found, strict=True):
        rows = sample.reshape(2, -1) if dim else sample.reshape(1, -1)
        expected = [np.histogram(row, 8, limits)[0] / row.size for row in rows]
        np.testing.assert_allclose(features, np.concatenate(expected))


def test_channels_are_summed_or_selected() -> None:
    data = heatmaps().assign_coords(channel=["red", "green"])
    values = data["attribution"].values
    np.testing.assert_allclose(analysis.sum_channels(data)["attribution"], values.sum(1))
    np.testing.assert_array_equal(analysis.select_channel(data, channel=1)["attribution"], values[:, 1])
    np.testing.assert_array_equal(analysis.select_channel(data, channel="red")["attribution"], values[:, 0])


@pytest.mark.parametrize(
    ("by", "norm"),
    [
        ("sum", lambda a: np.abs(a).sum((1, 2, 3))),
        ("max", lambda a: np.abs(a).max((1, 2, 3))),
        ("euclidean", lambda a: np.sqrt((a**2).sum((1, 2, 3)))),
    ],
)
def test_normalize_makes_the_norm_one_and_leaves_zero(by: str, norm: Callable[[np.ndarray], np.ndarray]) -> None:
    data = heatmaps()
    data["attribution"][2] = 0
    found = analysis.normalize(data, by=by)["attribution"].values
    np.testing.assert_allclose(norm(found), [1, 1, 0, 1, 1])


@pytest.mark.parametrize("n", [2, 9, 40])
@pytest.mark.parametrize("linkage", ["ward", "average", "complete", "single", "centroid"])
def test_agglomerative_cuts_one_tree(n: int, linkage: str) -> None:
    data = points(n)
    counts = [k for k in (1, 2, 3, 5) if k <= n]
    found = analysis.agglomerative(data, clusters=counts, linkage=linkage)
    for k in counts:
        labels = found[f"agglomerative-{k:02d}"].values
        assert len(set(labels)) == k
        if linkage == "centroid":
            expected = np.arange(n)
            for merge, (a, b, *_) in enumerate(hierarchy.linkage(data["spectral"].values, linkage)[: n - k]):
                expected = np.where(np.isin(expected, [a, b]), n + merge, expected)
        else:
            expected = AgglomerativeClustering(k, linkage=linkage).fit_predict(data["spectral"].values)
        assert adjusted_rand_score(expected, labels) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda data: analysis.kmeans(data, clusters=[3])["kmeans-03"],
        lambda data: analysis.minibatch_kmeans(data, clusters=[3])["minibatch-03"],
        lambda data: analysis.dbscan(data, eps=[4.0])["dbscan-eps=4"],
        lambda data: analysis.hdbscan(data)["hdbscan"],
        lambda data: analysis.estimator(data, make=MeanShift, bandwidth=4)["meanshift"],
    ],
    ids=["kmeans", "minibatch", "dbscan", "hdbscan", "estimator"],
)
def test_clusterings_find_what_lies_apart(make: Callable[[xr.Dataset], xr.DataArray]) -> None:
    found = make(points(60))
    assert found.dtype == np.int32
    assert found.dims == ("sample",)
    assert found.attrs["role"] == "clustering"
    inside = found.values >= 0
    assert inside.mean() > 0.8
    assert adjusted_rand_score(np.arange(60)[inside] % 3, found.values[inside]) == 1


def test_noise_stays_noise() -> None:
    data = points(30)
    data["spectral"][0] = 1000.0
    assert analysis.dbscan(data, eps=[4.0])["dbscan-eps=4"].values[0] == -1
    assert analysis.hdbscan(data)["hdbscan"].values[0] == -1
    assert (analysis.hdbscan(data.isel(sample=slice(3)))["hdbscan"] == -1).all()


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=30))
@settings(deadline=None)
def test_clusters_are_named_by_size(given_labels: list[int]) -> None:
    labels = np.array(given_labels)
    found = by_size(labels)
    np.testing.assert_array_equal(found == -1, labels == -1)
    sizes = np.bincount(found[found >= 0])
    assert (np.diff(sizes) <= 0).all()
    assert len({*zip(labels, found, strict=True)}) == len({*labels}) == len({*found})


@pytest.mark.parametrize("make", [analysis.pca, analysis.lle, analysis.tsne])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_embeddings_of_few_samples_are_finite(make: Callable[..., xr.Dataset], n: int) -> None:
    (found,) = make(points(n), features="features").data_vars.values()
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()
    assert found.attrs["role"] == "embedding"


def test_estimator_embeds() -> None:
    found = analysis.estimator(points(), make=FastICA, n_components=2, name="ica")["ica"]
    assert found.shape == (30, 2)
    assert found.attrs["role"] == "embedding"


def test_plan_with_an_estimator_round_trips() -> None:
    made = chain(step(analysis.flatten), step(analysis.estimator, make=MeanShift, bandwidth=2.0))
    assert plan.from_toml(plan.to_toml(made)) == made
    tree = analysis.run(made, attributions(), by=None)
    assert "meanshift" in tree["all/cluster"]


def test_purity_and_agreement() -> None:
    data = points(30, role="k").assign(tag=("sample", (np.arange(30) % 3 == 0).astype(int)))
    data["prediction"] = (("sample", "class"), np.eye(3)[np.arange(30) % 3])
    by_tag = analysis.purity(data, against="tag")
    np.testing.assert_array_equal(by_tag["purity"], [[1, 1, 1]])
    assert 0 < by_tag["agreement"].item() < 1
    assert analysis.purity(data)["agreement"].item() == 1


def test_stability_tells_clear_clusters_from_arbitrary_ones() -> None:
    assert analysis.stability(points(60), clusters=[3])["stability"].item() == 1
    disc = np.random.default_rng(0).normal(size=(200, 2))
    vague = analysis.stability(xr.Dataset({"spectral": (("sample", "eigen"), disc)}), clusters=[7])
    assert vague["stability"].item() < 0.9


def test_silhouette_leaves_noise_out() -> None:
    data = points(30, role="k")
    clean = analysis.silhouette(data)["silhouette"].item()
    noisy = data.copy(deep=True)
    noisy["k"][:3] = -1
    expected = analysis.silhouette(data.isel(sample=slice(3, None)))["silhouette"].item()
    assert analysis.silhouette(noisy)["silhouette"].item() == pytest.approx(expected)
    assert clean > 0.5


def test_silhouette_of_a_draw_is_near_that_of_all() -> None:
    data = points(300, role="k")
    drawn = analysis.silhouette(data, most=100)["silhouette"].item()
    assert drawn != analysis.silhouette(data)["silhouette"].item()
    assert drawn == pytest.approx(analysis.silhouette(data)["silhouette"].item(), abs=0.05)


def test_eigengap_counts_components() -> None:
    graph = analysis.neighbor_graph(points(60), n_neighbors=15).assign_coords(sample=np.arange(60))
    found = analysis.eigengap(analysis.spectral(graph, n_eigenvalues=8))
    assert found["n_strategies"].item() == 3


def test_the_sweep_uses_as_many_eigenvectors_as_clusters() -> None:
    data = points(30)
    data["spectral"] = (("sample", "eigen"), np.column_stack([np.arange(30) < 15, np.arange(30) % 3 == 0]) * 1.0)
    assert (analysis.kmeans(data, n_dims=1)["kmeans-02"].values == (np.arange(30) >= 15)).all()
    assert analysis.kmeans(data, clusters=[1], n_dims=0)["kmeans-01"].values.max() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analysis.normalize(heatmaps(), by="signed"), "by='signed' is none of 'sum', 'max', 'euclidean'"),
        (lambda: analysis.select_channel(heatmaps(), channel=5), "channel=5 is not in"),
        (lambda: analysis.pool(heatmaps(), window=0), "window=0 must be at least 1"),
        (lambda: analysis.pool(heatmaps(), dims=["z"]), "'z'"),
        (lambda: analysis.resize(heatmaps(), height=0, width=3), "make no image"),
        (lambda: analysis.histogram(heatmaps(), bins=0), "bins=0"),
        (lambda: analysis.flatten(heatmaps(), dims=["y"]), "are not those of the attribution"),
        (lambda: analysis.flatten(points()), "no variable 'attribution'; there are 'features', 'spectral'"),
        (lambda: analysis.pca(heatmaps(), features="attribution"), "not \\(sample, feature\\): flatten it"),
        (lambda: analysis.neighbor_graph(points(), n_neighbors=0), "n_neighbors=0 joins nothing"),
        (lambda: analysis.neighbor_graph(points(), symmetry="no"), "symmetry='no' is none of"),
        (lambda: analysis.spectral(points()), "no variable 'source'"),
        (lambda: analysis.kmeans(points(), clusters=[]), "clusters=\\(\\) must name"),
        (lambda: analysis.dbscan(points(), eps=[0]), "eps=0 is no radius"),
        (lambda: analysis.hdbscan(points(), min_cluster_size=1), "min_cluster_size=1 must be"),
        (lambda: analysis.agglomerative(points(), linkage="no"), "linkage='no'"),
        (lambda: analysis.separability(points()), "no clustering to score"),
        (lambda: analysis.purity(points(role="k"), against="tag"), "no variable 'tag'"),
        (lambda: analysis.stability(points(), n_seeds=1), "n_seeds=1 leaves nothing"),
        (lambda: analysis.estimator(points(), make=LinearRegression), "neither fit_predict nor fit_transform"),
        (lambda: analysis.estimator(points(), make=MeanShift, bandwidth="wide"), "cannot be fitted"),
    ],
)
def test_errors_say_what_to_do(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_spectral_clustering_is_that_of_scikit_learn() -> None:
    data = points(90).assign_coords(sample=np.arange(90))
    data = data.merge(analysis.neighbor_graph(data, n_neighbors=40, weights="self-tuning", symmetry="either"))
    data = data.drop_vars("spectral").merge(analysis.spectral(data.drop_vars("spectral"), n_eigenvalues=4))
    found = analysis.spectral_clustering(data, clusters=(2, 3))
    model = SpectralClustering(3, affinity="precomputed", random_state=0)
    expected = model.fit_predict(analysis.as_matrix(data).toarray())
    assert adjusted_rand_score(expected, found["spectral-03"]) == 1
    with pytest.raises(DataError, match="need as many eigenvectors, and 'spectral' has 4: raise n_eigenvalues"):
        analysis.spectral_clustering(data, clusters=(5,))


def test_a_sweep_is_one_array_along_its_parameter() -> None:
    plan_ = chain(
        step(analysis.flatten),
        step(analysis.kmeans, embedding="features", clusters=(2, 3, 4)),
        step(analysis.dbscan, embedding="features", eps=(0.5, 1.0)),
        step(analysis.size),
    )
    node = analysis.run(plan_, attributions(), by=None)["all"]
    swept = analysis.sweep(node, "kmeans")
    assert swept["k"].values.tolist() == [2, 3, 4]
    assert "seed" not in swept.coords
    np.testing.assert_array_equal(swept.swap_dims(clustering="k").sel(k=3), node["cluster/kmeans-03"])
    np.testing.assert_array_equal(swept["sample"], node["sample"])
    assert analysis.sweep(node, "dbscan")["eps"].values.tolist() == [0.5, 1.0]
    assert analysis.sweep(node)["clustering"].values.tolist() == node["score/size"]["clustering"].values.tolist()
    with pytest.raises(DataError, match="no clustering begins with 'tree'; there are 'kmeans-02'"):
        analysis.sweep(node, "tree")


RANDOM: dict[str, Callable[..., xr.Dataset]] = {
    "pca": lambda seed: analysis.pca(points(600, 600), seed=seed),
    "kmeans": lambda seed: analysis.kmeans(points(200, 9), clusters=(7,), n_init=1, seed=seed),
    "spectral clustering": lambda seed: analysis.spectral_clustering(points(200, 9), clusters=(7,), seed=seed),
    "minibatch k-means": lambda seed: analysis.minibatch_kmeans(points(200, 9), clusters=(7,), n_init=1, seed=seed),
    "t-SNE": lambda seed: analysis.tsne(points(60, 9), features="features", seed=seed),
    "LLE": lambda seed: analysis.lle(points(60, 9), seed=seed),
    "stability": lambda seed: analysis.stability(points(200, 9), clusters=(7,), seed=seed),
    "silhouette": lambda seed: analysis.silhouette(points(200, role="k"), most=50, seed=seed),
    "estimator": lambda seed: analysis.estimator(points(200, 9), make=FastICA, n_components=2, seed=seed),
}


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    first, again = RANDOM[name](5), RANDOM[name](5)
    for key, values in first.data_vars.items():
        assert values.values.tobytes() == again[key].values.tobytes()


@pytest.mark.parametrize("name", ["kmeans", "minibatch k-means", "silhouette", "stability"])
def test_another_seed_gives_something_else(name: str) -> None:
    assert not RANDOM[name](5).drop_attrs().equals(RANDOM[name](6).drop_attrs())
