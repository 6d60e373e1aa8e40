"""ViRelAy's projects, as its own files have them: a YAML that names HDF5 files or a folder of images.

Reading them needs the extra ``virelay`` (h5py and pyyaml). Inputs and attributions are read row by row when they are
shown; labels, predictions, embeddings and clusterings are read when the project is opened.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from relfunc.schema import (
    CLASS,
    CLUSTER_GROUP,
    EIGEN,
    EIGENVALUE,
    EMBEDDING_GROUP,
    INDEX,
    LABEL,
    PREDICTION,
    SAMPLE,
)

from .project import Project, ProjectError

RANGES: Final = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""The ranges that inputs which are not uint8 may have."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows to be read one by one.

    Parameters
    ----------
    names : sequence
        An identifier of each.
    read : callable
        Takes a position and returns the array.
    label : list of numpy.ndarray
        The label of each: a number, or a vector with an entry for each class.
    """

    names: Sequence[Any]
    read: Callable[[int], NDArray]
    label: list[NDArray]


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
    samples = _samples(folder, project["dataset"], h5py, index_of)
    sources = [h5py.File(folder / name, "r") for name in (project.get("attributions") or {}).get("sources", [])]
    places = dict(reversed([(index, place) for source in sources for index, place in _places(source)]))
    outputs = {index: np.asarray(_row(source["prediction"], row)) for index, (source, row) in places.items()}
    width = max([*(output.size for output in outputs.values()), *(index + 1 for index in by_index), 1])
    output = np.full((len(samples.names), width), np.nan, np.float32)
    for index, row in outputs.items():
        output[index, : row.size] = row
    names = [by_index.get(k, str(k)) for k in range(width)]
    data = xr.Dataset(
        {PREDICTION: ((SAMPLE, CLASS), output), LABEL: _label(samples.label, width)},
        {SAMPLE: list(samples.names), CLASS: names},
        {"model": str(project["model"]), "dataset": str(project["dataset"]["name"])},
    )

    def pictures(rows: NDArray[np.int64]) -> tuple[list[NDArray], list[NDArray] | None]:
        attributions = []
        for row in rows.tolist():
            source, place = places.get(row, (None, None))
            held = np.full((1, 1), np.nan) if source is None else np.asarray(_row(_attribution(source), place))
            attributions.append(channels_first(held))
        return attributions, [as_uint8(channels_first(samples.read(row))) for row in rows.tolist()]

    methods = project.get("analyses") or []
    nodes: dict[str, xr.Dataset] = {}
    for method in methods:
        for name in method["sources"]:
            with h5py.File(folder / name, "r") as source:
                for category, held in source.items():
                    human = by_word.get(category)
                    shown = f"{human} ({category})" if human else category
                    # One method needs no mention; of several, each category says which it is of.
                    shown = (
                        shown
                        if len({each["analysis_method"] for each in methods}) == 1
                        else (f"{method['analysis_method']}: {shown}")
                    )
                    nodes |= _category(shown.replace("/", "∕"), held)
    tree = xr.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()}) if nodes else None
    return Project(str(project["name"]), folder, data, tree, pictures)


def _samples(folder: Path, dataset: Mapping[str, Any], h5py: Any, index_of: Mapping[str, int]) -> Samples:
    kind = dataset["type"]
    if kind == "hdf5":
        source = h5py.File(folder / dataset["path"], "r")
        data, label = source["data"], source["label"]
        if isinstance(data, h5py.Group):
            names = list(data)
            return Samples(names, lambda row: data[names[row]][()], [np.asarray(label[name][()]) for name in names])
        return Samples(range(len(data)), lambda row: data[row], list(np.asarray(label[()])))
    if kind == "image_directory":
        return _images(folder / dataset["path"], dataset, index_of)
    raise ProjectError(f"dataset of type '{kind}': ViRelAy knows 'hdf5' and 'image_directory'")


def _images(folder: Path, dataset: Mapping[str, Any], index_of: Mapping[str, int]) -> Samples:
    listed = folder.with_name(f"{folder.name}_paths.txt")
    if listed.is_file():
        files = sorted(listed.parent / line for line in listed.read_text(encoding="utf-8").split("\n") if line.strip())
    else:
        files = sorted(file for file in folder.glob("**/*.*") if file.is_file())
    by_index, by_word = dataset.get("label_index_regex"), dataset.get("label_word_net_id_regex")
    labels = []
    for file in files:
        found = re.match(by_index or by_word or "", str(file))
        if found is None or not found.groups():
            raise ProjectError(f"{file}: the label's pattern does not match: correct it in the project's YAML")
        labels.append(np.asarray(int(found[1]) if by_index else index_of[found[1]]))

    def read(row: int) -> NDArray:
        with Image.open(files[row]) as image:
            return np.asarray(image.convert("RGB"))

    return Samples([str(file.relative_to(folder.parent)) for file in files], read, labels)


def _places(source: Any) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Yield for every sample with an attribution where in the source that is."""
    data = _attribution(source)
    rows = range(len(data)) if hasattr(data, "shape") else list(data)
    index = (
        np.asarray(source["index"][()]).tolist() if "index" in source and hasattr(source["index"], "shape") else None
    )
    for k, row in enumerate(rows):
        yield (k if index is None else index[k]), (source, row)


def _attribution(source: Any) -> Any:
    return source["attribution"] if "attribution" in source else source["data"]


def _row(data: Any, row: Any) -> Any:
    return data[row] if hasattr(data, "shape") else data[row][()]


def _label(labels: list[NDArray], width: int) -> tuple[tuple[str, ...], NDArray]:
    """Return single labels as numbers, and others as vectors of bool."""
    if all(label.ndim == 0 or label.size == 1 for label in labels):
        return (SAMPLE,), np.array([int(label.reshape(())) for label in labels], np.int64)
    several = np.zeros((len(labels), width), bool)
    for k, label in enumerate(labels):
        if label.ndim == 0:
            several[k, int(label)] = True
        else:
            several[k, : label.size] = label.astype(bool)[:width]
    return (SAMPLE, CLASS), several


def _category(name: str, held: Any) -> dict[str, xr.Dataset]:
    """Return a category's node and its groups, in the layout that ViRelAy reads or that its documentation describes."""
    if "index" not in held:
        raise ProjectError(f"category '{name}' has no 'index': is this an analysis of ViRelAy?")
    node = xr.Dataset({INDEX: (SAMPLE, np.asarray(held["index"][()]).astype(np.uint32))})
    embeddings, clusterings = {}, {}
    for key, value in held.get("embedding", {}).items():
        data = value if hasattr(value, "shape") else value["root"]
        eigen = value.attrs.get("eigenvalue", value.get("eigenvalue") if not hasattr(value, "shape") else None)
        spectral = eigen is not None and len(eigen) == data.shape[-1]
        embeddings[key] = ((SAMPLE, EIGEN if spectral else f"{key}_component"), np.asarray(data[()]))
        if spectral:
            node = node.assign({EIGENVALUE: (EIGEN, np.asarray(eigen).astype(float))})
    for key, value in (held["cluster"] if "cluster" in held else held.get("clustering", {})).items():
        data = value if hasattr(value, "shape") else value["root"]
        clusterings[key] = (SAMPLE, np.asarray(data[()]).astype(np.int32))
    return {
        name: node,
        f"{name}/{EMBEDDING_GROUP}": xr.Dataset(embeddings),
        f"{name}/{CLUSTER_GROUP}": xr.Dataset(clusterings),
    }
