"""Selections as files: a table of what is known, positions, or the samples themselves."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relfunc.files.netcdf import save
from relfunc.schema import ATTRIBUTION, CLASS, INPUT, SAMPLE

from .outcomes import pixels, verdict
from .project import Points, Project, ProjectError

LARGEST: Final = 64 << 20
"""Up to this many bytes of attributions and inputs are exported."""


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
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def indices(points: Points, chosen: NDArray[np.int64]) -> bytes:
    """Return rows in ``attributions.nc`` as a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, points.rows[chosen])
    return buffer.getvalue()


def netcdf(project: Project, points: Points, chosen: NDArray[np.int64], **names: str) -> bytes:
    """Return samples as a netCDF file that can be opened as attributions are, with their places and clusters.

    Parameters
    ----------
    project : Project
        Where to read.
    points : Points
        The samples of the category.
    chosen : numpy.ndarray
        (k,) positions of those to export.
    **names
        Of what they were selected in, for the attributes.

    Raises
    ------
    ProjectError
        If they are too large, or differ in shape.
    """
    rows, data = points.rows[chosen], project.attributions
    if project.pictures is None:
        part = data.isel({SAMPLE: rows})
        _check(sum(part[name].nbytes for name in (ATTRIBUTION, INPUT) if name in part))
        part = part.load()
    else:
        _check(rows.size * pixels(project, rows[:1])[0][0].nbytes)
        part = data.isel({SAMPLE: rows}).assign(_stacked(project, rows))
    part = part.assign(row=(SAMPLE, rows)).assign_attrs(project=project.name, **names)
    if points.cluster is not None:
        part = part.assign(cluster=(SAMPLE, points.cluster[chosen]))
    if points.xy is not None:
        part = part.assign(embedding_x=(SAMPLE, points.xy[chosen, 0]), embedding_y=(SAMPLE, points.xy[chosen, 1]))
    with tempfile.TemporaryDirectory() as folder:
        save(part, Path(folder) / "selection.nc")
        return (Path(folder) / "selection.nc").read_bytes()


def _check(size: int) -> None:
    if size > LARGEST:
        raise ProjectError(
            f"the selection is {size >> 20:,} MB, more than the {LARGEST >> 20} MB that are exported: "
            "select fewer samples, or export their indices and read the rows from attributions.nc"
        )


def _stacked(project: Project, rows: NDArray[np.int64]) -> dict[str, Any]:
    attributions, inputs = pixels(project, rows)
    found = {}
    for name, each in ((ATTRIBUTION, attributions), (INPUT, inputs)):
        if each is None:
            continue
        if len({one.shape for one in each}) > 1:
            raise ProjectError("the selected samples differ in size: export the table or the indices instead")
        dims = (SAMPLE, "channel", "y", "x") if each[0].ndim == 3 else (SAMPLE, "y", "x")
        found[name] = dims, np.stack(each)
    return found
