"""What is kept and shared: a view as JSON and as a link, findings as files beside the project, selections as tables."""

import base64
import binascii
import csv
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import numpy as np
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.heatmap import COLORMAPS
from relfunc.schema import CLASS, SAMPLE
from relfunc.storage import replacing

from .colouring import BY
from .order import ORDERS
from .project import Points, Project, verdict
from .samples import KINDS

VERSION: Final = 1
FINDINGS: Final = "findings"
"""The folder, in the project's own, that holds one file for each finding."""
LONGEST: Final = 1800
"""Longest query of a link, in characters; a selection that needs more is stored."""
LARGEST: Final = 64 << 20
"""Largest view that is unpacked, in bytes."""


class ViewError(RelfuncError, ValueError):
    """A view, link or finding cannot be read or written."""


def dump(state: Mapping[str, Any], *, project: str, name: str = "", note: str = "") -> dict[str, Any]:
    """Return a view as plain values, for JSON.

    Parameters
    ----------
    state : mapping
        ``category``, ``embedding``, ``clustering``, ``x``, ``y``, ``colour``, ``cmap``, ``kinds``, ``order``,
        ``window`` and ``selected``.
    project : str
        The project's name.
    name, note : str
        What was found.
    """
    kept = {key: state[key] for key in ("category", "embedding", "clustering", "x", "y", "colour", "cmap", "order")}
    window = state["window"]
    return {
        "relfunc": VERSION,
        "project": project,
        "name": name,
        "note": note,
        **kept,
        "kinds": list(state["kinds"]),
        "window": None if window is None else [float(value) for value in window],
        "selected": packed(state["selected"]),
    }


def load(text: str | bytes) -> dict[str, Any]:
    """Read what :func:`dump` gave; unknown names of colours and the like are left out, so that a default takes over.

    Returns
    -------
    dict
        The keys of ``state`` in :func:`dump`, with ``project``, ``name`` and ``note``.

    Raises
    ------
    ViewError
        If it is not JSON, not a view, or of a wrong type somewhere.
    """
    try:
        held = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ViewError(f"this is not JSON ({error}): give a view that was exported here") from error
    if not isinstance(held, dict) or held.get("relfunc") != VERSION:
        raise ViewError(f"this is no view of version {VERSION}: give a file that was exported here")
    read: dict[str, Any] = {
        key: _text(held, key) for key in ("project", "name", "note", "category", "embedding", "clustering")
    }
    read |= {key: _axis(held, key) for key in ("x", "y")}
    for key, known in (("colour", BY), ("cmap", COLORMAPS), ("order", ORDERS)):
        if _text(held, key) in known:
            read[key] = held[key]
    kinds = held.get("kinds")
    if isinstance(kinds, list):
        read["kinds"] = [kind for kind in KINDS if kind in kinds]
    return {**read, "window": _window(held.get("window")), "selected": unpacked(_text(held, "selected"))}


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
    """Return the view that a link's query names, or None if it names none.

    Raises
    ------
    ViewError
        If the view or finding cannot be read.
    """
    asked = {key: values[0] for key, values in parse_qs(query.lstrip("?")).items()}
    if "view" in asked:
        return load(_unzipped(asked["view"]))
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
            held = finding(project, path.stem)
        except ViewError:
            continue
        if held["name"]:
            found[path.stem] = held
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


def table(project: Project, points: Points, chosen: NDArray[np.int64]) -> str:
    """Return samples as CSV: identifier, row, label, prediction, probability, cluster, coordinates."""
    rows, names = points.rows[chosen], project.attributions[CLASS].values.astype(str)
    known = verdict(project, rows)
    columns: dict[str, Any] = {
        "sample": project.attributions[SAMPLE].values[rows],
        "row": rows,
        "label": [names[k] if k >= 0 else "" for k in known.label],
        "prediction": [names[k] if k >= 0 else "" for k in known.prediction],
        "probability": [f"{value:.6g}" for value in known.probability],
        "correct": known.correct.astype(int),
    }
    if points.cluster is not None:
        columns["cluster"] = points.cluster[chosen]
    if points.xy is not None:
        columns |= {"x": points.xy[chosen, 0], "y": points.xy[chosen, 1]}
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return held.getvalue()


def indices(points: Points, chosen: NDArray[np.int64]) -> bytes:
    """Return rows in ``attributions.nc`` as a NumPy file."""
    held = io.BytesIO()
    np.save(held, points.rows[chosen])
    return held.getvalue()


def _folder(project: Project) -> Path:
    return project.path / FINDINGS


def _unzipped(text: str) -> bytes:
    try:
        inflater = zlib.decompressobj()
        held = inflater.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), LARGEST)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ViewError(f"the link or selection is damaged ({error}): copy the whole of it") from error
    if not inflater.eof:
        raise ViewError("the link or selection is cut short, or too large: copy the whole of it")
    return held


def _text(held: dict[str, Any], key: str) -> str:
    value = held.get(key, "")
    if not isinstance(value, str):
        raise ViewError(f"'{key}' is {type(value).__name__}, not text: give a file that was exported here")
    return value


def _axis(held: dict[str, Any], key: str) -> int:
    value = held.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ViewError(f"'{key}' is {value!r}, not the number of an axis: give a file that was exported here")
    return value


def _window(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        x0, x1, y0, y1 = (float(corner) for corner in value)
    except (TypeError, ValueError) as error:
        raise ViewError(f"'window' is {value!r}, not four numbers: give a file that was exported here") from error
    if not (np.isfinite([x0, x1, y0, y1]).all() and x0 < x1 and y0 < y1):
        raise ViewError(f"'window' is {value!r}, which holds nothing: give a file that was exported here")
    return x0, x1, y0, y1
