"""The map as a Bokeh figure: it draws what it is given and reports what is done to it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from bokeh.events import DoubleTap, MouseLeave, MouseMove, PanStart, RangesUpdate, SelectionGeometry, Tap
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    CustomJS,
    LassoSelectTool,
    PanTool,
    Range1d,
    ResetTool,
    WheelZoomTool,
)
from bokeh.plotting import figure
from numpy.typing import NDArray

from .canvas import Bounds, Window, fit

# The last place within 50 ms is sent, so that the preview ends where the pointer rests.
FOLLOW: Final = """
    window.clearTimeout(pointer._later)
    const send = () => { pointer._sent = Date.now(); pointer.data = {x: [cb_obj.x], y: [cb_obj.y]} }
    const wait = 50 - (Date.now() - (pointer._sent ?? 0))
    if (wait <= 0) send(); else pointer._later = window.setTimeout(send, wait)
"""
LEAVE: Final = "window.clearTimeout(pointer._later); pointer.data = {x: [], y: []}"
FIGURE: Final = (Path(__file__).parents[1] / "assets" / "figure.css").read_text()

NO_GLYPHS: Final[dict[str, Any]] = {"x": [], "y": [], "colour": [], "alpha": [], "size": []}
NO_CHOSEN: Final[dict[str, Any]] = {"x": [], "y": [], "colour": [], "size": []}
NO_PLACE: Final[dict[str, Any]] = {"x": [], "y": []}
NO_IMAGE: Final[dict[str, Any]] = {"url": [], "x": [], "y": [], "w": [], "h": []}
MARK: Final = "#6f86d6"


@dataclass(frozen=True)
class Plot:
    """A figure and its sources of data.

    Parameters
    ----------
    figure : bokeh.plotting.figure
        What the page shows.
    glyphs, chosen : bokeh.models.ColumnDataSource
        The points that the browser draws: all in view, and those selected on top.
    pointed, pointer : bokeh.models.ColumnDataSource
        The point under the pointer, and where the pointer is.
    image : bokeh.models.ColumnDataSource
        The picture that the server drew instead, and where it lies.
    """

    figure: Any
    glyphs: ColumnDataSource
    chosen: ColumnDataSource
    pointed: ColumnDataSource
    pointer: ColumnDataSource
    image: ColumnDataSource


def plot() -> Plot:
    """Make an empty map."""
    lasso, box = LassoSelectTool(renderers=[], continuous=False), BoxSelectTool(renderers=[], continuous=False)
    for tool in (lasso, box):
        tool.overlay.update(
            fill_color=MARK, fill_alpha=0.14, line_color=MARK, line_alpha=0.9, line_width=1.5, line_dash=[]
        )
    wheel = WheelZoomTool(zoom_on_axis=False)
    made = figure(
        x_range=Range1d(start=-1, end=1),
        y_range=Range1d(start=-1, end=1),
        tools=[lasso, box, PanTool(), wheel, ResetTool()],
        active_drag=lasso,
        active_scroll=wheel,
        toolbar_location="left",
        sizing_mode="stretch_both",
        min_border=0,
        outline_line_color=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        lod_timeout=60,
        output_backend="canvas",
    )
    made.toolbar.logo = None
    made.stylesheets = made.toolbar.stylesheets = [FIGURE]
    made.axis.visible = False
    made.grid.visible = False
    glyphs, chosen = ColumnDataSource(NO_GLYPHS), ColumnDataSource(NO_CHOSEN)
    pointed, pointer = ColumnDataSource(NO_PLACE), ColumnDataSource(NO_PLACE)
    image = ColumnDataSource(NO_IMAGE)
    made.image_url("url", "x", "y", "w", "h", source=image, anchor="bottom_left", retry_attempts=0)
    made.scatter("x", "y", size="size", fill_color="colour", fill_alpha="alpha", line_color=None, source=glyphs)
    made.scatter(
        "x", "y", size="size", fill_color="colour", line_color="#ffffff", line_width=1.2, line_alpha=0.9, source=chosen
    )
    made.scatter(
        "x", "y", size=15, fill_color=None, line_color=MARK, line_width=2.5, source=pointed, level="annotation"
    )
    return Plot(made, glyphs, chosen, pointed, pointer, image)


def show_glyphs(
    plot: Plot,
    xy: NDArray[np.floating],
    codes: NDArray[np.unsignedinteger],
    colours: NDArray[np.str_],
    drawn: NDArray[np.int64],
    selected: NDArray[np.int64],
) -> None:
    """Let the browser draw points: ``drawn`` are the positions to draw, ``selected`` those that stand out."""
    faint, wide = 0.22 if selected.size else 0.82, across(drawn.size)
    plot.glyphs.data = {
        "x": xy[drawn, 0],
        "y": xy[drawn, 1],
        "colour": colours[codes[drawn]],
        "alpha": np.full(drawn.size, faint, np.float32),
        "size": np.full(drawn.size, wide, np.float32),
    }
    plot.chosen.data = {
        "x": xy[selected, 0],
        "y": xy[selected, 1],
        "colour": colours[codes[selected]],
        "size": np.full(selected.size, wide + 2, np.float32),
    }
    plot.image.data = NO_IMAGE


def across(number: int) -> float:
    """Return the diameter in pixels of points of which so many are in view: the fewer, the larger.

    Examples
    --------
    >>> across(100), across(1_000), across(10_000)
    (11.0, 7.9, 4.0)
    """
    return round(float(np.clip(19.6 - 3.9 * np.log10(max(number, 1)), 4, 11)), 1)


def show_image(plot: Plot, webp: bytes, window: Window) -> None:
    """Show a picture that covers a window."""
    plot.image.data = {
        "url": ["data:image/webp;base64," + base64.b64encode(webp).decode()],
        "x": [window.x0],
        "y": [window.y0],
        "w": [window.x1 - window.x0],
        "h": [window.y1 - window.y0],
    }
    plot.glyphs.data = NO_GLYPHS
    plot.chosen.data = NO_CHOSEN


def mark(plot: Plot, place: tuple[float, float] | None) -> None:
    """Draw a ring round a place, or none."""
    plot.pointed.data = NO_PLACE if place is None else {"x": [place[0]], "y": [place[1]]}


def size(plot: Plot) -> tuple[int, int] | None:
    """Return the canvas in pixels, or None before the browser has laid it out."""
    try:
        width, height = plot.figure.inner_width, plot.figure.inner_height
    except ValueError:  # Bokeh's UnsetValueError
        return None
    return (width, height) if width > 32 and height > 32 else None


def window(plot: Plot) -> Window:
    """Return the part of the plane in view."""
    x, y = plot.figure.x_range, plot.figure.y_range
    return Window(x.start, x.end, y.start, y.end)


def look_at(plot: Plot, around: Bounds) -> None:
    """Move the view to hold a box; Reset returns there."""
    to = fit(around, *(size(plot) or (900, 600)))
    for axis, (start, end) in ((plot.figure.x_range, to[:2]), (plot.figure.y_range, to[2:])):
        axis.update(start=start, end=end, reset_start=start, reset_end=end)


def look_through(plot: Plot, to: Window) -> None:
    """Move the view to a window."""
    plot.figure.x_range.update(start=to.x0, end=to.x1)
    plot.figure.y_range.update(start=to.y0, end=to.y1)


def on_select(plot: Plot, then: Callable[[dict[str, Any], dict[str, bool]], None]) -> None:
    """Call ``then(geometry, modifiers)`` when a box or lasso is finished."""
    pressed: dict[str, bool] = {}

    def begun(event: PanStart) -> None:
        pressed.clear()
        pressed.update(_pressed(event.modifiers))

    def finished(event: SelectionGeometry) -> None:
        if event.final and event.geometry:
            then(dict(event.geometry), dict(pressed))

    plot.figure.on_event(PanStart, begun)
    plot.figure.on_event(SelectionGeometry, finished)


def on_click(plot: Plot, then: Callable[[float, float, dict[str, bool]], None]) -> None:
    """Call ``then(x, y, modifiers)`` on a click."""
    plot.figure.on_event(Tap, lambda event: then(event.x, event.y, _pressed(event.modifiers)))


def on_double_click(plot: Plot, then: Callable[[], None]) -> None:
    """Call ``then()`` on a double click."""
    plot.figure.on_event(DoubleTap, lambda event: then())


def on_move(plot: Plot, then: Callable[[], None]) -> None:
    """Call ``then()`` when the view was moved or zoomed."""
    plot.figure.on_event(RangesUpdate, lambda event: then())


def on_hover(plot: Plot, then: Callable[[float | None, float | None], None]) -> None:
    """Call ``then(x, y)`` as the pointer moves, some twenty times a second, and ``then(None, None)`` when it leaves."""

    def follow(attr: str, old: Any, new: Any) -> None:
        then(*((new["x"][0], new["y"][0]) if len(new["x"]) else (None, None)))

    plot.pointer.on_change("data", follow)
    plot.figure.js_on_event(MouseMove, CustomJS(args={"pointer": plot.pointer}, code=FOLLOW))
    plot.figure.js_on_event(MouseLeave, CustomJS(args={"pointer": plot.pointer}, code=LEAVE))


def on_resize(plot: Plot, then: Callable[[], None]) -> None:
    """Call ``then()`` when the canvas has another size, as it does once the browser has laid it out."""
    plot.figure.on_change("inner_width", lambda attr, old, new: then())
    plot.figure.on_change("inner_height", lambda attr, old, new: then())


def _pressed(modifiers: Any) -> dict[str, bool]:
    return dict(modifiers or {})
