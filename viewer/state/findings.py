"""What is kept and shared: a view as JSON and as a link, findings as files beside the project, selections as tables."""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import numpy as np
from numpy.typing import NDArray

from relfunc.files.netcdf import replacing

from ..draw import heat
from ..draw.colouring import BY, SCORE
from ..draw.samples import KINDS
from ..project.order import ORDERS
from ..project.project import Project
from ..virelay.views import ViewError, asked_for, exported, text_of

VERSION: Final = 1
FINDINGS: Final = "findings"
"""The folder, in the project's own, that holds one file for each finding."""
LONGEST: Final = 1800
"""Longest query of a link, in characters; a selection that needs more is stored."""
LARGEST: Final = 64 << 20
"""Largest view that is unpacked, in bytes."""
MISSING: Final = object()
"""Stands for what a view does not say."""
Reader = Callable[[dict[str, Any], str], Any]


def dump(state: Mapping[str, Any], *, project: str, name: str = "", note: str = "") -> dict[str, Any]:
    """Return a view as plain values, for JSON.

    Parameters
    ----------
    state : mapping
        What :data:`READERS` lists, and ``selected``.
    project : str
        The project's name.
    name, note : str
        What was found.
    """
    kept = {key: list(state[key]) if isinstance(state[key], list | tuple) else state[key] for key in READERS}
    return {"relfunc": VERSION, "project": project, "name": name, "note": note, **kept} | {
        "selected": packed(state["selected"])
    }


def load(text: str | bytes) -> dict[str, Any]:
    """Read what :func:`dump` gave, or a view that ViRelAy exported.

    What is not there, and unknown names of colours and the like, are left out, so that a default takes over.

    Returns
    -------
    dict
        The keys of ``state`` in :func:`dump`, with ``project``, ``name`` and ``note``; of a view of ViRelAy, ``rows``
        in place of ``selected``.

    Raises
    ------
    ViewError
        If it is not JSON, not a view, or of a wrong type somewhere.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ViewError(f"this is not JSON ({error}): give a view that was exported here") from error
    if isinstance(content, dict) and "selectedAnalysisCategory" in content:
        return exported(content)
    if not isinstance(content, dict) or content.get("relfunc") != VERSION:
        raise ViewError(f"this is no view of version {VERSION}: give a file that was exported here")
    read: dict[str, Any] = {key: text_of(content, key) for key in ("project", "name", "note")}
    for key, reader in READERS.items():
        if (value := reader(content, key)) is not MISSING:
            read[key] = value
    return {**read, "selected": unpacked(text_of(content, "selected"))}


def packed(positions: NDArray[np.int64]) -> str:
    """Return positions as a short text; neighbours take next to nothing.

    Examples
    --------
    >>> unpacked(packed(np.array([3, 4, 9]))).tolist()
    [3, 4, 9]
    """
    steps = np.diff(positions, prepend=0).astype("<i4")
    return base64.urlsafe_b64encode(zlib.compress(steps.tobytes(), 9)).decode().rstrip("=")


def unpacked(text: str) -> NDArray[np.int64]:
    """Return the positions of a text by :func:`packed`.

    Raises
    ------
    ViewError
        If it is no such text.
    """
    steps = _unzipped(text)
    if len(steps) % 4:
        raise ViewError("the selection is cut short: copy the whole of it")
    positions = np.cumsum(np.frombuffer(steps, "<i4"), dtype=np.int64)
    if positions.size and (positions[0] < 0 or (np.diff(positions) <= 0).any()):
        raise ViewError("the selection is not in order: it was changed after it was exported")
    return positions


def link(view: Mapping[str, Any], project: Project) -> str:
    """Return a view as the query of a link; one with a large selection is stored beside the project, and named by it.

    Raises
    ------
    ViewError
        If it must be stored and the project's folder cannot be written.
    """
    text = json.dumps(view, separators=(",", ":"))
    short = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    if len(short) <= LONGEST:
        return urlencode({"view": short})
    return urlencode({"project": view["project"], "finding": save(view, project)})


def linked(query: str, projects: Mapping[str, Project]) -> dict[str, Any] | None:
    """Return the view that a link names, or None if it names none.

    Parameters
    ----------
    query : str
        A link's query, or the whole link; one of ViRelAy's too.
    projects : mapping
        The projects that are open, by name.

    Raises
    ------
    ViewError
        If the view or finding cannot be read.
    """
    path, mark, after = query.partition("?")
    asked = {key: values[0] for key, values in parse_qs(after if mark else path).items()}
    if "view" in asked:
        return load(_unzipped(asked["view"]))
    if "analysisCategory" in asked or "analysisMethod" in asked:
        return asked_for(path, asked, list(projects))
    if "finding" not in asked:
        return None
    name = asked.get("project", "")
    if name not in projects:
        raise ViewError(f"the link is to the project '{name}', which is not open: start the viewer with it")
    return finding(projects[name], asked["finding"])


def save(view: Mapping[str, Any], project: Project) -> str:
    """Store a view as a finding and return its identifier, which depends on its content alone.

    Raises
    ------
    ViewError
        If the project's folder cannot be written.
    """
    text = json.dumps(view, indent=1, sort_keys=True)
    identifier = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        with replacing(_folder(project) / f"{identifier}.json") as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ViewError(f"the finding cannot be stored ({error}): make {_folder(project)} writable") from error
    return identifier


def findings(project: Project) -> dict[str, dict[str, Any]]:
    """Return the named findings of a project by identifier, sorted by name; unreadable ones are left out."""
    found = {}
    for path in sorted(_folder(project).glob("*.json")) if _folder(project).is_dir() else ():
        try:
            view = finding(project, path.stem)
        except ViewError:
            continue
        if view["name"]:
            found[path.stem] = view
    return dict(sorted(found.items(), key=lambda item: item[1]["name"]))


def finding(project: Project, identifier: str) -> dict[str, Any]:
    """Read one finding.

    Raises
    ------
    ViewError
        If there is none of that identifier, or it cannot be read.
    """
    if not identifier.isalnum():
        raise ViewError(f"'{identifier}' is no finding: identifiers are letters and digits")
    try:
        return load((_folder(project) / f"{identifier}.json").read_bytes())
    except OSError as error:
        raise ViewError(f"the project '{project.name}' has no finding '{identifier}': was it removed?") from error


def forget(project: Project, identifier: str) -> None:
    """Remove a finding, if it is there."""
    if identifier.isalnum():
        (_folder(project) / f"{identifier}.json").unlink(missing_ok=True)


def _folder(project: Project) -> Path:
    return project.path / FINDINGS


def _unzipped(text: str) -> bytes:
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), LARGEST)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ViewError(f"the link or selection is damaged ({error}): copy the whole of it") from error
    if not inflater.eof:
        raise ViewError("the link or selection is cut short, or too large: copy the whole of it")
    return content


def _axis(content: dict[str, Any], key: str) -> int:
    value = content.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ViewError(f"'{key}' is {value!r}, not the number of an axis: give a file that was exported here")
    return value


def _window(content: dict[str, Any], key: str) -> tuple[float, ...] | None:
    value = content.get(key)
    if value is None:
        return None
    try:
        x0, x1, y0, y1 = (float(corner) for corner in value)
    except (TypeError, ValueError) as error:
        raise ViewError(f"'window' is {value!r}, not four numbers: give a file that was exported here") from error
    if not (np.isfinite([x0, x1, y0, y1]).all() and x0 < x1 and y0 < y1):
        raise ViewError(f"'window' is {value!r}, which holds nothing: give a file that was exported here")
    return x0, x1, y0, y1


def _colour(content: dict[str, Any], key: str) -> Any:
    value = text_of(content, key)
    return value if value in BY or value.startswith(SCORE) else MISSING


def _one_of(known: Collection[str]) -> Reader:
    def read(content: dict[str, Any], key: str) -> Any:
        value = text_of(content, key)
        return value if value in known else MISSING

    return read


def _some_of(known: tuple[str, ...]) -> Reader:
    def read(content: dict[str, Any], key: str) -> Any:
        value = content.get(key)
        return [name for name in value if name in known] if isinstance(value, list) else MISSING

    return read


def _numbers(content: dict[str, Any], key: str) -> Any:
    value = content.get(key)
    return [k for k in value if isinstance(k, int) and k >= 0] if isinstance(value, list) else MISSING


def _number(content: dict[str, Any], key: str) -> Any:
    value = content.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


READERS: Final[dict[str, Reader]] = {
    "category": text_of,
    "embedding": text_of,
    "clustering": text_of,
    "x": _axis,
    "y": _axis,
    "second": text_of,
    "second_x": _axis,
    "second_y": _axis,
    "colour": _colour,
    "cmap": _one_of(heat.listed()),
    "scale": _one_of(("sample", "shared")),
    "sampling": _one_of(("auto", "smooth", "pixelated")),
    "kinds": _some_of(KINDS),
    "order": _one_of(ORDERS),
    "focus": _number,
    "window": _window,
    "hidden": _numbers,
}
"""How each part of a view is read from JSON."""
