"""Keep and share: the part of the page that names findings, exports, imports, and makes links."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from relfunc.errors import RelfuncError

from .components import Keep, Part
from .export import indices, netcdf, table
from .keep import ViewError, dump, finding, findings, forget, link, linked, load, save
from .project import Held, Project
from .state import KEPT, View, restore


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

    def download(name: str, kind: str, content: bytes) -> str:
        part.file = {"name": name, "kind": kind, "data": base64.b64encode(content).decode()}
        return f"{name} is being downloaded"

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
                return download(f"{stem}.csv", "text/csv", table(project, *chosen()).encode())
            case {"npy": _}:
                return download(f"{stem}.npy", "application/octet-stream", indices(*chosen()))
            case {"json": _}:
                return download(f"{stem}.json", "application/json", json.dumps(dumped(), indent=1).encode())
            case {"nc": _}:
                names = {key: getattr(view, key) for key in ("category", "embedding", "clustering")}
                return download(f"{stem}.nc", "application/x-netcdf", netcdf(project, *chosen(), **names))
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

    part.on_msg(lambda event: said(event.data))

    def remark(*_: Any) -> None:
        part.status = view.remark

    view.param.watch(listed, "project")
    view.param.watch(remark, "remark")
    listed()
    return part
