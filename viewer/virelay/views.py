"""Views of ViRelAy: the JSON that it exports, and its links."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from relfunc.errors import RelfuncError

from ..draw import heat
from ..draw.samples import KINDS

FIELDS: Final = {
    "selectedAnalysisMethod": "analysisMethod",
    "selectedAnalysisCategory": "analysisCategory",
    "selectedEmbeddingName": "embedding",
    "selectedClustering": "clustering",
    "selectedColorMap": "colorMap",
    "selectedImageMode": "imageMode",
}
"""What its JSON and its links call the same."""


class ViewError(RelfuncError, ValueError):
    """A view, link or finding cannot be read or written."""


def exported(content: dict[str, Any]) -> dict[str, Any]:
    """Read the JSON that ViRelAy exports, as :func:`viewer.state.findings.load` returns it.

    Raises
    ------
    ViewError
        If something is of a wrong type.
    """
    rows = content.get("selectedEmbeddingVectorsIndices", [])
    if not isinstance(rows, list) or not all(isinstance(row, int) and 0 <= row < 1 << 62 for row in rows):
        raise ViewError("'selectedEmbeddingVectorsIndices' is no list of positions: give a file that ViRelAy exported")
    asked = {link: text_of(content, field) for field, link in FIELDS.items()}
    human = text_of(content, "selectedCategoryHumanReadableName")
    return _view(asked, text_of(content, "projectName"), rows, (0, 1), human)


def asked_for(path: str, asked: Mapping[str, str], projects: Sequence[str]) -> dict[str, Any]:
    """Read a link of ViRelAy, as :func:`viewer.state.findings.load` returns it.

    Parameters
    ----------
    path : str
        The link up to its query, which ends in the number of the project.
    asked : mapping
        Its query.
    projects : sequence of str
        Names of the projects that are open, in order.

    Raises
    ------
    ViewError
        If something is of a wrong type, or the project is not open.
    """
    found = re.search(r"/projects/([0-9]{1,9})/?$", path)
    number = int(found[1]) if found else 0
    if number >= len(projects):
        raise ViewError(f"the link is to project {number}, and {len(projects)} are open: start the viewer with it")
    try:
        rows = [int(row) for row in asked.get("embeddingVectors", "").split(",") if row]
        x, y = (int(asked.get(f"{name}EmbeddingDimension", k)) for k, name in enumerate(("first", "second")))
    except ValueError as error:
        raise ViewError(f"the link is damaged ({error}): copy the whole of it") from error
    if min(x, y, *rows, 0) < 0 or max(rows, default=0) >= 1 << 62:
        raise ViewError("the link is damaged (a position or an axis is below zero): copy the whole of it")
    return _view({**dict.fromkeys(FIELDS.values(), ""), **asked}, projects[number], rows, (x, y))


def text_of(content: Mapping[str, Any], key: str) -> str:
    """Return a text, empty if there is none.

    Raises
    ------
    ViewError
        If it is no text.
    """
    value = content.get(key, "")
    if not isinstance(value, str):
        raise ViewError(f"'{key}' is {type(value).__name__}, not text: give a file that was exported here")
    return value


def called(name: str, method: str, known: Sequence[str], human: str = "") -> str:
    """Return which of the categories here a category of ViRelAy is; its own name if it is none of them.

    Examples
    --------
    >>> called("n01", "spectral-analysis", ["spectral_analysis: cat (n01)", "other: cat (n01)"])
    'spectral_analysis: cat (n01)'
    """
    if not name:
        return ""
    ends = (f" ({name})", f": {name}")
    alike = [each for each in known if each == name or each.endswith(ends) or each == f"{human} ({name})"]
    of_method = [each for each in alike if each.replace("_", "-").startswith(f"{method.replace('_', '-')}: ")]
    return next(iter([*of_method, *alike]), name)


def _view(
    asked: Mapping[str, str], project: str, rows: Sequence[int], axes: tuple[int, int], human: str = ""
) -> dict[str, Any]:
    cmap, mode = f"virelay:{asked['colorMap']}", asked["imageMode"]
    view: dict[str, Any] = {
        "project": project,
        "name": "",
        "note": "",
        "category": asked["analysisCategory"],
        "method": asked["analysisMethod"],
        "human": human,
        "embedding": asked["embedding"],
        "clustering": asked["clustering"],
        "x": axes[0],
        "y": axes[1],
        "window": None,
        "rows": np.unique(np.array(rows, np.int64)),
    }
    view |= {"cmap": cmap} if cmap in heat.listed() else {}
    return view | ({"kinds": [mode]} if mode in KINDS else {})
