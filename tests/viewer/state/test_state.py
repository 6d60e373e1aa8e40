import numpy as np
import pytest

from viewer.loading import open_project
from viewer.state.view import UNDONE, View, choose, select, settled, undo

from ..conftest import close
from ..synthetic import write_project


def test_a_new_view_settles_on_what_there_is(project):
    view = View()
    choose(view, project)
    assert (view.category, view.embedding, view.clustering) == ("ring", "tsne", "kmeans-3")
    assert view.points is not None
    assert view.points.rows.size == 150


def test_choices_that_exist_are_kept_and_others_replaced(project):
    view = View(embedding="spectral", clustering="gone", x=4, y=5)
    choose(view, project, category="disc")
    assert (view.category, view.embedding, view.clustering, view.x, view.y) == ("disc", "spectral", "kmeans-3", 4, 5)
    choose(view, project, embedding="tsne")
    assert (view.x, view.y) == (0, 1)


def test_another_class_clears_the_selection_another_embedding_keeps_it(project):
    view = View()
    choose(view, project)
    select(view, np.array([1, 2]))
    choose(view, project, embedding="spectral")
    assert view.selected.tolist() == [1, 2]
    choose(view, project, category="disc")
    assert (view.selected.tolist(), view.past) == ([], [])


def test_a_second_embedding_is_read_beside_the_first_and_goes_where_there_is_none(project):
    view = View()
    choose(view, project, second="spectral", second_x=2, second_y=9)
    assert (view.embedding, view.second, view.second_x, view.second_y) == ("tsne", "spectral", 0, 1)
    assert view.points is not None
    assert view.other is not None
    assert view.other.rows.tolist() == view.points.rows.tolist()
    choose(view, project, second_x=4, second_y=5, category="disc")
    np.testing.assert_array_equal(view.other.xy, project.analysis["disc/embedding/spectral"].values[:, [4, 5]])
    choose(view, project, second="gone")
    assert (view.second, view.other) == ("", None)


def test_a_change_of_what_is_shown_is_one_change(project):
    view, seen = View(), []
    view.param.watch(lambda *events: seen.append({event.name for event in events}), ["category", "points", "selected"])
    choose(view, project)
    assert len(seen) == 1


def test_undo_takes_selections_back_one_by_one(project):
    view = View()
    choose(view, project)
    select(view, np.array([1]))
    select(view, np.array([2]), "add")
    undo(view)
    assert view.selected.tolist() == [1]
    undo(view)
    undo(view)
    assert view.selected.tolist() == []


def test_selecting_the_same_again_is_no_change():
    view = View()
    select(view, np.array([1]))
    select(view, np.array([1]))
    assert len(view.past) == 1


def test_the_past_does_not_grow_without_end():
    view = View()
    for k in range(UNDONE + 20):
        select(view, np.array([k]))
    assert len(view.past) == UNDONE


def test_large_selections_are_forgotten_sooner(monkeypatch):
    monkeypatch.setattr("viewer.state.view.HEAVIEST", 8_000)
    view = View()
    for k in range(6):
        select(view, np.arange(k, k + 400))
    assert len(view.past) == 2
    select(view, np.arange(5_000))
    select(view, np.arange(4_000))
    assert [each.size for each in view.past] == [5_000]


def test_a_new_selection_starts_at_its_first_page():
    view = View(page=3)
    select(view, np.array([5]))
    assert view.page == 0


def test_two_views_share_nothing():
    one, other = View(), View()
    select(one, np.array([1]))
    one.hidden.append(3)
    assert (other.selected.size, other.hidden, other.past) == (0, [], [])


def test_without_analysis_there_is_nothing_to_embed(tmp_path):
    held = open_project(write_project(tmp_path, analysis=False))
    wanted = settled(held, category="disc", embedding="tsne", clustering="k", x=0, y=1)
    assert wanted == {"category": "disc", "embedding": "", "clustering": "", "x": 0, "y": 1}
    close(held)


@pytest.mark.parametrize("theme", ["dark", "light", "system"])
def test_themes(theme):
    assert View(theme=theme).theme == theme
