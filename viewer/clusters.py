"""The clusters, as a legend to select and hide, and the spectrum they came from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from relfunc.schema import NOISE

from . import eigen
from .components import Part, Rows, card, text, title
from .palette import colour
from .project import Held, Project, eigenvalues
from .state import View, select


def clusters(projects: Sequence[Held], view: View) -> Part:
    """Make the legend and the spectrum."""
    legend, heading = Rows(hides=True, sizing_mode="stretch_width", margin=0), title("Clusters")
    spectrum, below = title("Eigenvalues"), text(sizing_mode="stretch_width")

    def write(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        if held is None or held.cluster is None:
            heading.object, legend.items = "", []
        else:
            values, counts = np.unique(held.cluster, return_counts=True)
            inside = set(np.unique(held.cluster[view.selected]).tolist())
            whole = {k for k in inside if (held.cluster[view.selected] == k).sum() == (held.cluster == k).sum()}
            heading.object = f"<h2>Clusters<small>{(values != NOISE).sum()}</small></h2>"
            legend.items = [
                {
                    "key": str(k),
                    "name": "Noise" if k == NOISE else f"Cluster {k}",
                    "value": f"{count:,}",
                    "colour": colour(k),
                    "share": count / counts.max(),
                    "on": bool(view.selected.size) and k in whole,
                    "off": k in view.hidden,
                    "hint": "Select this cluster",
                }
                for k, count in zip(values.tolist(), counts.tolist(), strict=True)
            ]
        spread = (
            eigenvalues(project, view.category) if isinstance(project, Project) and held is not None else np.empty(0)
        )
        gap = eigen.largest_gap(spread)
        spectrum.object = f"<h2>Eigenvalues<small>largest gap after {gap}</small></h2>" if spread.size else ""
        below.object = eigen.drawing(spread)

    def said(message: dict[str, str]) -> None:
        if view.points is None or view.points.cluster is None:
            return
        if "pick" in message:
            select(view, np.flatnonzero(view.points.cluster == int(message["pick"])))
        else:
            k = int(message["hide"])
            view.hidden = [h for h in view.hidden if h != k] if k in view.hidden else [*view.hidden, k]

    legend.on_msg(lambda event: said(event.data))
    view.param.watch(write, ["points", "selected", "hidden", "trouble"])
    write()
    return card(heading, legend, spectrum, below, kind="rail")
