import dataclasses
import shutil

import numpy as np
import pytest
import xarray as xr

import analysis
from relfunc.errors import SchemaError
from relfunc.files.netcdf import save
from viewer.loading import open_project
from viewer.project.outcomes import outcome, pixels
from viewer.project.project import ProjectError, axes, categories, clustering_names, embedding_names, points
from viewer.project.scores import cluster_scores, clustering_scores, eigenvalues, ranking, score_names

from ..conftest import close
from ..synthetic import CLASSES, write_project


def test_a_folder_opens_with_its_categories_embeddings_and_clusterings(project):
    assert categories(project) == CLASSES
    assert embedding_names(project, "ring") == ("tsne", "spectral")
    assert clustering_names(project, "ring") == ("kmeans-3", "hdbscan")
    assert (axes(project, "ring", "tsne"), axes(project, "ring", "spectral")) == (2, 6)
    assert eigenvalues(project, "ring").size == 6


def test_points_are_those_of_the_file(project):
    held = points(project, "disc", embedding="spectral", clustering="hdbscan", x=3, y=1)
    node = project.analysis["disc"]
    np.testing.assert_array_equal(held.rows, node["index"])
    np.testing.assert_array_equal(held.xy, node["embedding/spectral"].values[:, [3, 1]])
    np.testing.assert_array_equal(held.cluster, node["cluster/hdbscan"])


def test_opening_reads_no_attribution(tmp_path):
    held = open_project(write_project(tmp_path))
    assert not held.attributions["attribution"]._in_memory
    close(held)


def test_rows_come_in_the_order_asked_for_each_as_often_as_asked(project):
    rows = np.array([250, 3, 3, 0])
    attribution, picture = pixels(project, rows)
    np.testing.assert_array_equal(attribution, project.attributions["attribution"].values[rows])
    np.testing.assert_array_equal(picture, project.attributions["input"].values[rows])
    assert outcome(project, rows).ids.tolist() == ["img-0250", "img-0003", "img-0003", "img-0000"]


def test_outcomes_name_classes_and_give_the_softmax(project):
    rows = np.arange(300)
    known = outcome(project, rows)
    logits = project.attributions["prediction"].values.astype(float)
    np.testing.assert_allclose(known.probability, (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).max(1))
    assert known.label == ("ring",) * 150 + ("disc",) * 150
    assert [name == label for name, label in zip(known.prediction, known.label, strict=True)] == known.correct.tolist()
    assert 0 < (~known.correct).sum() < 40


def test_a_distribution_is_not_softmaxed_again(tmp_path):
    data = _tiny(prediction=[[0.25, 0.75], [1.0, 0.0]])
    save(data, tmp_path / "attributions.nc")
    held = open_project(tmp_path)
    np.testing.assert_allclose(outcome(held, np.array([0, 1])).probability, [0.75, 1.0])
    close(held)


def test_several_labels_are_joined(tmp_path):
    data = _tiny().drop_vars("label").assign(label=(("sample", "class"), np.array([[True, True], [False, True]])))
    save(data, tmp_path / "attributions.nc")
    held = open_project(tmp_path)
    known = outcome(held, np.array([0, 1]))
    assert known.label == ("a, b", "b")
    assert known.correct.tolist() == [True, False]
    assert points(held, "a").rows.tolist() == [0]
    close(held)


def test_attributions_without_analysis_open_by_class(tmp_path):
    held = open_project(write_project(tmp_path, analysis=False))
    assert categories(held) == CLASSES
    assert embedding_names(held, "disc") == clustering_names(held, "disc") == ()
    assert points(held, "disc").rows.tolist() == list(range(150, 300))
    assert ranking(held, "separability") == ()
    close(held)


def test_classes_are_ranked_by_a_score_best_first(project):
    assert score_names(project) == ("separability", "silhouette")
    assert [one.category for one in ranking(project, "separability")] == ["ring", "disc"]
    best = ranking(project, "silhouette")[0]
    assert (best.category, best.clustering, best.value) == ("ring", "kmeans-3", pytest.approx(0.7))
    assert clustering_scores(project, "ring", "hdbscan") == {"silhouette": pytest.approx(0.6)}


def test_the_separability_of_a_class_is_that_of_the_printed_ranking(project):
    assert project.analysis is not None
    printed = analysis.ranking(project.analysis)
    assert [
        (one.category, one.value, one.clustering, one.cluster, one.size) for one in ranking(project, "separability")
    ] == [
        tuple(printed[name].values[k].item() for name in ("category", "separability", "clustering", "cluster", "size"))
        for k in range(2)
    ]


def test_evidence_ranks_classes_as_it_does_in_the_printed_ranking(project):
    tree = project.analysis.copy()
    for margin, node in zip((1.0, 30.0), tree.children.values(), strict=True):
        held = node["score"].to_dataset(inherit=False)
        margins = (("clustering", "cluster"), np.full(held["size"].shape, margin))
        also = {"margin_chance": ("surrogate", [0.9, 1.1]), "margin_subsample": (("subsample", "group"), [[1.0]])}
        node["score"] = xr.DataTree(held.assign(margin=margins, replication=margins, **also))
    judged = dataclasses.replace(project, analysis=tree, contents=None)
    printed, listed = analysis.ranking(tree), ranking(judged, "separability")
    assert [one.category for one in listed] == printed["category"].values.tolist() == ["disc", "ring"]
    for name in ("margin", "clustering", "cluster", "size"):
        assert [getattr(one, name) for one in listed] == printed[name].values.tolist()
    assert [one.p_value for one in listed] == printed["p_adjusted"].values.tolist()
    assert printed["significant"].values.tolist() == [True, False]


def test_without_surrogates_classes_are_ranked_by_separability(project):
    tree = project.analysis.copy()
    for node in tree.children.values():
        held = node["score"].to_dataset(inherit=False)
        node["score"] = xr.DataTree(held.assign(margin=held["cluster_separability"], margin_chance=("surrogate", [])))
    listed = ranking(dataclasses.replace(project, analysis=tree, contents=None), "separability")
    assert [(one.category, one.margin) for one in listed] == [("ring", None), ("disc", None)]


def test_clusters_have_their_own_separability(project):
    assert cluster_scores(project, "ring", "kmeans-3") == {0: 0.9, 1: 0.5}
    assert cluster_scores(project, "ring", "other") == {}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"category": "square"}, "no category 'square': choose one of ring, disc"),
        ({"category": "ring", "embedding": "umap"}, "no embedding 'umap': choose one of"),
        ({"category": "ring", "clustering": "k"}, "no cluster 'k': choose one of"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(project, chosen, message):
    with pytest.raises(ProjectError, match=message):
        points(project, **chosen)


def test_a_category_without_analysis_must_be_a_class(tmp_path):
    held = open_project(write_project(tmp_path, analysis=False))
    with pytest.raises(ProjectError, match="no category 'square'"):
        points(held, "square")
    close(held)


def test_a_missing_folder_and_an_empty_one_say_what_is_needed(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"attributions\.nc"):
            open_project(path)


@pytest.mark.parametrize("name", ["attributions.nc", "analysis.nc"])
def test_a_truncated_file_is_named(folder, tmp_path, name):
    for file in folder.glob("*.nc"):
        shutil.copy(file, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(SchemaError, match=name):
        open_project(tmp_path)


def _tiny(prediction=((1.0, 0.0), (1.0, 0.0))):
    return xr.Dataset(
        {
            "attribution": (("sample", "feature"), np.ones((2, 3))),
            "prediction": (("sample", "class"), np.array(prediction)),
            "label": ("sample", [0, 1]),
        },
        {"sample": [0, 1], "class": ["a", "b"]},
    )
