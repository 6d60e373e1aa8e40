import io

import numpy as np
import pytest
from PIL import Image

from viewer.canvas import Window, fit, picture
from viewer.eigen import drawing, largest_gap
from viewer.palette import colour, colours

XY = np.random.default_rng(0).normal(size=(4000, 2))


@pytest.mark.parametrize(
    "xy",
    [
        XY,
        XY + 1e6,
        XY * 1e-9,
        XY * [1, 1e-12],
        XY[:1],
        XY[:0],
        np.zeros((5, 2)),
        np.array([[np.nan, 1], [3, 4], [5, 5]]),
    ],
    ids=["plain", "far", "tiny", "line", "one", "none", "same", "nan"],
)
def test_a_window_holds_every_point_and_has_the_shape_of_its_canvas(xy):
    held = fit(xy, 300, 200)
    assert held.x1 > held.x0
    assert held.y1 > held.y0
    assert (held.x1 - held.x0) / (held.y1 - held.y0) == pytest.approx(1.5, rel=1e-3)
    x, y = xy[np.isfinite(xy).all(1)].T
    assert ((held.x0 < x) & (x < held.x1) & (held.y0 < y) & (y < held.y1)).all()


def test_a_picture_is_opaque_where_points_are_and_clear_elsewhere():
    xy, cluster = np.array([[0.25, 0.25], [0.75, 0.75]]), np.array([0, 1])
    drawn = _decoded(picture(xy, cluster, Window(0, 1, 0, 1), 8, 8))
    assert np.argwhere(drawn[..., 3]).tolist() == [[1, 6], [5, 2]]
    assert "#{:02x}{:02x}{:02x}".format(*drawn[5, 2, :3]) == colour(0)


def test_selected_points_stand_out():
    cluster = np.zeros(len(XY), int)
    window = fit(XY, 64, 64)
    plain = _decoded(picture(XY, cluster, window, 64, 64))
    chosen = _decoded(picture(XY, cluster, window, 64, 64, selected=np.array([0])))
    assert chosen[..., 3].astype(int).sum() < plain[..., 3].astype(int).sum()
    assert chosen[..., 3].max() == 255


def test_clusters_keep_their_colour_whatever_else_is_there():
    assert colours(np.array([0, 2])).tolist() == [colour(0), colour(2)]
    assert colour(0) != colour(2)
    assert colours(np.array([-1])).tolist() == [colour(-1)]


@pytest.mark.parametrize(
    ("values", "gap"), [([], 0), ([0.0], 1), ([0, 0.1, 0.9], 2), ([0.9, 0, 0.1], 2), ([np.nan, 0, 1], 1)]
)
def test_the_gap_is_the_largest_step(values, gap):
    assert largest_gap(np.array(values, float)) == gap


def test_the_drawing_has_a_bar_for_each_eigenvalue():
    assert drawing(np.array([0.0, 0.5, 0.6])).count("<rect") == 3
    assert drawing(np.empty(0)) == ""


def _decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))
