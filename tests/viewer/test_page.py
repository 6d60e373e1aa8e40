from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import panel as pn
import pytest
import xarray as xr

import viewer
from viewer.state.view import View, choose, select
from viewer.widgets import Gallery, Preview, Rows


def test_the_page_follows_its_state(folder):
    view = viewer.View()
    page = viewer.app(folder, view=view)
    assert view.category == "ring"
    assert _samples(page)[0]["id"] == "img-0000"
    select(view, np.array([149]))
    assert [item["id"] for item in _samples(page)] == ["img-0149"]
    view.theme = "dark"
    assert "dark" in page.css_classes


def test_what_is_in_view_is_selected_as_the_mode_says(folder):
    view = View()
    page = viewer.app(folder, view=view)
    button = next(button for button in page.select(pn.widgets.Button) if button.label == "In view")
    select(view, np.array([7]))
    button.clicks += 1
    assert view.selected.tolist() == list(range(150))
    view.mode = "subtract"
    button.clicks += 1
    assert view.selected.size == 0


def test_the_sample_under_the_pointer_is_described_until_the_pointer_leaves(folder, project):
    view = View()
    preview = viewer.app(folder, view=view).select(Preview)[0]
    view.pointed = 3
    assert preview.item["id"] == "img-0003"
    view.pointed = None
    assert preview.item == {}
    view.pointed = 4
    choose(view, project, category="disc")
    assert (view.pointed, preview.item) == (None, {})


def test_the_legend_selects_and_hides_clusters(folder):
    view = View()
    legend = next(rows for rows in viewer.app(folder, view=view).select(Rows) if rows.hides)
    assert [item["name"] for item in legend.items] == ["Cluster 0", "Cluster 1", "Cluster 2"]
    assert [item["value"] for item in legend.items] == ["50", "50", "50"]
    _says(legend, {"pick": "0"})
    assert view.selected.tolist() == list(range(50))
    _says(legend, {"hide": "1"})
    assert view.hidden == [1]
    _says(legend, {"hide": "1"})
    assert view.hidden == []


def test_noise_is_grey_and_named(folder):
    view = View(clustering="hdbscan")
    legend = next(rows for rows in viewer.app(folder, view=view).select(Rows) if rows.hides)
    assert (legend.items[0]["name"], legend.items[0]["colour"]) == ("Noise", "#8b929c")


def test_the_ranking_opens_a_class(folder):
    view = View()
    ranked = next(rows for rows in viewer.app(folder, view=view).select(Rows) if not rows.hides)
    assert [item["key"] for item in ranked.items] == ["ring", "disc"]
    _says(ranked, {"pick": "disc"})
    assert view.category == "disc"


def test_pages_cover_the_selection(folder):
    view = View()
    page = viewer.app(folder, view=view)
    seen = []
    for view.page in range(4):
        seen += [item["key"] for item in _samples(page)]
    assert seen == [str(k) for k in range(150)]


def test_widgets_follow_a_view_that_is_restored(folder):
    view = View()
    page = viewer.app(folder, view=view)
    view.param.update(colour="label", cmap="hot", order="most", kinds=["overlay"], theme="light")
    values = [widget.value for widget in page.select(pn.widgets.Select)]
    assert {"label", "hot", "most"} <= set(values)
    assert ["overlay"] in [group.value for group in page.select(pn.widgets.CheckButtonGroup)]


def test_neighbours_come_first_when_asked_for(folder):
    view = View()
    page = viewer.app(folder, view=view)
    _says(page.select(Gallery)[0], {"near": "77"})
    assert _samples(page)[0]["key"] == "77"
    _says(page.select(Gallery)[0], {"near": "5"})
    assert _samples(page)[0]["key"] == "5"


def test_a_file_that_is_gone_becomes_a_message(folder, monkeypatch):
    view = View()
    page = viewer.app(folder, view=view)

    def gone(*_):
        raise OSError("no such file")

    monkeypatch.setattr("viewer.project.outcomes.read_rows", gone)
    select(view, np.array([3]))
    assert _samples(page) == []
    assert page.select(Gallery)[0].notice[0] == "These samples cannot be read"


def test_a_project_without_analysis_shows_its_samples_and_what_to_do(unanalysed):
    page = viewer.app(unanalysed)
    assert len(_samples(page)) == 48
    assert "no analysis.nc" in _text(page)


@pytest.mark.parametrize("name", ["none", ""])
def test_a_folder_without_a_project_becomes_a_notice(tmp_path, name):
    page = viewer.app(tmp_path / name)
    assert "attributions.nc" in _text(page)
    assert _samples(page) == []


@pytest.mark.parametrize("panel", ["samples", "clusters", "compare"])
def test_an_empty_class_says_so_and_is_left_again(project, panel):
    assert project.analysis is not None
    nodes = {name: node.copy() for name, node in project.analysis.children.items()}
    nodes["ring"] = nodes["ring"].map_over_datasets(lambda data: data.isel(sample=slice(0), missing_dims="ignore"))
    view = View(category="ring", panel=panel)
    page = viewer.page.page([replace(project, analysis=xr.DataTree(children=nodes))], view)
    assert view.trouble == ""
    assert _samples(page) == []
    assert page.select(Gallery)[0].notice == ["No samples", "This class is empty: choose another one."]
    widget = next(widget for widget in page.select(pn.widgets.Select) if widget.label == "Class")
    widget.value = "disc"
    assert len(_samples(page)) == 48


def test_no_path_at_all_says_what_to_do():
    assert "relfunc view PATH" in _text(viewer.app([]))


def test_a_bad_project_does_not_spoil_a_good_one(folder, tmp_path):
    view = View()
    page = viewer.app([folder, tmp_path], view=view)
    tabs = next(
        group for group in page.select(pn.widgets.RadioButtonGroup) if group.visible and len(group.options) == 2
    )
    tabs.value = 1
    assert view.trouble
    seen = []
    view.param.watch(lambda *_: seen.append((view.points is None, view.trouble)), ["points", "trouble"])
    tabs.value = 0
    assert seen == [(False, "")]
    assert _samples(page)


def _samples(page):
    return page.select(Gallery)[0].items


def _text(page):
    return " ".join(pane.object for pane in page.select(pn.pane.HTML) if pane.visible)


def _says(component, message):
    """What Panel does when the browser sends a message."""
    for callback in component._msg__callbacks:
        callback(SimpleNamespace(data=message))
