"""The scene: how the points of a view are drawn and found, by the browser if they are few, here if they are many."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import of, recent
from ..draw.colouring import Colouring
from ..project.project import Points
from . import canvas, index, selection
from .canvas import GLYPHS, GROWN, Bounds, Window
from .index import Grid


@dataclass(frozen=True, eq=False)
class Scene:
    """What is to be drawn.

    Parameters
    ----------
    points : viewer.project.project.Points
        The points, which have places.
    colouring : viewer.draw.colouring.Colouring
        Their colours.
    selected : numpy.ndarray
        Positions that stand out.
    hidden : tuple of int
        Codes of the colouring that are not drawn.
    """

    points: Points
    colouring: Colouring
    selected: NDArray[np.int64]
    hidden: tuple[int, ...]

    @property
    def xy(self) -> NDArray[np.floating]:
        """Places of the points."""
        assert self.points.xy is not None
        return self.points.xy

    @property
    def large(self) -> bool:
        """Whether there are too many points for the browser."""
        return len(self.xy) > GLYPHS

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which points are not hidden and have a place."""
        if not self.hidden:
            return self.points.drawn
        shown = ~np.isin(np.arange(len(self.colouring.names)), self.hidden)
        key = (self.points, "seen", self.hidden)
        return recent((self.colouring, *key), lambda: self.points.drawn & shown[self.colouring.codes])

    @property
    def bounds(self) -> Bounds:
        """The box that holds all points."""
        return of(self.points, "bounds", lambda: canvas.bounds(self.xy))


@dataclass(frozen=True, eq=False)
class Glyphs:
    """Positions of the points that the browser is to draw, and of those of them that stand out."""

    drawn: NDArray[np.int64]
    selected: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, as WebP, of the window that it covers."""

    webp: bytes
    window: Window


def render(scene: Scene, window: Window, width: int, height: int) -> Glyphs | Picture:
    """Draw a scene: a picture if there are many points in view, else which of them the browser is to draw."""
    if not scene.large:
        return _glyphs(scene, np.flatnonzero(scene.seen))
    cells = grid(scene.points)
    if index.inside(cells, *window) <= GLYPHS:
        near = index.in_box(cells, *window)
        return _glyphs(scene, near[scene.seen[near]])
    codes = recent((scene.colouring, cells), lambda: scene.colouring.codes[cells.position])
    shown = ~np.isin(np.arange(len(scene.colouring.names)), scene.hidden)
    marked = None
    if scene.selected.size:
        mask = np.zeros(cells.n, bool)
        mask[scene.selected] = True
        marked = mask[cells.position]
    drawn = canvas.picture(cells, codes, scene.colouring.palette, window, width, height, selected=marked, shown=shown)
    if index.inside(cells, *window) <= GROWN:
        drawn = canvas.grown(drawn)
    return Picture(canvas.encoded(drawn), window)


def grid(points: Points) -> Grid:
    """Sort points into a grid, or take the grid that some session has made lately."""
    assert points.xy is not None
    xy = points.xy
    return of(points, "grid", lambda: index.prepare(index.build(xy)))


def enclosed(scene: Scene, geometry: dict[str, Any]) -> NDArray[np.int64]:
    """Positions of the points that are seen inside a box or polygon, as Bokeh describes it."""
    if geometry["type"] == "rect":
        box = geometry["x0"], geometry["x1"], geometry["y0"], geometry["y1"]
        found = index.in_box(grid(scene.points), *box) if scene.large else selection.in_box(scene.xy, *box)
    elif geometry["type"] == "poly":
        polygon = geometry["x"], geometry["y"]
        found = (
            index.in_polygon(grid(scene.points), *polygon) if scene.large else selection.in_polygon(scene.xy, *polygon)
        )
    else:
        return np.empty(0, np.int64)
    return found[scene.seen[found]] if scene.hidden else found


def at(scene: Scene, x: float, y: float, *, dx: float, dy: float) -> int | None:
    """Position of the nearest point that is seen, or None if none lies within reach."""
    if scene.large:
        return index.nearest(grid(scene.points), x, y, dx=dx, dy=dy, seen=scene.seen if scene.hidden else None)
    places = np.where(scene.seen[:, None], scene.xy, np.nan) if scene.hidden else scene.xy
    return selection.nearest(places, x, y, dx=dx, dy=dy)


def _glyphs(scene: Scene, drawn: NDArray[np.int64]) -> Glyphs:
    marked = np.zeros(len(scene.xy), bool)
    marked[scene.selected] = True
    return Glyphs(drawn, drawn[marked[drawn]])
