"""The samples: the selected ones, page by page, as pictures with what is known of each."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.schema import CLASS, NOISE, PREDICTION, SAMPLE

from .components import Gallery, Part, bind, button, card, choice, some_of, text
from .order import ORDERS, ordered
from .palette import colour
from .project import Failure, Held, Points, Project, clustering_names, outcome
from .samples import KINDS, thumbnails
from .state import View, read

PAGE: Final = 48
"""Samples on one page."""


def gallery(projects: Sequence[Held], view: View) -> Part:
    """Show the selected samples, or all of the category if none is selected."""
    heading, shown = text(sizing_mode="stretch_width", align="center"), Gallery(sizing_mode="stretch_both", margin=0)
    kinds = some_of({kind.capitalize(): kind for kind in KINDS}, value=list(view.kinds))
    earlier, later = button("Back"), button("Next")
    place = text(align="center")
    order = choice("", options={called: name for name, called in ORDERS.items()}, value=view.order)
    order.param.update(sizing_mode=None, width=168, align="center")

    def draw(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        if held is None or isinstance(project, Failure):
            heading.object, place.object, shown.items = "<h2>Samples</h2>", "", []
            shown.notice = ["Nothing to show", "Open a project that can be read."]
            return
        chosen = view.selected if view.selected.size else np.arange(held.rows.size)
        first = view.page * PAGE
        try:
            chosen = ordered(project, held, chosen, view.order, focus=view.focus)
            positions = chosen[first : first + PAGE]
            shown.items = described(project, held, positions, view)
        except (RelfuncError, OSError, RuntimeError) as error:
            positions = chosen[:0]
            shown.notice = ["These samples cannot be read", str(error)]
            shown.items = []
        # After the samples, so that what is said is never of samples that are not there yet.
        what = "selected" if view.selected.size else "in this class"
        heading.object = f"<h2>Samples<small>{chosen.size:,} {what}</small></h2>"
        place.object = f"<span class='status'>{first + 1:,}–{first + positions.size:,} of {chosen.size:,}</span>"
        earlier.disabled, later.disabled = first == 0, first + positions.size >= chosen.size

    def refocused(*_: Any) -> None:
        if view.order == "near":
            draw()

    def said(message: dict[str, Any]) -> None:
        held, project = view.points, projects[view.project]
        if held is None or isinstance(project, Failure) or "close" in message:
            shown.opened = {}
            return
        if "near" in message:
            view.param.update(focus=int(message["near"]), order="near", page=0)
            shown.opened = {}
            return
        position = int(message["open"])
        try:
            shown.opened = enlarged(project, held, position, view)
        except (RelfuncError, OSError, RuntimeError) as error:
            shown.opened = {"title": "This sample cannot be read", "pictures": [], "facts": [["Why", str(error)]]}

    shown.on_msg(lambda event: said(event.data))
    bind(order, view, "order")
    bind(kinds, view, "kinds")
    earlier.on_click(lambda _: setattr(view, "page", max(view.page - 1, 0)))
    later.on_click(lambda _: setattr(view, "page", view.page + 1))
    view.param.watch(draw, ["points", "selected", "page", "kinds", "cmap", "trouble", "order"])
    view.param.watch(refocused, "focus")
    draw()
    bar = card(heading, order, kinds, place, earlier, later, kind="bar", row=True, sizing_mode="stretch_width")
    return card(bar, shown, kind="samples")


def enlarged(project: Project, held: Points, position: int, view: View) -> dict[str, Any]:
    """Describe one sample in full: large pictures, and all that is known of it."""
    row = held.rows[[position]]
    known, picture = outcome(project, row), thumbnails(project, row, cmap=view.cmap, largest=512)[0]
    output = project.attributions[PREDICTION].isel({SAMPLE: row}).values[0]
    names = project.attributions[CLASS].values.astype(str)
    best = np.argsort(-output, kind="stable")[:5]
    facts = [
        ["Label", known.label[0]],
        ["Prediction", f"{known.prediction[0]} ({known.probability[0]:.1%})"],
        ["Outputs", " · ".join(f"{names[k]} {output[k]:.3g}" for k in best)],
        ["Row in the file", f"{row[0]:,}"],
    ]
    for name in clustering_names(project, view.category):
        cluster = read(project, view.category, embedding=None, clustering=name).cluster
        if cluster is not None:
            facts.append([name, "noise" if cluster[position] == NOISE else f"cluster {cluster[position]}"])
    if held.xy is not None:
        facts.append([view.embedding, f"{held.xy[position, 0]:.4g}, {held.xy[position, 1]:.4g}"])
    return {"key": str(position), "title": str(known.ids[0]), "pictures": list(picture.items()), "facts": facts}


def described(project: Project, held: Points, positions: NDArray[np.int64], view: View) -> list[dict[str, Any]]:
    """Describe some samples: their pictures, and what is known of them."""
    rows = held.rows[positions]
    known = outcome(project, rows)
    pictures = thumbnails(project, rows, kinds=view.kinds, cmap=view.cmap)
    items = []
    for k, position in enumerate(positions.tolist()):
        cluster = None if held.cluster is None else int(held.cluster[position])
        within = "" if cluster is None else "noise" if cluster == NOISE else f"cluster {cluster}"
        says = f"{known.label[k]} → {known.prediction[k]}"
        items.append(
            {
                "key": str(position),
                "id": str(known.ids[k]),
                "says": says,
                "wrong": not bool(known.correct[k]),
                "colour": None if cluster is None else colour(cluster),
                "title": f"{known.ids[k]} · label {known.label[k]} · predicted {known.prediction[k]} "
                f"({known.probability[k]:.1%}){' · ' + within if within else ''}",
                "sure": f"{known.probability[k]:.0%}",
                "within": within,
                "pictures": list(pictures[k].items()),
            }
        )
    return items
