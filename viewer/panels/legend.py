"""The legend: what the colours of the points mean, to select and hide what has one."""

import html
from typing import Any, Final, NamedTuple

import numpy as np

from relfunc.schema import NOISE

from ..draw.colouring import Colouring
from ..draw.summary import summaries
from ..project.scores import clustering_scores
from ..state.view import Shown, coloured, select
from ..widgets import Rows, title
from .wiring import Panel, Redraw, Session, always

JUDGED: Final = 200_000
"""Up to this many samples in a category, predictions are read to judge its clusters."""

TITLES: Final = {
    "cluster": "Clusters",
    "label": "Labels",
    "prediction": "Predictions",
    "correctness": "Correctness",
    "probability": "Probability",
    "density": "Density",
}


class Legend(NamedTuple):
    """Its parts, and the session they are of."""

    heading: Any
    rows: Rows
    session: Session


def build(session: Session, redraw: Redraw) -> Legend:
    """Make the legend."""
    rows = Rows(hides=True, sizing_mode="stretch_width", margin=0, css_classes=["legend"])
    rows.on_msg(lambda event: _answer(session, event.data))
    return Legend(title(""), rows, session)


def ask(legend: Legend, shown: Shown) -> tuple[Shown, Colouring]:
    """Colour the points."""
    return shown, coloured(shown, legend.session.view)


def work(job: tuple[Shown, Colouring]) -> tuple[str, list[dict[str, Any]]]:
    """Write the heading, and a row for each colour."""
    shown, colours = job
    chosen = np.bincount(colours.codes[shown.selected], minlength=len(colours.names))
    notes = _notes(shown)
    scores = clustering_scores(shown.project, shown.category, shown.clustering) if shown.colour == "cluster" else {}
    beside = f" · silhouette {scores['silhouette']:.2g}" if "silhouette" in scores else ""
    name = html.escape(TITLES.get(shown.colour, shown.colour.capitalize()))
    rows = [
        {
            "key": str(k),
            "name": colours.names[k],
            "value": f"{chosen[k]:,} / {count:,}" if 0 < chosen[k] < count else f"{count:,}",
            "colour": colours.colours[k],
            "note": notes.get(colours.names[k]),
            "share": count / max(colours.counts),
            "on": bool(chosen[k] == count),
            "off": k in shown.hidden,
            "hint": "Select these samples",
        }
        for k, count in enumerate(colours.counts)
    ]
    return f"<h2>{name}<small>{len(colours.names)}{beside}</small></h2>", rows


def show(legend: Legend, _: Any, made: tuple[str, list[dict[str, Any]]]) -> None:
    """Show the heading and the rows."""
    legend.heading.object, legend.rows.items = made


def clear(legend: Legend, why: str) -> None:
    """Show nothing but why."""
    legend.heading.object, legend.rows.items = html.escape(why), []


def _notes(shown: Shown) -> dict[str, str]:
    """Say of each cluster how often the model is right, how far it stands apart, and which label is the commonest."""
    points = shown.points
    if points.cluster is None or shown.colour != "cluster" or points.rows.size > JUDGED:
        return {}
    notes = {}
    for k, cluster in summaries(shown.project, points, shown.category, shown.clustering).items():
        apart = f" · separability {cluster.separability:.3g}" if np.isfinite(cluster.separability) else ""
        mixed = f" · {cluster.purity:.0%} {cluster.labels[0][0]}" if cluster.purity < 1 else ""
        notes["Noise" if k == NOISE else f"Cluster {k}"] = f"{cluster.accuracy:.0%} correct{apart}{mixed}"
    return notes


def _answer(session: Session, message: dict[str, str]) -> None:
    shown, view = session.shown, session.view
    if shown is None:
        return
    if "pick" in message:
        select(view, np.flatnonzero(coloured(shown, view).codes == int(message["pick"])))
    else:
        k = int(message["hide"])
        view.hidden = [h for h in view.hidden if h != k] if k in view.hidden else [*view.hidden, k]


LEGEND: Final = Panel(
    name="legend",
    place="rail",
    reads=("points", "selected", "hidden", "trouble", "colour"),
    build=build,
    ask=ask,
    work=work,
    show=show,
    clear=clear,
    at_once=always,
    body=lambda legend: (legend.heading, legend.rows),
)
