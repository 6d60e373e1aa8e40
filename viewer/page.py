"""The page: the projects it opens, its parts, and the state they share."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import panel as pn

from relfunc.errors import RelfuncError
from relfunc.schema import CLASS, SAMPLE

from .opening import opened, sources
from .panels.display import display
from .panels.table import PANELS
from .panels.wiring import Laid, Panel, Place, Session, wire
from .project.project import Failure, Opened, Project, ProjectError
from .state.findings import linked
from .state.view import View, restore, show
from .widgets import APP, Part, beside, bind, card, current_document, current_query, markup, one_of, switch


def app(paths: str | Path | Sequence[str | Path], *, view: View | None = None) -> pn.viewable.Viewable:
    """Make the viewer of one or more projects.

    Parameters
    ----------
    paths : str, pathlib.Path or sequence of them
        Projects, and folders that hold several: see :func:`viewer.opening.sources`. One that cannot be opened is shown
        with the reason.
    view : View, optional
        The state to start from and to follow; a new one by default.

    Returns
    -------
    panel.viewable.Viewable
        Show it in a notebook, or call its ``servable()``.

    Examples
    --------
    >>> app("no/such/folder").css_classes
    ['relfunc']
    """
    return page([opened(source) for source in sources(paths)], View() if view is None else view)


def page(projects: Sequence[Opened], view: View) -> Part:
    """Lay the page out and keep it in step with the state."""
    if not projects:
        projects = [Failure(Path(), "Name a folder that holds attributions.nc: relfunc view PATH")]
    laid = laid_out(Session(projects, view, current_document()), PANELS)
    maps = beside(*laid["map"].body, sizing_mode="stretch_both")
    body = pn.Column(
        header(projects, view),
        card(*laid["side"].body, kind="side"),
        card(*laid["toolbar"].body, maps, *laid["tip"].body, kind="map"),
        card(*laid["rail"].body, kind="rail"),
        below(view, laid["below"]),
        css_classes=["relfunc"],
        stylesheets=[APP],
        sizing_mode="stretch_both",
        margin=0,
    )

    def follow(*_: Any) -> None:
        body.css_classes = ["relfunc"] if view.theme == "system" else ["relfunc", view.theme]

    view.param.watch(follow, "theme")
    follow()
    show(projects, view, project=view.project if view.project < len(projects) else 0)
    follow_link(projects, view, current_query())
    return body


def laid_out(session: Session, panels: Sequence[Panel[Any, Any, Any]]) -> dict[Place, Laid]:
    """Wire panels, and return what lies in each place."""
    laid = {place: Laid([], []) for place in get_args(Place)}
    for panel in panels:
        wired = wire(panel, session)
        laid[panel.place].body.extend(wired.body)
        laid[panel.place].bar.extend(wired.bar)
    return laid


def below(view: View, laid: Laid) -> Part:
    """Lay out the panels below the map, which take turns, with the choice between them and that of how to draw."""
    tabs = {panel.tab: panel.name for panel in PANELS if panel.tab}
    if view.panel not in tabs.values():
        raise ProjectError(f"no panel '{view.panel}': choose one of {', '.join(tabs.values())}")
    panel = one_of(tabs, value=view.panel)
    bind(panel, view, "panel")
    options, opens = display(view), switch("Display")
    opens.param.watch(lambda event: setattr(options, "visible", event.new), "value")
    bar = card(panel, *laid.bar, opens, kind="bar", row=True, sizing_mode="stretch_width")
    return card(bar, options, *laid.body, kind="samples")


def follow_link(projects: Sequence[Opened], view: View, query: str) -> None:
    """Show what a link names; what cannot be shown becomes a notice on the page."""
    try:
        named = {project.name: project for project in projects if isinstance(project, Project)}
        kept = linked(query, named)
        if kept is not None:
            restore(projects, view, kept)
    except RelfuncError as error:
        view.remark = str(error)


def header(projects: Sequence[Opened], view: View) -> Part:
    """Make the head: the name, the projects to choose from, and the colours of the page."""
    names = [project.name if isinstance(project, Project) else project.path.name or "none" for project in projects]
    tabs = one_of({f"{name}": k for k, name in enumerate(_distinct(names))}, value=view.project)
    tabs.visible = len(projects) > 1
    tabs.param.watch(lambda event: show(projects, view, project=event.new), "value")
    theme = one_of({"Auto": "system", "Light": "light", "Dark": "dark"}, value=view.theme)
    bind(theme, view, "theme")
    about = markup(sizing_mode="stretch_width", align="center")

    def write(*_: Any) -> None:
        project, tabs.value = projects[view.project], view.project
        about.object = f"<h1>relfunc<span>{html.escape(names[view.project])}{_facts(project)}</span></h1>"

    view.param.watch(write, "project")
    write()
    return card(about, tabs, theme, kind="head", row=True)


def _facts(project: Opened) -> str:
    if isinstance(project, Failure):
        return ""
    data = project.attributions
    model = data.attrs.get("model")
    said = [str(model)] if model else []
    said += [f"{data.sizes[SAMPLE]:,} samples", f"{data.sizes[CLASS]:,} classes"]
    return "".join(f" · {html.escape(fact)}" for fact in said)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names, numbered where they occur more than once."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: k + 1].count(name)})" for k, name in enumerate(names)
    ]
