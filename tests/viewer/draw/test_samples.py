import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from relfunc.heatmap.pictures import heatmap
from viewer.draw.samples import KINDS, bound, thumbnails
from viewer.loading import open_project
from viewer.panels.gallery import Drawings, pictures
from viewer.state.view import View, choose, current

from ..conftest import close
from ..synthetic import WATERMARK, write_project

SVG = "{http://www.w3.org/2000/svg}"


def test_a_thumbnail_is_the_heatmap_of_its_row(project):
    drawn = thumbnails(project, np.array([7]), cmap="bwr")[0]
    expected = heatmap(project.attributions["attribution"].values[7], cmap="bwr", channels="first").convert("RGB")
    np.testing.assert_array_equal(_decoded(drawn["attribution"]), np.asarray(expected))
    np.testing.assert_array_equal(_decoded(drawn["input"]), project.attributions["input"].values[7, 0])


def test_the_watermark_is_the_brightest_of_a_planted_sample(project):
    planted, other = thumbnails(project, np.array([0, 120]), cmap="gray")
    assert _decoded(planted["attribution"])[WATERMARK].min() == 255
    assert _decoded(other["attribution"])[WATERMARK].mean() < 160


def test_only_the_kinds_asked_for_are_drawn(project):
    assert list(thumbnails(project, np.array([0]))[0]) == list(KINDS)
    assert list(thumbnails(project, np.array([0]), kinds=["overlay"])[0]) == ["overlay"]
    assert thumbnails(project, np.array([], int)) == []


def test_without_inputs_there_are_only_attributions(tmp_path):
    held = open_project(write_project(tmp_path, inputs=False, analysis=False))
    assert list(thumbnails(held, np.array([0]))[0]) == ["attribution"]
    close(held)


def test_large_pictures_are_reduced(project):
    drawn = thumbnails(project, np.array([0]), largest=16)[0]["input"]
    assert drawn.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(drawn.split(",")[1]))) as picture:
        assert picture.size == (16, 16)


def test_a_shared_scale_is_that_of_the_strongest_sample(project):
    rows = np.arange(100, 120)
    most = bound(project, rows)
    assert most == np.abs(project.attributions["attribution"].values[rows].sum(axis=1)).max()
    drawn = thumbnails(project, rows, kinds=["attribution"], cmap="gray", bound=most)
    brightest = [_decoded(each["attribution"]).max() for each in drawn]
    assert max(brightest) == 255
    assert min(brightest) < 250
    own = thumbnails(project, rows, kinds=["attribution"], cmap="gray")
    assert {_decoded(each["attribution"]).max() for each in own} == {255}


@pytest.mark.parametrize(
    ("channels", "drawn"), [(None, (32, 32)), (1, (32, 32)), (3, (32, 32, 3)), (4, (32, 32, 4)), (7, (32, 32))]
)
def test_inputs_of_any_number_of_channels_are_drawn(project, channels, drawn):
    shape = (4, 32, 32) if channels is None else (4, channels, 32, 32)
    dims = ("sample", "y", "x") if channels is None else ("sample", "channel", "y", "x")
    signed = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    data = xr.Dataset({"attribution": (dims, signed), "input": (dims, signed)})
    made = thumbnails(type(project)("many", project.path, data), np.arange(4))[0]
    assert _decoded(made["input"]).shape == drawn
    assert _decoded(made["attribution"]).shape == _decoded(made["overlay"]).shape == (32, 32, 3)


def test_features_are_bars_with_their_names(project):
    data = xr.Dataset(
        {
            "attribution": (("sample", "feature"), np.array([[1.0, -0.5, np.nan]])),
            "input": (("sample", "feature"), np.array([[3.0, 2.0, 1.0]])),
        },
        {"feature": ["age", "<dose>", "c"]},
    )
    drawn = thumbnails(type(project)("flat", project.path, data), np.array([0]))[0]
    assert list(drawn) == ["input", "attribution"]
    bars = ElementTree.fromstring(_svg(drawn["attribution"]))
    assert [title.text for title in bars.iter(f"{SVG}title")] == ["age: 1", "<dose>: -0.5", "c: nan"]
    wide = [float(bar.get("width", 0)) for bar in bars.iter(f"{SVG}rect")]
    assert wide == [pytest.approx(72.6), pytest.approx(36.3), 0]
    assert len({bar.get("fill") for bar in bars.iter(f"{SVG}rect")}) == 2


def test_many_features_are_bars_side_by_side(project):
    data = xr.Dataset({"attribution": (("sample", "feature"), np.random.default_rng(0).normal(size=(1, 500)))})
    drawn = thumbnails(type(project)("flat", project.path, data), np.array([0]), kinds=["overlay"])[0]
    assert list(drawn) == ["attribution"]
    assert len(list(ElementTree.fromstring(_svg(drawn["attribution"])).iter(f"{SVG}rect"))) == 500


def test_words_stand_on_the_colour_of_their_relevance(project):
    relevance = np.zeros((1, 4, 8))
    relevance[0, 1], relevance[0, 2] = 0.5, -0.25
    said = np.array([["a", "good", "<b>", ""]])
    data = xr.Dataset(
        {"attribution": (("sample", "token", "feature"), relevance), "input": (("sample", "token"), said)}
    )
    drawn = thumbnails(type(project)("texts", project.path, data), np.array([0]), cmap="bwr")[0]
    assert list(drawn) == ["attribution"]
    words = ElementTree.fromstring(_svg(drawn["attribution"]))
    assert [text.text for text in words.iter(f"{SVG}text")] == ["a", "good", "<b>"]
    fills = [rect.get("fill") for rect in words.iter(f"{SVG}rect")]
    assert fills == ["rgb(255,255,255)", "rgb(255,0,0)", "rgb(191,191,255)"]


@pytest.mark.parametrize("dims", [("feature",), ("token",), ("y", "x")])
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, np.nan, np.inf])
def test_constant_attributions_give_a_drawing(project, dims, value):
    data = xr.Dataset({"attribution": (("sample", *dims), np.full((2, *(5 for _ in dims)), value))})
    held = type(project)("constant", project.path, data)
    for most in (None, bound(held, np.array([0, 1]))):
        drawn = thumbnails(held, np.array([0]), bound=most)[0]["attribution"]
        if dims == ("y", "x"):
            assert np.unique(_decoded(drawn).reshape(-1, 3), axis=0).shape == (1, 3)
        else:
            assert len(list(ElementTree.fromstring(_svg(drawn)).iter(f"{SVG}rect"))) == 5


def test_drawings_are_made_once(project, monkeypatch):
    view = View(category="ring")
    choose(view, project)
    shown = current([project], view)
    assert shown is not None
    wanted = Drawings(shown, np.array([5, 9]))
    first = pictures(wanted)
    monkeypatch.setattr("viewer.panels.gallery.thumbnails", lambda *_, **__: pytest.fail("drawn twice"))
    assert pictures(wanted) == first
    assert set(first) == {"5", "9"}


def test_a_choice_that_changes_while_samples_are_drawn_does_not_reach_them(project):
    view = View(category="ring", kinds=["input"])
    choose(view, project)
    shown = current([project], view)
    assert shown is not None
    wanted = Drawings(shown, np.array([31]))
    view.param.update(kinds=["overlay"], cmap="hot")
    assert [kind for kind, _ in pictures(wanted)["31"]] == ["input"]


def _decoded(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def _svg(uri: str) -> str:
    assert uri.startswith("data:image/svg+xml;base64,")
    return base64.b64decode(uri.split(",")[1]).decode()
