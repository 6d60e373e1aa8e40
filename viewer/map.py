"""The map: the embedding, a second one beside it, the ways to select in both, and what is under the pointer."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from .components import Part, Preview, beside, button, card, choice, cover, one_of, text
from .pane import pane
from .project import Held, Project, axes, embedding_names
from .selection import invert
from .state import View, select, show, undo


def scatter(projects: Sequence[Held], view: View) -> Part:
    """Make the map and its ways to select."""
    preview, heading = Preview(), text(sizing_mode="stretch_width", align="center")
    mode = one_of({"New": "replace", "Add": "add", "Subtract": "subtract"}, value="replace")
    within, others, back, clear = map(button, ("In view", "Invert", "Undo", "Clear"))
    first = pane(projects, view, preview, lambda: mode.value, lambda: _notice(projects[view.project], view))
    picks = {
        name: choice(label, css_classes=["quiet"])
        for name, label in (("second", "Second embedding"), ("second_x", "Its X axis"), ("second_y", "Its Y axis"))
    }
    aside = card(kind="second", visible=False)

    def offer(*_: Any) -> None:
        project, names, dims = projects[view.project], (), 0
        if isinstance(project, Project) and view.points is not None:
            names = embedding_names(project, view.category)
            dims = axes(project, view.category, view.second) if view.second else 0
        picks["second"].param.update(
            options={"One map": "", **{f"and {name}": name for name in names}}, value=view.second
        )
        picks["second"].visible = len(names) > 0
        for name in ("x", "y"):
            options = {f"{name} {axis + 1}": axis for axis in range(dims)}
            picks[f"second_{name}"].param.update(
                options=options, value=getattr(view, f"second_{name}") if dims else None
            )
            picks[f"second_{name}"].visible = dims > 2
        if view.other is not None and not len(aside):
            # A figure costs the browser time even where it is not seen.
            second = pane(projects, view, preview, lambda: mode.value, lambda: "", second=True)
            aside.extend([second.part, second.notice])
        aside.visible = view.other is not None

    def chosen(name: str, value: Any) -> None:
        if value is not None and value != getattr(view, name):
            show(projects, view, **{name: value})

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

    for name, widget in picks.items():
        widget.param.update(sizing_mode=None, width=132 if name == "second" else 74, align="center")
        widget.param.watch(lambda event, name=name: chosen(name, event.new), "value")
    within.on_click(lambda _: first.in_view())
    others.on_click(inverted)
    back.on_click(lambda _: undo(view))
    preview.on_msg(lambda _: select(view, np.empty(0, np.int64)))
    clear.on_click(lambda _: select(view, np.empty(0, np.int64)))
    view.param.watch(write, ["points", "selected"])
    view.param.watch(offer, ["points", "other", "trouble"])
    write()
    offer()
    bar = card(
        heading, *picks.values(), mode, within, others, back, clear, kind="bar", row=True, sizing_mode="stretch_width"
    )
    maps = beside(card(first.part, first.notice, kind="first"), aside, sizing_mode="stretch_both")
    return card(bar, maps, preview, kind="map")


def _notice(project: Held, view: View) -> str:
    if view.trouble:
        return cover("This project cannot be shown", view.trouble)
    if isinstance(project, Project) and project.analysis is None:
        said = f"{project.path} holds attributions but no analysis.nc."
        return cover("No analysis yet", f"{said} Run an analysis to see its clusters; the samples are below.")
    said = f"The category {view.category} has no embedding. Choose another one, or run the analysis again."
    return cover("Nothing to draw", said)
