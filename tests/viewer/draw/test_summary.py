"""Clusters and parts of a class in numbers, as a table, and side by side."""

import numpy as np
import pytest

import viewer
from viewer.draw.summary import comparison, prototypes, summaries, summary
from viewer.project.outcomes import Verdict, outcome
from viewer.project.project import Points, points
from viewer.state.view import View, select
from viewer.widgets import Table

from ..test_page import _says, _text


@pytest.fixture(scope="module")
def ring(project):
    return points(project, "ring", embedding="tsne", clustering="kmeans-3")


def test_a_summary_counts_what_the_outcomes_say(project, ring):
    for cluster, found in summaries(project, ring, "ring", "kmeans-3").items():
        known = outcome(project, ring.rows[ring.cluster == cluster])
        assert found.size == known.correct.size == 50
        assert found.accuracy == known.correct.mean()
        assert found.probability == pytest.approx(known.probability.mean())
        assert found.labels == (("ring", 1.0),)
        assert dict(found.predictions)["ring"] == pytest.approx(np.mean([name == "ring" for name in known.prediction]))
    assert [found.separability for found in summaries(project, ring, "ring", "kmeans-3").values()] == [
        pytest.approx(0.9),
        pytest.approx(0.5),
        pytest.approx(np.nan, nan_ok=True),
    ]


def test_purity_is_the_share_of_the_commonest_label_among_single_ones(project):
    known = Verdict(np.array([0, 0, 1, -1]), np.array([0, 0, 0, 1]), np.ones(4), np.array([True, True, False, False]))
    found = summary(project, known, np.arange(4))
    assert found.purity == pytest.approx(2 / 3)
    assert found.labels == (("ring", 0.5), ("several", 0.25), ("disc", 0.25))


def test_without_a_clustering_there_is_nothing_to_sum_up(project):
    assert summaries(project, Points(np.arange(3)), "ring", "kmeans-3") == {}


def test_prototypes_are_nearest_to_the_centre():
    xy = np.array([[0.0, 0], [1, 0], [2, 0], [9, 0], [np.nan, 0], [5, 5]])
    held = Points(np.arange(6), xy, np.array([0, 0, 0, 0, 0, -1], np.int32))
    assert {k: found.tolist() for k, found in prototypes(held).items()} == {-1: [], 0: [2, 1, 0]}
    assert prototypes(Points(np.arange(6), None, held.cluster))[0].tolist() == [0, 1, 2]


def test_two_parts_are_drawn_on_one_scale(project, ring):
    one, other, difference = comparison(project, ring, np.arange(50), np.arange(50, 150), "bwr")
    assert [kind for kind, _ in one] == [kind for kind, _ in other] == ["input", "attribution"]
    assert difference.startswith("data:image/png")
    same = comparison(project, ring, np.arange(9), np.arange(9), "bwr")
    assert same[0] == same[1]


def test_the_table_of_clusters_selects(folder):
    view = View()
    page = viewer.app(folder, view=view)
    table = page.select(Table)[0]
    assert not table.visible
    view.panel = "clusters"
    assert table.visible
    assert [item["cells"]["name"][0] for item in table.items] == ["Cluster 0", "Cluster 1", "Cluster 2"]
    assert [item["cells"]["size"][0] for item in table.items] == ["50", "50", "50"]
    assert [item["cells"]["separability"][0] for item in table.items] == ["0.9", "0.5", "–"]
    assert [len(item["pictures"]["typical"]) for item in table.items] == [3, 3, 3]
    _says(table, {"pick": "1"})
    assert view.selected.tolist() == list(range(50, 150, 2))


def test_noise_is_a_row_without_prototypes(folder):
    view = View(clustering="hdbscan", panel="clusters")
    table = viewer.app(folder, view=view).select(Table)[0]
    assert table.items[0]["cells"]["name"][0] == "Noise"
    assert table.items[0]["pictures"]["typical"] == []


def test_a_selection_is_compared_with_the_rest(folder):
    view = View(panel="compare")
    page = viewer.app(folder, view=view)
    assert "<h2>Cluster 0</h2>" in _text(page)
    select(view, np.arange(50))
    one = next(part for part in page.select(viewer.widgets.pn.widgets.Select) if part.label == "First part")
    said = _text(page)
    assert "<h2>Selection</h2>" in said
    assert "<dd>50</dd>" in said
    assert "<dd>100</dd>" in said
    one.value = "The whole class"
    assert "The rest is empty" in _text(page)


def test_a_project_without_clusters_says_so(unanalysed):
    view = View(panel="clusters")
    assert "No clusters" in _text(viewer.app(unanalysed, view=view))


def test_a_file_that_is_gone_becomes_a_message(folder, monkeypatch):
    view = View()
    page = viewer.app(folder, view=view)

    def gone(*_, **__):
        raise OSError("no such file")

    monkeypatch.setattr("viewer.draw.summary.average", gone)
    view.panel = "clusters"
    assert "no such file" in _text(page)
