import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from viewer.plane.selection import combine, in_box, in_polygon, invert, nearest

XY = np.random.default_rng(0).normal(size=(500, 2))


@pytest.mark.parametrize("corners", [(-1, 1, -0.5, 0.5), (1, -1, 0.5, -0.5), (0, 0, 0, 0), (9, 10, 9, 10)])
def test_a_box_holds_what_a_loop_finds(corners):
    x0, x1, y0, y1 = corners
    expected = [k for k, (x, y) in enumerate(XY) if min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1)]
    assert in_box(XY, *corners).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=12))
def test_a_polygon_holds_what_the_even_odd_rule_says(corners):
    vx, vy = np.array(corners).T
    inside = in_polygon(XY, vx, vy)
    assert inside.tolist() == [k for k, point in enumerate(XY) if _odd(point, vx, vy)]


def test_a_simple_polygon_agrees_with_matplotlib():
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    vx, vy = np.cos(angle), 0.6 * np.sin(angle)
    outline = Outline(np.c_[vx, vy], closed=False)
    assert in_polygon(XY, vx, vy).tolist() == np.flatnonzero(outline.contains_points(XY)).tolist()


@pytest.mark.parametrize("corners", [([], []), ([0], [0]), ([-9, 9], [-9, 9])])
def test_fewer_than_three_corners_enclose_nothing(corners):
    assert in_polygon(XY, *corners).size == 0


def test_points_without_a_place_are_never_selected():
    xy = np.array([[np.nan, 0.0], [0.0, np.nan], [0.0, 0.0]])
    assert in_box(xy, -1, 1, -1, 1).tolist() == [2]
    assert in_polygon(xy, [-1, 1, 1, -1], [-1, -1, 1, 1]).tolist() == [2]
    assert nearest(xy, 0, 0, dx=1, dy=1) == 2


def test_the_nearest_point_is_the_nearest_and_position_zero_counts():
    rng = np.random.default_rng(1)
    for x, y in rng.normal(size=(100, 2)):
        assert nearest(XY, x, y, dx=9, dy=9) == np.hypot(XY[:, 0] - x, XY[:, 1] - y).argmin()
    assert nearest(XY, *XY[0], dx=0.1, dy=0.1) == 0


def test_a_click_far_from_every_point_means_none():
    assert nearest(XY, 50, 50, dx=0.1, dy=0.1) is None
    assert nearest(np.empty((0, 2)), 0, 0, dx=1, dy=1) is None


@pytest.mark.parametrize(("mode", "expected"), [("replace", [3, 4]), ("add", [1, 2, 3, 4]), ("subtract", [1, 2])])
def test_selections_combine_as_sets(mode, expected):
    old, new = np.array([1, 2, 3]), np.array([4, 3, 3])
    assert combine(old, new, mode).tolist() == expected
    assert old.tolist() == [1, 2, 3]


def test_inverting_twice_gives_the_selection_back():
    selected = np.array([0, 3, 9])
    assert invert(invert(selected, 10), 10).tolist() == selected.tolist()


def _odd(point, vx, vy):
    x, y = point
    inside = False
    for k in range(len(vx)):
        x0, y0, x1, y1 = vx[k - 1], vy[k - 1], vx[k], vy[k]
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
    return inside
