"""Contents: of every category of an analysis, what a list of them shows; kept in the root of its file.

They are a dataset of HDF5 called ``contents``, JSON as bytes of the type bitfield, over which netCDF passes. Its
``contents`` are what :meth:`xarray.Dataset.to_dict` makes of these variables:

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
``contents_score_`` and a name   ``contents``, and ``contents_``   a score along dimensions without labels, such as
                                 and each of its dimensions        the margins of surrogates
===============================  ================================  ===============================================

A file has contents only if all its categories have the same scores, whose names do not depend on the data.
:func:`relfunc.storage.save` makes them anew each time. Behind the JSON stands a digest of it and of the file, but for
large values of which the contents say nothing. If it is not that of the file, another program has changed it, or it is
damaged: then the contents are compared with what the categories say, and believed only if that is the same.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import xarray as xr
from h5py import h5d, h5g, h5o, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from ..text import held_text

CONTENTS: Final = "contents"
ROW: Final = "contents_row"
COLUMN: Final = "contents_column"
SAMPLE, CATEGORY, INDEX, CLUSTERING, CLUSTER, GROUP = "sample", "category", "index", "clustering", "cluster", "score"
SCORE: Final = "contents_score_"
_SIZE: Final = 32
"""Bytes of the digest."""
_LARGE: Final = 1 << 12
"""Bytes of values from which they are left out of the digest."""
MOST: Final = 64
"""Scores along dimensions without labels that have more values are left to the categories."""
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
    for name, dims in _without_labels(scores):
        values = np.stack([np.asarray(one[name].values, float) for one in scores])
        found[f"{SCORE}{name}"] = (CONTENTS, *(f"{CONTENTS}_{dim}" for dim in dims)), values
    return None if CONTENTS in {*nodes, *tree.variables, *tree.dims} else xr.Dataset(found)


def write_contents(path: str | Path, held: xr.Dataset) -> None:
    """Add contents to an analysis file that has none."""
    with h5py.File(path, "a") as file:
        apart = _apart(file, held["contents_group"].values.tolist())
        packed = json.dumps({"contents": held.to_dict(), "apart": apart}).encode()
        values = np.frombuffer(packed + bytes(_SIZE), np.uint8)
        made = h5d.create(file.id, CONTENTS.encode(), h5t.STD_B8LE, h5s.create_simple(values.shape))
        made.write(h5s.ALL, h5s.ALL, values, mtype=h5t.STD_B8LE)
        start = made.get_offset()
    digest = _digest(path, packed, [*apart, (start, len(values))])
    with Path(path).open("r+b") as raw:
        raw.seek(start + len(packed))
        raw.write(digest)


def read_contents(path: str | Path, groups: Collection[str]) -> xr.Dataset | None:
    """Read the contents of an analysis file; None if it has none, or was changed since, or has other groups."""
    with h5py.File(path) as file:
        found = file.get(CONTENTS)
        if not isinstance(found, h5py.Dataset) or not isinstance(found.id.get_type(), h5t.TypeBitfieldID):
            return None
        values, start = found[()].tobytes(), found.id.get_offset()
    packed, digest = values[:-_SIZE], values[-_SIZE:]
    try:
        parts = json.loads(packed)
    except ValueError:  # by an earlier version, which had no digest
        return None
    held = xr.Dataset.from_dict(parts["contents"])
    if held["contents_group"].values.tolist() != list(groups):
        return None
    same = start is not None and _digest(path, packed, [*parts["apart"], (start, len(values))]) == digest
    return held if same or _agrees(path, held) else None


def _agrees(path: str | Path, held: xr.Dataset) -> bool:
    """Whether contents are those of a file that was changed, as far as they can be read: damage may be elsewhere."""
    with h5py.File(path) as file:
        try:
            for key, (name, scores, n) in zip(held["contents_group"].values.tolist(), unpacked(held), strict=True):
                node: Any = file[key]
                named = node.attrs.get(CATEGORY, key)
                if (named.decode() if isinstance(named, bytes) else named) != name or node[INDEX].shape != (n,):
                    return False
                found = {
                    each: values[()] for each, values in node.get(GROUP, {}).items() if values.id.get_storage_size()
                }
                wanted = {str(each): values.values for each, values in scores.variables.items() if values.size}
                if found.keys() != wanted.keys() or not all(_same(found[each], wanted[each]) for each in found):
                    return False
        except (KeyError, OSError, RuntimeError, AttributeError, TypeError):
            return False
    return True


def _same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    if wanted.dtype.kind in "UO":
        return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in np.asarray(found)] == wanted.tolist()
    return np.array_equal(found, wanted, equal_nan=True)


def _apart(file: h5py.File, groups: Iterable[str]) -> list[tuple[int, int]]:
    """Return where large values stand in a file, as offset and size, of which the contents say nothing."""
    found: list[tuple[int, int]] = []

    def visit(name: bytes) -> None:
        if name.split(b"/")[0] == GROUP.encode():
            return
        each = h5o.open(top, name)
        if isinstance(each, h5d.DatasetID) and each.get_storage_size() >= _LARGE and each.get_offset() is not None:
            found.append((each.get_offset(), each.get_storage_size()))

    for group in groups:
        top = h5g.open(file.id, group.encode())
        h5o.visit(top, visit)
    return found


def _digest(path: str | Path, packed: bytes, apart: Iterable[Sequence[int]]) -> bytes:
    """Return the digest of the contents and of a file but for some parts: what any edit of the rest changes."""
    total = hashlib.blake2b(packed, digest_size=_SIZE)
    with Path(path).open("rb") as file:
        for start, size in sorted(map(tuple, apart)):
            while file.tell() < start:
                part = file.read(min(start - file.tell(), 1 << 20))
                if not part:
                    break
                total.update(part)
            file.seek(start + size)
        while part := file.read(1 << 20):
            total.update(part)
    return total.digest()


def unpacked(held: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, int]]:
    """Yield the name of each category, its scores as its group ``score`` has them, and how many samples it has."""
    names, sizes = held["contents_category"].values.astype(str).tolist(), held["contents_samples"].values.tolist()
    rows, columns = held["contents_clustering"].values.astype(str), held["contents_cluster"].values
    scores = {str(name).removeprefix(SCORE): each.values for name, each in held.items() if str(name).startswith(SCORE)}
    known = {before: after for after, before in DIMS.items()}
    along = {str(name).removeprefix(SCORE): tuple(map(str, each.dims)) for name, each in held.items()}
    of = {
        name: known.get(dims) or tuple(dim.removeprefix(f"{CONTENTS}_") for dim in dims[1:])
        for name, dims in along.items()
    }
    for k, (name, size) in enumerate(zip(names, sizes, strict=True)):
        row, column = rows[k][rows[k] != ""], columns[k][columns[k] >= 0]
        coords = {CLUSTERING: _variable((CLUSTERING,), row), CLUSTER: _variable((CLUSTER,), column)}
        cut = {ROW: slice(row.size), COLUMN: slice(column.size)}
        values = {
            score: _variable(of[score], each[(k, *(cut.get(dim, slice(None)) for dim in along[score][1:]))])
            for score, each in scores.items()
        }
        yield name, xr.Dataset(values, xr.Coordinates(coords, indexes={})), size


def _variable(dims: tuple[str, ...], values: Any) -> xr.Variable:
    return xr.Variable(dims, np.asarray(values), fastpath=True)


def _is_score(values: xr.Variable) -> bool:
    return values.dims in DIMS and values.dtype.kind in "fiub"


def _without_labels(scores: Sequence[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield names and dimensions of small scores along dimensions without labels, which all categories have alike."""
    first, *others = scores
    for name, each in first.items():
        plain = each.dims and not {SAMPLE, CLUSTERING, CLUSTER, *first} & set(each.dims) and each.dtype.kind in "fiub"
        alike = (
            (one[name].dims, one[name].shape) == (each.dims, each.shape) if name in one else False for one in others
        )
        if plain and 0 < each.size <= MOST and all(alike):
            yield str(name), tuple(map(str, each.dims))


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
