"""The clusters as a table with what is typical of each, and two parts of a category compared."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.schema import NOISE

from .components import Part, Table, card, compact, cover, current_document, text
from .latest import latest
from .palette import colour
from .project import Held, Points, Project
from .selection import invert
from .state import View, select
from .summary import Summary, comparison, drawings, judged, summaries, summary

COLUMNS = [
    {"key": "name", "name": "Cluster"},
    {"key": "size", "name": "Size", "number": True},
    {"key": "accuracy", "name": "Accuracy", "number": True},
    {"key": "purity", "name": "Purity", "number": True},
    {"key": "separability", "name": "Separability", "number": True},
    {"key": "mean", "name": "Mean"},
    {"key": "typical", "name": "Prototypes"},
]
SELECTION, REST, ALL = "Selection", "The rest", "The whole class"


@dataclass(frozen=True, eq=False)
class Wish:
    """What is to be summed up: the clusters, or two parts by their names."""

    project: Project
    points: Points
    view: View
    panel: str
    selected: NDArray[np.int64]
    parts: tuple[str, str]


def overview(projects: Sequence[Held], view: View) -> Part:
    """Show the clusters, or two parts of the category side by side, whichever is chosen."""
    table, sheet = Table(sizing_mode="stretch_both", margin=0), text(sizing_mode="stretch_both", css_classes=["sheet"])
    one, other = (
        compact("First part", [SELECTION], SELECTION, width=168),
        compact("Second part", [REST], REST, width=168),
    )
    versus = card(
        one,
        text("<span class='status'>compared with</span>", align="center"),
        other,
        kind="options",
        row=True,
        sizing_mode="stretch_width",
    )

    shown: list[Any] = []

    def offer() -> None:
        held = view.points
        parts = [] if held is None or held.cluster is None else [_named(int(k)) for k in np.unique(held.cluster)]
        first = [SELECTION, *parts, ALL] if view.selected.size or not parts else [*parts, ALL]
        second = [REST, *first]
        for widget, offered in ((one, first), (other, second)):
            before = list(widget.options)
            if before != offered:
                kept = widget.value in offered and (SELECTION in before or SELECTION not in offered)
                widget.param.update(options=offered, value=widget.value if kept else offered[0])

    def tell(said: str) -> None:
        sheet.object, sheet.visible, table.visible = said, True, False

    def draw(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        versus.visible = view.panel == "compare"
        if held is None or not isinstance(project, Project) or view.panel == "samples":
            tell(cover("Nothing to show", "Open a project that can be read."))
            return
        if view.panel == "compare":
            offer()
        if shown != [held, view.panel]:
            tell(cover("Reading", "Attributions of the class are being read and averaged."))
        shown[:] = [held, view.panel]
        ask(Wish(project, held, view, view.panel, view.selected, (one.value, other.value)))

    def work(wanted: Wish) -> list[dict[str, Any]] | str:
        try:
            return rows(wanted) if wanted.panel == "clusters" else compared(wanted)
        except (RelfuncError, OSError, RuntimeError) as error:
            return cover("This cannot be read", str(error))

    def put(wanted: Wish, made: list[dict[str, Any]] | str) -> None:
        if [wanted.points, wanted.panel] != [view.points, view.panel]:
            return
        if isinstance(made, str):
            tell(made)
        else:
            table.param.update(columns=COLUMNS, items=made)
            table.visible, sheet.visible = True, False

    def picked(message: dict[str, str]) -> None:
        held = view.points
        if held is not None and held.cluster is not None:
            select(view, np.flatnonzero(held.cluster == int(message["pick"])))

    def recoloured(*_: Any) -> None:
        if view.panel == "compare":
            draw()

    ask = latest(work, put, current_document())
    table.on_msg(lambda event: picked(event.data))
    view.param.watch(draw, ["points", "panel", "cmap", "trouble"])
    view.param.watch(recoloured, "selected")
    for widget in (one, other):
        widget.param.watch(recoloured, "value")
    draw()
    return card(versus, table, sheet, kind="overview", sizing_mode="stretch_both")


def rows(wanted: Wish) -> list[dict[str, Any]] | str:
    """Describe every cluster as a row of the table; without any, say so."""
    project, held, view = wanted.project, wanted.points, wanted.view
    known = summaries(project, held, view.category, view.clustering)
    if not known:
        return cover("No clusters", "This class has no clustering: choose another one, or run the analysis again.")
    drawn = drawings(project, held, view.cmap)
    return [
        {
            "key": str(k),
            "colour": colour(k),
            "cells": {
                "name": [_named(k), k],
                "size": [f"{found.size:,}", found.size],
                "accuracy": [f"{found.accuracy:.0%}", found.accuracy],
                "purity": _purity(found),
                "separability": _number(found.separability),
            },
            "pictures": drawn[k],
        }
        for k, found in known.items()
    ]


def compared(wanted: Wish) -> str:
    """Lay two parts of a category side by side, with the difference of their mean attributions between them."""
    project, held = wanted.project, wanted.points
    first = _part(held, wanted.selected, wanted.parts[0])
    rest = wanted.parts[1] == REST
    parts = first, invert(first, held.rows.size) if rest else _part(held, wanted.selected, wanted.parts[1])
    for name, part in zip(wanted.parts, parts, strict=True):
        if not part.size:
            return cover(f"{name} is empty", "Select samples in the map, or choose another part above.")
    known = judged(project, held)
    drawn = comparison(project, held, parts[0], parts[1], wanted.view.cmap)
    difference = (
        f"<figure class='mid'><img alt='difference of the mean attributions' src='{drawn[2]}'>"
        "<figcaption>First − second</figcaption></figure>"
        if drawn[2]
        else "<figure class='mid'></figure>"
    )
    sides = [
        _side(name, summary(project, known, part), pictures)
        for name, part, pictures in zip(wanted.parts, parts, drawn[:2], strict=True)
    ]
    return f"<div class='versus'>{sides[0]}{difference}{sides[1]}</div>"


def _side(name: str, found: Summary, pictures: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(
        f"<figure><img alt='mean {kind} of {html.escape(name)}' src='{source}'>"
        f"<figcaption>Mean {kind}</figcaption></figure>"
        for kind, source in pictures
    )
    facts = [
        ("Samples", f"{found.size:,}"),
        ("Accuracy", f"{found.accuracy:.1%}"),
        ("Mean probability", f"{found.probability:.1%}"),
        ("Labels", _shares(found.labels)),
        ("Predictions", _shares(found.predictions)),
    ]
    said = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in facts)
    return f"<section><h2>{html.escape(name)}</h2><div class='pair'>{drawn}</div><dl>{said}</dl></section>"


def _shares(parts: Sequence[tuple[str, float]]) -> str:
    return " · ".join(f"{html.escape(name)} {share:.0%}" for name, share in parts)


def _part(held: Points, selected: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Positions of a part by its name."""
    if name == SELECTION:
        return selected
    if name == ALL or held.cluster is None:
        return np.arange(held.rows.size)
    return np.flatnonzero(held.cluster == (NOISE if name == _named(NOISE) else int(name.rpartition(" ")[2])))


def _named(cluster: int) -> str:
    return "Noise" if cluster == NOISE else f"Cluster {cluster}"


def _purity(found: Summary) -> list[Any]:
    return _number(found.purity, f"{found.purity:.0%} {found.labels[0][0]}")


def _number(value: float, said: str = "") -> list[Any]:
    return [said or f"{value:.3g}", value] if np.isfinite(value) else ["–", None]
