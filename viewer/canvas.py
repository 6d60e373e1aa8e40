"""The map: how much of an embedding is in view, and its picture when there are too many points for glyphs."""

import io
from typing import Final, NamedTuple

import datashader as ds
import datashader.transfer_functions as tf
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .palette import colour

GLYPHS: Final = 10_000
"""Up to this many points the browser draws them itself; above, it is sent a picture."""


class Window(NamedTuple):
    """The part of the plane in view."""

    x0: float
    x1: float
    y0: float
    y1: float


def fit(xy: NDArray[np.float64], width: int, height: int, *, margin: float = 0.06) -> Window:
    """Return the smallest window of a canvas's shape that holds all points, with a margin.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates; rows that are not finite are left out.
    width, height : int
        The canvas, in pixels; one unit is as long on both axes.
    margin : float
        Share of the canvas left free on each side.

    Examples
    --------
    >>> fit(np.array([[0.0, 0.0], [1.0, 1.0]]), 200, 100, margin=0.0)
    Window(x0=-0.5, x1=1.5, y0=0.0, y1=1.0)
    >>> fit(np.empty((0, 2)), 100, 100, margin=0.0)
    Window(x0=-0.5, x1=0.5, y0=-0.5, y1=0.5)
    """
    held = xy[np.isfinite(xy).all(axis=1)]
    low, high = (held.min(axis=0), held.max(axis=0)) if len(held) else (np.zeros(2), np.zeros(2))
    middle, extent = (low + high) / 2, high - low
    # A single point, or points on one line, still need a window of some size that their coordinates can resolve.
    least = max(float(extent.max()), float(np.abs(middle).max()) * 1e-6)
    extent = np.maximum(extent, least * 1e-3) if least > 0 else np.ones(2)
    unit = max(extent[0] / width, extent[1] / height) / (1 - 2 * margin)
    half = np.array([width, height]) * unit / 2
    (x0, y0), (x1, y1) = middle - half, middle + half
    return Window(float(x0), float(x1), float(y0), float(y1))


def picture(
    xy: NDArray[np.float64],
    cluster: NDArray[np.int64],
    window: Window,
    width: int,
    height: int,
    *,
    selected: NDArray[np.int64] | None = None,
) -> bytes:
    """Draw the points in a window as a transparent PNG: mixed cluster colours, opacity by density.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates.
    cluster : numpy.ndarray
        (n,) cluster of each point.
    window : Window
        The part of the plane to draw.
    width, height : int
        The picture's size in pixels.
    selected : numpy.ndarray, optional
        Positions that stand out; the others become faint.
    """
    canvas = ds.Canvas(width, height, (window.x0, window.x1), (window.y0, window.y1))
    drawn = _shaded(canvas, xy, cluster, alpha=255 if selected is None or not selected.size else 60)
    if selected is not None and selected.size:
        above = tf.spread(_shaded(canvas, xy[selected], cluster[selected], alpha=255), px=1)
        drawn = tf.stack(drawn, above)
    held = io.BytesIO()
    drawn.to_pil().save(held, format="PNG", compress_level=1)
    return held.getvalue()


def _shaded(canvas: ds.Canvas, xy: NDArray, cluster: NDArray, *, alpha: int) -> tf.Image:
    frame = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "cluster": pd.Categorical(cluster)})
    counts = canvas.points(frame, "x", "y", ds.by("cluster", ds.count()))
    key = {k: colour(int(k)) for k in frame["cluster"].cat.categories}
    return tf.shade(counts, color_key=key, how="eq_hist", min_alpha=min(alpha, 90), alpha=alpha)
