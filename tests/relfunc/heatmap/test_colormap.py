import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relfunc.errors import RelfuncError
from relfunc.heatmap.colormap import COLORMAPS, ColormapError, MatplotlibMissingError, palette, register_matplotlib

BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
YELLOW, CYAN, PALE = (255, 255, 0), (0, 255, 255), (208, 208, 208)

# The nodes of the built-in maps, written out by hand.
BUILT_IN = {
    "gray": [(0, BLACK), (255, WHITE)],
    "wred": [(0, WHITE), (255, RED)],
    "wblue": [(0, WHITE), (255, BLUE)],
    "hot": [(0, BLACK), (85, RED), (170, YELLOW), (255, WHITE)],
    "cold": [(0, BLACK), (127, BLUE), (255, CYAN)],
    "coldnhot": [(0, CYAN), (64, BLUE), (128, BLACK), (170, RED), (212, YELLOW), (255, WHITE)],
    "bwr": [(0, BLUE), (128, WHITE), (255, RED)],
    "france": [(0, (0, 85, 164)), (128, WHITE), (255, (239, 65, 53))],
    "seismic": [(0, (0, 0, 208)), (128, PALE), (255, (208, 0, 0))],
    "coolio": [(0, (0, 208, 208)), (128, PALE), (255, (208, 0, 208))],
    "coleus": [(0, (0, 208, 0)), (128, PALE), (255, (208, 0, 208))],
}

NOTATION = {
    "00f,80:fff,f00": BUILT_IN["bwr"],
    "00:00f,80:ffffff,ff:ff0000": BUILT_IN["bwr"],
    " 00F ,\t80 : FFF\n, f00": BUILT_IN["bwr"],
    "8:f00,00f": [(136, RED), (255, BLUE)],
    "1:000,2:fff": [(17, BLACK), (34, WHITE)],
    "79:00f,80:f00": [(121, BLUE), (128, RED)],
    "80:00f,80:f00": [(128, BLUE), (128, RED)],
    "31:00f,31:f00": [(49, BLUE), (49, RED)],
    "80:00f,80:0f0,80:f00": [(128, BLUE), (128, GREEN), (128, RED)],
    "40:00f,80:0f0,80:f00": [(64, BLUE), (128, GREEN), (128, RED)],
    "00:f00,00:000,fff": [(0, RED), (0, BLACK), (255, WHITE)],
    "000,fff,ff:f00": [(0, BLACK), (127, WHITE), (255, RED)],
    "000,10:fff,f00,00f,13:fff": [(0, BLACK), (16, WHITE), (17, RED), (18, BLUE), (19, WHITE)],
    "10:000,f00,00f,7c:fff": [(16, BLACK), (52, RED), (88, BLUE), (124, WHITE)],
}


def color(nodes, at):
    """The colour at an exact position, as the notation describes it."""
    below = [node for node in nodes if node[0] <= at]
    above = [node for node in nodes if node[0] > at]
    if not below or not above:
        return below[-1][1] if below else above[0][1]
    (low, first), (high, second) = below[-1], above[0]
    share = (at - low) / (high - low)
    return tuple(int(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def slow_palette(nodes, level=1):
    middle = Fraction(255, 2)
    return [color(nodes, min(max(middle + (i - middle) * level, Fraction(0)), Fraction(255))) for i in range(256)]


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("level", [Fraction(1, 2), Fraction(1), Fraction(2), Fraction(5)])
def test_built_in_palettes(name, level):
    colors = palette(name, float(level))
    assert colors.dtype == np.uint8
    assert colors.tolist() == [list(rgb) for rgb in slow_palette(BUILT_IN[name], level)]


def test_built_in_names():
    assert list(COLORMAPS) == list(BUILT_IN)


@pytest.mark.parametrize("source", NOTATION)
def test_notation(source):
    assert palette(source).tolist() == [list(rgb) for rgb in slow_palette(NOTATION[source])]


@st.composite
def sources(draw):
    """A text and its nodes; ``None`` stands for an index to be placed."""
    at = sorted(draw(st.lists(st.integers(0, 255), min_size=2, max_size=6)))
    given = [draw(st.sampled_from([index, None])) for index in at]
    rgb = [draw(st.tuples(*[st.integers(0, 255)] * 3)) for _ in at]
    text = ",".join(
        ("" if i is None else f"{i:02x}:") + "{:02x}{:02x}{:02x}".format(*c) for i, c in zip(given, rgb, strict=True)
    )
    return text, given, rgb


@given(sources())
def test_any_notation_against_exact_arithmetic(case):
    source, given_, rgb = case
    known = {i: at for i, at in enumerate(given_) if at is not None}
    known = {0: 0, len(rgb) - 1: 255} | known
    nodes = []
    for i, c in enumerate(rgb):
        left, right = max(k for k in known if k <= i), min(k for k in known if k >= i)
        share = Fraction(i - left, max(right - left, 1))
        nodes.append((int(known[left] + (known[right] - known[left]) * share), c))
    assert palette(source).tolist() == [list(c) for c in slow_palette(nodes)]


@given(sources(), st.floats(0.01, 100))
def test_every_colour_lies_between_its_nodes(case, level):
    source, _, rgb = case
    colors = palette(source, level)
    assert (colors >= np.min(rgb, 0)).all()
    assert (colors <= np.max(rgb, 0)).all()


@pytest.mark.parametrize(
    ("cmap", "message"),
    [
        ("viridis", "no colour map 'viridis': take one of gray, wred"),
        ("", "no colour map ''"),
        ("80:fff", "at least two nodes"),
        ("000,", "character 5: '' is no colour"),
        (",fff", "character 1: '' is no colour"),
        ("000, ggg", "character 6: 'ggg' is no colour"),
        ("000,80:ffff", "character 8: 'ffff' is no colour"),
        ("000,80 : zz", "character 9: 'zz' is no colour"),
        ("000, 100:fff", "character 6: '100' is no index"),
        ("000,:fff", "character 5: '' is no index"),
        ("000,-1:fff", "character 5: '-1' is no index"),
        ("000,1:2:fff", "character 5: '1:2' is no index"),
        ("80:000,fff,40:f00", "character 12: index 40 follows 80: sort the nodes"),
        ("f f f,000", "character 1: 'f f f' is no colour"),
        ("000,ff٣", "character 5: 'ff٣' is no colour"),
        (["000", "fff"], "a colour map is a text, not list"),
    ],
)
def test_wrong_colour_maps_are_named_with_their_position(cmap, message):
    with pytest.raises(ColormapError) as error:
        palette(cmap)
    assert message in str(error.value)
    assert isinstance(error.value, RelfuncError)


@pytest.mark.parametrize("level", [0, -1, float("nan"), float("inf")])
def test_wrong_levels(level):
    with pytest.raises(ColormapError, match="no positive number"):
        palette("bwr", level)


def test_matplotlib_draws_with_the_palette():
    matplotlib = pytest.importorskip("matplotlib")
    names = register_matplotlib()
    assert names == tuple(f"relfunc.{name}" for name in COLORMAPS)
    assert register_matplotlib() == names
    for name in COLORMAPS:
        cmap = matplotlib.colormaps[f"relfunc.{name}"]
        assert cmap.N == 256
        np.testing.assert_array_equal(cmap(np.arange(256), bytes=True)[:, :3], palette(name))
    assert matplotlib.colormaps["relfunc.bwr"](0.5, bytes=True)[:3] == (255, 255, 255)


def test_registering_leaves_matplotlibs_own_maps_alone():
    matplotlib = pytest.importorskip("matplotlib")
    before = matplotlib.colormaps["bwr"](np.arange(256))
    register_matplotlib()
    np.testing.assert_array_equal(matplotlib.colormaps["bwr"](np.arange(256)), before)


def test_without_matplotlib_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MatplotlibMissingError, match="pip install matplotlib"):
        register_matplotlib()
