import io

import datashader as ds
import datashader.transfer_functions as tf
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.measures import largest_gap
from viewer.draw.palette import colour, colours
from viewer.draw.spectrum import drawing
from viewer.plane import canvas
from viewer.plane.canvas import Window, bounds, fit
from viewer.plane.index import build

PALETTE = np.array([[76, 125, 240], [240, 138, 44], [34, 167, 122], [226, 83, 140]], np.uint8)
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
    held = fit(bounds(xy), 300, 200)
    assert held.x1 > held.x0
    assert held.y1 > held.y0
    assert (held.x1 - held.x0) / (held.y1 - held.y0) == pytest.approx(1.5, rel=1e-3)
    x, y = xy[np.isfinite(xy).all(1)].T
    assert ((held.x0 < x) & (x < held.x1) & (held.y0 < y) & (y < held.y1)).all()


def test_a_picture_is_opaque_where_points_are_and_clear_elsewhere():
    xy = np.array([[0.25, 0.25], [0.75, 0.75]])
    grid = build(xy)
    drawn = canvas.picture(grid, grid.position, PALETTE, Window(0, 1, 0, 1), 8, 8)
    assert np.argwhere(drawn[..., 3]).tolist() == [[1, 6], [5, 2]]
    assert drawn[5, 2, :3].tolist() == PALETTE[0].tolist()


@pytest.mark.parametrize("window", [fit(bounds(XY), 90, 70), Window(-1, 0.5, -0.5, 0.7), Window(5, 6, 5, 6)])
def test_a_picture_is_the_one_that_datashader_draws(window):
    codes = np.random.default_rng(1).integers(4, size=len(XY))
    grid = build(XY)
    ours = canvas.picture(grid, codes[grid.position], PALETTE, window, 90, 70)
    frame = pd.DataFrame({"x": XY[:, 0], "y": XY[:, 1], "code": pd.Categorical(codes)})
    counts = ds.Canvas(90, 70, window[:2], window[2:]).points(frame, "x", "y", ds.by("code", ds.count()))
    key = {k: tuple(PALETTE[k].tolist()) for k in range(4)}
    theirs = np.asarray(tf.shade(counts, color_key=key, how="eq_hist", min_alpha=canvas.FAINTEST).to_pil())
    assert np.abs(ours[..., 3].astype(int) - theirs[..., 3]).max() <= 1
    present = theirs[..., 3] > 0
    assert np.abs(ours[present][:, :3].astype(int) - theirs[present][:, :3]).max(initial=0) <= 1


def test_selected_points_stand_out_however_few():
    codes, window = np.zeros(len(XY), int), fit(bounds(XY), 64, 64)
    plain = canvas.picture(build(XY), codes, PALETTE, window, 64, 64)
    chosen = canvas.picture(build(XY), codes, PALETTE, window, 64, 64, selected=np.arange(len(XY)) == 7)
    assert (chosen[..., 3] == 255).sum() == 9
    assert np.median(chosen[..., 3][plain[..., 3] > 0]) < 0.4 * np.median(plain[..., 3][plain[..., 3] > 0])


def test_colours_that_are_hidden_are_not_drawn():
    codes = np.arange(len(XY)) % 2
    drawn = canvas.picture(
        build(XY), codes, PALETTE, fit(bounds(XY), 64, 64), 64, 64, shown=np.array([True, False, True, True])
    )
    colours = np.unique(drawn[drawn[..., 3] > 0][:, :3], axis=0)
    assert colours.tolist() == [PALETTE[0].tolist()]


def test_a_picture_is_encoded_without_loss():
    drawn = canvas.picture(build(XY), np.zeros(len(XY), int), PALETTE, fit(bounds(XY), 64, 64), 64, 64)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(canvas.encoded(drawn)))), drawn)


@pytest.mark.parametrize(("kinds", "loss"), [(1, 0), (8, 0), (4000, 255)])
def test_a_picture_that_is_sent_stays_below_half_a_megabyte(kinds, loss):
    rng = np.random.default_rng(0)
    some = rng.integers(0, 256, (kinds, 4), np.uint8)
    some[:, 3] |= 64
    drawn = some[rng.integers(kinds, size=(450, 1400))]
    sent = canvas.encoded(drawn)
    assert len(sent) * 4 / 3 < 500_000
    away = np.abs(np.asarray(Image.open(io.BytesIO(sent)).convert("RGBA")).astype(int) - drawn)
    assert away.max() <= loss


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
