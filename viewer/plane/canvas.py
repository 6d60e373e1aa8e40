"""The picture of an embedding, drawn here so that the browser is sent pixels and never the points.

One pass over the grid cells in view adds up, for every pixel, how many points fall on it and the sum of their colours,
at a cost that does not depend on the number of colours. A pixel's colour is the mean, its opacity the equalised count,
as Datashader's ``by`` and ``shade(how="eq_hist")`` give. Selected points are added up apart and drawn on top.

Datashader itself, to which the tests compare this, keeps a count of every colour for every pixel and scans all points
wherever one looks. For 900 by 700 pixels on two cores, a million points in 32 colours took it 450 to 600 ms and in 100
colours at least 1.6 s, here 13 ms; of ten million, an eighth of each axis in view, 170 ms against 19 ms. That is the
difference between a map that follows the hand and one that does not.
"""

import io
from typing import Final, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .index import Grid

GLYPHS: Final = 10_000
"""Up to this many points in view the browser draws them itself; above, it is sent a picture."""
GROWN: Final = 60_000
"""Up to this many points in view each takes more than a pixel of the picture."""
FAINTEST: Final = 90
"""Opacity, of 255, of a pixel with the fewest points."""
MOST: Final = 1 << 16
"""Counts above this are as opaque as this."""
HEAVIEST: Final = 360_000
"""Bytes of a picture that is sent at most, so that as text it stays below half a megabyte."""
FEWER: Final = 0.7
"""What five bits for each colour make of a picture's bytes, at most."""
DIMMED: Final = 0.28
"""Share of their opacity that points keep while others are selected."""


class Window(NamedTuple):
    """The part of the plane in view."""

    x0: float
    x1: float
    y0: float
    y1: float


class Bounds(NamedTuple):
    """The smallest box that holds some points; with a single corner if there is none."""

    low: tuple[float, float]
    high: tuple[float, float]


def bounds(xy: NDArray[np.floating]) -> Bounds:
    """Return the smallest box that holds all points.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates; rows that are not finite are left out.

    Examples
    --------
    >>> bounds(np.array([[0.0, 3.0], [1.0, 2.0], [np.nan, 9.0]]))
    Bounds(low=(0.0, 2.0), high=(1.0, 3.0))
    """
    return Bounds(*_bounds(xy))


def fit(around: Bounds, width: int, height: int, *, margin: float = 0.06) -> Window:
    """Return the smallest window of a canvas's shape that holds a box, with a margin.

    Parameters
    ----------
    around : Bounds
        The box; it may be a point.
    width, height : int
        The canvas, in pixels; one unit is as long on both axes.
    margin : float
        Share of the canvas left free on each side.

    Examples
    --------
    >>> fit(Bounds((0.0, 0.0), (1.0, 1.0)), 200, 100, margin=0.0)
    Window(x0=-0.5, x1=1.5, y0=0.0, y1=1.0)
    >>> fit(bounds(np.empty((0, 2))), 100, 100, margin=0.0)
    Window(x0=-0.5, x1=0.5, y0=-0.5, y1=0.5)
    """
    low, high = np.array(around.low), np.array(around.high)
    middle, extent = (low + high) / 2, high - low
    # A single point, or points on one line, still need a window of some size that their coordinates can resolve.
    least = max(float(extent.max()), float(np.abs(middle).max()) * 1e-6)
    extent = np.maximum(extent, least * 1e-3) if least > 0 else np.ones(2)
    unit = max(extent[0] / width, extent[1] / height) / (1 - 2 * margin)
    half = np.array([width, height]) * unit / 2
    (x0, y0), (x1, y1) = middle - half, middle + half
    return Window(float(x0), float(x1), float(y0), float(y1))


def picture(
    grid: Grid,
    codes: NDArray[np.integer],
    palette: NDArray[np.uint8],
    window: Window,
    width: int,
    height: int,
    *,
    selected: NDArray[np.bool_] | None = None,
    shown: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Draw the points in a window.

    Parameters
    ----------
    grid : Grid
        The points.
    codes : numpy.ndarray
        (m,) which colour each point has, in the order of ``grid.xy``.
    palette : numpy.ndarray
        (k, 3) the colours.
    window : Window
        The part of the plane to draw.
    width, height : int
        The picture's size in pixels.
    selected : numpy.ndarray, optional
        (m,) points that stand out, in the order of ``grid.xy``; the others become faint.
    shown : numpy.ndarray, optional
        (k,) which colours are drawn; all by default.

    Returns
    -------
    numpy.ndarray
        (height, width, 4) uint8 RGBA, the top row first; clear where there is no point.
    """
    drawn = np.ones(len(palette), np.bool_) if shown is None else shown
    marked = np.zeros(0, np.bool_) if selected is None or not selected.any() else selected
    counts, sums = totals(grid, codes, palette, window, width, height, marked, drawn)
    below = shade(counts[0], sums[0])
    if not marked.size:
        return below[::-1]
    below[..., 3] = below[..., 3] * DIMMED
    above = shade(counts[1], sums[1])
    above[..., 3] = np.where(above[..., 3] > 0, 255, 0)
    return _laid(below, _spread(above))[::-1]


def totals(
    grid: Grid,
    codes: NDArray[np.integer],
    palette: NDArray[np.uint8],
    window: Window,
    width: int,
    height: int,
    marked: NDArray[np.bool_],
    drawn: NDArray[np.bool_],
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Count points and add up their colours per pixel, the lowest row first.

    Parameters
    ----------
    grid, codes, palette, window, width, height
        As in :func:`picture`.
    marked : numpy.ndarray
        (m,) points of the second layer; empty for one layer only.
    drawn : numpy.ndarray
        (k,) which colours are drawn.

    Returns
    -------
    counts : numpy.ndarray
        (layer, height, width) number of points.
    sums : numpy.ndarray
        (layer, height, width, 3) sum of their red, green and blue.
    """
    layers = 2 if marked.size else 1
    counts = np.zeros((layers, height, width), np.uint32)
    sums = np.zeros((layers, height, width, 3), np.uint32)
    cells = grid.start, grid.side, grid.low, grid.unit
    _add(grid.xy, *cells, codes, palette, drawn, marked, *window, counts, sums)
    return counts, sums


def shade(counts: NDArray[np.uint32], sums: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Turn counts and sums of colours into RGBA: the mean colour, with the equalised count as opacity.

    Parameters
    ----------
    counts : numpy.ndarray
        (height, width) number of points.
    sums : numpy.ndarray
        (height, width, 3) sum of their colours.
    """
    levels = np.minimum(counts, MOST)
    number = np.bincount(levels.ravel())
    number[0] = 0
    values = np.flatnonzero(number)
    opacity = np.zeros(number.size, np.uint8)
    if values.size:
        share = np.cumsum(number[values]) / number.sum()
        spread = (share - share[0]) / (share[-1] - share[0]) if values.size > 1 else np.ones(1)
        opacity[values] = FAINTEST + (255 - FAINTEST) * spread
    drawn = np.empty((*counts.shape, 4), np.uint8)
    _mix(counts, sums, levels, opacity, drawn)
    return drawn


def grown(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture in which every pixel that is not clear has spread to the clear ones about it."""
    return _spread(drawn)


def encoded(drawn: NDArray[np.uint8]) -> bytes:
    """Encode RGBA as WebP, of :data:`HEAVIEST` bytes at most: without loss if that suffices, else in fewer colours."""
    made = _webp(drawn)
    if len(made) * FEWER < HEAVIEST < len(made):
        made = _webp(np.where(drawn[..., 3:] > 0, drawn & 0xF8 | 4, 0).astype(np.uint8))
    for colours in (256, 64, 16):
        if len(made) <= HEAVIEST:
            break
        fewer = Image.fromarray(drawn).quantize(colours, method=Image.Quantize.FASTOCTREE)
        made = _webp(np.asarray(fewer.convert("RGBA")))
    return made


def _webp(drawn: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, format="WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


@nb.njit(cache=True, nogil=True)
def _bounds(xy):
    x0 = y0 = np.inf
    x1 = y1 = -np.inf
    for k in range(len(xy)):
        x, y = float(xy[k, 0]), float(xy[k, 1])
        if np.isfinite(x) and np.isfinite(y):
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    if x0 > x1:
        x0 = x1 = y0 = y1 = 0.0
    return (x0, y0), (x1, y1)


@nb.njit(cache=True, nogil=True)
def _cell(value, low, unit, side):
    place = (value - low) / unit
    if place <= 0:
        return 0
    return side - 1 if place >= side else int(place)


@nb.njit(cache=True, nogil=True)
def _add(xy, start, side, low, unit, codes, palette, drawn, marked, x0, x1, y0, y1, counts, sums):
    height, width = counts.shape[1:]
    sx, sy = width / (x1 - x0), height / (y1 - y0)
    c0, c1 = _cell(x0, low[0], unit[0], side), _cell(x1, low[0], unit[0], side)
    r0, r1 = _cell(y0, low[1], unit[1], side), _cell(y1, low[1], unit[1], side)
    for r in range(r0, r1 + 1):
        for k in range(start[r * side + c0], start[r * side + c1 + 1]):
            x, y = (xy[k, 0] - x0) * sx, (xy[k, 1] - y0) * sy
            if x < 0 or y < 0:
                continue
            i, j = int(y), int(x)
            if i >= height or j >= width:
                continue
            code = codes[k]
            if not drawn[code]:
                continue
            layer = 1 if marked.size and marked[k] else 0
            counts[layer, i, j] += 1
            sums[layer, i, j, 0] += palette[code, 0]
            sums[layer, i, j, 1] += palette[code, 1]
            sums[layer, i, j, 2] += palette[code, 2]


@nb.njit(cache=True, nogil=True)
def _mix(counts, sums, levels, opacity, drawn):
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            count = counts[i, j]
            if count == 0:
                drawn[i, j] = 0
                continue
            for c in range(3):
                drawn[i, j, c] = sums[i, j, c] // count
            drawn[i, j, 3] = opacity[levels[i, j]]


@nb.njit(cache=True, nogil=True)
def _spread(drawn):
    """Grow every pixel that is not clear by one in each direction."""
    height, width = drawn.shape[:2]
    grown = drawn.copy()
    for i in range(height):
        for j in range(width):
            if drawn[i, j, 3] == 0:
                continue
            for m in range(max(i - 1, 0), min(i + 2, height)):
                for n in range(max(j - 1, 0), min(j + 2, width)):
                    if drawn[m, n, 3] == 0:
                        grown[m, n] = drawn[i, j]
    return grown


@nb.njit(cache=True, nogil=True)
def _laid(below, above):
    """Lay opaque pixels over others."""
    for i in range(below.shape[0]):
        for j in range(below.shape[1]):
            if above[i, j, 3]:
                below[i, j] = above[i, j]
    return below
