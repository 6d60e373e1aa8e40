"""Files that are damaged, cut short, gone or overwritten: a message on the page, never a crash."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import viewer
from relfunc.files.netcdf import save
from viewer.draw.colouring import BY
from viewer.loading import open_project
from viewer.opening import opened
from viewer.project import probe
from viewer.project.outcomes import outcome, pixels, verdict
from viewer.project.project import Failure, ProjectError, points
from viewer.state.view import View, choose, select, show
from viewer.widgets import Gallery

from .conftest import close
from .synthetic import spoiled, write_project


def _fuzz(base, folder, seeds):
    for seed in seeds:
        rng, damaged = np.random.default_rng(seed), folder / str(seed)
        shutil.copytree(base, damaged, ignore=shutil.ignore_patterns("findings"))
        for name in ("attributions.nc", "analysis.nc"):
            if rng.random() < 0.7:
                (damaged / name).write_bytes(spoiled((damaged / name).read_bytes(), rng))
        view = View()
        page = viewer.app(damaged, view=view)
        assert (view.points is None) == bool(view.trouble)
        if view.points is not None:
            select(view, np.arange(min(40, view.points.rows.size)))
            for view.colour in BY:
                assert page.select(Gallery)[0].items or page.select(Gallery)[0].notice[0]


@pytest.mark.slow
def test_damaged_projects_show_what_they_have_or_say_why_not(folder, tmp_path):
    _fuzz(folder, tmp_path, range(12))


@pytest.mark.slow
def test_a_hundred_damaged_projects(folder, tmp_path):
    _fuzz(folder, tmp_path, range(1_000, 1_100))


def test_a_file_from_which_the_library_does_not_return_becomes_a_message(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "stuck", ignore=shutil.ignore_patterns("findings"))
    monkeypatch.setattr(probe, "PATIENCE", 0.5)
    monkeypatch.setattr(probe, "EACH", 0.0)
    monkeypatch.setattr(probe, "WALK", "while True: pass")
    held = opened(tmp_path / "stuck")
    assert isinstance(held, Failure)
    assert "could not be opened within 0 s: a file is damaged" in held.reason


def test_a_file_on_which_the_library_crashes_becomes_a_message(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "crash", ignore=shutil.ignore_patterns("findings"))
    monkeypatch.setattr(probe, "WALK", "import os; os.abort()")
    held = opened(tmp_path / "crash")
    assert isinstance(held, Failure)
    assert "the library that reads it crashed" in held.reason


def test_an_error_while_trying_is_left_to_the_one_who_opens(tmp_path):
    (tmp_path / "attributions.nc").write_text("nothing")
    assert probe.damage([tmp_path / "attributions.nc"]) is None
    held = opened(tmp_path)
    assert isinstance(held, Failure)
    assert "truncated or not netCDF-4" in held.reason


@pytest.mark.skipif(os.name != "posix", reason="only there does an open file outlive its name")
def test_a_file_that_is_deleted_while_it_is_open_stays_readable(tmp_path):
    held = open_project(write_project(tmp_path))
    shutil.rmtree(tmp_path)
    assert len(pixels(held, np.arange(3))[0]) == 3
    assert outcome(held, np.arange(3)).label == ("ring",) * 3
    close(held)


def test_a_file_that_is_cut_short_while_it_is_shown_becomes_a_message(tmp_path):
    view = View()
    page = viewer.app(write_project(tmp_path), view=view)
    os.truncate(tmp_path / "attributions.nc", 3_000)
    select(view, np.arange(140, 144))
    gallery = page.select(Gallery)[0]
    said = gallery.notice if not gallery.items else _pictures(gallery, [140, 141]).get("trouble", "")
    assert "was a file moved, deleted or overwritten?" in str(said)
    view.colour = "prediction"
    assert "was a file moved, deleted or overwritten?" in view.remark


@pytest.mark.parametrize("read", [outcome, verdict, pixels])
def test_rows_that_are_not_there_are_an_error_of_the_project_s(project, read):
    with pytest.raises(ProjectError, match="can no longer be read"):
        read(project, np.array([2, 300]))


def _pictures(gallery, rows):
    """Ask for pictures as the page does when samples come into view."""
    for callback in gallery._msg__callbacks:
        callback(SimpleNamespace(data={"want": rows}))
    return {"trouble": " ".join(gallery.notice)} if not gallery.items else gallery.pictures


def _category(embedding, cluster, rows=None):
    """Write the node of a category."""
    n = len(embedding)
    return {
        "": xr.Dataset({"index": ("sample", np.arange(n, dtype=np.uint32) if rows is None else rows)}),
        "/embedding": xr.Dataset({"tsne": (("sample", "component"), np.asarray(embedding, float))}),
        "/cluster": xr.Dataset({f"k{len(cluster)}": ("sample", np.asarray(cluster))} if len(cluster) == n else {}),
    }


CASES = {
    "gap": _category(np.random.default_rng(0).normal(size=(6, 2)), [0, 2, 2, 0, 2, 0]),
    "noise": _category(np.random.default_rng(0).normal(size=(5, 2)), [-1, 0, -1, 1, 0]),
    "holes": _category([[0, 0], [np.nan, 1], [2, np.inf], [3, 3]], [0, 0, 1, 1]),
    "far": _category(np.random.default_rng(1).normal(size=(7, 2)) + 1e6, [0] * 7),
    "one": _category([[4.0, 2.0]], [0]),
    "none": _category(np.empty((0, 2)), np.empty(0, int)),
    "line": _category(np.arange(4.0)[:, None], [0, 1, 2, 3]),
    "bare": _category(np.zeros((3, 2)), []),
}


@pytest.fixture(scope="module")
def odd(folder, tmp_path_factory):
    """A project whose categories have next to nothing in common."""
    made = tmp_path_factory.mktemp("odd")
    shutil.copy(folder / "attributions.nc", made)
    nodes = {f"/{name}{group}": data for name, node in CASES.items() for group, data in node.items()}
    save(xr.DataTree.from_dict(nodes), made / "analysis.nc")
    return made


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("before", ["gap", "none", "bare"])
def test_odd_categories_are_shown_whatever_was_shown_before(odd, name, before):
    view = View(category=before)
    page = viewer.app(odd, view=view)
    show([opened(odd)], view, category=name)
    assert (view.category, view.trouble) == (name, "")
    assert view.points is not None
    assert len(page.select(Gallery)[0].items) == view.points.rows.size
    legend = next(rows for rows in page.select(viewer.widgets.Rows) if rows.hides)
    clusters = CASES[name]["/cluster"]
    wanted = np.unique(next(iter(clusters.data_vars.values()))) if clusters.data_vars else []
    called = ["Noise" if k < 0 else f"Cluster {k}" for k in wanted]
    assert [item["name"] for item in legend.items] == (called or ["All samples"] * (view.points.rows.size > 0))
    assert len({item["colour"] for item in legend.items}) == len(legend.items)


def test_points_without_a_place_are_counted(odd):
    page = viewer.app(odd, view=View(category="holes"))
    said = " ".join(pane.object for pane in page.select(viewer.widgets.pn.pane.HTML))
    assert "2 without a position" in said


def test_switching_fast_ends_on_the_last_choice(odd):
    view, project = View(), opened(odd)
    viewer.app(odd, view=view)
    for name in [*CASES, "one", "gap", "far"]:
        show([project], view, category=name)
        choose(view, project, category=view.category)
    assert view.category == "far"
    assert view.points is not None
    np.testing.assert_array_equal(view.points.xy, points(project, "far", embedding="tsne").xy)
