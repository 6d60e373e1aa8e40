"""Findings: the part of the page that names and keeps them, exports, imports, and makes links."""

import base64
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..project.export import indices, netcdf, table
from ..project.project import Project
from ..state.findings import ViewError, dump, finding, findings, forget, link, linked, load, save
from ..state.view import KEPT, TROUBLE, Shown, project_of, restore
from ..widgets import Keep
from .wiring import Panel, Redraw, Session, always, requests


class File(NamedTuple):
    """A file to download: its name, its type, and what makes its content, beside the page."""

    name: str
    kind: str
    make: Callable[[], bytes]


def build(session: Session, redraw: Redraw) -> tuple[Keep]:
    """Make the list of findings and the buttons below it."""
    part = Keep(sizing_mode="stretch_width", margin=0)

    def fail(why: str) -> None:
        part.status = why

    def hand(file: File, content: str) -> None:
        part.file = {"name": file.name, "kind": file.kind, "data": content}
        part.status = f"{file.name} is being downloaded"

    def answer(message: dict[str, Any]) -> None:
        part.status = ""  # so that the same answer twice is seen to be a new one
        try:
            made = act(session, message)
            if isinstance(made, File):
                part.status = f"{made.name} is being made"
                download(made)
            elif isinstance(made, dict):
                part.shared, part.status = made, "The link is copied"
            else:
                part.status = made
        except TROUBLE as error:
            part.status = str(error)
        redraw()

    download = requests(session, lambda file: base64.b64encode(file.make()).decode(), hand, fail, subject=())
    part.on_msg(lambda event: answer(event.data))
    session.view.param.watch(lambda event: fail(event.new), "remark")
    return (part,)


def act(session: Session, message: dict[str, Any]) -> str | File | dict[str, str]:
    """Do what a button says.

    Returns
    -------
    str, File or dict
        What to tell the visitor, what to let him download, or the query of a link to copy.

    Raises
    ------
    ViewError
        If there is nothing to keep or share, or what is given is no view.
    """
    shown, view = session.shown, session.view
    if shown is None:
        raise ViewError("there is nothing to keep: open a project first")
    project = shown.project
    match message:
        case {"save": name, **more}:
            named = str(name).strip() or "Finding"
            save(_dumped(session, project, named, str(more.get("note", "")).strip()), project)
            return "Kept beside the project"
        case {"open": identifier}:
            restore(session.projects, view, finding(project, str(identifier)))
            return ""
        case {"forget": identifier}:
            forget(project, str(identifier))
            return "Removed"
        case {"load": text}:
            return _imported(session, str(text))
        case {"link": _}:
            return {"query": link(_dumped(session, project), project)}
        case {"csv": _} | {"npy": _} | {"nc": _} | {"json": _}:
            return _file(session, shown, next(iter(message)))
    raise ViewError("this button does nothing known: reload the page")


def _file(session: Session, shown: Shown, suffix: str) -> File:
    """Return what is exported under a suffix: the selected samples, or all if none is, or the view."""
    text = json.dumps(_dumped(session, shown.project), indent=1) if suffix == "json" else ""
    kind, make = {
        "csv": ("text/csv", lambda: table(shown.project, shown.points, _chosen(shown)).encode()),
        "npy": ("application/octet-stream", lambda: indices(shown.points, _chosen(shown))),
        "json": ("application/json", text.encode),
        "nc": ("application/x-netcdf", lambda: _samples(shown)),
    }[suffix]
    return File(f"{shown.project.name}-{shown.category}.{suffix}", kind, make)


def _samples(shown: Shown) -> bytes:
    names = {"category": shown.category, "embedding": shown.embedding, "clustering": shown.clustering}
    return netcdf(shown.project, shown.points, _chosen(shown), **names)


def _chosen(shown: Shown) -> NDArray[np.int64]:
    return shown.selected if shown.selected.size else np.arange(shown.points.rows.size)


def _dumped(session: Session, project: Project, name: str = "", note: str = "") -> dict[str, Any]:
    state = {key: getattr(session.view, key) for key in (*KEPT, "selected")}
    return dump(state, project=project.name, name=name, note=note)


def _imported(session: Session, text: str) -> str:
    """Show what a file or a link says."""
    if text.lstrip().startswith("{"):
        restore(session.projects, session.view, load(text))
        return "Imported"
    named = {project.name: project for project in session.projects if isinstance(project, Project)}
    kept = linked(text.strip(), named)
    if kept is None:
        raise ViewError("this is neither a view nor a link to one: give a file or link that was made here")
    restore(session.projects, session.view, kept)
    return "Opened"


def show(parts: tuple[Keep], _: Project, kept: dict[str, dict[str, Any]]) -> None:
    """List the findings."""
    parts[0].items = [
        {
            "key": key,
            "name": view["name"],
            "note": view["note"],
            "of": f"{view['category']} · {view['selected'].size:,} samples",
        }
        for key, view in kept.items()
    ]


def clear(parts: tuple[Keep], why: str) -> None:
    """List no findings, and say why."""
    parts[0].items = []
    parts[0].status = why or parts[0].status


FINDINGS: Final = Panel(
    name="findings",
    place="rail",
    reads=("project",),
    build=build,
    given=project_of,
    work=findings,
    show=show,
    clear=clear,
    subject=(),
    at_once=always,
)
