"""Keep and share: the part of the page that names findings, exports, imports, and makes links."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from relfunc.errors import RelfuncError

from .components import Keep, Part, current_document
from .export import indices, netcdf, table
from .keep import ViewError, dump, finding, findings, forget, link, linked, load, save
from .latest import latest
from .project import Held, Project
from .state import KEPT, View, restore


class File(NamedTuple):
    """A file to download: its name, its type, and what makes its content, beside the page."""

    name: str
    kind: str
    make: Callable[[], bytes]


def share(projects: Sequence[Held], view: View) -> Part:
    """Make the list of findings and the buttons below it."""
    part = Keep(sizing_mode="stretch_width", margin=0)

    def current() -> Project:
        project = projects[view.project]
        if not isinstance(project, Project) or view.points is None:
            raise ViewError("there is nothing to keep: open a project first")
        return project

    def dumped(name: str = "", note: str = "") -> dict[str, Any]:
        state = {key: getattr(view, key) for key in (*KEPT, "selected")}
        return dump(state, project=current().name, name=name, note=note)

    def shown(text: str) -> str:
        if text.lstrip().startswith("{"):
            restore(projects, view, load(text))
            return "Imported"
        named = {project.name: project for project in projects if isinstance(project, Project)}
        kept = linked(text.strip(), named)
        if kept is None:
            raise ViewError("this is neither a view nor a link to one: give a file or link that was made here")
        restore(projects, view, kept)
        return "Opened"

    def chosen() -> Any:
        held = view.points
        assert held is not None
        return held, view.selected if view.selected.size else np.arange(held.rows.size)

    def download(name: str, kind: str, make: Callable[[], bytes]) -> str:
        ask(File(name, kind, make))
        return f"{name} is being made" if document is not None else part.status

    def work(file: File) -> str | RelfuncError | OSError | RuntimeError:
        try:
            return base64.b64encode(file.make()).decode()
        except (RelfuncError, OSError, RuntimeError) as error:
            return error

    def hand(file: File, made: str | Exception) -> None:
        if isinstance(made, Exception):
            part.status = str(made)
            return
        part.file = {"name": file.name, "kind": file.kind, "data": made}
        part.status = f"{file.name} is being downloaded"

    def act(message: dict[str, Any]) -> str:
        project, stem = current(), f"{current().name}-{view.category}"
        match message:
            case {"save": name, **more}:
                save(dumped(str(name).strip() or "Finding", str(more.get("note", "")).strip()), project)
                return "Kept beside the project"
            case {"open": identifier}:
                restore(projects, view, finding(project, str(identifier)))
                return ""
            case {"forget": identifier}:
                forget(project, str(identifier))
                return "Removed"
            case {"csv": _}:
                held = chosen()
                return download(f"{stem}.csv", "text/csv", lambda: table(project, *held).encode())
            case {"npy": _}:
                held = chosen()
                return download(f"{stem}.npy", "application/octet-stream", lambda: indices(*held))
            case {"json": _}:
                text = json.dumps(dumped(), indent=1)
                return download(f"{stem}.json", "application/json", text.encode)
            case {"nc": _}:
                held, names = chosen(), {key: getattr(view, key) for key in ("category", "embedding", "clustering")}
                return download(f"{stem}.nc", "application/x-netcdf", lambda: netcdf(project, *held, **names))
            case {"load": text}:
                return shown(str(text))
            case {"link": _}:
                part.shared = {"query": link(dumped(), project)}
                return "The link is copied"
        raise ViewError("this button does nothing known: reload the page")

    def said(message: dict[str, Any]) -> None:
        part.status = ""  # so that the same answer twice is seen to be a new one
        try:
            part.status = act(message)
        except (RelfuncError, OSError, RuntimeError) as error:
            part.status = str(error)
        listed()

    def listed(*_: Any) -> None:
        project = projects[view.project]
        kept = findings(project) if isinstance(project, Project) else {}
        part.items = [
            {
                "key": key,
                "name": held["name"],
                "note": held["note"],
                "of": f"{held['category']} · {held['selected'].size:,} samples",
            }
            for key, held in kept.items()
        ]

    document = current_document()
    ask = latest(work, hand, document)
    part.on_msg(lambda event: said(event.data))

    def remark(*_: Any) -> None:
        part.status = view.remark

    view.param.watch(listed, "project")
    view.param.watch(remark, "remark")
    listed()
    return part
