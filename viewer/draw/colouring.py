"""What colours mean: every point gets a code, and every code a name, a colour and a count."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from relfunc.schema import NOISE

from ..project.outcomes import Verdict, labels, verdict
from ..project.project import Points, Project, class_names
from ..project.scores import measured, measures
from .palette import GREY, colour

BY: Final = ("cluster", "label", "prediction", "correctness", "probability", "density")
SCORE: Final = "score "
"""What stands before the name of a score that colours the points."""
RISING: Final = ("#4b5bd0", "#4478d8", "#2f93cf", "#22a9b0", "#35b884", "#7dbe55", "#c3b83a", "#f0a93a")
"""Colours of a quantity, from little to much."""
RIGHT, WRONG = "#22a77a", "#e0574f"


@dataclass(frozen=True, eq=False)
class Colouring:
    """Codes of points and what they mean.

    Parameters
    ----------
    codes : numpy.ndarray
        (n,) uint8 to uint32, each below the number of names.
    names, colours : tuple of str
        What a code stands for, and its ``#rrggbb``.
    counts : tuple of int
        How many points have it.
    """

    codes: NDArray[np.unsignedinteger]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The colours as (k, 3) numbers."""
        return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colours], np.uint8).reshape(-1, 3)


def colouring(project: Project, points: Points, by: str, category: str = "") -> Colouring:
    """Colour the points of a category by one of :data:`BY` or by ``score NAME``; one colour where that is not known."""
    if by == "cluster" and points.cluster is not None:
        values, codes = numbered(points.cluster)
        names = ["Noise" if k == NOISE else f"Cluster {k}" for k in values]
        return _counted(codes, names, [colour(int(k)) for k in values])
    if by == "label":
        return _classes(project, labels(project, points.rows), "Several labels")
    if by in ("prediction", "correctness", "probability"):
        return _judged(project, verdict(project, points.rows), by)
    if by == "density" and points.xy is not None:
        spread = density(points.xy)
        edges = np.quantile(spread[spread > 0], np.linspace(0, 1, 9)[1:-1]) if (spread > 0).any() else np.empty(0)
        share = ("least dense", "2nd eighth", "3rd eighth", "4th eighth", "5th eighth", "6th eighth", "7th eighth")
        return _counted(np.searchsorted(edges, spread), [*share, "densest"], RISING)
    if by.startswith(SCORE) and by.removeprefix(SCORE) in measures(project, category):
        return quantity(measured(project, category, by.removeprefix(SCORE), points.rows))
    return _counted(np.zeros(points.rows.size, int), ["All samples"], [colour(0)])


def quantity(values: NDArray[np.floating]) -> Colouring:
    """Colour numbers in up to eight steps of about as many points each; grey where there is none."""
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if distinct.size <= len(RISING):
        edges, names = distinct[1:], [f"{value:.4g}" for value in distinct]
    else:
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, len(RISING) + 1)[1:-1]))
        ends = [distinct[0], *edges, distinct[-1]]
        names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(ends)]
    codes = np.where(known, np.searchsorted(edges, values, side="right") + 1, 0)
    steps = np.linspace(0, len(RISING) - 1, max(len(names), 1)).round().astype(int)
    return _counted(codes, ["Unknown", *names], [GREY, *(RISING[k] for k in steps)])


def density(xy: NDArray) -> NDArray[np.int64]:
    """Return for every point how many share its cell and the eight about it; 0 for one that is not finite.

    Examples
    --------
    >>> density(np.array([[0.0, 0.0], [0.0, 0.0], [np.nan, 0.0]]))
    array([2, 2, 0])
    """
    kept = np.isfinite(xy).all(axis=1)
    spread, placed = np.zeros(len(xy), np.int64), xy[kept].astype(float)
    if not len(placed):
        return spread
    side = int(np.clip(np.sqrt(len(placed) / 8), 1, 1024))
    low, high = placed.min(axis=0), placed.max(axis=0)
    unit = np.maximum((high - low) / side, np.finfo(float).tiny)
    column, row = np.minimum((placed - low) / unit, side - 1).astype(int).T
    counts = np.bincount(row * side + column, minlength=side * side).reshape(side, side)
    padded = np.pad(counts, 1)
    around = np.zeros_like(counts)
    for i in range(3):
        for j in range(3):
            around += padded[i : i + side, j : j + side]
    spread[kept] = around[row, column]
    return spread


def _judged(project: Project, known: Verdict, by: str) -> Colouring:
    if by == "correctness":
        return _counted((~known.correct).astype(int), ["Correct", "Wrong"], [RIGHT, WRONG])
    if by == "probability":
        tenth = np.clip(known.probability * 10, 0, 9.99).astype(int)
        shades = [RISING[round(k * (len(RISING) - 1) / 9)] for k in range(10)]
        return _counted(tenth, [f"{10 * k} to {10 * k + 10} %" for k in range(10)], shades)
    return _classes(project, known.prediction, "No prediction")


def numbered(values: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return which numbers occur, rising, and for every entry which of them it is.

    Examples
    --------
    >>> numbered(np.array([7, -1, 7]))
    (array([-1,  7]), array([1, 0, 1]))
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high - low > max(1 << 16, values.size):
        return np.unique(values, return_inverse=True)
    # Counting is many times faster than the sort of np.unique, where the numbers are few.
    from_low = np.subtract(values, low, dtype=np.int64)
    occurs = np.bincount(from_low, minlength=1) > 0
    return np.flatnonzero(occurs) + low, (np.cumsum(occurs) - 1)[from_low]


def _classes(project: Project, which: NDArray[np.int64], none: str) -> Colouring:
    names, (values, codes) = class_names(project), numbered(which)
    called = [none if k < 0 else names[k] for k in values.tolist()]
    return _counted(codes, called, [GREY if k < 0 else colour(int(k)) for k in values])


def _counted(codes: NDArray, names: list[str], colours: list[str] | tuple[str, ...]) -> Colouring:
    """Count the codes, and leave out those without a point."""
    counts = np.bincount(codes, minlength=len(names))
    kept = np.flatnonzero(counts)
    renumbered = np.zeros(len(names), np.min_scalar_type(max(kept.size - 1, 0)))
    renumbered[kept] = np.arange(kept.size)
    return Colouring(
        renumbered[codes],
        tuple(names[k] for k in kept),
        tuple(colours[k] for k in kept),
        tuple(counts[kept].tolist()),
    )
