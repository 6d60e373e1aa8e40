"""Selections: which points a box, a polygon or a click means, and how one selection changes another."""

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mode = Literal["replace", "add", "subtract"]
MODES: Final[dict[str, Mode]] = {"New": "replace", "Add": "add", "Subtract": "subtract"}
"""What the ways to change a selection are called."""


def in_box(xy: NDArray[np.floating], x0: float, x1: float, y0: float, y1: float) -> NDArray[np.int64]:
    """Positions of the points inside a box, its border included.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates; rows that are not finite are never inside.
    x0, x1, y0, y1 : float
        Opposite corners, in either order.

    Examples
    --------
    >>> in_box(np.array([[0.0, 0.0], [2.0, 2.0]]), 1, -1, -1, 1)
    array([0])
    """
    # numpy would round the corners to the points' precision, and the box would no longer be the one that was drawn.
    (left, right), (bottom, top) = np.sort([x0, x1]), np.sort([y0, y1])
    x, y = xy.T
    return np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def in_polygon(xy: NDArray[np.floating], vx: ArrayLike, vy: ArrayLike) -> NDArray[np.int64]:
    """Positions of the points inside a polygon by the even–odd rule; the polygon closes itself.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates; rows that are not finite are never inside.
    vx, vy : array_like
        (m,) coordinates of the corners, in order. Fewer than three enclose nothing.

    Examples
    --------
    >>> in_polygon(np.array([[0.2, 0.2], [0.9, 0.9]]), [0, 1, 0], [0, 0, 1])
    array([0])
    """
    ax, ay = np.asarray(vx, float), np.asarray(vy, float)
    if ax.size < 3:
        return np.empty(0, np.int64)
    near = in_box(xy, ax.min(), ax.max(), ay.min(), ay.max())
    x, y = xy[near].astype(float).T
    inside = np.zeros(near.size, bool)
    # An edge that is all but level may cross beyond the largest number, which is rightly to the right of every point.
    with np.errstate(over="ignore"):
        for x0, y0, x1, y1 in zip(ax, ay, np.roll(ax, -1), np.roll(ay, -1), strict=True):
            if y0 == y1:
                continue
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return near[inside]


def nearest(xy: NDArray[np.floating], x: float, y: float, *, dx: float, dy: float) -> int | None:
    """Position of the point nearest to a place, or None if none lies within reach.

    Parameters
    ----------
    xy : numpy.ndarray
        (n, 2) coordinates.
    x, y : float
        The place.
    dx, dy : float
        The reach along each axis, which is also the unit of length there.

    Examples
    --------
    >>> nearest(np.array([[0.0, 0.0], [1.0, 0.0]]), 0.8, 0.1, dx=0.5, dy=0.5)
    1
    """
    distance = ((xy.astype(float) - (x, y)) / (dx, dy)) ** 2 @ np.ones(2)
    if not np.isfinite(distance).any():
        return None
    best = int(np.nanargmin(distance))
    return best if distance[best] <= 1 else None


def combine(old: NDArray[np.int64], new: NDArray[np.int64], mode: Mode) -> NDArray[np.int64]:
    """Return the selection after ``new`` replaces, joins or leaves ``old``, sorted.

    Examples
    --------
    >>> combine(np.array([1, 2]), np.array([2, 3]), "add")
    array([1, 2, 3])
    >>> combine(np.array([1, 2]), np.array([2, 3]), "subtract")
    array([1])
    """
    # A mask is linear in the number of points; sorting two million positions takes a noticeable while.
    chosen = np.zeros(1 + max(old.max(initial=-1), new.max(initial=-1)), bool)
    if mode != "replace":
        chosen[old] = True
    chosen[new] = mode != "subtract"
    return np.flatnonzero(chosen)


def invert(selected: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Every position of ``n`` that is not selected.

    Examples
    --------
    >>> invert(np.array([0, 2]), 4)
    array([1, 3])
    """
    chosen = np.ones(n, bool)
    chosen[selected] = False
    return np.flatnonzero(chosen)
