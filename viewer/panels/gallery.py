"""The samples: the selected ones, page by page, as drawings with what is known of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relfunc.schema import ATTRIBUTION, CLASS, INPUT, LABEL, NOISE, PREDICTION, SAMPLE

from ..cache import drawn, recent
from ..draw.forms import form
from ..draw.palette import colour
from ..draw.samples import bound, thumbnails
from ..project.order import ORDERS, ordered
from ..project.outcomes import outcome
from ..project.project import clustering_names
from ..state.view import TROUBLE, Shown, read
from ..widgets import Gallery, bind, button, compact, markup, spacer
from .wiring import Panel, Redraw, Session, requests

PAGE: Final = 48
"""Samples on one page."""


@dataclass(frozen=True, eq=False)
class Drawings:
    """Drawings that the visitor is to see.

    Parameters
    ----------
    shown : Shown
        How samples are drawn.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc`` of those to draw.
    """

    shown: Shown
    rows: NDArray[np.int64]


class Page(NamedTuple):
    """A page of samples, of which ``first`` is the position of the first among ``of`` all."""

    of: int
    first: int
    items: list[dict[str, Any]]
    look: str
    form: str
    kinds: int


class Samples(NamedTuple):
    """The samples, and what lies in the bar above them."""

    gallery: Gallery
    place: Any
    order: Any
    earlier: Any
    later: Any


def build(session: Session, redraw: Redraw) -> Samples:
    """Make an empty gallery and its bar."""
    view = session.view
    gallery, place = Gallery(sizing_mode="stretch_both", margin=0), markup(align="center")
    order = compact("Order of the samples", {called: name for name, called in ORDERS.items()}, view.order, width=150)
    earlier, later = button("Back"), button("Next")
    samples = Samples(gallery, place, order, earlier, later)

    def hang(_: Drawings, made: dict[str, Any]) -> None:
        gallery.pictures = made

    # Drawings are known by how they look, and of use whatever is shown by now.
    draw = requests(session, hung, hang, lambda why: _refuse(samples, why), subject=())
    gallery.on_msg(lambda event: _answer(session, gallery, event.data, draw))
    bind(order, view, "order")
    earlier.on_click(lambda _: setattr(view, "page", max(view.page - 1, 0)))
    later.on_click(lambda _: setattr(view, "page", view.page + 1))
    view.param.watch(lambda event: setattr(gallery, "sampling", event.new), "sampling")
    return samples


def show(samples: Samples, shown: Shown, page: Page) -> None:
    """Show a page of samples, without their drawings, which the browser asks for as they come into view."""
    samples.gallery.notice = ["No samples", "This class is empty: choose another one."]
    samples.gallery.param.update(look=page.look, form=page.form, kinds=page.kinds, items=page.items)
    last = page.first + len(page.items)
    range_ = f"<b>{page.first + 1:,}–{last:,}</b> of {page.of:,}" if page.of else "0"
    samples.place.object = f"<span class='status'>{range_} {'selected' if shown.selected.size else ''}</span>"
    samples.earlier.disabled, samples.later.disabled = page.first == 0, last >= page.of


def clear(samples: Samples, why: str) -> None:
    """Say why there are no samples."""
    samples.place.object = ""
    if why:
        _refuse(samples, why)
        return
    samples.gallery.param.update(notice=["Nothing to show", "Open a project that can be read."], items=[])
    samples.earlier.disabled = samples.later.disabled = True


def _refuse(samples: Samples, why: str) -> None:
    samples.gallery.param.update(notice=["These samples cannot be read", why], items=[])


def _answer(session: Session, gallery: Gallery, message: dict[str, Any], draw: Callable[[Drawings], None]) -> None:
    """Do what the browser asks for: drawings of some rows, a sample in full, or its neighbours."""
    shown = session.shown
    if shown is None or "close" in message:
        gallery.opened = {}
    elif "want" in message:
        draw(Drawings(shown, np.array(message["want"], np.int64)))
    elif "near" in message:
        session.view.param.update(focus=int(message["near"]), order="near", page=0)
        gallery.opened = {}
    else:
        try:
            gallery.opened = enlarged(shown, int(message["open"]))
        except TROUBLE as error:
            gallery.opened = {"title": "This sample cannot be read", "pictures": [], "facts": [["Why", str(error)]]}


def page_of(shown: Shown) -> Page:
    """Put the samples in order and describe those of the page, without their drawings."""
    project, points, selected = shown.project, shown.points, shown.selected
    count = selected.size or points.rows.size
    first = min(shown.page, max(count - 1, 0) // PAGE) * PAGE
    if shown.order == "file":
        positions = selected[first : first + PAGE] if selected.size else np.arange(first, min(first + PAGE, count))
    else:
        chosen = selected if selected.size else np.arange(count)
        # A selection is never written to; kept beside its order, none other can have its number.
        whose = id(selected) if selected.size else "all"
        key = (points, whose, shown.order, shown.focus if shown.order == "near" else None)
        _, chosen = recent(key, lambda: (selected, ordered(project, points, chosen, shown.order, focus=shown.focus)))
        positions = chosen[first : first + PAGE]
    kinds = max(len(shown.kinds), 1) if form(project) == "image" else 1
    return Page(count, first, described(shown, positions, draws=False), look(shown), form(project), kinds)


def look(shown: Shown) -> str:
    """Name how drawings look: two of the same sample and name are the same."""
    scale = shown.category if shown.scale == "shared" else ""
    return " ".join([str(shown.project.path), shown.project.name, shown.cmap, scale, *shown.kinds])


def hung(job: Drawings) -> dict[str, Any]:
    """Draw samples, and say how they look."""
    return {"look": look(job.shown), "drawn": pictures(job)}


def pictures(job: Drawings) -> dict[str, list[tuple[str, str]]]:
    """Draw samples, or take drawings that some session has made lately, by position in ``attributions.nc``."""
    shown, project, rows = job.shown, job.shown.project, job.rows
    rows = rows[(rows >= 0) & (rows < project.attributions.sizes[SAMPLE])]
    most, name = scale_of(shown), look(shown)
    made = drawn(
        [(project, name, row) for row in rows.tolist()],
        lambda at: thumbnails(project, rows[at], kinds=shown.kinds, cmap=shown.cmap, bound=most),
    )
    return {str(row): list(each.items()) for row, each in zip(rows.tolist(), made, strict=True)}


def scale_of(shown: Shown) -> float | None:
    """Return the relevance that the strongest colour stands for, None for each sample's own."""
    project, points = shown.project, shown.points
    return recent((points, "bound"), lambda: bound(project, points.rows)) if shown.scale == "shared" else None


def enlarged(shown: Shown, position: int) -> dict[str, Any]:
    """Describe one sample in full: large pictures, and all that is known of it."""
    project, points = shown.project, shown.points
    row, most = points.rows[[position]], scale_of(shown)
    known, picture = outcome(project, row), thumbnails(project, row, cmap=shown.cmap, bound=most, largest=512)[0]
    output = project.attributions[PREDICTION].isel({SAMPLE: row}).values[0]
    names = project.attributions[CLASS].values.astype(str)
    best = np.argsort(-output, kind="stable")[:5]
    facts = [
        ["Label", known.label[0]],
        ["Prediction", f"{known.prediction[0]} ({known.probability[0]:.1%})"],
        ["Outputs", " · ".join(f"{names[k]} {output[k]:.3g}" for k in best)],
        ["Row in the file", f"{row[0]:,}"],
    ]
    for name in clustering_names(project, shown.category):
        cluster = read(project, shown.category, embedding=None, clustering=name).cluster
        if cluster is not None:
            facts.append([name, "noise" if cluster[position] == NOISE else f"cluster {cluster[position]}"])
    if points.xy is not None:
        facts.append([shown.embedding, f"{points.xy[position, 0]:.4g}, {points.xy[position, 1]:.4g}"])
    told = {PREDICTION, LABEL, INPUT, ATTRIBUTION}
    for name, variable in project.attributions.data_vars.items():
        if name not in told and variable.dims == (SAMPLE,):
            facts.append([str(name).capitalize(), _said(variable.isel({SAMPLE: row}).values[0])])
    return {"key": str(position), "title": str(known.ids[0]), "pictures": list(picture.items()), "facts": facts}


def described(shown: Shown, positions: NDArray[np.int64], *, draws: bool = True) -> list[dict[str, Any]]:
    """Describe some samples: what is known of them, and unless it draws none, their drawings."""
    points = shown.points
    rows = points.rows[positions]
    known = outcome(shown.project, rows)
    drawings = pictures(Drawings(shown, rows)) if draws else {}
    items = []
    for k, position in enumerate(positions.tolist()):
        cluster = None if points.cluster is None else int(points.cluster[position])
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


SAMPLES: Final = Panel(
    name="samples",
    place="below",
    tab="Samples",
    reads=("points", "selected", "page", "kinds", "cmap", "scale", "trouble", "order", "focus"),
    build=build,
    work=page_of,
    show=show,
    clear=clear,
    unseen="works",
    body=lambda samples: (samples.gallery,),
    bar=lambda samples: (samples.place, spacer(), samples.order, samples.earlier, samples.later),
)
