"""Round the maps: the bar with the ways to select and the second embedding, and the sample under the pointer."""

import html
from typing import Any, Final, NamedTuple

import numpy as np

from ..plane.selection import MODES, invert
from ..project.project import axes, embedding_names
from ..state.view import Shown, select, show, undo
from ..widgets import Part, Preview, bind, button, card, choice, markup, one_of
from .gallery import described
from .wiring import Panel, Redraw, Session, always


class Bar(NamedTuple):
    """The bar above the maps: its card, what is said of the selection, the second embedding, and two buttons."""

    card: Part
    heading: Any
    picks: dict[str, Any]
    back: Any
    clear: Any


class Offer(NamedTuple):
    """The embeddings to lie beside the first, and how many axes the one that does has."""

    names: tuple[str, ...]
    dims: int


def build_bar(session: Session, redraw: Redraw) -> Bar:
    """Make the bar above the maps."""
    view = session.view
    heading = markup(sizing_mode="stretch_width", align="center")
    picks = {
        name: choice(label, css_classes=["quiet"])
        for name, label in (("second", "Second embedding"), ("second_x", "Its X axis"), ("second_y", "Its Y axis"))
    }
    for name, widget in picks.items():
        widget.param.update(sizing_mode=None, width=132 if name == "second" else 74, align="center")
        widget.param.watch(lambda event, name=name: _chosen(session, name, event.new), "value")
    mode = one_of(dict(MODES), value=view.mode)
    bind(mode, view, "mode")
    within, others, back, clear = map(button, ("In view", "Invert", "Undo", "Clear"))
    within.on_click(lambda _: setattr(view, "in_view", True))
    others.on_click(lambda _: _invert(session))
    back.on_click(lambda _: undo(view))
    clear.on_click(lambda _: select(view, np.empty(0, np.int64)))
    parts = heading, *picks.values(), mode, within, others, back, clear
    return Bar(card(*parts, kind="bar", row=True, sizing_mode="stretch_width"), heading, picks, back, clear)


def offered(shown: Shown) -> Offer:
    """Find the embeddings that can lie beside the first."""
    names = embedding_names(shown.project, shown.category)
    return Offer(names, axes(shown.project, shown.category, shown.second) if shown.second else 0)


def show_bar(bar: Bar, shown: Shown, offer: Offer) -> None:
    """Say how many samples are selected, and offer what can lie beside them."""
    points, selected = shown.points, shown.selected.size
    lost = int((~points.drawn).sum()) if points.xy is not None else 0
    said = f"{selected:,} of {points.rows.size:,} selected" if selected else f"{points.rows.size:,} samples"
    said += f" · {lost:,} without a position" if lost else ""
    bar.heading.object = f"<h2>{html.escape(shown.embedding or shown.category)}<small class='count'>{said}</small></h2>"
    bar.back.disabled, bar.clear.disabled = not shown.past, not selected
    _offer(bar, offer, {"second": shown.second, "second_x": shown.second_x, "second_y": shown.second_y})


def clear_bar(bar: Bar, why: str) -> None:
    """Say and offer nothing but why."""
    bar.heading.object = f"<h2><small class='count'>{html.escape(why)}</small></h2>" if why else ""
    _offer(bar, Offer((), 0), {"second": ""})


def _offer(bar: Bar, offer: Offer, chosen: dict[str, Any]) -> None:
    second = bar.picks["second"]
    second.param.update(
        options={"One map": "", **{f"and {name}": name for name in offer.names}}, value=chosen["second"]
    )
    second.visible = len(offer.names) > 0
    for name in ("x", "y"):
        options = {f"{name} {axis + 1}": axis for axis in range(offer.dims)}
        widget = bar.picks[f"second_{name}"]
        widget.param.update(options=options, value=chosen[f"second_{name}"] if offer.dims else None)
        widget.visible = offer.dims > 2


def _chosen(session: Session, name: str, value: Any) -> None:
    if value is not None and value != getattr(session.view, name):
        show(session.projects, session.view, **{name: value})


def _invert(session: Session) -> None:
    shown = session.shown
    if shown is not None:
        select(session.view, invert(shown.selected, shown.points.rows.size))


def build_preview(session: Session, redraw: Redraw) -> tuple[Preview]:
    """Make the place where the sample under the pointer is shown."""
    preview = Preview()
    preview.on_msg(lambda _: select(session.view, np.empty(0, np.int64)))
    return (preview,)


def describe_pointed(shown: Shown) -> dict[str, Any]:
    """Describe the sample under the pointer, of the first embedding, in whose coordinates a sample is described."""
    return described(shown, np.array([shown.pointed]))[0]


def show_preview(parts: tuple[Preview], _: Shown, item: dict[str, Any]) -> None:
    """Show the sample under the pointer."""
    parts[0].item = item


def clear_preview(parts: tuple[Preview], _: str) -> None:
    """Show no sample: what is wrong with a file is said below, and a pointer that moves need not say it again."""
    parts[0].item = {}


BAR: Final = Panel(
    name="bar",
    place="toolbar",
    reads=("points", "selected", "past", "other", "trouble"),
    build=build_bar,
    work=offered,
    show=show_bar,
    clear=clear_bar,
    at_once=always,
    body=lambda bar: (bar.card,),
)
PREVIEW: Final = Panel(
    name="preview",
    place="tip",
    reads=("pointed",),
    build=build_preview,
    ask=lambda _, shown: None if shown.pointed is None else shown,
    work=describe_pointed,
    show=show_preview,
    clear=clear_preview,
    at_once=always,
)
