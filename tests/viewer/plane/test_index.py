import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from viewer.plane import index, selection


def _clouds(n, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-5, 5, (7, 2))[rng.integers(7, size=n)]
    return (centre + rng.normal(size=(n, 2)) * rng.uniform(0.05, 1, (n, 1))).astype(dtype)


XY = {
    "clouds": _clouds(20_000),
    "float32": _clouds(20_000, dtype=np.float32),
    "far": _clouds(3_000) + 1e5,
    "outliers": np.r_[_clouds(5_000), [[1e4, 0], [-1e4, 3], [0, -1e6], [2e4, 2e4]]],
    "line": np.c_[np.linspace(0, 1, 500), np.full(500, 3.0)],
    "few": _clouds(3),
    "one": _clouds(1),
    "none": np.empty((0, 2)),
    "holes": np.where(np.random.default_rng(1).random((2_000, 1)) < 0.2, np.nan, _clouds(2_000)),
    "same": np.zeros((50, 2)),
}
GRID = {name: index.build(xy) for name, xy in XY.items()}


@pytest.mark.parametrize("name", XY)
def test_a_grid_holds_every_finite_point_once(name):
    grid, xy = GRID[name], XY[name]
    assert np.sort(grid.position).tolist() == np.flatnonzero(np.isfinite(xy).all(1)).tolist()
    np.testing.assert_array_equal(grid.xy, xy[grid.position])


@pytest.mark.parametrize("name", XY)
def test_boxes_agree_with_trying_every_point(name):
    rng, xy = np.random.default_rng(2), XY[name]
    for _ in range(60):
        corners = _corners(rng, xy, 2)
        box = corners[0, 0], corners[1, 0], corners[0, 1], corners[1, 1]
        assert index.in_box(GRID[name], *box).tolist() == selection.in_box(xy.astype(float), *box).tolist()


@pytest.mark.parametrize("name", XY)
def test_polygons_agree_with_trying_every_point(name):
    rng, xy = np.random.default_rng(3), XY[name]
    for corners in [*rng.integers(3, 40, 25), 300]:
        vx, vy = _corners(rng, xy, corners).T
        assert index.in_polygon(GRID[name], vx, vy).tolist() == selection.in_polygon(xy.astype(float), vx, vy).tolist()


def test_a_thousand_random_lassos_agree_with_trying_every_point():
    rng, xy = np.random.default_rng(5), XY["clouds"][:2_000]
    grid = index.build(xy)
    for _ in range(1_000):
        # Some cross themselves, some are hairlines, some reach far outside.
        corners = rng.integers(3, 60)
        turn = np.sort(rng.uniform(0, 2 * np.pi, corners)) if rng.random() < 0.7 else rng.uniform(0, 7, corners)
        reach = rng.uniform(0.1, 9) * rng.uniform(0.3, 1, corners)
        vx, vy = (rng.uniform(-5, 5, (2, 1)) + reach * np.stack([np.cos(turn), np.sin(turn)])).tolist()
        assert index.in_polygon(grid, vx, vy).tolist() == selection.in_polygon(xy, vx, vy).tolist()


def test_polygons_through_points_and_along_cells_agree():
    xy, grid = XY["clouds"], GRID["clouds"]
    on = xy[:40]
    assert index.in_polygon(grid, *on.T).tolist() == selection.in_polygon(xy, *on.T).tolist()
    edges = grid.low + grid.unit * np.array([[2, 2], [9, 2], [9, 9], [2, 9]])
    assert index.in_polygon(grid, *edges.T).tolist() == selection.in_polygon(xy, *edges.T).tolist()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=12))
@example([(0.0, 0.0), (0.0, 1.0), (1.0, 2.2e-313)])
def test_any_polygon_agrees(corners):
    vx, vy = np.array(corners).reshape(-1, 2).T
    found = index.in_polygon(GRID["clouds"], vx, vy)
    assert found.tolist() == selection.in_polygon(XY["clouds"], vx, vy).tolist()


def test_the_nearest_point_is_named_in_a_crowd():
    rng, xy, grid = np.random.default_rng(4), XY["clouds"], GRID["clouds"]
    for x, y in xy[rng.integers(len(xy), size=100)] + rng.normal(0, 0.01, (100, 2)):
        assert index.nearest(grid, x, y, dx=0.5, dy=0.3) == selection.nearest(xy, x, y, dx=0.5, dy=0.3)
    assert index.nearest(grid, *xy[0], dx=0.1, dy=0.1) == 0
    assert index.nearest(grid, 90, 90, dx=1, dy=1) is None


def test_hidden_points_are_never_the_nearest():
    xy, grid = XY["few"], GRID["few"]
    seen = np.array([False, True, True])
    assert index.nearest(grid, *xy[0], dx=99, dy=99, seen=seen) in (1, 2)


def test_cells_in_reach_count_no_fewer_than_a_box_holds():
    grid, xy = GRID["clouds"], XY["clouds"]
    assert index.inside(grid, -1, 2, -3, 1) >= selection.in_box(xy, -1, 2, -3, 1).size
    assert index.inside(grid, -1e9, 1e9, -1e9, 1e9) == len(xy)


def _corners(rng, xy, count):
    held = xy[np.isfinite(xy).all(1)].astype(float)
    low, high = (held.min(0), held.max(0)) if len(held) else (np.zeros(2), np.ones(2))
    span = np.maximum(high - low, 1)
    # Some far outside, most within the bulk.
    if rng.random() < 0.5 and len(held):
        return held[rng.integers(len(held), size=count)] + rng.normal(0, 0.5, (count, 2))
    return rng.uniform(low - span * 0.2, high + span * 0.2, (count, 2))
