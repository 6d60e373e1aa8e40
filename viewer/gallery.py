"""The samples: the selected ones, page by page, as drawings with what is known of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.schema import ATTRIBUTION, CLASS, INPUT, LABEL, NOISE, PREDICTION, SAMPLE

from . import heat
from .components import (
    Gallery,
    Part,
    bind,
    button,
    card,
    compact,
    current_document,
    one_of,
    some_of,
    switch,
    text,
)
from .forms import form
from .latest import latest
from .order import ORDERS, ordered
from .overview import overview
from .palette import colour
from .project import Failure, Held, Points, Project, clustering_names
from .reading import outcome
from .samples import KINDS, bound, data_uri, thumbnails
from .shared import drawn, recent
from .state import PANELS, SAMPLINGS, SCALES, View, read

PAGE: Final = 48
"""Samples on one page."""
Trouble = (RelfuncError, OSError, RuntimeError)


class Seen(NamedTuple):
    """What of a view tells which samples are shown, and how; unlike the view, it stays."""

    category: str
    selected: NDArray[np.int64]
    page: int
    order: str
    focus: int | None
    kinds: list[str]
    cmap: str
    scale: str


@dataclass(frozen=True, eq=False)
class Wish:
    """A page of samples, or drawings of some of them, that the visitor is to see.

    Parameters
    ----------
    project : Project
        Where they are.
    points : Points
        The samples of the category.
    view : Seen
        How they are shown.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc`` of those to draw.
    """

    project: Project
    points: Points
    view: Seen
    rows: NDArray[np.int64]


def gallery(projects: Sequence[Held], view: View) -> Part:
    """Show the selected samples, or all of the category if none is selected; or its clusters, or two of its parts."""
    shown, place = Gallery(sizing_mode="stretch_both", margin=0), text(align="center")
    earlier, later = button("Back"), button("Next")
    order = compact("Order of the samples", {called: name for name, called in ORDERS.items()}, view.order, width=150)
    panel = one_of({called: name for name, called in PANELS.items()}, value=view.panel)

    def wish(rows: NDArray[np.int64]) -> Wish | None:
        held, project = view.points, projects[view.project]
        return None if held is None or isinstance(project, Failure) else Wish(project, held, seen(view), rows)

    def draw(*_: Any) -> None:
        wanted = wish(np.empty(0, np.int64))
        if wanted is None:
            place.object, shown.items = "", []
            shown.notice = ["Nothing to show", "Open a project that can be read."]
            earlier.disabled = later.disabled = True
            return
        ask_page(wanted)

    def turn(wanted: Wish) -> dict[str, Any] | str:
        try:
            return page_of(wanted)
        except Trouble as error:
            return str(error)

    def put(wanted: Wish, made: dict[str, Any] | str) -> None:
        if wanted.points is not view.points:
            return
        if isinstance(made, str):
            shown.param.update(notice=["These samples cannot be read", made], items=[])
            place.object = ""
            return
        count, first, items = made["count"], made["first"], made["items"]
        shown.notice = ["No samples", "This class is empty: choose another one."]
        shown.param.update(look=made["look"], form=made["form"], kinds=made["kinds"], items=items)
        what, range_ = (
            "selected" if made["selected"] else "",
            f"<b>{first + 1:,}–{first + len(items):,}</b> of {count:,}",
        )
        place.object = f"<span class='status'>{range_ if count else '0'} {what}</span>"
        earlier.disabled, later.disabled = first == 0, first + len(items) >= count

    def paint(wanted: Wish) -> dict[str, Any]:
        try:
            return {"look": look(wanted.project, wanted.view), "drawn": pictures(wanted)}
        except Trouble as error:
            return {"trouble": str(error)}

    def hang(wanted: Wish, made: dict[str, Any]) -> None:
        if "trouble" in made:
            shown.param.update(notice=["These samples cannot be read", made["trouble"]], items=[])
        else:
            shown.pictures = made

    def refocused(*_: Any) -> None:
        if view.order == "near":
            draw()

    def said(message: dict[str, Any]) -> None:
        wanted = wish(np.array(message.get("want", []), np.int64))
        if wanted is None or "close" in message:
            shown.opened = {}
        elif "want" in message:
            ask_pictures(wanted)
        elif "near" in message:
            view.param.update(focus=int(message["near"]), order="near", page=0)
            shown.opened = {}
        else:
            try:
                shown.opened = enlarged(wanted.project, wanted.points, int(message["open"]), view)
            except Trouble as error:
                shown.opened = {"title": "This sample cannot be read", "pictures": [], "facts": [["Why", str(error)]]}

    document = current_document()
    ask_page, ask_pictures = latest(turn, put, document), latest(paint, hang, document)
    shown.on_msg(lambda event: said(event.data))
    bind(order, view, "order")
    bind(panel, view, "panel")
    earlier.on_click(lambda _: setattr(view, "page", max(view.page - 1, 0)))
    later.on_click(lambda _: setattr(view, "page", view.page + 1))
    watched = ["points", "selected", "page", "kinds", "cmap", "scale", "trouble", "order"]
    view.param.watch(draw, watched)
    view.param.watch(refocused, "focus")
    view.param.watch(lambda event: setattr(shown, "sampling", event.new), "sampling")
    options, opens = display(view), switch("Display")
    opens.param.watch(lambda event: setattr(options, "visible", event.new), "value")
    other = overview(projects, view)
    own = (shown, order, place, earlier, later)

    def turned(*_: Any) -> None:
        for part in own:
            part.visible = view.panel == "samples"
        other.visible = view.panel != "samples"

    view.param.watch(turned, "panel")
    turned()
    draw()
    space = text(sizing_mode="stretch_width")
    bar = card(panel, place, space, order, earlier, later, opens, kind="bar", row=True, sizing_mode="stretch_width")
    return card(bar, options, shown, other, kind="samples")


def display(view: View) -> Part:
    """Make the choices of how samples are drawn."""
    kinds = some_of({kind.capitalize(): kind for kind in KINDS}, value=list(view.kinds))
    cmap = compact("Colour map", None, view.cmap, width=136, groups=labelled(heat.names()))
    scale = compact("Strongest colour", {called: name for name, called in SCALES.items()}, view.scale, width=146)
    sampling = compact("Small pictures", {called: name for name, called in SAMPLINGS.items()}, view.sampling, width=104)
    strip = text(align="center")

    def coloured(*_: Any) -> None:
        source = data_uri(heat.strip(view.cmap), 256)
        strip.object = f"<img class='strip' alt='colours of {view.cmap}, from negative to positive' src='{source}'>"

    for widget, name in ((kinds, "kinds"), (cmap, "cmap"), (scale, "scale"), (sampling, "sampling")):
        bind(widget, view, name)
    view.param.watch(coloured, "cmap")
    coloured()
    return card(
        kinds, cmap, strip, scale, sampling, kind="options", row=True, visible=False, sizing_mode="stretch_width"
    )


def labelled(names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return names by group and label; of one that several groups have, the label says which it is.

    Examples
    --------
    >>> labelled({"a": ["jet"], "b": ["b:jet", "b:hot"]})
    {'a': {'jet': 'jet'}, 'b': {'jet (b)': 'b:jet', 'hot': 'b:hot'}}
    """
    taken: set[str] = set()
    groups = {}
    for source, group in names.items():
        short = [name.rpartition(":")[2] for name in group]
        # The browser tells options apart by their label.
        groups[source] = {
            f"{label} ({source})" if label in taken else label: name for label, name in zip(short, group, strict=True)
        }
        taken |= set(short)
    return groups


def page_of(wanted: Wish) -> dict[str, Any]:
    """Put the samples in order and describe those of the page, without their drawings."""
    project, held, view = wanted.project, wanted.points, wanted.view
    selected = view.selected
    count = selected.size or held.rows.size
    first = min(view.page, max(count - 1, 0) // PAGE) * PAGE
    if view.order == "file":
        positions = selected[first : first + PAGE] if selected.size else np.arange(first, min(first + PAGE, count))
    else:
        chosen = selected if selected.size else np.arange(count)
        # A selection is never written to; kept beside its order, none other can have its number.
        whose = id(selected) if selected.size else "all"
        key = (held, whose, view.order, view.focus if view.order == "near" else None)
        _, chosen = recent(key, lambda: (selected, ordered(project, held, chosen, view.order, focus=view.focus)))
        positions = chosen[first : first + PAGE]
    return {
        "count": count,
        "first": first,
        "selected": selected.size > 0,
        "items": described(project, held, positions, view, draws=False),
        "look": look(project, view),
        "form": form(project),
        "kinds": max(len(view.kinds), 1) if form(project) == "image" else 1,
    }


def seen(view: View | Seen) -> Seen:
    """Return what a view shows now."""
    return Seen(*(getattr(view, name) for name in Seen._fields))


def look(project: Project, view: View | Seen) -> str:
    """Name how drawings look: two of the same sample and name are the same."""
    scale = view.category if view.scale == "shared" else ""
    return " ".join([str(project.path), project.name, view.cmap, scale, *view.kinds])


def pictures(wanted: Wish) -> dict[str, list[tuple[str, str]]]:
    """Draw samples, or take drawings that some session has made lately, by position in ``attributions.nc``."""
    project, view, rows = wanted.project, wanted.view, wanted.rows
    rows = rows[(rows >= 0) & (rows < project.attributions.sizes[SAMPLE])]
    most = scale_of(project, wanted.points, view)
    named = look(project, view)
    made = drawn(
        [(project, named, row) for row in rows.tolist()],
        lambda at: thumbnails(project, rows[at], kinds=view.kinds, cmap=view.cmap, bound=most),
    )
    return {str(row): list(each.items()) for row, each in zip(rows.tolist(), made, strict=True)}


def scale_of(project: Project, held: Points, view: View | Seen) -> float | None:
    """Return the relevance that the strongest colour stands for, None for each sample's own."""
    return recent((held, "bound"), lambda: bound(project, held.rows)) if view.scale == "shared" else None


def enlarged(project: Project, held: Points, position: int, view: View) -> dict[str, Any]:
    """Describe one sample in full: large pictures, and all that is known of it."""
    row = held.rows[[position]]
    most = scale_of(project, held, view)
    known, picture = outcome(project, row), thumbnails(project, row, cmap=view.cmap, bound=most, largest=512)[0]
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
    told = {PREDICTION, LABEL, INPUT, ATTRIBUTION}
    for name, variable in project.attributions.data_vars.items():
        if name not in told and variable.dims == (SAMPLE,):
            facts.append([str(name).capitalize(), _said(variable.isel({SAMPLE: row}).values[0])])
    return {"key": str(position), "title": str(known.ids[0]), "pictures": list(picture.items()), "facts": facts}


def described(
    project: Project, held: Points, positions: NDArray[np.int64], view: View | Seen, *, draws: bool = True
) -> list[dict[str, Any]]:
    """Describe some samples: what is known of them, and unless it draws none, their drawings."""
    rows = held.rows[positions]
    known = outcome(project, rows)
    drawings = pictures(Wish(project, held, seen(view), rows)) if draws else {}
    items = []
    for k, position in enumerate(positions.tolist()):
        cluster = None if held.cluster is None else int(held.cluster[position])
        within = "" if cluster is None else "noise" if cluster == NOISE else f"cluster {cluster}"
        says = f"{known.label[k]} → {known.prediction[k]}"
        items.append(
            {
                "key": str(position),
                "row": int(rows[k]),
                "id": str(known.ids[k]),
                "says": says,
                "wrong": not bool(known.correct[k]),
                "colour": None if cluster is None else colour(cluster),
                "title": f"{known.ids[k]} · label {known.label[k]} · predicted {known.prediction[k]} "
                f"({known.probability[k]:.1%}){' · ' + within if within else ''}",
                "sure": f"{known.probability[k]:.0%}",
                "within": within,
                "pictures": drawings.get(str(rows[k]), []),
            }
        )
    return items


def _said(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool | np.bool_) else str(value)
