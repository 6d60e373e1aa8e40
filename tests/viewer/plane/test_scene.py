import io
import threading

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from relfunc.files.netcdf import save
from viewer.cache import MOST, recent
from viewer.draw.colouring import BY, Colouring, colouring, density
from viewer.jobs import latest
from viewer.loading import open_project
from viewer.plane import selection
from viewer.plane.canvas import GLYPHS, GROWN, Window, fit
from viewer.plane.plot import across
from viewer.plane.scene import Glyphs, Picture, Scene, at, enclosed, render
from viewer.project.outcomes import outcome, verdict
from viewer.project.project import Points, points
from viewer.project.scores import measures

from ..conftest import close
from ..synthetic import write_project

CORNERS = {"type": "poly", "x": [-1.0, 1.5, 1.0, -2.0], "y": [-1.0, -0.5, 2.0, 1.0]}
BOX = {"type": "rect", "x0": -0.5, "x1": 1.0, "y0": -1.0, "y1": 0.5}


def _scene(n, *, selected=(), hidden=()):
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(n, 2))
    xy[5] = np.nan
    codes = (np.arange(n) % 3).astype(np.uint8)
    colours = Colouring(codes, ("a", "b", "c"), ("#4c7df0", "#f08a2c", "#22a77a"), tuple(np.bincount(codes).tolist()))
    return Scene(Points(np.arange(n), xy), colours, np.array(selected, np.int64), hidden)


def test_few_points_are_drawn_by_the_browser_and_those_without_a_place_left_out():
    made = render(_scene(300, selected=[5, 7]), Window(-9, 9, -9, 9), 90, 70)
    assert isinstance(made, Glyphs)
    assert made.drawn.tolist() == [k for k in range(300) if k != 5]
    assert made.selected.tolist() == [7]


def test_many_points_become_a_picture_until_few_are_in_view():
    scene = _scene(GLYPHS + 2_000, selected=[0])
    made = render(scene, fit(scene.bounds, 90, 70), 90, 70)
    assert isinstance(made, Picture)
    assert Image.open(io.BytesIO(made.webp)).size == (90, 70)
    near = render(scene, Window(0, 0.2, 0, 0.2), 90, 70)
    assert isinstance(near, Glyphs)
    assert near.drawn.tolist() == selection.in_box(scene.xy, 0, 0.2, 0, 0.2).tolist()


def test_points_grow_when_few_are_in_view():
    few, many = _scene(GLYPHS + 2_000), _scene(GROWN + 2_000)
    assert _filled(render(few, fit(few.bounds, 900, 700), 900, 700)) > 4 * len(few.xy)
    assert _filled(render(many, fit(many.bounds, 900, 700), 900, 700)) <= len(many.xy)
    assert across(50) > across(500) > across(5_000)


@pytest.mark.parametrize("n", [300, GLYPHS + 500])
@pytest.mark.parametrize("hidden", [(), (1,)])
@pytest.mark.parametrize("geometry", [CORNERS, BOX])
def test_what_is_hidden_is_not_selected(n, hidden, geometry):
    scene = _scene(n, hidden=hidden)
    if geometry is BOX:
        inside = selection.in_box(scene.xy, BOX["x0"], BOX["x1"], BOX["y0"], BOX["y1"])
    else:
        inside = selection.in_polygon(scene.xy, CORNERS["x"], CORNERS["y"])
    expected = inside[~np.isin(scene.colouring.codes[inside], hidden)]
    assert enclosed(scene, geometry).tolist() == expected.tolist()


@pytest.mark.parametrize("n", [300, GLYPHS + 500])
def test_the_pointer_finds_what_is_seen(n):
    scene, veiled = _scene(n), _scene(n, hidden=(0,))
    x, y = scene.xy[0]
    assert at(scene, x, y, dx=0.1, dy=0.1) == 0
    assert at(veiled, x, y, dx=9, dy=9) != 0


@pytest.mark.parametrize("n", [3_000, GLYPHS + 5_000])
def test_the_pointer_means_the_nearest_of_a_crowd_a_hundred_times_of_a_hundred(n):
    scene, rng = _scene(n), np.random.default_rng(1)
    positions = [0, *rng.choice(np.flatnonzero(scene.points.drawn), 99, replace=False)]
    for position in positions:
        x, y = scene.xy[position]
        assert at(scene, x, y, dx=0.2, dy=0.2) == position
        x, y = x + rng.normal(0, 0.01), y + rng.normal(0, 0.01)
        away = np.hypot(scene.xy[:, 0] - x, scene.xy[:, 1] - y)
        assert at(scene, x, y, dx=0.2, dy=0.2) == np.nanargmin(away)


@pytest.mark.parametrize("by", BY)
def test_every_point_has_a_colour_that_is_counted_and_named(project, by):
    held = points(project, "ring", embedding="tsne", clustering="hdbscan")
    made = colouring(project, held, by)
    assert np.bincount(made.codes, minlength=len(made.names)).tolist() == list(made.counts)
    assert len(made.names) == len(made.colours) == len(made.counts) == len(made.palette)
    assert min(made.counts) > 0


def test_any_score_of_a_sample_colours_it(tmp_path):
    folder = write_project(tmp_path)
    with xr.open_dataset(folder / "attributions.nc") as data:
        data.load()
    values = np.linspace(-1, 1, 300)
    values[7] = np.nan
    save(data.assign(margin=("sample", values), artifact=("sample", np.arange(300) < 9)), folder / "attributions.nc")
    held = open_project(folder)
    assert measures(held, "ring") == ("artifact", "margin")
    ring = points(held, "ring")
    margin, artifact = (colouring(held, ring, f"score {name}", "ring") for name in ("margin", "artifact"))
    assert margin.names[0] == "Unknown"
    assert [margin.names[k] for k in margin.codes].count("Unknown") == 1
    order = np.argsort(np.nan_to_num(values[:150], nan=-9))
    assert (np.diff(margin.codes[order].astype(int)) >= 0).all()
    assert max(margin.counts[1:]) - min(margin.counts[1:]) <= 1
    assert (artifact.names, artifact.counts) == (("0", "1"), (141, 9))
    assert colouring(held, ring, "score gone", "ring").names == ("All samples",)
    close(held)


def test_correctness_is_what_the_predictions_say(project):
    made = colouring(project, points(project, "ring"), "correctness")
    known = outcome(project, np.arange(150))
    assert [made.names[k] == "Correct" for k in made.codes] == known.correct.tolist()


def test_reading_in_parts_gives_the_same(project, monkeypatch):
    whole = verdict(project, np.arange(300))
    monkeypatch.setattr("viewer.project.outcomes.PART", 7)
    parts = verdict(project, np.arange(300))
    np.testing.assert_array_equal(whole.label, parts.label)
    np.testing.assert_array_equal(whole.probability, parts.probability)


def test_density_counts_neighbours_and_is_none_for_points_without_a_place():
    xy = np.random.default_rng(0).normal(size=(500, 2))
    xy[3] = np.nan
    assert (density(xy) > 0).tolist() == [k != 3 for k in range(500)]
    assert (density(np.zeros((50, 2))) == 50).all()


def test_only_the_latest_is_kept():
    made = [recent(("test", k), lambda k=k: [k]) for k in range(MOST + 1)]
    assert recent(("test", MOST), list) is made[-1]
    assert recent(("test", 0), list) == []


def test_what_failed_is_made_again():
    with pytest.raises(ZeroDivisionError):
        recent("failed", lambda: 1 / 0)
    assert recent("failed", lambda: 1) == 1


class _Document:
    """Collects what is to be done in the page's thread."""

    def __init__(self):
        self.due = []
        self.called = threading.Semaphore(0)

    def add_next_tick_callback(self, callback):
        self.due.append(callback)
        self.called.release()

    def tick(self):
        assert self.called.acquire(timeout=10)
        self.due.pop(0)()


def test_of_many_requests_the_first_and_the_last_are_done():
    document, gate, done = _Document(), threading.Event(), []

    def work(job):
        assert gate.wait(10)
        return -job

    ask = latest(work, lambda job, result: done.append((job, result)), document)
    for job in range(1, 8):
        ask(job)
    gate.set()
    document.tick()
    document.tick()
    assert done == [(1, -1), (7, -7)]
    ask(9)
    document.tick()
    assert done[-1] == (9, -9)


def test_a_request_that_failed_does_not_block_the_next():
    document, done = _Document(), []
    ask = latest(lambda job: 1 / job, lambda job, result: done.append(result), document)
    ask(0)
    with pytest.raises(ZeroDivisionError):
        document.tick()
    ask(1)
    document.tick()
    assert done == [1]


def _filled(made):
    assert isinstance(made, Picture)
    return int((np.asarray(Image.open(io.BytesIO(made.webp)).convert("RGBA"))[..., 3] > 0).sum())
