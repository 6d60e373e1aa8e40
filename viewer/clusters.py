"""The legend, to select and hide what has a colour, and the spectrum that the clusters came from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import eigen
from .components import Part, Rows, card, text, title
from .project import Held, Project, eigenvalues
from .state import View, coloured, select

TITLES = {
    "cluster": "Clusters",
    "label": "Labels",
    "prediction": "Predictions",
    "correctness": "Correctness",
    "probability": "Probability",
    "density": "Density",
}


def clusters(projects: Sequence[Held], view: View) -> Part:
    """Make the legend and the spectrum."""
    legend, heading = Rows(hides=True, sizing_mode="stretch_width", margin=0), title("")
    spectrum, below = title(""), text(sizing_mode="stretch_width")

    def write(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        if held is None or not isinstance(project, Project):
            heading.object, legend.items = "", []
            spectrum.object = below.object = ""
            return
        colours = coloured(project, view)
        chosen = np.bincount(colours.codes[view.selected], minlength=len(colours.names))
        heading.object = f"<h2>{TITLES[view.colour]}<small>{len(colours.names)}</small></h2>"
        legend.items = [
            {
                "key": str(k),
                "name": colours.names[k],
                "value": f"{chosen[k]:,} / {count:,}" if 0 < chosen[k] < count else f"{count:,}",
                "colour": colours.colours[k],
                "share": count / max(colours.counts),
                "on": bool(chosen[k] == count),
                "off": k in view.hidden,
                "hint": "Select these samples",
            }
            for k, count in enumerate(colours.counts)
        ]
        spread = eigenvalues(project, view.category)
        gap = eigen.largest_gap(spread)
        spectrum.object = f"<h2>Eigenvalues<small>largest gap after {gap}</small></h2>" if spread.size else ""
        below.object = eigen.drawing(spread)

    def said(message: dict[str, str]) -> None:
        project = projects[view.project]
        if view.points is None or not isinstance(project, Project):
            return
        if "pick" in message:
            select(view, np.flatnonzero(coloured(project, view).codes == int(message["pick"])))
        else:
            k = int(message["hide"])
            view.hidden = [h for h in view.hidden if h != k] if k in view.hidden else [*view.hidden, k]

    legend.on_msg(lambda event: said(event.data))
    view.param.watch(write, ["points", "selected", "hidden", "trouble", "colour"])
    write()
    return card(heading, legend, spectrum, below, kind="rail")
