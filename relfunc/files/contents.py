"""Contents: of every category of an analysis, what a list of them shows; kept in the root of its file.

They are a dataset of HDF5 called ``contents``, JSON as bytes of the type bitfield, over which netCDF passes. It is what
:meth:`xarray.Dataset.to_dict` makes of these variables:

===============================  ================================  ===============================================
variable                         dimensions                        values
===============================  ================================  ===============================================
``contents_group``               ``contents``                      names of the groups, in file order
``contents_category``            ``contents``                      names of the categories
``contents_samples``             ``contents``                      how many samples each has
``contents_clustering``          ``contents, contents_row``        names of its clusterings, none behind the last
``contents_cluster``             ``contents, contents_column``     numbers of its clusters, −1 behind the last
``contents_score_`` and a name   ``contents``, and one or both of  a score; NaN behind the last
                                 ``contents_row, contents_column``
===============================  ================================  ===============================================

A file has contents only if all its categories have the same scores, whose names do not depend on the data.
:func:`relfunc.storage.save` makes them anew each time. Who changes a file by other means
has to remove them.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import xarray as xr
from h5py import h5d, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from ..text import held_text

CONTENTS: Final = "contents"
ROW: Final = "contents_row"
COLUMN: Final = "contents_column"
SAMPLE, CATEGORY, INDEX, CLUSTERING, CLUSTER, GROUP = "sample", "category", "index", "clustering", "cluster", "score"
SCORE: Final = "contents_score_"
DIMS: Final = {(): (CONTENTS,), (CLUSTERING,): (CONTENTS, ROW), (CLUSTERING, CLUSTER): (CONTENTS, ROW, COLUMN)}


def contents(tree: xr.DataTree) -> xr.Dataset | None:
    """Return the contents of an analysis; None if it is none, or if a list of it needs more.

    Examples
    --------
    >>> score = xr.Dataset({"silhouette": ("clustering", [0.5])}, {"clustering": ["kmeans-02"]})
    >>> node = xr.Dataset({"index": ("sample", [0, 2])})
    >>> held = contents(xr.DataTree.from_dict({"cat": node, "cat/score": score}))
    >>> held["contents_samples"].values, held["contents_score_silhouette"].values
    (array([2]), array([[0.5]]))
    """
    nodes = dict(tree.children)
    if not nodes or any(INDEX not in node.variables or SAMPLE not in node.sizes for node in nodes.values()):
        return None
    scores = [node.children[GROUP].variables if GROUP in node.children else {} for node in nodes.values()]
    held = [
        {str(name): each.dims for name, each in one.items() if _is_score(each) and name not in each.dims}
        for one in scores
    ]
    labelled = [(_labels(one, CLUSTERING, str), _labels(one, CLUSTER, int)) for one in scores]
    if any(names != held[0] for names in held) or any(None in labels for labels in labelled):
        return None
    rows, columns = ([labels[k] or [] for labels in labelled] for k in (0, 1))
    shape = len(nodes), max(1, *map(len, rows)), max(1, *map(len, columns))
    found: dict[str, tuple[tuple[str, ...], Any]] = {
        "contents_group": ((CONTENTS,), list(nodes)),
        "contents_category": (
            (CONTENTS,),
            [held_text(str(node.attrs.get(CATEGORY, key))) for key, node in nodes.items()],
        ),
        "contents_samples": ((CONTENTS,), [node.sizes[SAMPLE] for node in nodes.values()]),
        "contents_clustering": ((CONTENTS, ROW), _padded(rows, shape[:2], "")),
        "contents_cluster": ((CONTENTS, COLUMN), _padded(columns, (shape[0], shape[2]), -1)),
    }
    for name, dims in held[0].items():
        values = [np.asarray(one[name].values, float) for one in scores]
        found[f"{SCORE}{name}"] = DIMS[dims], _padded(values, shape[: 1 + len(dims)], np.nan)
    return None if CONTENTS in {*nodes, *tree.variables, *tree.dims} else xr.Dataset(found)


def write_contents(path: str | Path, held: xr.Dataset) -> None:
    """Add contents to an analysis file that has none."""
    packed = np.frombuffer(json.dumps(held.to_dict()).encode(), np.uint8)
    with h5py.File(path, "a") as file:
        space = h5s.create_simple(packed.shape)
        h5d.create(file.id, CONTENTS.encode(), h5t.STD_B8LE, space).write(h5s.ALL, h5s.ALL, packed, mtype=h5t.STD_B8LE)


def read_contents(path: str | Path, groups: Collection[str]) -> xr.Dataset | None:
    """Read the contents of an analysis file; None if it has none, or not those of the groups it has."""
    with h5py.File(path) as file:
        packed = file.get(CONTENTS)
        if not isinstance(packed, h5py.Dataset) or not isinstance(packed.id.get_type(), h5t.TypeBitfieldID):
            return None
        held = xr.Dataset.from_dict(json.loads(packed[()].tobytes()))
    return held if held["contents_group"].values.tolist() == list(groups) else None


def unpacked(held: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, int]]:
    """Yield the name of each category, its scores as its group ``score`` has them, and how many samples it has."""
    names, sizes = held["contents_category"].values.astype(str).tolist(), held["contents_samples"].values.tolist()
    rows, columns = held["contents_clustering"].values.astype(str), held["contents_cluster"].values
    scores = {str(name).removeprefix(SCORE): each.values for name, each in held.items() if str(name).startswith(SCORE)}
    dims = {before: after for after, before in DIMS.items()}
    of = {
        str(name).removeprefix(SCORE): dims[tuple(map(str, each.dims))]
        for name, each in held.items()
        if str(name).startswith(SCORE)
    }
    for k, (name, size) in enumerate(zip(names, sizes, strict=True)):
        row, column = rows[k][rows[k] != ""], columns[k][columns[k] >= 0]
        coords = {CLUSTERING: _variable((CLUSTERING,), row), CLUSTER: _variable((CLUSTER,), column)}
        cut = slice(row.size), slice(column.size)
        values = {score: _variable(of[score], each[(k, *cut[: each.ndim - 1])]) for score, each in scores.items()}
        yield name, xr.Dataset(values, xr.Coordinates(coords, indexes={})), size


def _variable(dims: tuple[str, ...], values: Any) -> xr.Variable:
    return xr.Variable(dims, np.asarray(values), fastpath=True)


def _is_score(values: xr.Variable) -> bool:
    return values.dims in DIMS and values.dtype.kind in "fiub"


def _labels(scores: Any, dim: str, kind: type) -> list[Any] | None:
    """Return the labels of a dimension of scores; None if they are not text, or numbers from zero on."""
    if not any(dim in each.dims for each in scores.values()):
        return []
    if dim not in scores or scores[dim].dims != (dim,):
        return None
    labels = scores[dim].values.tolist()
    fine = all(isinstance(label, kind) and (label if kind is str else label >= 0) for label in labels)
    return labels if fine or not labels else None


def _padded(values: list[Any], shape: tuple[int, ...], fill: Any) -> NDArray[Any]:
    """Stack arrays of several sizes, with a value where one has none."""
    kind = object if fill == "" else float if isinstance(fill, float) else int
    found = np.full(shape, fill, kind)
    for k, each in enumerate(np.asarray(one, kind) for one in values):
        found[(k, *map(slice, each.shape))] = each
    return found
