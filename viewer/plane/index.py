"""A uniform grid over the points of an embedding: what lies in a box or a polygon, or nearest, without trying them all.

The plane between two corners is cut into equal cells, and the points are sorted by cell, row by row. A point outside
the corners belongs to the cell at the border nearest to it, so cells at the border are always tried point by point.
"""

from dataclasses import dataclass
from typing import Final

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST: Final = 1024
"""Largest number of cells on a side."""
EACH: Final = 8
"""How many points a cell holds on average, unless that needs more than :data:`MOST` cells on a side."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Points sorted by cell.

    Parameters
    ----------
    n : int
        Number of points that were given.
    side : int
        Number of cells on a side.
    low, unit : numpy.ndarray
        (2,) the lower corner, and the size of a cell.
    start : numpy.ndarray
        (side² + 1,) where the points of each cell begin in the arrays below.
    xy : numpy.ndarray
        (m, 2) the finite points in the order of cells.
    position : numpy.ndarray
        (m,) their positions among the points that were given.
    """

    n: int
    side: int
    low: NDArray[np.float64]
    unit: NDArray[np.float64]
    start: NDArray[np.int64]
    xy: NDArray
    position: NDArray[np.int32]


def build(xy: NDArray) -> Grid:
    """Sort points into a grid.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) float32 or float64 coordinates. Rows that are not finite are left out.

    Examples
    --------
    >>> grid = build(np.array([[0.0, 0.0], [1.0, 1.0], [np.nan, 0.0]]))
    >>> grid.n, len(grid.xy)
    (3, 2)
    """
    kept = np.flatnonzero(np.isfinite(xy).all(axis=1)).astype(np.int32)
    placed = xy if kept.size == len(xy) else xy[kept]
    low, high = _corners(placed)
    side = int(np.clip(np.sqrt(len(placed) / EACH), 1, MOST))
    unit = np.maximum((high - low) / side, np.finfo(float).tiny)
    cell = _cells(placed, low, unit, side)
    start, order = _sorted(cell, side * side)
    return Grid(len(xy), side, low, unit, start, placed[order], kept[order])


def prepare(grid: Grid) -> Grid:
    """Compile, or load from numba's cache, what selects in a grid, so that the first lasso is not the slow one."""
    triangle = np.zeros(3)
    in_box(grid, 0, 0, 0, 0)
    in_polygon(grid, triangle, triangle)
    nearest(grid, 0, 0, dx=1, dy=1)
    return grid


def in_box(grid: Grid, x0: float, x1: float, y0: float, y1: float) -> NDArray[np.int64]:
    """Positions of the points inside a box, its border included, in rising order."""
    (left, right), (bottom, top) = sorted((x0, x1)), sorted((y0, y1))
    chosen = np.zeros(grid.n, np.bool_)
    _box(grid.xy, grid.position, grid.start, grid.side, grid.low, grid.unit, left, right, bottom, top, chosen)
    return np.flatnonzero(chosen)


def in_polygon(grid: Grid, vx: ArrayLike, vy: ArrayLike) -> NDArray[np.int64]:
    """Positions of the points inside a polygon by the even–odd rule, in rising order."""
    ax, ay = np.asarray(vx, float), np.asarray(vy, float)
    chosen = np.zeros(grid.n, np.bool_)
    if ax.size >= 3:
        _polygon(grid.xy, grid.position, grid.start, grid.side, grid.low, grid.unit, ax, ay, chosen)
    return np.flatnonzero(chosen)


def nearest(
    grid: Grid, x: float, y: float, *, dx: float, dy: float, seen: NDArray[np.bool_] | None = None
) -> int | None:
    """Position of the point nearest to a place, or None if none lies within reach.

    Parameters
    ----------
    grid : Grid
        The points.
    x, y : float
        The place.
    dx, dy : float
        The reach along each axis, which is also the unit of length there.
    seen : numpy.ndarray, optional
        (n,) which points count; all by default.
    """
    counts = np.ones(0, np.bool_) if seen is None else seen
    best = _nearest(grid.xy, grid.position, grid.start, grid.side, grid.low, grid.unit, x, y, dx, dy, counts)
    return None if best < 0 else int(best)


def inside(grid: Grid, x0: float, x1: float, y0: float, y1: float) -> int:
    """Return how many points the cells hold that a box touches: no fewer than the box does."""
    c0, c1, r0, r1 = _reach(grid.low, grid.unit, grid.side, x0, x1, y0, y1)
    rows = np.arange(r0, r1 + 1) * grid.side
    return int((grid.start[rows + c1 + 1] - grid.start[rows + c0]).sum())


def _corners(xy: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return corners that a few far outliers do not stretch."""
    if not len(xy):
        return np.zeros(2), np.ones(2)
    low, high = xy.min(axis=0).astype(float), xy.max(axis=0).astype(float)
    some = xy[:: max(len(xy) // 20_000, 1)].astype(float)
    inner, outer = np.quantile(some, [0.005, 0.995], axis=0)
    slack = outer - inner
    return np.maximum(low, inner - slack), np.minimum(high, outer + slack)


@nb.njit(cache=True, nogil=True)
def _clamped(value, low, unit, side):
    place = (value - low) / unit
    if place <= 0:
        return 0
    return side - 1 if place >= side else int(place)


@nb.njit(cache=True, nogil=True)
def _cells(xy, low, unit, side):
    cell = np.empty(len(xy), np.int32)
    for k in range(len(xy)):
        column = _clamped(xy[k, 0], low[0], unit[0], side)
        cell[k] = _clamped(xy[k, 1], low[1], unit[1], side) * side + column
    return cell


@nb.njit(cache=True, nogil=True)
def _sorted(cell, cells):
    start = np.zeros(cells + 1, np.int64)
    for k in range(len(cell)):
        start[cell[k] + 1] += 1
    for c in range(cells):
        start[c + 1] += start[c]
    free, order = start[:-1].copy(), np.empty(len(cell), np.int32)
    for k in range(len(cell)):
        order[free[cell[k]]] = k
        free[cell[k]] += 1
    return start, order


@nb.njit(cache=True, nogil=True)
def _reach(low, unit, side, x0, x1, y0, y1):
    return (
        _clamped(x0, low[0], unit[0], side),
        _clamped(x1, low[0], unit[0], side),
        _clamped(y0, low[1], unit[1], side),
        _clamped(y1, low[1], unit[1], side),
    )


@nb.njit(cache=True, nogil=True)
def _box(xy, position, start, side, low, unit, x0, x1, y0, y1, chosen):
    c0, c1, r0, r1 = _reach(low, unit, side, x0, x1, y0, y1)
    for r in range(r0, r1 + 1):
        for k in range(start[r * side + c0], start[r * side + c1 + 1]):
            if x0 <= xy[k, 0] <= x1 and y0 <= xy[k, 1] <= y1:
                chosen[position[k]] = True


@nb.njit(cache=True, nogil=True)
def _polygon(xy, position, start, side, low, unit, vx, vy, chosen):
    n = len(vx)
    c0, c1, r0, r1 = _reach(low, unit, side, vx.min(), vx.max(), vy.min(), vy.max())
    edges = np.empty(n, np.int64)
    mixed, crossings = np.empty(side, np.bool_), np.empty(n)
    for r in range(r0, r1 + 1):
        # A row at the border holds whatever lies beyond it.
        bottom = -np.inf if r == 0 else low[1] + r * unit[1]
        top = np.inf if r == side - 1 else low[1] + (r + 1) * unit[1]
        slack = 1e-9 * unit[1]
        mixed[c0 : c1 + 1] = False
        mixed[0] = mixed[side - 1] = True
        found = crossed = 0
        middle = low[1] + (r + 0.5) * unit[1]
        for e in range(n):
            f = e + 1 if e + 1 < n else 0
            x0, y0, x1, y1 = vx[e], vy[e], vx[f], vy[f]
            if max(y0, y1) < bottom - slack or min(y0, y1) > top + slack:
                continue
            edges[found] = e
            found += 1
            left, right = min(x0, x1), max(x0, x1)
            if y0 != y1 and r not in (0, side - 1):
                at0 = x0 + (x1 - x0) * (min(max(bottom, min(y0, y1)), max(y0, y1)) - y0) / (y1 - y0)
                at1 = x0 + (x1 - x0) * (min(max(top, min(y0, y1)), max(y0, y1)) - y0) / (y1 - y0)
                left, right = max(left, min(at0, at1)), min(right, max(at0, at1))
            first = max(_clamped(left, low[0], unit[0], side) - 1, 0)
            last = min(_clamped(right, low[0], unit[0], side) + 1, side - 1)
            mixed[first : last + 1] = True
            if (y0 > middle) != (y1 > middle):
                crossings[crossed] = (x1 - x0) * (middle - y0) / (y1 - y0) + x0
                crossed += 1
        for c in range(c0, c1 + 1):
            first, last = start[r * side + c], start[r * side + c + 1]
            if first == last:
                continue
            if mixed[c] or r == 0 or r == side - 1:
                for k in range(first, last):
                    if _odd(xy[k, 0], xy[k, 1], vx, vy, edges, found):
                        chosen[position[k]] = True
                continue
            within, at = False, low[0] + (c + 0.5) * unit[0]
            for e in range(crossed):
                if at < crossings[e]:
                    within = not within
            if within:
                for k in range(first, last):
                    chosen[position[k]] = True


@nb.njit(cache=True, nogil=True)
def _odd(x, y, vx, vy, edges, found):
    within, n = False, len(vx)
    for i in range(found):
        e = edges[i]
        f = e + 1 if e + 1 < n else 0
        x0, y0, x1, y1 = vx[e], vy[e], vx[f], vy[f]
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            within = not within
    return within


@nb.njit(cache=True, nogil=True)
def _nearest(xy, position, start, side, low, unit, x, y, dx, dy, seen):
    c0, c1, r0, r1 = _reach(low, unit, side, x - dx, x + dx, y - dy, y + dy)
    best, least = -1, 1.0
    for r in range(r0, r1 + 1):
        for k in range(start[r * side + c0], start[r * side + c1 + 1]):
            away = ((xy[k, 0] - x) / dx) ** 2 + ((xy[k, 1] - y) / dy) ** 2
            if seen.size and not seen[position[k]]:
                continue
            if away <= least and (away < least or best < 0 or position[k] < best):
                best, least = position[k], away
    return best
