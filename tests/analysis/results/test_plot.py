"""Plots show what the tree holds, in both of HoloViews' backends, and say what is missing."""

import subprocess
import sys
from pathlib import Path

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from scipy.cluster import hierarchy

import analysis
from analysis import DataError, chain, plot, step
from analysis.results.plot import _mean

from ..data import attributions

DATA = attributions(30, planted=1)
PLAN = chain(analysis.spray(seed=0), step(analysis.hdbscan, min_cluster_size=4))


@pytest.fixture(scope="module")
def tree():
    return analysis.run(PLAN, DATA)


def made(n, labels=None, dims="component"):
    """A tree of one category with an embedding and a clustering with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, n) if labels is None else np.array(labels)
    groups = {
        "/cat": xr.Dataset({"index": ("sample", np.arange(n))}, {"sample": [f"s{i}" for i in range(n)]}),
        "/cat/embedding": xr.Dataset({"pca": (("sample", dims), rng.normal(size=(n, 3)))}),
        "/cat/cluster": xr.Dataset({"dbscan": ("sample", labels)}),
    }
    return xr.DataTree.from_dict(groups)


def option(element, name, kind="style"):
    return element.opts.get(kind, backend="bokeh").kwargs[name]


# --- what they show -----------------------------------------------------------------------------------


def test_eigenvalues_and_their_widest_gap(tree):
    drawn = plot.eigenvalues(tree, "class 1")
    values = tree["class 1/eigenvalue"].values
    scatter = drawn.get(1)
    np.testing.assert_array_equal(scatter.dimension_values("eigenvalue"), values)
    np.testing.assert_array_equal(scatter.dimension_values("number"), range(1, len(values) + 1))
    strategies = int(tree["class 1/score/n_strategies"])
    assert drawn.get(2).data == strategies + 0.5
    assert f"after {strategies} of 16" in option(drawn, "title", "plot")


@pytest.mark.parametrize(("dims", "first", "second"), [("component", 0, 1), ("eigen", 1, 2)])
def test_every_sample_is_a_point_in_the_colour_of_its_cluster(dims, first, second):
    tree = made(40, dims=dims)
    x, labels = tree["cat/embedding/pca"].values, tree["cat/cluster/dbscan"].values
    drawn = plot.embedding(tree, "cat")
    assert [points.label for points in drawn] == ["cluster 0", "cluster 1", "cluster 2", "noise"]
    for points, cluster in zip(drawn, [0, 1, 2, -1], strict=True):
        at = labels == cluster
        np.testing.assert_array_equal(points.array([0, 1]), x[at][:, [first, second]])
        assert points.dimension_values("sample").tolist() == tree["cat/sample"].values[at].tolist()
    colours = [option(points, "color") for points in drawn]
    assert colours[3] == plot.GREY
    assert len(set(colours)) == 4
    assert [d.label for d in drawn.get(0).kdims] == [f"pca {first + 1}", f"pca {second + 1}"]


def test_no_cluster_is_as_grey_as_noise():
    channels = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in plot.COLOURS])
    assert np.ptp(channels, axis=1).min() > 40
    assert len(plot.COLOURS) > 200


def test_the_default_clustering_is_that_of_the_most_separable_cluster(tree):
    row = analysis.ranking(tree).sel(category="class 1")
    assert row["clustering"].item() in option(plot.embedding(tree, "class 1"), "title", "plot")
    assert "hdbscan" in option(plot.embedding(tree, "class 1", clustering="hdbscan"), "title", "plot")


def test_many_points_are_aggregated_to_a_picture():
    tree = made(3000, labels=np.repeat([0, 1, -1], 1000))
    (picture,) = plot.embedding(tree, "cat", most=2999)
    assert isinstance(picture, hv.RGB)
    red, green, blue, alpha = (picture.dimension_values(i + 2) for i in range(4))
    drawn = alpha > 0
    assert 500 < drawn.sum() <= 3000
    seen = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(red[drawn], green[drawn], blue[drawn], strict=True)}
    assert {plot.GREY, *plot.COLOURS[:2]} <= seen
    assert all(isinstance(points, hv.Points) for points in plot.embedding(tree, "cat", most=3000))


@pytest.mark.parametrize("of", ["attribution", "input"])
def test_cluster_means_are_means_of_heatmaps_summed_over_channels(of, tree):
    data = DATA.assign(input=DATA["attribution"] ** 2)
    layout = plot.cluster_means(data, tree, "class 1", clustering="kmeans-03", of=of)
    index, labels = tree["class 1/index"].values, tree["class 1/cluster/kmeans-03"].values
    heatmaps = data[of].values[index].sum(1)
    assert [image.label for image in layout] == [f"cluster {k}: {(labels == k).sum()} samples" for k in range(3)]
    for k, image in enumerate(layout):
        expected = heatmaps[labels == k].mean(0)
        np.testing.assert_allclose(image.dimension_values(2, flat=False)[::-1], expected, rtol=1e-5)
        assert image[0.5, 11.5] == pytest.approx(expected[0, 0], rel=1e-5)  # the first row is on top
        low, high = option(image, "clim", "plot")
        assert low == (0 if of == "input" else -high)


def test_means_are_read_some_samples_at_a_time(tree, monkeypatch):
    read = []
    isel = xr.DataArray.isel
    monkeypatch.setattr(xr.DataArray, "isel", lambda self, at: read.append(at["sample"]) or isel(self, at))
    values = xr.DataArray(np.ones((1000, 2, 3, 3)), dims=("sample", "channel", "y", "x"))
    np.testing.assert_array_equal(_mean(values, np.arange(1000)), np.full((3, 3), 2.0))
    assert max(map(len, read)) == 256


def test_a_dendrogram_has_the_last_merges(tree):
    x = tree["class 1/embedding/spectral"].values
    drawn = plot.dendrogram(tree, "class 1", leaves=8)
    merges = hierarchy.linkage(x, "ward")
    heights = sorted(line.array()[1:3, 1].max() for line in drawn.split())
    np.testing.assert_allclose(heights, merges[-7:, 2])
    ticks = option(drawn, "xticks", "plot")
    assert sum(int(text) for _, text in ticks) == len(x)
    subset = plot.dendrogram(tree, "class 1", leaves=8, most=10)
    assert sum(int(text) for _, text in option(subset, "xticks", "plot")) == 10


def test_a_ranking_has_the_most_suspicious_on_top(tree):
    table = analysis.ranking(tree)
    bars = plot.ranking(tree)
    assert bars.dimension_values("category").tolist() == table["category"].values.tolist()[::-1]
    np.testing.assert_array_equal(bars.dimension_values("separability"), table["separability"].values[::-1])
    assert len(plot.ranking(table, most=2)) == 2


# --- how they show ------------------------------------------------------------------------------------

PLOTS = {
    "eigenvalues": lambda tree: plot.eigenvalues(tree, "class 1"),
    "embedding": lambda tree: plot.embedding(tree, "class 1", clustering="hdbscan"),
    "aggregated": lambda tree: plot.embedding(tree, "class 1", most=5),
    "cluster_means": lambda tree: plot.cluster_means(DATA, tree, "class 1"),
    "dendrogram": lambda tree: plot.dendrogram(tree, "class 1"),
    "ranking": plot.ranking,
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_saved_without_a_server(name, tree, tmp_path):
    hv.save(PLOTS[name](tree), tmp_path / "plot.html", backend="bokeh")
    text = (tmp_path / "plot.html").read_text(encoding="utf-8")
    assert "category" in text
    assert len(text) > 5000


MATPLOTLIB = """
import sys
import holoviews as hv
hv.extension("matplotlib")
import xarray as xr
import analysis
from tests.analysis.results.test_plot import PLOTS, PLAN, DATA
tree = analysis.run(PLAN, DATA)
for name, draw in PLOTS.items():
    hv.save(draw(tree), f"{sys.argv[1]}/{name}.png", backend="matplotlib")
"""


@pytest.mark.slow
def test_plots_are_saved_as_pictures_by_matplotlib(tmp_path):
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", MATPLOTLIB, str(tmp_path)], check=True)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(PLOTS)


def test_import_does_not_import_holoviews():
    program = "import sys, analysis; print('holoviews' in sys.modules)"
    root = str(Path(__file__).parents[3])
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout == "False\n"


# --- what is missing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda tree: plot.eigenvalues(tree, "class 9"), "no category 'class 9', only 'class 0', 'class 1', 'class 2'"),
        (lambda tree: plot.eigenvalues(tree, "class 1", embedding="pca"), "no 'eigenvalue-pca', only 'index'"),
        (lambda tree: plot.embedding(tree, "class 1", name="umap"), "no 'umap', only 'spectral', 'tsne'"),
        (lambda tree: plot.embedding(tree, "class 1", axes=(0, 2)), "'tsne' has 2 components, not"),
        (lambda tree: plot.embedding(tree, "class 1", clustering="kmeans-99"), "no 'kmeans-99', only 'kmeans-02'"),
        (lambda tree: plot.cluster_means(DATA, tree, "class 1", of="heat"), "no 'heat', only 'attribution'"),
        (lambda tree: plot.cluster_means(DATA, tree, "class 1", of="label"), "only images have heatmaps"),
        (lambda tree: plot.dendrogram(made(1), "cat", name="pca"), "has 1 sample, which merges with none"),
        (lambda tree: plot.embedding(xr.DataTree.from_dict({"/cat": xr.Dataset()}), "cat"), "has no embedding: add"),
    ],
)
def test_what_is_missing_is_named(draw, message, tree):
    with pytest.raises(DataError, match=message):
        draw(tree)
