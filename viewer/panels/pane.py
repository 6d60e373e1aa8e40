"""The maps: one embedding, or a second one beside it, drawn, moved, selected in, and pointed at."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..plane.canvas import Window
from ..plane.plot import (
    Plot,
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
from ..plane.scene import Glyphs, Picture, Scene, at, enclosed, render
from ..plane.selection import Mode
from ..state.view import Shown, coloured, select
from ..widgets import cover, drawing, markup
from .wiring import Panel, Redraw, Session

REACH: Final = 12
"""How far from a point the pointer still means it, in pixels."""


@dataclass(frozen=True, eq=False)
class Map:
    """A map on the page.

    Parameters
    ----------
    session : Session
        Whose page it is on.
    redraw : callable
        Draws it anew.
    second : bool
        Whether it is the map of ``view.other``.
    plot : Plot
        The figure.
    notice : panel.pane.HTML
        What covers it while there is nothing to see.
    looked : dict
        The embedding that it was last made to look ``at``, and the window ``through`` which all of that is seen.
    """

    session: Session
    redraw: Redraw
    second: bool
    plot: Plot = field(default_factory=plot)
    notice: Any = field(default_factory=lambda: markup(visible=False, css_classes=["cover"]))
    looked: dict[str, Any] = field(default_factory=dict)


class Drawing(NamedTuple):
    """A scene, the part of the plane to draw, and the size of the canvas in pixels."""

    scene: Scene
    window: Window
    width: int
    height: int


def build(session: Session, redraw: Redraw) -> Map:
    """Make the map of the view's embedding."""
    return _built(Map(session, redraw, second=False))


def build_second(session: Session, redraw: Redraw) -> Map:
    """Make the map of the second embedding."""
    return _built(Map(session, redraw, second=True))


def ask(map_: Map, shown: Shown) -> Drawing | None:
    """Look at the whole of an embedding when it comes, and say what of it is to be drawn."""
    scene = _scene(map_, shown)
    if scene is None:
        return None
    axes = (shown.second, shown.second_x, shown.second_y) if map_.second else (shown.embedding, shown.x, shown.y)
    embedding = (map_.session.view.project, shown.category, *axes)
    if map_.looked.get("at") != embedding:
        map_.looked["at"] = embedding
        _look_at_all(map_, scene)
        _note_window(map_, None)
        mark(map_.plot, None)
        map_.session.view.pointed = None
    canvas = size(map_.plot) if scene.large else (1, 1)  # what the browser draws depends on no canvas
    return None if canvas is None else Drawing(scene, window(map_.plot), *canvas)


def wait(map_: Map, job: Drawing) -> None:
    """Say that other points are being drawn."""
    map_.notice.object = cover("Drawing", f"{len(job.scene.xy):,} points are being sorted and drawn.")
    map_.notice.visible = True


def show(map_: Map, job: Drawing, made: Glyphs | Picture) -> None:
    """Show what was drawn."""
    map_.notice.visible = False
    if isinstance(made, Picture):
        show_image(map_.plot, made.webp, made.window)
    else:
        scene, colours = job.scene, np.array(job.scene.colouring.colours)
        show_glyphs(map_.plot, scene.xy, scene.colouring.codes, colours, made.drawn, made.selected)


def clear(map_: Map, why: str) -> None:
    """Say why there is nothing to see; nothing while the browser has not laid the canvas out yet."""
    if why or _now(map_) is None:
        map_.notice.object = cover("This cannot be drawn", why) if why else _explanation(map_.session)
        map_.notice.visible = True


def _built(map_: Map) -> Map:
    view = map_.session.view
    on_select(map_.plot, partial(_enclosed, map_))
    on_click(map_.plot, partial(_clicked, map_))
    on_move(map_.plot, partial(_moved, map_))
    on_resize(map_.plot, partial(_resized, map_))
    on_double_click(map_.plot, partial(_show_all, map_))
    on_hover(map_.plot, partial(_hovered, map_))
    view.param.watch(lambda _: _mark_pointed(map_), "pointed")
    if not map_.second:
        view.param.watch(lambda _: _look_through_window(map_), "window")
        view.param.watch(lambda _: _select_in_view(map_), "in_view")
    return map_


def _now(map_: Map) -> Scene | None:
    shown = map_.session.shown
    return None if shown is None else _scene(map_, shown)


def _scene(map_: Map, shown: Shown) -> Scene | None:
    points = shown.other if map_.second else shown.points
    if points is None or points.xy is None:
        return None
    return Scene(points, coloured(shown, map_.session.view), shown.selected, tuple(shown.hidden))


def _explanation(session: Session) -> str:
    view, project = session.view, session.project
    if view.trouble:
        return cover("This project cannot be shown", view.trouble)
    if project is not None and project.analysis is None:
        said = f"{project.path} holds attributions but no analysis.nc."
        return cover("No analysis yet", f"{said} Run an analysis to see its clusters; the samples are below.")
    said = f"The category {view.category} has no embedding. Choose another one, or run the analysis again."
    return cover("Nothing to draw", said)


def _look_at_all(map_: Map, scene: Scene) -> None:
    look_at(map_.plot, scene.bounds)
    map_.looked["through"] = window(map_.plot)


def _note_window(map_: Map, seen: Window | None) -> None:
    """Let the view know which part of the plane the first map shows; None for all."""
    if not map_.second:
        map_.session.view.window = None if seen is None else tuple(seen)


def _moved(map_: Map) -> None:
    scene, seen = _now(map_), window(map_.plot)
    if scene is None:
        return
    _note_window(map_, None if seen == map_.looked.get("through") else seen)
    if scene.large:
        map_.redraw()


def _resized(map_: Map) -> None:
    scene = _now(map_)
    if scene is not None and (map_.second or map_.session.view.window is None):
        _look_at_all(map_, scene)
    _moved(map_)


def _show_all(map_: Map) -> None:
    scene = _now(map_)
    if scene is not None:
        _look_at_all(map_, scene)
        _moved(map_)


def _look_through_window(map_: Map) -> None:
    seen = map_.session.view.window
    if seen is not None and seen != window(map_.plot):
        look_through(map_.plot, Window(*seen))


def _select(map_: Map, positions: NDArray[np.int64], modifiers: dict[str, bool]) -> None:
    view = map_.session.view
    mode: Mode = "add" if modifiers.get("shift") else "subtract" if modifiers.get("alt") else view.mode
    select(view, positions, mode)


def _enclosed(map_: Map, geometry: dict[str, Any], modifiers: dict[str, bool]) -> None:
    scene = _now(map_)
    if scene is not None:
        _select(map_, enclosed(scene, geometry), modifiers)


def _select_in_view(map_: Map) -> None:
    _enclosed(map_, {"type": "rect", **window(map_.plot)._asdict()}, {})


def _under(map_: Map, x: float, y: float) -> int | None:
    scene, (width, height), seen = _now(map_), size(map_.plot) or (900, 600), window(map_.plot)
    if scene is None:
        return None
    return at(scene, x, y, dx=REACH * (seen.x1 - seen.x0) / width, dy=REACH * (seen.y1 - seen.y0) / height)


def _clicked(map_: Map, x: float, y: float, modifiers: dict[str, bool]) -> None:
    hit = _under(map_, x, y)
    _select(map_, np.array([] if hit is None else [hit], np.int64), modifiers)


def _hovered(map_: Map, x: float | None, y: float | None) -> None:
    map_.session.view.pointed = None if x is None or y is None else _under(map_, x, y)


def _mark_pointed(map_: Map) -> None:
    scene, hit = _now(map_), map_.session.view.pointed
    place = None if scene is None or hit is None or hit >= len(scene.xy) else scene.xy[hit]
    mark(map_.plot, None if place is None else (float(place[0]), float(place[1])))


MAP: Final = Panel(
    name="map",
    place="map",
    kind="first",
    reads=("points", "selected", "hidden", "trouble", "colour"),
    build=build,
    ask=ask,
    work=lambda job: render(*job),
    show=show,
    clear=clear,
    wait=wait,
    at_once=lambda job: not job.scene.large,
    body=lambda map_: (drawing(map_.plot.figure), map_.notice),
)
SECOND: Final = replace(
    MAP,
    name="second map",
    kind="second",
    reads=("other", "selected", "hidden", "trouble", "colour"),
    build=build_second,
    subject=("other",),
    seen=lambda view: view.other is not None,
    unseen="unbuilt",  # a figure costs the browser time even where it is not seen
)
