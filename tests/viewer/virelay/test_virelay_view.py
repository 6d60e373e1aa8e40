"""Views of ViRelAy, from its exported JSON and its links, shown here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from viewer.project.project import ProjectError
from viewer.state.findings import ViewError, linked, load
from viewer.state.view import View, restore
from viewer.virelay.views import called

EXPORTED = {
    "projectId": 0,
    "projectName": "Shapes",
    "modelName": "SynthNet",
    "datasetName": "Shapes",
    "selectedAnalysisMethod": "spectral-analysis",
    "selectedAnalysisCategory": "n1",
    "selectedCategoryHumanReadableName": "disc",
    "selectedEmbeddingName": "spectral",
    "selectedClustering": "hdbscan",
    "numberOfClusters": 5,
    "selectedColorMap": "seismic",
    "selectedImageMode": "attribution",
    "selectedEmbeddingVectorsIndices": [203, 151, 12],
    "selectedEmbeddingVectorsClusters": [0, 0, 1],
    "allEmbeddingVectorsIndices": [],
    "allEmbeddingVectorsClusters": [],
}
LINK = (
    "http://127.0.0.1:8000/projects/0?firstEmbeddingDimension=2&secondEmbeddingDimension=0&colorMap=black-green"
    "&analysisMethod=spectral-analysis&analysisCategory=n1&clustering=hdbscan&embedding=spectral"
    "&imageMode=overlay&embeddingVectors=203%2C151"
)


@pytest.fixture
def shapes(project):
    """The small project under the names that ViRelAy's would have: a method, a WordNet identifier and a name."""
    assert project.analysis is not None
    named = {"ring": "spectral_analysis: ring (n0)", "disc": "spectral_analysis: disc (n1)"}
    nodes = {f"/{named[name]}": node for name, node in project.analysis.children.items()}
    return replace(project, name="Shapes", path=Path(), analysis=xr.DataTree(children=_copied(nodes)))


def _copied(nodes):
    return {name.lstrip("/"): node.copy() for name, node in nodes.items()}


def test_an_exported_view_is_shown(shapes):
    view = View()
    restore([shapes], view, load(json.dumps(EXPORTED)))
    assert (view.category, view.embedding, view.clustering) == ("spectral_analysis: disc (n1)", "spectral", "hdbscan")
    assert (view.cmap, view.kinds) == ("virelay:seismic", ["attribution"])
    assert view.points is not None
    assert view.points.rows[view.selected].tolist() == [151, 203]


def test_a_link_is_shown(shapes):
    view, kept = View(), linked(LINK, {"Shapes": shapes})
    assert kept is not None
    restore([shapes], view, kept)
    assert (view.category, view.x, view.y) == ("spectral_analysis: disc (n1)", 2, 0)
    assert (view.cmap, view.kinds) == ("virelay:black-green", ["overlay"])
    assert view.points is not None
    assert view.points.rows[view.selected].tolist() == [151, 203]


def test_what_a_link_does_not_say_is_left_to_the_viewer(shapes):
    view, kept = View(), linked("http://127.0.0.1:8000/projects/0?analysisMethod=spectral-analysis", {"Shapes": shapes})
    assert kept is not None
    restore([shapes], view, kept)
    assert view.points is not None
    assert (view.selected.size, view.kinds) == (0, View().kinds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projectName": "Other"}, "project 'Other', which is not open"),
        ({"selectedAnalysisCategory": "n9"}, "no category 'n9'"),
        ({"selectedClustering": "kmeans-99"}, "no clustering 'kmeans-99'"),
        ({"selectedEmbeddingName": "umap"}, "no embedding 'umap'"),
        ({"selectedEmbeddingVectorsIndices": ["a"]}, "no list of positions"),
        ({"selectedEmbeddingVectorsIndices": 3}, "no list of positions"),
        ({"selectedAnalysisCategory": None}, "'selectedAnalysisCategory' is NoneType"),
    ],
)
def test_what_cannot_be_shown_is_named(shapes, changes, message):
    with pytest.raises((ViewError, ProjectError), match=message):
        restore([shapes], View(), load(json.dumps({**EXPORTED, **changes})))


@pytest.mark.parametrize(
    "link",
    [
        LINK.replace("/0?", "/7?"),
        LINK.replace("=2&", "=-2&"),
        LINK.replace("=2&", "=two&"),
        LINK.replace("203", "x"),
        LINK.replace("203", "9" * 40),
    ],
)
def test_a_damaged_link_is_refused(shapes, link):
    with pytest.raises(ViewError, match="link is"):
        linked(link, {"Shapes": shapes})


def test_a_category_is_found_under_its_name_here():
    known = ["a_b: ring (n0)", "c: ring (n0)", "n0", "x"]
    assert called("n0", "c", known) == "c: ring (n0)"
    assert called("n0", "a-b", known) == "a_b: ring (n0)"
    assert called("x", "c", known) == "x"
    assert called("none", "c", known) == "none"
    assert called("", "c", known) == ""


def test_positions_are_those_of_the_dataset(shapes):
    view = View()
    everything = {**EXPORTED, "selectedEmbeddingVectorsIndices": list(range(1000))}
    restore([shapes], view, load(json.dumps(everything)))
    np.testing.assert_array_equal(view.selected, np.arange(150))
