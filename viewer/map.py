"""The map: the embedding, the ways to select in it, and a preview of the sample under the pointer."""

import html
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError

from .canvas import Window
from .components import Part, Preview, button, card, current_document, drawing, one_of, text
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
from .project import Held, Project
from .scene import Glyphs, Picture, Scene, at, enclosed, render
from .selection import invert
from .state import View, coloured, select, undo

REACH: Final = 12
"""How far from a point the pointer still means it, in pixels."""


def scatter(projects: Sequence[Held], view: View) -> Part:
    """Make the map and its ways to select."""
    map_, preview = plot(), Preview()
    heading, notice = text(sizing_mode="stretch_width", align="center"), text(visible=False, css_classes=["cover"])
    mode = one_of({"New": "replace", "Add": "add", "Subtract": "subtract"}, value="replace")
    within = button("In view")
    others = button("Invert")
    back = button("Undo")
    clear = button("Clear")
    looked: dict[str, Any] = {}

    def scene() -> Scene | None:
        project, held = projects[view.project], view.points
        if held is None or held.xy is None or not isinstance(project, Project):
            return None
        return Scene(held, coloured(project, view), view.selected, tuple(view.hidden))

    def draw(*_: Any) -> None:
        now = scene()
        if now is None or not now.large:
            notice.visible = now is None
        if now is None:
            notice.object = _notice(projects[view.project], view)
            return
        key = (view.project, view.category, view.embedding, view.x, view.y)
        if looked.get("key") != key:
            look_at(map_, now.bounds)
            looked.update(key=key, window=window(map_))
            view.window = None
            mark(map_, None)
            preview.item = {}
        if not now.large:
            show((now, window(map_), 1, 1), render(now, window(map_), 1, 1))
        elif (pixels := size(map_)) is not None:
            if looked.get("drawn") is not now.points:
                notice.object = _cover("Drawing", f"{len(now.xy):,} points are being sorted and drawn.")
                notice.visible = True
            ask((now, window(map_), *pixels))

    def show(job: tuple[Scene, Window, int, int], made: Glyphs | Picture) -> None:
        held = job[0]
        if held.points is not view.points:
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
        view.window = None if seen == looked.get("window") else tuple(seen)
        if now.large:
            draw()

    def zoomed(*_: Any) -> None:
        if view.window is not None and view.window != window(map_):
            look_through(map_, Window(*view.window))

    def resized() -> None:
        now = scene()
        if now is not None and view.window is None:
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
        select(view, positions, "add" if modifiers.get("shift") else "subtract" if modifiers.get("alt") else mode.value)

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
        now, project = scene(), projects[view.project]
        if hit is None or now is None or not isinstance(project, Project):
            mark(map_, None)
            preview.item = {}
            return
        try:
            item = described(project, now.points, np.array([hit]), view)[0]
        except (RelfuncError, OSError, RuntimeError):
            # The samples below say what is wrong with the file; a pointer that moves need not say it again.
            return
        mark(map_, (float(now.xy[hit, 0]), float(now.xy[hit, 1])))
        preview.item = {"position": hit, **item}

    def in_view(_: Any) -> None:
        now, seen = scene(), window(map_)
        if now is not None:
            found(enclosed(now, {"type": "rect", **seen._asdict()}), {})

    def inverted(_: Any) -> None:
        if view.points is not None:
            select(view, invert(view.selected, view.points.rows.size))

    def write(*_: Any) -> None:
        held = view.points
        if held is None:
            heading.object = ""
            return
        lost = int((~held.drawn).sum()) if held.xy is not None else 0
        chosen, of = f"{view.selected.size:,}", f"{held.rows.size:,}"
        said = f"{chosen} of {of} selected" if view.selected.size else f"{of} samples"
        said += f" · {lost:,} without a position" if lost else ""
        heading.object = f"<h2>{html.escape(view.embedding or view.category)}<small class='count'>{said}</small></h2>"
        back.disabled, clear.disabled = not view.past, not view.selected.size

    def rendered(job: tuple[Scene, Window, int, int]) -> Glyphs | Picture:
        return render(*job)

    ask = latest(rendered, show, current_document())
    on_select(map_, drawn_around)
    on_click(map_, clicked)
    on_move(map_, moved)
    on_resize(map_, resized)
    on_double_click(map_, whole)
    on_hover(map_, hovered)
    within.on_click(in_view)
    others.on_click(inverted)
    back.on_click(lambda _: undo(view))
    preview.on_msg(lambda _: select(view, np.empty(0, np.int64)))
    clear.on_click(lambda _: select(view, np.empty(0, np.int64)))
    view.param.watch(draw, ["points", "selected", "hidden", "trouble", "colour"])
    view.param.watch(write, ["points", "selected"])
    view.param.watch(zoomed, "window")
    draw()
    write()
    bar = card(heading, mode, within, others, back, clear, kind="bar", row=True, sizing_mode="stretch_width")
    return card(bar, drawing(map_.figure), notice, preview, kind="map")


def _notice(project: Held, view: View) -> str:
    if view.trouble:
        return _cover("This project cannot be shown", view.trouble)
    if isinstance(project, Project) and project.analysis is None:
        said = f"{project.path} holds attributions but no analysis.nc."
        return _cover("No analysis yet", f"{said} Run an analysis to see its clusters; the samples are below.")
    said = f"The category {view.category} has no embedding. Choose another one, or run the analysis again."
    return _cover("Nothing to draw", said)


def _cover(title: str, said: str) -> str:
    return f"<div class='notice'><h2>{html.escape(title)}</h2><p>{html.escape(said)}</p></div>"
