"""The page's own components, each a few lines of script in ``assets``, and Panel's widgets in the page's style."""

import html
from pathlib import Path
from typing import Any, Final

import panel as pn
import param
from bokeh.document import Document
from panel.custom import JSComponent
from panel.reactive import Syncable

ASSETS: Final = Path(__file__).parent / "assets"
# Panel gives every session its own copy of a style, unless it is the same text.
APP, CARD, WIDGET, TEXT = ((ASSETS / f"{name}.css").read_text() for name in ("app", "card", "widget", "text"))


# A click or message that comes while a change of a widget waits makes Panel carry both out without the page's lock, and
# Bokeh refuses what they then do to a figure. This is what panel.io.with_lock does to a callback of one's own.
Syncable._event_coroutine.lock = True  # type: ignore[attr-defined]

Part = pn.viewable.Viewable
"""A part of the page."""


class Rows(JSComponent):
    """Rows to choose from; says ``{"pick": key}`` or ``{"hide": key}``."""

    items = param.List(doc="Rows: key, name, value, verdict, apart, note, colour, share, on, off.")
    hides = param.Boolean(default=False, doc="Whether a row can be hidden.")

    _esm = (ASSETS / "rows.js").read_text()
    _stylesheets = [(ASSETS / "rows.css").read_text()]  # noqa: RUF012 - Panel's own declaration


class Preview(JSComponent):
    """The sample under the pointer; says ``{"clear": true}`` when Escape is pressed."""

    item = param.Dict(default={}, doc="A sample as in Gallery; empty for none.")

    _esm = (ASSETS / "preview.js").read_text()
    _stylesheets = [(ASSETS / "preview.css").read_text()]  # noqa: RUF012 - Panel's own declaration


class Gallery(JSComponent):
    """Samples as columns of drawings, fetched as they come into view; ``gallery.js`` lists what it says."""

    items = param.List(doc="Samples: key, row, id, says, wrong, colour, title.")
    look = param.String(doc="How drawings look; those of the same row and look are the same.")
    form = param.String(default="image", doc="What a sample is: image, feature or token.")
    kinds = param.Integer(default=3, doc="How many drawings a sample has.")
    pictures = param.Dict(default={}, doc="Drawings that were asked for: look, and by row a list of (kind, source).")
    notice = param.List(default=["", ""], doc="Title and text shown when there is nothing to show.")
    opened = param.Dict(default={}, doc="The sample that is shown large: title, pictures, facts; empty for none.")
    sampling = param.String(default="auto", doc="How small pictures are enlarged: auto, smooth or pixelated.")

    _esm = (ASSETS / "gallery.js").read_text()
    _stylesheets = [(ASSETS / "gallery.css").read_text()]  # noqa: RUF012 - Panel's own declaration


class Table(JSComponent):
    """A table to sort and choose from; says ``{"pick": key}``."""

    columns = param.List(doc="Columns: key, name, and whether it is of numbers.")
    items = param.List(doc="Rows: key, colour, cells by column (text, and a number to sort by), pictures.")

    _esm = (ASSETS / "table.js").read_text()
    _stylesheets = [(ASSETS / "table.css").read_text()]  # noqa: RUF012 - Panel's own declaration


class Keep(JSComponent):
    """Findings and the buttons to keep, export, import and share; ``keep.js`` lists what it says."""

    items = param.List(doc="Findings: key, name, note, of.")
    status = param.String(doc="What became of the last wish.")
    file = param.Dict(default={}, doc="A file to download: name, kind, data in base64.")
    shared = param.Dict(default={}, doc="The query of a link to copy.")

    _esm = (ASSETS / "keep.js").read_text()
    _stylesheets = [(ASSETS / "keep.css").read_text()]  # noqa: RUF012 - Panel's own declaration


def current_query() -> str:
    """Return the query of the address that a visitor opened; empty outside a server."""
    return pn.state.location.search if pn.state.location is not None else ""


def current_document() -> Document | None:
    """Return the page that is being made for a visitor, or None outside a server."""
    return pn.state.curdoc if pn.state.curdoc is not None and pn.state.curdoc.session_context else None


def markup(written: str = "", **options: Any) -> pn.pane.HTML:
    """Set markup in the page's type."""
    return pn.pane.HTML(written, stylesheets=[TEXT], margin=0, **options)


def title(name: str) -> pn.pane.HTML:
    """Make a section's title."""
    return markup(f"<h2>{name}</h2>", css_classes=["side-title"], sizing_mode="stretch_width")


def spacer() -> pn.pane.HTML:
    """Fill what is left of a bar."""
    return markup(sizing_mode="stretch_width")


def cover(title: str, said: str) -> str:
    """Return the markup of a notice in place of what cannot be shown."""
    return f"<div class='notice'><h2>{html.escape(title)}</h2><p>{html.escape(said)}</p></div>"


def choice(label: str, **options: Any) -> pn.widgets.Select:
    """Make a drop-down list."""
    return pn.widgets.Select(label=label, stylesheets=[WIDGET], sizing_mode="stretch_width", margin=0, **options)


def compact(label: str, options: Any, value: Any, *, width: int, **more: Any) -> pn.widgets.Select:
    """Make a drop-down list for a bar, with its label for those who cannot see the page."""
    given = {"options": options} if options else {}
    more = {"stylesheets": [WIDGET], "css_classes": ["quiet"], "margin": 0, "align": "center", **more}
    return pn.widgets.Select(label=label, value=value, width=width, **given, **more)


def switch(label: str) -> pn.widgets.Toggle:
    """Make a button that stays pressed."""
    return pn.widgets.Toggle(label=label, stylesheets=[WIDGET], margin=0, align="center")


def button(label: str, **options: Any) -> pn.widgets.Button:
    """Make a button. It has no tooltip: Panel's would lie over the button beside it."""
    return pn.widgets.Button(label=label, stylesheets=[WIDGET], margin=0, align="center", **options)


def one_of(options: Any, **more: Any) -> pn.widgets.RadioButtonGroup:
    """Make buttons of which one is pressed."""
    return pn.widgets.RadioButtonGroup(options=options, stylesheets=[WIDGET], margin=0, align="center", **more)


def some_of(options: Any, **more: Any) -> pn.widgets.CheckButtonGroup:
    """Make buttons of which any can be pressed."""
    return pn.widgets.CheckButtonGroup(options=options, stylesheets=[WIDGET], margin=0, align="center", **more)


def card(*parts: Any, kind: str, row: bool = False, **options: Any) -> pn.Column | pn.Row:
    """Make a surface of the page's grid."""
    layout = pn.Row if row else pn.Column
    return layout(*parts, css_classes=[kind], stylesheets=[CARD], margin=0, **options)


def bind(widget: pn.widgets.Widget, state: param.Parameterized, name: str) -> None:
    """Keep a widget's value and a parameter equal, whichever changes."""
    widget.param.watch(lambda event: setattr(state, name, event.new), "value")
    state.param.watch(lambda event: setattr(widget, "value", event.new), name)


def beside(*parts: Part, sizing_mode: str = "stretch_width") -> Part:
    """Put parts beside each other."""
    return pn.Row(*parts, margin=0, sizing_mode=sizing_mode)


def drawing(figure: Any) -> Part:
    """Show a Bokeh figure in all the space there is."""
    return pn.pane.Bokeh(figure, sizing_mode="stretch_both", margin=0)
