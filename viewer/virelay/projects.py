"""ViRelAy's projects, as its own files have them: a YAML that names HDF5 files or a folder of images.

Reading them needs the extra ``virelay`` (h5py and pyyaml). Opening one reads which categories, embeddings and
clusterings there are; everything that has an entry for each sample is read when it is shown.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import (
    CATEGORY,
    CLASS,
    CLUSTER_GROUP,
    EIGEN,
    EIGENVALUE,
    EMBEDDING_GROUP,
    INDEX,
    LABEL,
    NAME,
    PREDICTION,
    SAMPLE,
)
from relfunc.text import group_names

from ..cache import recent
from ..project.lazy import by_rows, stored
from ..project.project import Pictures, Project, ProjectError, measured_files
from .hdf5 import StoredRows, places, rows
from .images import DOWN, UP, fitted, label_of, listed, read

RANGES: Final = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""The ranges that inputs which are not uint8 may have."""


@dataclass(frozen=True, eq=False)
class AttributionFile:
    """A file of attributions.

    Parameters
    ----------
    attribution : StoredRows
        Its attributions.
    prediction : StoredRows, optional
        The outputs of the model.
    index : callable
        Takes positions of samples and returns their rows; −1 for a sample without one.
    """

    attribution: StoredRows
    prediction: StoredRows | None
    index: Callable[[NDArray[np.integer]], NDArray[np.int64]]


def open_virelay(path: str | Path) -> Project:
    """Open a project of ViRelAy.

    Parameters
    ----------
    path : str or pathlib.Path
        Its YAML file.

    Raises
    ------
    ProjectError
        If the extra is not installed, or a file is missing or is not what ViRelAy describes.
    """
    path = Path(path)
    h5py, yaml = _libraries()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProjectError(f"{path} cannot be read ({error}): give the YAML file of a project") from error
    try:
        return _opened(path, content["project"], h5py)
    except KeyError as error:
        raise ProjectError(f"{path}: {error} is missing; is this a project of ViRelAy?") from error
    except (OSError, TypeError, ValueError, AttributeError, IndexError, re.error) as error:
        if isinstance(error, ProjectError):
            raise
        raise ProjectError(f"{path} cannot be opened ({error}): is this a project of ViRelAy?") from error


def as_uint8(values: NDArray) -> NDArray[np.uint8]:
    """Return an input as bytes; of numbers that are not, the range is guessed from the smallest and the largest.

    Examples
    --------
    >>> as_uint8(np.array([-1.0, 0.0, 1.0])).tolist()
    [0, 127, 255]
    """
    if values.dtype == np.uint8:
        return values
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    least, most = min(RANGES, key=lambda ends: abs(ends[0] - low + ends[1] - high))
    return np.clip((values - least) / (most - least) * 255, 0, 255).astype(np.uint8)


def channels_first(values: NDArray) -> NDArray:
    """Return a picture with its channels first; they are taken to be last unless the first axis is the shortest."""
    return values if values.ndim != 3 or np.argmin(values.shape) == 0 else np.moveaxis(values, -1, 0)


def _libraries() -> tuple[Any, Any]:
    try:
        import h5py
        import yaml
    except ImportError as error:
        raise ProjectError(
            f"ViRelAy's projects need h5py and pyyaml ({error}): pip install 'relfunc[virelay]'"
        ) from error
    return h5py, yaml


def _opened(path: Path, project: Mapping[str, Any], h5py: Any) -> Project:
    folder = path.parent
    known = json.loads((folder / project["label_map"]).read_text(encoding="utf-8"))
    by_index = {int(entry["index"]): str(entry["name"]) for entry in known}
    by_word = {str(entry["word_net_id"]): str(entry["name"]) for entry in known}
    index_of = {str(entry["word_net_id"]): int(entry["index"]) for entry in known}
    given = (project.get("attributions") or {}).get("sources", [])
    sources = [_attribution_file(h5py.File(folder / name, "r")) for name in given]
    inputs, labels = _samples(folder, project["dataset"], h5py, sources, index_of)
    widths = [source.prediction.width for source in sources if source.prediction is not None]
    width = max([*widths, labels.width, *(index + 1 for index in by_index), 1])
    data = xr.Dataset(
        {
            PREDICTION: by_rows((SAMPLE, CLASS), (inputs.count, width), np.float32, partial(_outputs, sources, width)),
            LABEL: _label(labels, width),
        },
        {CLASS: [by_index.get(k, str(k)) for k in range(width)]},
        {"model": str(project["model"]), "dataset": str(project["dataset"]["name"])},
    )
    names = by_rows((SAMPLE,), (inputs.count,), object, inputs.names)
    data = data.assign_coords(xr.Coordinates({SAMPLE: names}, indexes={}))
    nodes = _nodes(folder, project.get("analyses") or [], h5py, by_word)
    tree = xr.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()}) if nodes else None
    named = [folder / str(project["dataset"]["path"]), *(folder / name for name in given)]
    return Project(str(project["name"]), folder, data, tree, partial(_pictures, sources, inputs), measured_files(named))


def _attribution_file(file: Any) -> AttributionFile:
    attribution = rows(file["attribution"] if "attribution" in file else file["data"])
    prediction = rows(file["prediction"]) if "prediction" in file else None
    if hasattr(file.get("index"), "shape"):

        def index(positions: NDArray[np.integer]) -> NDArray[np.int64]:
            known = recent((file.filename, file.id, "index"), lambda: np.asarray(file["index"][()], np.int64))
            return places(known, positions)

        return AttributionFile(attribution, prediction, index)
    return AttributionFile(
        attribution, prediction, lambda positions: np.where(positions < attribution.count, positions, -1)
    )


def _samples(
    folder: Path, dataset: Mapping[str, Any], h5py: Any, sources: Sequence[AttributionFile], index_of: Mapping[str, int]
) -> tuple[StoredRows, StoredRows]:
    """Return the inputs, as (y, x), (channel, y, x) or (y, x, channel), and the labels."""
    kind = dataset["type"]
    if kind == "hdf5":
        file = h5py.File(folder / dataset["path"], "r")
        return rows(file["data"]), rows(file["label"])
    if kind != "image_directory":
        raise ProjectError(f"dataset of type '{kind}': ViRelAy knows 'hdf5' and 'image_directory'")
    root = folder / dataset["path"]
    files = listed(root)
    up, down = (dataset.get(f"{way}_sampling_method") or "none" for way in ("up", "down"))
    if up not in UP or down not in DOWN:
        raise ProjectError(f"sampling '{up}' and '{down}': ViRelAy knows {', '.join(UP)}, and {', '.join(DOWN)}")
    by_index, by_word = dataset.get("label_index_regex"), dataset.get("label_word_net_id_regex")
    if files:
        _label_of(files[0], by_index, by_word, index_of)
    width, height = (int(dataset.get(f"input_{side}") or 0) for side in ("width", "height"))
    # ViRelAy compares rows with the width. The attributions, which have the size of the inputs, say what is meant.
    explained = _pictures(sources, None, np.zeros(1, np.int64))[0][0].shape[-2:]
    size = {"up": up, "down": down, "turned": explained != (height, width)}

    def take(positions: NDArray[np.integer]) -> list[NDArray]:
        images = [read(files[k]) for k in positions.tolist()]
        return [fitted(image, width, height, **size) for image in images] if width and height else images

    def names(positions: NDArray[np.integer]) -> NDArray:
        return np.array([str(files[k].relative_to(root.parent)) for k in positions.tolist()], object)

    def labels(positions: NDArray[np.integer]) -> list[NDArray]:
        return [np.asarray(_label_of(files[k], by_index, by_word, index_of)) for k in positions.tolist()]

    return StoredRows(len(files), 0, names, take), StoredRows(len(files), 0, names, labels)


def _label_of(file: Path, by_index: str | None, by_word: str | None, index_of: Mapping[str, int]) -> int:
    if by_index:
        return int(label_of(file, by_index))
    return index_of[label_of(file, by_word or "")]


def _label(labels: StoredRows, width: int) -> xr.Variable:
    """Return single labels as numbers, and others as vectors of bool."""

    def single(positions: NDArray[np.integer]) -> NDArray[np.int64]:
        return np.array([int(label.reshape(-1)[0]) for label in map(np.asarray, labels.take(positions))], np.int64)

    def several(positions: NDArray[np.integer]) -> NDArray[np.bool_]:
        hot = np.zeros((positions.size, width), bool)
        for row, label in zip(hot, map(np.asarray, labels.take(positions)), strict=True):
            row[np.flatnonzero(label) if label.ndim else int(label)] = True
        return hot

    if labels.width > 1:
        return by_rows((SAMPLE, CLASS), (labels.count, width), bool, several)
    return by_rows((SAMPLE,), (labels.count,), np.int64, single)


def _found(
    sources: Sequence[AttributionFile], positions: NDArray[np.integer]
) -> list[tuple[AttributionFile, NDArray, NDArray]]:
    """Return for each source which of the positions it is the first to have, and in which rows."""
    missing, found = np.arange(positions.size), []
    for source in sources:
        place = source.index(positions[missing])
        found.append((source, missing[place >= 0], place[place >= 0]))
        missing = missing[place < 0]
    return found


def _outputs(sources: Sequence[AttributionFile], width: int, positions: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the outputs of the model, not a number where there are none."""
    outputs = np.full((positions.size, width), np.nan, np.float32)
    for source, which, place in _found(sources, positions):
        if source.prediction is not None:
            for k, row in zip(which, source.prediction.take(place), strict=True):
                outputs[k, : row.size] = row
    return outputs


def _pictures(
    sources: Sequence[AttributionFile], inputs: StoredRows | None, positions: NDArray[np.integer]
) -> Pictures:
    attributions: list[NDArray] = [np.full((1, 1), np.nan)] * positions.size
    for source, which, place in _found(sources, positions):
        for k, attribution in zip(which, source.attribution.take(place), strict=True):
            attributions[k] = channels_first(attribution)
    shown = None if inputs is None else [as_uint8(channels_first(picture)) for picture in inputs.take(positions)]
    return attributions, shown


def _nodes(
    folder: Path, methods: Sequence[Mapping[str, Any]], h5py: Any, by_word: Mapping[str, str]
) -> dict[str, xr.Dataset]:
    """Return the nodes of all categories of all methods; of a category that occurs twice in a method, the first."""
    several = len({method["analysis_method"] for method in methods}) > 1
    nodes: dict[str, xr.Dataset] = {}
    for method in methods:
        for name in method["sources"]:
            for category, group in h5py.File(folder / name, "r").items():
                human = by_word.get(category)
                shown = f"{human} ({category})" if human else str(group.attrs.get("name", category))
                # One method needs no mention; of several, each category says which it is of.
                shown = f"{method['analysis_method']}: {shown}" if several else shown
                key = group_names([shown])[0]
                if key not in nodes and not hasattr(group, "shape"):
                    about = {"method": method["analysis_method"], CATEGORY: shown, "virelay": category}
                    nodes |= _category(key, group, about)
    return nodes


def _category(name: str, group: Any, about: Mapping[str, str]) -> dict[str, xr.Dataset]:
    """Return a category's node and its groups, in the layout that ViRelAy reads or that its documentation describes."""
    if "index" not in group:
        raise ProjectError(f"category '{name}' has no 'index': is this an analysis of ViRelAy?")
    node = xr.Dataset({INDEX: stored((SAMPLE,), group["index"])}, attrs=about)
    embeddings, clusterings = {}, {}
    for key, value in _members(group.get("embedding", {})):
        data = value if hasattr(value, "shape") else value["root"]
        eigen = value.attrs.get("eigenvalue", value.get("eigenvalue") if not hasattr(value, "shape") else None)
        own = f"{key}_component"
        if eigen is not None and EIGENVALUE not in node:
            node = node.assign({EIGENVALUE: (EIGEN, np.asarray(eigen, float))})
            own = EIGEN if node.sizes[EIGEN] == data.shape[-1] else own
        embeddings[key] = stored((SAMPLE, own)[: data.ndim], data)
    for key, value in _members(group["cluster"] if "cluster" in group else group.get("clustering", {})):
        clusterings[key] = stored((SAMPLE,), value if hasattr(value, "shape") else value["root"])
    return {
        name: node,
        f"{name}/{EMBEDDING_GROUP}": _under_names(embeddings),
        f"{name}/{CLUSTER_GROUP}": _under_names(clusterings),
    }


def _under_names(variables: Mapping[str, xr.Variable]) -> xr.Dataset:
    """Put variables under names that a tree can have, their own names as attributes."""
    keys = group_names(variables)
    return xr.Dataset({key: _with_name(each, name) for key, (name, each) in zip(keys, variables.items(), strict=True)})


def _with_name(variable: xr.Variable, name: str) -> xr.Variable:
    return xr.Variable(variable.dims, variable._data, {**variable.attrs, NAME: name}, fastpath=True)


def _members(group: Any) -> list[tuple[str, Any]]:
    """Return what a group holds, without the scales of netCDF's dimensions."""
    return [
        (str(value.attrs.get("name", key)), value)
        for key, value in group.items()
        if value.attrs.get("CLASS") != b"DIMENSION_SCALE"
    ]
