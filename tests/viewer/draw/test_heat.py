"""Heatmaps in all colour maps, against those that ViRelAy 1.0 draws."""

from pathlib import Path

import numpy as np
import pytest

from relfunc import heatmap
from relfunc.heatmap.pictures import COLORMAPS, ColormapError
from viewer.draw.heat import VIRELAY, heat, listed, names, over, strip

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "virelay" / "heatmaps.npz")
SAMPLES = sorted({key.partition(":")[0] for key in GOLDEN.files})
WRAPS = ("black-green", "black-yellow")
RAMP = np.linspace(-1, 1, 401)[None]


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("name", VIRELAY)
def test_heatmaps_equal_those_of_the_reference(sample, name):
    drawn = [key for key in GOLDEN.files if key.startswith(f"{sample}:") and key.endswith(f":{name}")]
    for key in drawn:
        relevance, shown = GOLDEN[f"{sample}:attribution"], GOLDEN[f"{sample}:input"]
        made = heat(relevance, f"virelay:{name}") if ":heatmap:" in key else over(relevance, shown, f"virelay:{name}")
        assert np.abs(np.asarray(made).astype(int) - GOLDEN[key]).max() <= 1, key


def test_every_map_of_the_reference_is_compared():
    assert {key.rpartition(":")[2] for key in GOLDEN.files if ":heatmap:" in key} == set(VIRELAY)


@pytest.mark.parametrize("name", VIRELAY)
@pytest.mark.parametrize("scale", [(1.0, 0.3), (0.3, 1.0)], ids=["mostly positive", "mostly negative"])
def test_more_relevance_is_never_a_weaker_colour(name, scale):
    up, down = scale
    relevance = np.where(RAMP > 0, RAMP * up, RAMP * down)
    drawn = np.asarray(heat(relevance, f"virelay:{name}"))[0].astype(int)
    if name in WRAPS:
        assert (np.diff(drawn[200:].sum(axis=1)) >= 0).all()
        assert (np.diff(drawn[200::-1].sum(axis=1)) >= 0).all()
        assert (drawn[:200, 1] == 0).all()
        assert (drawn[201:, 2] == 0).all()


@pytest.mark.parametrize("cmap", listed())
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e308])
def test_constant_relevance_is_one_colour(cmap, value):
    relevance = np.full((3, 5, 4), value)
    for bound in (None, 2.0):
        drawn = np.asarray(heat(relevance, cmap, bound=bound))
        assert drawn.shape == (5, 4, 3)
        assert (drawn == drawn[0, 0]).all()
        assert np.asarray(over(relevance, np.zeros((3, 5, 4), np.uint8), cmap, bound=bound)).shape == (5, 4, 3)


@pytest.mark.parametrize("cmap", [f"virelay:{name}" for name in VIRELAY])
def test_no_relevance_and_none_at_all_look_alike(cmap):
    np.testing.assert_array_equal(
        np.asarray(heat(np.zeros((2, 2)), cmap)), np.asarray(heat(np.full((2, 2), np.nan), cmap))
    )


def test_all_negative_relevance_keeps_its_sign():
    drawn = np.asarray(heat(np.array([[-1.0, -0.5, -0.1]]), "virelay:black-green"))[0]
    assert drawn.tolist() == [[0, 0, 255], [0, 0, 127], [0, 0, 25]]


@pytest.mark.parametrize("cmap", COLORMAPS)
def test_own_maps_are_those_of_the_library(cmap):
    expected = heatmap.heatmap(RAMP, cmap=cmap).convert("RGB")
    np.testing.assert_array_equal(np.asarray(heat(RAMP, cmap)), np.asarray(expected))


def test_maps_of_matplotlib_are_its_own():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    expected = matplotlib.colormaps["viridis"]((RAMP + 1) / 2, bytes=True)[..., :3].astype(int)
    assert np.abs(np.asarray(heat(RAMP, "matplotlib:viridis")).astype(int) - expected).max() <= 1


def test_without_matplotlib_its_maps_are_not_offered(monkeypatch):
    monkeypatch.setattr("viewer.draw.heat.find_spec", lambda name: None)
    assert list(names()) == ["relfunc", "ViRelAy"]


@pytest.mark.parametrize("cmap", ["viridis", "virelay:none", "matplotlib:none", ""])
def test_what_is_no_colour_map_is_named(cmap):
    with pytest.raises(ColormapError, match=f"'{cmap}'"):
        heat(RAMP, cmap)


def test_an_overlay_shows_the_input_where_there_is_no_relevance():
    shown = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for cmap in ("virelay:jet", "bwr"):
        drawn = np.asarray(over(np.zeros((3, 4)), shown, cmap))
        np.testing.assert_array_equal(drawn, np.repeat(shown[..., None], 3, axis=2))


def test_a_smaller_heatmap_is_laid_over_the_whole_input():
    assert over(np.ones((2, 2)), np.zeros((8, 6), np.uint8), "virelay:jet").size == (6, 8)


def test_a_strip_shows_a_map_from_end_to_end():
    drawn = np.asarray(strip("bwr"))[0]
    assert (drawn[0].tolist(), drawn[-1].tolist()) == ([0, 0, 255], [255, 0, 0])
