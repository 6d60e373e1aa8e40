"""The legend, to select and hide what has a colour, and the spectrum that the clusters came from."""

import html
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.schema import NOISE

from . import eigen
from .components import Part, Rows, current_document, text, title
from .latest import latest
from .project import Held, Points, Project
from .samples import mean
from .scores import clustering_scores, eigenvalues
from .state import View, coloured, select
from .summary import summaries

JUDGED: Final = 200_000
"""Up to this many samples in a category, predictions are read to judge its clusters."""

Job = tuple[Project, Points, NDArray[np.int64], str]
"""A category of a project, the positions selected in it, and a colour map."""

TITLES = {
    "cluster": "Clusters",
    "label": "Labels",
    "prediction": "Predictions",
    "correctness": "Correctness",
    "probability": "Probability",
    "density": "Density",
}


def clusters(projects: Sequence[Held], view: View) -> tuple[Part, ...]:
    """Make the legend and the spectrum."""
    legend, heading = Rows(hides=True, sizing_mode="stretch_width", margin=0, css_classes=["legend"]), title("")
    spectrum, below = title(""), text(sizing_mode="stretch_width")
    average, pictures = title(""), text(sizing_mode="stretch_width")

    def write(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        if held is None or not isinstance(project, Project):
            heading.object, legend.items = "", []
            spectrum.object = below.object = ""
            return
        colours = coloured(project, view)
        chosen = np.bincount(colours.codes[view.selected], minlength=len(colours.names))
        notes = _notes(project, view)
        scores = clustering_scores(project, view.category, view.clustering) if view.colour == "cluster" else {}
        beside = f" · silhouette {scores['silhouette']:.2g}" if "silhouette" in scores else ""
        name = html.escape(TITLES.get(view.colour, view.colour.capitalize()))
        heading.object = f"<h2>{name}<small>{len(colours.names)}{beside}</small></h2>"
        legend.items = [
            {
                "key": str(k),
                "name": colours.names[k],
                "value": f"{chosen[k]:,} / {count:,}" if 0 < chosen[k] < count else f"{count:,}",
                "colour": colours.colours[k],
                "note": notes.get(colours.names[k]),
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

    def summarise(*_: Any) -> None:
        held, project = view.points, projects[view.project]
        if held is None or not isinstance(project, Project) or not held.rows.size:
            average.object = pictures.object = ""
            return
        ask((project, held, view.selected, view.cmap))

    def work(job: Job) -> tuple[dict[str, str], int] | None:
        project, held, selected, cmap = job
        try:
            return mean(project, held.rows[selected] if selected.size else held.rows, cmap=cmap)
        except (RelfuncError, OSError, RuntimeError):
            return None  # the samples say what is wrong with the file

    def put(job: Job, made: tuple[dict[str, str], int] | None) -> None:
        _, held, selected, _ = job
        if held is not view.points or selected is not view.selected:
            return
        if made is None or not made[0]:
            average.object = pictures.object = ""
            return
        (drawn, count), of = made, selected.size or held.rows.size
        whose = "the selection" if selected.size else "the class"
        some = f" ({count:,} of {of:,})" if count < of else ""
        average.object = f"<h2>Mean<small>of {whose}{some}</small></h2>"
        pictures.object = (
            "<div class='means'>"
            + "".join(
                f"<figure><img src='{source}' alt='mean {kind} of {whose}'><figcaption>{kind}</figcaption></figure>"
                for kind, source in drawn.items()
            )
            + "</div>"
        )

    def said(message: dict[str, str]) -> None:
        project = projects[view.project]
        if view.points is None or not isinstance(project, Project):
            return
        if "pick" in message:
            select(view, np.flatnonzero(coloured(project, view).codes == int(message["pick"])))
        else:
            k = int(message["hide"])
            view.hidden = [h for h in view.hidden if h != k] if k in view.hidden else [*view.hidden, k]

    ask = latest(work, put, current_document())
    legend.on_msg(lambda event: said(event.data))
    view.param.watch(write, ["points", "selected", "hidden", "trouble", "colour"])
    view.param.watch(summarise, ["points", "selected", "cmap", "trouble"])
    write()
    summarise()
    return heading, legend, average, pictures, spectrum, below


def _notes(project: Project, view: View) -> dict[str, str]:
    """Say of each cluster how often the model is right, how far it stands apart, and which label is the commonest."""
    held = view.points
    if held is None or held.cluster is None or view.colour != "cluster" or held.rows.size > JUDGED:
        return {}
    notes = {}
    for k, found in summaries(project, held, view.category, view.clustering).items():
        apart = f" · separability {found.separability:.3g}" if np.isfinite(found.separability) else ""
        mixed = f" · {found.purity:.0%} {found.labels[0][0]}" if found.purity < 1 else ""
        notes["Noise" if k == NOISE else f"Cluster {k}"] = f"{found.accuracy:.0%} correct{apart}{mixed}"
    return notes
