"""The state of a view, the only thing in the viewer that changes: what is chosen, and which samples are selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import param
from numpy.typing import NDArray

from relfunc.errors import RelfuncError

from ..cache import of, recent
from ..draw import heat
from ..draw.colouring import BY, Colouring, colouring
from ..draw.samples import KINDS
from ..plane.selection import MODES, Mode, combine
from ..project.order import ORDERS
from ..project.project import (
    Failure,
    Opened,
    Points,
    Project,
    ProjectError,
    axes,
    categories,
    clustering_names,
    embedding_names,
    points,
)
from ..project.scores import ranking, score_names
from ..virelay.views import called

NAMES: Final = ("category", "embedding", "clustering", "x", "y")
SECOND: Final = ("second", "second_x", "second_y")
KEPT: Final = (*NAMES, *SECOND, "colour", "cmap", "scale", "sampling", "kinds", "order", "focus", "window", "hidden")
"""What a view that is kept or shared restores, besides the selection."""
SCALES: Final = {"sample": "Each sample's own", "shared": "One for the class"}
"""What the strongest colour of a heatmap stands for, and what that is called."""
SAMPLINGS: Final = {"auto": "Automatic", "smooth": "Smooth", "pixelated": "Pixelated"}
"""Ways to enlarge small pictures, and what they are called."""
UNDONE: Final = 50
"""How many selections can be taken back."""
HEAVIEST: Final = 32 << 20
"""Bytes of selections to take back that are kept, besides the last one."""
TROUBLE: Final = (RelfuncError, OSError, RuntimeError)
"""What is told to the visitor instead of being raised."""


class View(param.Parameterized):
    """What one visitor sees. The page changes it, and redraws what depends on what has changed."""

    project = param.Integer(default=0, bounds=(0, None), doc="Position of the project among those opened.")
    category = param.String(doc="The category, such as a class.")
    embedding = param.String(doc="The embedding; empty if there is none.")
    clustering = param.String(doc="The clustering; empty if there is none.")
    x = param.Integer(default=0, bounds=(0, None), doc="Axis of the embedding that runs to the right.")
    y = param.Integer(default=1, bounds=(0, None), doc="Axis of the embedding that runs upwards.")
    second = param.String(doc="The embedding beside the first; empty for none.")
    second_x = param.Integer(default=0, bounds=(0, None), doc="Its axis that runs to the right.")
    second_y = param.Integer(default=1, bounds=(0, None), doc="Its axis that runs upwards.")
    other = param.ClassSelector(class_=Points, allow_None=True, doc="The samples in the second embedding, read.")
    points = param.ClassSelector(class_=Points, allow_None=True, doc="The category's samples, read; None without any.")
    selected = param.Array(default=np.empty(0, np.int64), doc="Positions in the category, sorted.")
    past = param.List(default=[], doc="Earlier selections, the latest last.")
    hidden = param.List(default=[], item_type=int, doc="Codes of the colours that are not drawn.")
    kinds = param.ListSelector(default=list(KINDS), objects=list(KINDS), doc="Which pictures of a sample are shown.")
    colour = param.Selector(
        default="cluster", objects=list(BY), check_on_set=False, doc="What the colours mean: one of BY, or a score."
    )
    cmap = param.Selector(default="coldnhot", objects=heat.listed(), doc="Colour map of the attributions.")
    scale = param.Selector(default="sample", objects=list(SCALES), doc="What the strongest colour stands for.")
    sampling = param.Selector(default="auto", objects=list(SAMPLINGS), doc="How small pictures are enlarged.")
    panel = param.String(
        default="samples", doc="The panel below the map: one of viewer.panels.table.PANELS that has a tab."
    )
    window = param.Tuple(default=None, length=4, allow_None=True, doc="The part of the plane in view; None for all.")
    order = param.Selector(default="file", objects=list(ORDERS), doc="Which samples come first.")
    focus = param.Integer(default=None, allow_None=True, doc="Position of the sample whose neighbours come first.")
    page = param.Integer(default=0, bounds=(0, None), doc="Page of the samples that is shown.")
    mode = param.Selector(default="replace", objects=list(MODES.values()), doc="What a selection does to the last one.")
    pointed = param.Integer(default=None, allow_None=True, doc="Position of the sample under the pointer.")
    in_view = param.Event(doc="Selects the samples in view of the first map.")
    trouble = param.String(doc="Why the project cannot be shown; empty if it can.")
    remark = param.String(doc="What to tell the visitor; empty for nothing.")
    theme = param.Selector(default="system", objects=["system", "light", "dark"], doc="Colours of the page.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """What a view shows at one moment, where it shows something; unlike the view it stays, so any thread may read it.

    Each value is that of the view's parameter of the same name.
    """

    project: Project
    points: Points
    other: Points | None
    category: str
    embedding: str
    clustering: str
    x: int
    y: int
    second: str
    second_x: int
    second_y: int
    selected: NDArray[np.int64]
    past: list[NDArray[np.int64]]
    hidden: list[int]
    kinds: list[str]
    colour: str
    cmap: str
    scale: str
    order: str
    focus: int | None
    page: int
    pointed: int | None


def current(projects: Sequence[Opened], view: View) -> Shown | None:
    """Return what a view shows; None if there is nothing to show."""
    project = project_of(projects, view)
    if project is None or view.points is None:
        return None
    values = {field.name: getattr(view, field.name) for field in fields(Shown)}
    return Shown(**{**values, "project": project})


def project_of(projects: Sequence[Opened], view: View) -> Project | None:
    """Return the project that is chosen, whether or not it can be shown; None if it could not be opened."""
    project = projects[view.project]
    return None if isinstance(project, Failure) else project


def choose(view: View, project: Project, /, **changes: Any) -> None:
    """Change what is shown, keep of the rest what exists there, and read where its points are.

    Parameters
    ----------
    view : View
        The state to change, in one step.
    project : Project
        Where the choices must exist; that at position ``view.project``, or at ``changes["project"]``.
    **changes
        New values of ``project``, ``category``, ``embedding``, ``clustering``, ``x``, ``y``, and of the second
        embedding and its axes.
    """
    moved = changes.get("project", view.project) != view.project or view.points is None
    wanted = settled(project, **{name: changes.get(name, getattr(view, name)) for name in NAMES})
    moved |= wanted["category"] != view.category
    shown = read(
        project,
        wanted["category"],
        embedding=wanted["embedding"] or None,
        clustering=wanted["clustering"] or None,
        x=wanted["x"],
        y=wanted["y"],
    )
    fresh = {"selected": np.empty(0, np.int64), "past": [], "page": 0, "focus": None} if moved else {}
    unseen = (
        {"hidden": []}
        if moved or (wanted["clustering"], wanted["embedding"]) != (view.clustering, view.embedding)
        else {}
    )
    view.param.update(
        **{"project": changes.get("project", view.project), **wanted, **fresh, **unseen},
        **beside(project, wanted, *(changes.get(name, getattr(view, name)) for name in SECOND)),
        points=shown,
        trouble="",
    )


def beside(project: Project, wanted: Mapping[str, Any], second: str, x: int, y: int) -> dict[str, Any]:
    """Return the parameters of the second embedding, read; none if the category has no such embedding."""
    if second not in embedding_names(project, wanted["category"]):
        return {"second": "", "second_x": 0, "second_y": 1, "other": None}
    x, y = (x, y) if max(x, y) < axes(project, wanted["category"], second) else (0, 1)
    clustering = wanted["clustering"] or None
    other = read(project, wanted["category"], embedding=second, clustering=clustering, x=x, y=y)
    return {"second": second, "second_x": x, "second_y": y, "other": other}


def show(projects: Sequence[Opened], view: View, /, **changes: Any) -> None:
    """Change what is shown; what cannot be read becomes a notice on the page."""
    project = projects[changes.get("project", view.project)]
    try:
        if isinstance(project, Failure):
            raise OSError(project.reason)
        choose(view, project, **changes)
    except TROUBLE as error:
        view.param.update(
            **changes, points=None, other=None, selected=np.empty(0, np.int64), past=[], trouble=str(error)
        )


def restore(projects: Sequence[Opened], view: View, kept: Mapping[str, Any]) -> None:
    """Show what was kept: a view by :func:`viewer.state.findings.load`.

    Raises
    ------
    ProjectError
        If its project is not open.
    """
    names = [project.name if isinstance(project, Project) else "" for project in projects]
    if kept["project"] not in names:
        opened = ", ".join(filter(None, names)) or "none"
        raise ProjectError(f"the view is of project '{kept['project']}', which is not open; open are: {opened}")
    project = projects[names.index(kept["project"])]
    assert isinstance(project, Project)
    if "method" in kept:
        name = called(kept["category"], kept["method"], categories(project), kept["human"])
        kept = {**kept, "category": name}
    wanted = {"second": "", **{name: kept[name] for name in (*NAMES, *SECOND) if name in kept}}
    _check(project, wanted)
    show(projects, view, project=names.index(kept["project"]), **wanted)
    rows = np.empty(0, np.int64) if view.points is None else view.points.rows
    selected = np.flatnonzero(np.isin(rows, kept["rows"])) if "rows" in kept else kept["selected"]
    rest = {name: kept[name] for name in KEPT if name in kept and name not in wanted}
    if rest.get("focus") is not None and rest["focus"] >= rows.size:
        rest["focus"] = None
    view.param.update(**{"hidden": [], **rest}, selected=selected[selected < rows.size], past=[], page=0)


def read(project: Project, category: str, **chosen: Any) -> Points:
    """Read the points of a category, or take those that some session has read lately."""
    return recent((project, category, *sorted(chosen.items())), lambda: points(project, category, **chosen))


def coloured(shown: Shown, view: View) -> Colouring:
    """Colour points, or take the colouring that some session has made; one colour, and a remark, if it fails."""
    project, points = shown.project, shown.points
    try:
        return of(points, shown.colour, lambda: colouring(project, points, shown.colour, shown.category))
    except RelfuncError as error:
        view.remark = str(error)
        return of(points, "", lambda: colouring(project, points, ""))


def settled(project: Project, *, category: str, embedding: str, clustering: str, x: int, y: int) -> dict[str, Any]:
    """Return the choices nearest to those wanted that exist in a project: kept if they do, else the first there is.

    Raises
    ------
    ProjectError
        If the project has no category.
    """
    names = categories(project)
    if not names:
        raise ProjectError(f"{project.path}: no samples: attributions.nc holds none, make it again")
    if not category:
        # A visitor who has chosen nothing starts where there is most to see.
        best = next(iter(score_names(project)), None)
        first = next(iter(ranking(project, best)), None) if best else None
        category, clustering = (first.category, clustering or first.clustering) if first else ("", clustering)
    category = _kept(category, names)
    embedding = _kept(embedding, embedding_names(project, category))
    last = max(axes(project, category, embedding) - 1, 0) if embedding else 0
    x, y = (x, y) if max(x, y) <= last else (0, 1)
    clustering = _kept(clustering, clustering_names(project, category))
    return {"category": category, "embedding": embedding, "clustering": clustering, "x": x, "y": y}


def select(view: View, new: NDArray[np.int64], mode: Mode = "replace") -> None:
    """Change the selection and remember the one before."""
    chosen = combine(view.selected, new, mode)
    if not np.array_equal(chosen, view.selected):
        past = [*view.past, view.selected][-UNDONE:]
        while len(past) > 1 and sum(each.nbytes for each in past) > HEAVIEST:
            past = past[1:]
        view.param.update(selected=chosen, past=past, page=0)


def undo(view: View) -> None:
    """Take the last change of the selection back, if there is one."""
    if view.past:
        view.param.update(selected=view.past[-1], past=view.past[:-1], page=0)


def _check(project: Project, wanted: Mapping[str, Any]) -> None:
    """Raise an error if a category, embedding or clustering is named that does not exist."""
    category = wanted["category"] or next(iter(categories(project)), "")
    known = {"category": categories(project)}
    if category in known["category"]:
        known |= {"embedding": embedding_names(project, category), "clustering": clustering_names(project, category)}
        known |= {"second": known["embedding"]}
    for what, names in known.items():
        if wanted[what] and wanted[what] not in names:
            listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "") or "none"
            raise ProjectError(f"project '{project.name}' has no {what} '{wanted[what]}'; it has: {listed}")


def _kept(name: str, names: tuple[str, ...]) -> str:
    return name if name in names else names[0] if names else ""
