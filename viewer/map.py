"""The map: the embedding, and the ways to select in it."""

import html
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import canvas
from .components import Part, button, card, drawing, one_of, text
from .palette import colours
from .plot import (
    look_at,
    on_click,
    on_double_click,
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
from .selection import in_box, in_polygon, invert, nearest
from .state import View, select, undo

REACH: Final = 12
"""How far from a point a click still means it, in pixels."""


def scatter(projects: Sequence[Held], view: View) -> Part:
    """Make the map and its ways to select."""
    map_ = plot()
    heading, notice = text(sizing_mode="stretch_width", align="center"), text(visible=False, css_classes=["cover"])
    mode = one_of({"New": "replace", "Add": "add", "Subtract": "subtract"}, value="replace")
    everything = button("Invert", "Select what is not selected")
    back = button("Undo", "Take the last change of the selection back")
    clear = button("Clear", "Select nothing")
    picture = drawing(map_.figure)
    looked: dict[str, Any] = {}

    def visible() -> NDArray[np.int64]:
        held = view.points
        if held is None:
            return np.empty(0, np.int64)
        seen = held.drawn if held.cluster is None else held.drawn & ~np.isin(held.cluster, view.hidden)
        return np.flatnonzero(seen)

    def found(positions: NDArray[np.int64], modifiers: dict[str, bool]) -> None:
        how = "add" if modifiers.get("shift") else "subtract" if modifiers.get("alt") else mode.value
        select(view, visible()[positions], how)

    def drawn_around(geometry: dict[str, Any], modifiers: dict[str, bool]) -> None:
        if view.points is None or view.points.xy is None:
            return
        xy = view.points.xy[visible()]
        if geometry["type"] == "rect":
            found(in_box(xy, geometry["x0"], geometry["x1"], geometry["y0"], geometry["y1"]), modifiers)
        elif geometry["type"] == "poly":
            found(in_polygon(xy, geometry["x"], geometry["y"]), modifiers)

    def clicked(x: float, y: float, modifiers: dict[str, bool]) -> None:
        if view.points is None or view.points.xy is None:
            return
        seen, (width, height) = window(map_), size(map_) or (900, 600)
        unit = (seen.x1 - seen.x0) / width, (seen.y1 - seen.y0) / height
        hit = nearest(view.points.xy[visible()], x, y, dx=REACH * unit[0], dy=REACH * unit[1])
        found(np.empty(0, np.int64) if hit is None else np.array([hit]), modifiers)

    def draw(*_: Any) -> None:
        held = view.points
        notice.visible = held is None or held.xy is None
        if held is None or held.xy is None:
            notice.object = _notice(projects[view.project], view)
            return
        key = (view.project, view.category, view.embedding, view.x, view.y)
        if looked.get("key") != key:
            look_at(map_, held.xy)
            looked.update(key=key, window=window(map_))
        cluster = np.zeros(held.rows.size, np.int64) if held.cluster is None else held.cluster
        shown = visible()
        if shown.size <= canvas.GLYPHS:
            show_glyphs(map_, held.xy, colours(cluster), shown, np.intersect1d(shown, view.selected))
        elif (pixels := size(map_)) is not None:
            chosen = np.searchsorted(shown, np.intersect1d(shown, view.selected))
            png = canvas.picture(held.xy[shown], cluster[shown], window(map_), *pixels, selected=chosen)
            show_image(map_, png, window(map_))

    def moved() -> None:
        if visible().size > canvas.GLYPHS:
            draw()

    def whole() -> None:
        if view.points is not None and view.points.xy is not None:
            look_at(map_, view.points.xy)

    def inverted(_: Any) -> None:
        if view.points is not None:
            select(view, invert(view.selected, view.points.rows.size))

    def resized() -> None:
        if view.points is not None and view.points.xy is not None and window(map_) == looked.get("window"):
            look_at(map_, view.points.xy)
            looked["window"] = window(map_)
        moved()

    def write(*_: Any) -> None:
        held = view.points
        if held is None:
            heading.object = ""
            return
        lost = int((~held.drawn).sum()) if held.xy is not None else 0
        said = (
            f"{view.selected.size:,} of {held.rows.size:,} selected"
            if view.selected.size
            else f"{held.rows.size:,} samples"
        )
        said += f" · {lost:,} without a position" if lost else ""
        heading.object = f"<h2>{html.escape(view.embedding or view.category)}<small class='count'>{said}</small></h2>"
        back.disabled, clear.disabled = not view.past, not view.selected.size

    on_select(map_, drawn_around)
    on_click(map_, clicked)
    on_move(map_, moved)
    on_resize(map_, resized)
    on_double_click(map_, whole)
    everything.on_click(inverted)
    back.on_click(lambda _: undo(view))
    clear.on_click(lambda _: select(view, np.empty(0, np.int64)))
    view.param.watch(draw, ["points", "selected", "hidden", "trouble"])
    view.param.watch(write, ["points", "selected"])
    draw()
    write()
    bar = card(heading, mode, everything, back, clear, kind="bar", row=True, sizing_mode="stretch_width")
    return card(bar, picture, notice, kind="map")


def _notice(project: Held, view: View) -> str:
    if view.trouble:
        return f"<div class='notice'><h2>This project cannot be shown</h2><p>{html.escape(view.trouble)}</p></div>"
    if isinstance(project, Project) and project.analysis is None:
        said = (
            f"{project.path} holds attributions but no analysis.nc. "
            "Run an analysis to see its clusters; the samples are below."
        )
        return f"<div class='notice'><h2>No analysis yet</h2><p>{html.escape(said)}</p></div>"
    said = f"The category {view.category} has no embedding. Choose another one, or run the analysis again."
    return f"<div class='notice'><h2>Nothing to draw</h2><p>{html.escape(said)}</p></div>"
