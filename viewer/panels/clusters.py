"""The clusters as a table, with what is typical of each."""

from typing import Any, Final, NamedTuple

import numpy as np

from relfunc.schema import NOISE

from ..draw.palette import colour
from ..draw.summary import Summary, drawings, summaries
from ..state.view import Shown, select
from ..widgets import Table, cover, markup
from .wiring import Panel, Redraw, Session

COLUMNS: Final = [
    {"key": "name", "name": "Cluster"},
    {"key": "size", "name": "Size", "number": True},
    {"key": "accuracy", "name": "Accuracy", "number": True},
    {"key": "purity", "name": "Purity", "number": True},
    {"key": "separability", "name": "Separability", "number": True},
    {"key": "mean", "name": "Mean"},
    {"key": "typical", "name": "Prototypes"},
]


class Clusters(NamedTuple):
    """The table, and what is said in its place."""

    table: Table
    notice: Any


def build(session: Session, redraw: Redraw) -> Clusters:
    """Make an empty table, which selects the cluster that is picked."""
    table = Table(sizing_mode="stretch_both", margin=0, columns=COLUMNS, visible=False)
    table.on_msg(lambda event: _select(session, int(event.data["pick"])))
    return Clusters(table, markup(sizing_mode="stretch_both", css_classes=["sheet"]))


def work(shown: Shown) -> list[dict[str, Any]]:
    """Describe every cluster as a row of the table."""
    known = summaries(shown.project, shown.points, shown.category, shown.clustering)
    pictures = drawings(shown.project, shown.points, shown.cmap) if known else {}
    return [
        {
            "key": str(k),
            "colour": colour(k),
            "cells": {
                "name": ["Noise" if k == NOISE else f"Cluster {k}", k],
                "size": [f"{cluster.size:,}", cluster.size],
                "accuracy": [f"{cluster.accuracy:.0%}", cluster.accuracy],
                "purity": _purity(cluster),
                "separability": _number(cluster.separability),
            },
            "pictures": pictures[k],
        }
        for k, cluster in known.items()
    ]


def show(clusters: Clusters, _: Shown, rows: list[dict[str, Any]]) -> None:
    """Show the rows; without any, say so."""
    if not rows:
        said = "This class has no clustering: choose another one, or run the analysis again."
        _say(clusters, cover("No clusters", said))
        return
    clusters.table.items = rows
    clusters.table.visible, clusters.notice.visible = True, False


def wait(clusters: Clusters, _: Shown) -> None:
    """Say that other clusters are being read."""
    _say(clusters, cover("Reading", "Attributions of the class are being read and averaged."))


def clear(clusters: Clusters, why: str) -> None:
    """Say why there is no table."""
    nothing = cover("Nothing to show", "Open a project that can be read.")
    _say(clusters, cover("This cannot be read", why) if why else nothing)


def _say(clusters: Clusters, said: str) -> None:
    clusters.notice.object, clusters.notice.visible, clusters.table.visible = said, True, False


def _select(session: Session, cluster: int) -> None:
    shown = session.shown
    if shown is not None and shown.points.cluster is not None:
        select(session.view, np.flatnonzero(shown.points.cluster == cluster))


def _purity(cluster: Summary) -> list[Any]:
    return _number(cluster.purity, f"{cluster.purity:.0%} {cluster.labels[0][0]}")


def _number(value: float, said: str = "") -> list[Any]:
    return [said or f"{value:.3g}", value] if np.isfinite(value) else ["–", None]


CLUSTERS: Final = Panel(
    name="clusters",
    place="below",
    tab="Clusters",
    kind="overview",
    reads=("points", "cmap", "trouble"),
    build=build,
    work=work,
    show=show,
    clear=clear,
    wait=wait,
)
