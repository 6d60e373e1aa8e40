"""One embedding as a map: drawn, moved, selected in, and pointed at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError

from .canvas import Window
from .components import Part, Preview, cover, current_document, drawing, text
from .gallery import described
from .latest import latest
from .plot import (
    look_at,
    look_through,
    mark,
    on_click,
    on_double_click,
    on_hover,
    on_move,
    on_resize,
    on_select,
    plot,
    show_glyphs,
    show_image,
    size,
    window,
)
from .project import Held, Points, Project
from .scene import Glyphs, Picture, Scene, at, enclosed, render
from .selection import Mode
from .state import View, coloured, select

REACH: Final = 12
"""How far from a point the pointer still means it, in pixels."""


@dataclass(frozen=True)
class Pane:
    """A map on the page.

    Parameters
    ----------
    part : Part
        The figure.
    notice : Part
        What covers it while there is nothing to see.
    in_view : callable
        Selects all that is in view.
    """

    part: Part
    notice: Part
    in_view: Callable[[], None]


def pane(
    projects: Sequence[Held],
    view: View,
    preview: Preview,
    mode: Callable[[], Mode],
    explain: Callable[[], str],
    *,
    second: bool = False,
) -> Pane:
    """Make a map of the view's embedding, or of the second one.

    Parameters
    ----------
    projects, view
        What is shown.
    preview : Preview
        Where the sample under the pointer is shown.
    mode : callable
        Returns how a new selection changes the one before.
    explain : callable
        Returns what to say where there is nothing to draw.
    second : bool
        Whether this is the map of ``view.other``.
    """
    map_, notice = plot(), text(visible=False, css_classes=["cover"])
    looked: dict[str, Any] = {}

    def shown() -> Points | None:
        return view.other if second else view.points

    def scene() -> Scene | None:
        project, held = projects[view.project], shown()
        if held is None or held.xy is None or not isinstance(project, Project):
            return None
        return Scene(held, coloured(project, view), view.selected, tuple(view.hidden))

    def draw(*_: Any) -> None:
        now = scene()
        if now is None or not now.large:
            notice.visible = now is None
        if now is None:
            notice.object = explain()
            return
        axes = (view.second, view.second_x, view.second_y) if second else (view.embedding, view.x, view.y)
        key = (view.project, view.category, *axes)
        if looked.get("key") != key:
            look_at(map_, now.bounds)
            looked.update(key=key, window=window(map_))
            see(None)
            mark(map_, None)
            preview.item = {}
        if not now.large:
            show((now, window(map_), 1, 1), render(now, window(map_), 1, 1))
        elif (pixels := size(map_)) is not None:
            if looked.get("drawn") is not now.points:
                notice.object = cover("Drawing", f"{len(now.xy):,} points are being sorted and drawn.")
                notice.visible = True
            ask((now, window(map_), *pixels))

    def see(seen: Window | None) -> None:
        if not second:
            view.window = None if seen is None else tuple(seen)

    def show(job: tuple[Scene, Window, int, int], made: Glyphs | Picture) -> None:
        held = job[0]
        if held.points is not shown():
            return
        looked["drawn"], notice.visible = held.points, False
        if isinstance(made, Picture):
            show_image(map_, made.webp, made.window)
        else:
            colours = np.array(held.colouring.colours)
            show_glyphs(map_, held.xy, held.colouring.codes, colours, made.drawn, made.selected)

    def moved() -> None:
        now, seen = scene(), window(map_)
        if now is None:
            return
        see(None if seen == looked.get("window") else seen)
        if now.large:
            draw()

    def zoomed(*_: Any) -> None:
        if view.window is not None and view.window != window(map_):
            look_through(map_, Window(*view.window))

    def resized() -> None:
        now = scene()
        if now is not None and (second or view.window is None):
            look_at(map_, now.bounds)
            looked["window"] = window(map_)
        moved()

    def whole() -> None:
        now = scene()
        if now is not None:
            look_at(map_, now.bounds)
            looked["window"] = window(map_)
            moved()

    def found(positions: NDArray[np.int64], modifiers: dict[str, bool]) -> None:
        select(view, positions, "add" if modifiers.get("shift") else "subtract" if modifiers.get("alt") else mode())

    def drawn_around(geometry: dict[str, Any], modifiers: dict[str, bool]) -> None:
        now = scene()
        if now is not None:
            found(enclosed(now, geometry), modifiers)

    def under(x: float, y: float) -> int | None:
        now, (width, height), seen = scene(), size(map_) or (900, 600), window(map_)
        if now is None:
            return None
        return at(now, x, y, dx=REACH * (seen.x1 - seen.x0) / width, dy=REACH * (seen.y1 - seen.y0) / height)

    def clicked(x: float, y: float, modifiers: dict[str, bool]) -> None:
        hit = under(x, y)
        found(np.array([] if hit is None else [hit], np.int64), modifiers)

    def hovered(x: float | None, y: float | None) -> None:
        hit = None if x is None or y is None else under(x, y)
        if hit == preview.item.get("position"):
            return
        now, held, project = scene(), view.points, projects[view.project]
        if hit is None or now is None or held is None or not isinstance(project, Project):
            preview.item = {}
            return
        try:
            # Of the first embedding, in whose coordinates a sample is described.
            item = described(project, held, np.array([hit]), view)[0]
        except (RelfuncError, OSError, RuntimeError):
            # The samples below say what is wrong with the file; a pointer that moves need not say it again.
            return
        preview.item = {"position": hit, **item}

    def pointed(*_: Any) -> None:
        now, hit = scene(), preview.item.get("position")
        place = None if now is None or hit is None or hit >= len(now.xy) else now.xy[hit]
        mark(map_, None if place is None else (float(place[0]), float(place[1])))

    def in_view() -> None:
        now, seen = scene(), window(map_)
        if now is not None:
            found(enclosed(now, {"type": "rect", **seen._asdict()}), {})

    def rendered(job: tuple[Scene, Window, int, int]) -> Glyphs | Picture:
        return render(*job)

    ask = latest(rendered, show, current_document())
    on_select(map_, drawn_around)
    on_click(map_, clicked)
    on_move(map_, moved)
    on_resize(map_, resized)
    on_double_click(map_, whole)
    on_hover(map_, hovered)
    preview.param.watch(pointed, "item")
    view.param.watch(draw, ["other" if second else "points", "selected", "hidden", "trouble", "colour"])
    if not second:
        view.param.watch(zoomed, "window")
    draw()
    return Pane(drawing(map_.figure), notice, in_view)
