"""Export to ViRelAy 1.0: a project file, the inputs, the attributions, the class names and the analysis.

==================  ==================================================================================================
file                holds
==================  ==================================================================================================
``project.yaml``    names the others; written last
``labels.json``     for each class its index, an identifier (the WordNet identifier, if given) and its name
``dataset.h5``      ``data (sample, 3, y, x)`` uint8, ``label (sample)``
``attributions.h5`` ``attribution (sample, 3, y, x)`` float32, ``prediction (sample, class)``, ``label (sample)``
``analysis.h5``     per category ``index``, ``embedding/<name>`` (with the attribute ``eigenvalue``), ``cluster/<name>``
                    and of each, as attribute ``name``, its own name, whatever HDF5 would make of it
==================  ==================================================================================================

ViRelAy fails on pictures that do not have three channels, so that grey inputs are repeated, and attributions of other
than three channels are summed into the first of three: it shows their sum.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import RelfuncError
from ..schema import (
    ATTRIBUTION,
    CHANNEL,
    CLASS,
    CLUSTER_GROUP,
    EIGEN,
    EIGENVALUE,
    EMBEDDING_GROUP,
    INDEX,
    INPUT,
    LABEL,
    PREDICTION,
    SAMPLE,
    TARGET,
    categories,
    check_analysis,
    check_attributions,
    members,
)
from ..text import group_names
from .netcdf import open_analysis, open_attributions, replacing


class ExportError(RelfuncError, ValueError):
    """Results cannot be shown by another program."""


def to_virelay(
    attributions: xr.Dataset | str | Path,
    out: str | Path,
    *,
    analysis: xr.DataTree | str | Path | None = None,
    name: str | None = None,
    method: str = "spectral",
    word_net_ids: Sequence[str] | None = None,
) -> Path:
    """Write attributions, and their analysis, as a project that ViRelAy 1.0 opens.

    Samples are read and written some at a time, so that memory does not grow with their number. Each file appears
    under its name when it is whole; an earlier export to the same folder is replaced.

    Parameters
    ----------
    attributions : xarray.Dataset, str or pathlib.Path
        Of pictures, with their ``input``; or what :func:`relfunc.open_attributions` takes.
    out : str or pathlib.Path
        The project's folder.
    analysis : xarray.DataTree, str or pathlib.Path, optional
        Of these attributions; or what :func:`relfunc.open_analysis` takes. ViRelAy offers the embeddings and
        clusterings of the first category for all of them: those that some category lacks are left out. Without an
        analysis the project opens, and its page has no points to show.
    name : str, optional
        Of the project, by default that of the folder. ViRelAy tells projects apart by it.
    method : str
        What the analysis is called; ViRelAy cannot load names with ``-``.
    word_net_ids : sequence of str, optional
        An identifier of each class, in their order; by default their numbers.

    Returns
    -------
    pathlib.Path
        The project file, for ``virelay project.yaml`` (or ``relfunc view project.yaml``).

    Raises
    ------
    ExportError
        If the extra ``virelay`` is not installed, the attributions are not of pictures or have no inputs, or the
        analysis is not of these attributions or has values that ViRelAy cannot read.
    SchemaError
        If a file does not follow :mod:`relfunc.schema`.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import tempfile
    >>> data = xr.Dataset(
    ...     {
    ...         "input": (("sample", "channel", "y", "x"), np.zeros((2, 1, 8, 8), "uint8")),
    ...         "attribution": (("sample", "channel", "y", "x"), np.ones((2, 1, 8, 8), "float32")),
    ...         "prediction": (("sample", "class"), np.eye(2)),
    ...         "label": ("sample", [0, 1]),
    ...     },
    ...     {"sample": [0, 1], "class": ["cat", "dog"]},
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_virelay(data, folder).name
    'project.yaml'
    """
    h5py, yaml = _libraries()
    if "-" in method:
        raise ExportError(f"the method is called {method!r}: ViRelAy cannot load names with '-'; use '_'")
    out = Path(out)
    with contextlib.ExitStack() as stack:
        if not isinstance(attributions, xr.Dataset):
            attributions = stack.enter_context(contextlib.closing(open_attributions(attributions)))
        if analysis is not None and not isinstance(analysis, xr.DataTree):
            analysis = stack.enter_context(contextlib.closing(open_analysis(analysis)))
        data = check_attributions(attributions)
        _check_pictures(data)
        ids = _identifiers(data, word_net_ids)
        found = _categories(check_analysis(analysis), data, ids) if analysis is not None else []
        _write_samples(h5py, data, out)
        if found:
            _write_categories(h5py, found, out / "analysis.h5")
        names = data[CLASS].values.tolist()
        labels = [{"index": k, "word_net_id": ids[k], "name": str(names[k])} for k in range(len(ids))]
        _write_text(out / "labels.json", json.dumps(labels, indent=1, ensure_ascii=False))
        project = _project(data, name or out.resolve().name, method if found else None)
    path = out / "project.yaml"
    _write_text(path, yaml.safe_dump({"project": project}, sort_keys=False, allow_unicode=True))
    return path


def _libraries() -> tuple[Any, Any]:
    try:
        import h5py
        import yaml
    except ImportError as error:
        raise ExportError(
            f'ViRelAy\'s projects need h5py and pyyaml ({error}): pip install "relfunc[virelay]"'
        ) from error
    return h5py, yaml


def _project(data: xr.Dataset, name: str, method: str | None) -> dict[str, Any]:
    analyses = [{"analysis_method": method, "sources": ["analysis.h5"]}] if method else []
    by_label = TARGET not in data or (data[LABEL].ndim == 1 and bool((data[TARGET] == data[LABEL]).all()))
    return {
        "name": name,
        "model": str(data.attrs.get("model", "unnamed")),
        "label_map": "labels.json",
        "dataset": {"name": str(data.attrs.get("dataset", name)), "type": "hdf5", "path": "dataset.h5"},
        "attributions": {
            "attribution_method": str(data.attrs.get("composite", data.attrs.get("method", "unnamed"))),
            "attribution_strategy": "true_label" if by_label else "predicted_label",
            "sources": ["attributions.h5"],
        },
        **({"analyses": analyses} if analyses else {}),
    }


def _identifiers(data: xr.Dataset, given: Sequence[str] | None) -> list[str]:
    """Return an identifier of every class; numbers of one width, which ViRelAy sorts as text, keep their order."""
    count = data.sizes[CLASS]
    if given is None:
        return [f"{k:0{len(str(count - 1))}d}" for k in range(count)]
    if len(given) != count or len(set(given)) != count:
        raise ExportError(
            f"word_net_ids has {len(set(given))} different identifiers for {count} classes: give each one"
        )
    return [str(one) for one in given]


# --- samples ------------------------------------------------------------------------------------------


def _check_pictures(data: xr.Dataset) -> None:
    if INPUT not in data:
        raise ExportError(
            f"the attributions have no '{INPUT}', which ViRelAy needs: attribute with keep_input='uint8', or assign one"
        )
    for name in (INPUT, ATTRIBUTION):
        shape, dims = data[name].shape[1:], data[name].dims[1:]
        if len(shape) not in {2, 3} or min(shape[-2:]) < 3:
            raise ExportError(
                f"'{name}' has dimensions {dict(zip(dims, shape, strict=True))} behind '{SAMPLE}': "
                "ViRelAy shows pictures (channel, y, x) of at least 3×3"
            )
    channels = data[INPUT].transpose(SAMPLE, CHANNEL, ...).shape[1] if CHANNEL in data[INPUT].dims else 1
    if channels not in {1, 3}:
        raise ExportError(f"'{INPUT}' has {channels} channels: ViRelAy shows pictures with 1 or 3")


def _write_samples(h5py: Any, data: xr.Dataset, out: Path) -> None:
    """Write inputs and attributions, some samples at a time."""
    with (
        _hdf5(h5py, out / "dataset.h5") as dataset,
        _hdf5(h5py, out / "attributions.h5") as attributions,
    ):
        for at, part in _parts(data):
            label = part[LABEL].values
            label = label.astype(bool if label.ndim > 1 else np.uint32)
            rows = {
                dataset: {"data": _pictures(part[INPUT]), "label": label},
                attributions: {
                    "attribution": _relevance(part[ATTRIBUTION]),
                    "prediction": part[PREDICTION].values.astype(np.float32),
                    "label": label,
                },
            }
            for file, arrays in rows.items():
                for key, values in arrays.items():
                    _append(file, key, values, at, data.sizes[SAMPLE])


def _parts(data: xr.Dataset) -> Iterator[tuple[int, xr.Dataset]]:
    row = 4 * (2 * int(np.prod(data[ATTRIBUTION].shape[1:])) + data.sizes[CLASS])
    step = max(1, _BYTES_AT_ONCE // row)
    names = [INPUT, ATTRIBUTION, PREDICTION, LABEL]
    for at in range(0, data.sizes[SAMPLE], step):
        yield at, data[names].isel({SAMPLE: slice(at, at + step)}).load()


_BYTES_AT_ONCE = 2**24


def _append(file: Any, key: str, values: NDArray, at: int, count: int) -> None:
    if key not in file:
        pictures = {"chunks": (1, *values.shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}
        file.create_dataset(
            key, (count, *values.shape[1:]), values.dtype, **(pictures if key in {"data", "attribution"} else {})
        )
    file[key][at : at + len(values)] = values


def _pictures(values: xr.DataArray) -> NDArray[np.uint8]:
    """Return inputs as bytes in three channels; others from 0 … 1, or from the least to the greatest of each."""
    images = _channels_first(values)
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        axes = (1, 2, 3)
        low = np.minimum(images.min(axes, keepdims=True), 0)
        high = np.maximum(images.max(axes, keepdims=True), 1)
        images = np.rint((images - low) / (high - low) * 255).astype(np.uint8)
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))


def _relevance(values: xr.DataArray) -> NDArray[np.float32]:
    relevance = _channels_first(values).astype(np.float32)
    if relevance.shape[1] == 3:
        return relevance
    total = relevance.sum(1, keepdims=True)
    return np.pad(total, ((0, 0), (0, 2), (0, 0), (0, 0)))


def _channels_first(values: xr.DataArray) -> NDArray:
    if values.ndim == 3:
        return values.values[:, None]
    return (values.transpose(SAMPLE, CHANNEL, ...) if CHANNEL in values.dims else values).values


# --- analysis -----------------------------------------------------------------------------------------


class _Category(NamedTuple):
    """A category: ViRelAy's name of it, ours, and its datasets."""

    id: str
    name: str
    node: xr.Dataset
    embeddings: dict[str, xr.DataArray]
    clusterings: dict[str, xr.DataArray]


def _categories(tree: xr.DataTree, data: xr.Dataset, ids: Sequence[str]) -> list[_Category]:
    """Return the categories by ViRelAy's names: a class's identifier, or free text that is no class's."""
    by = tree.attrs.get("by", LABEL)
    of_classes = by in (LABEL, PREDICTION) or (by in data and CLASS in data[by].dims)
    by_key = dict(zip(group_names(map(str, data[CLASS].values)), ids, strict=True)) if of_classes else {}
    found = []
    for name, child in categories(tree).items():
        key = str(child.name)
        free = f"{by or 'category'}={key}" if key in ids else key
        node = child.to_dataset()
        index = node[INDEX].values
        if len(index) and (index.min() < 0 or index.max() >= data.sizes[SAMPLE]):
            raise ExportError(f"category '{name}' has sample {index.max()} of {data.sizes[SAMPLE]}: {_OTHERS}")
        if SAMPLE in node.coords and not np.array_equal(node[SAMPLE].values, data[SAMPLE].values[index]):
            raise ExportError(f"category '{name}' has samples of other names: {_OTHERS}")
        groups = (members(child, group) for group in (EMBEDDING_GROUP, CLUSTER_GROUP))
        found.append(_Category(by_key.get(key, free), name, node, *groups))
    return found


_OTHERS = "give the attributions of which this is the analysis"


def _write_categories(h5py: Any, found: Sequence[_Category], path: Path) -> None:
    embeddings = _common([category.embeddings for category in found], EMBEDDING_GROUP)
    clusterings = _common([category.clusterings for category in found], CLUSTER_GROUP)
    keys = {name: key for each in (embeddings, clusterings) for name, key in zip(each, group_names(each), strict=True)}
    with _hdf5(h5py, path) as file:
        for category in found:
            group = file.create_group(category.id)
            group.attrs["name"] = category.name
            group["index"] = category.node[INDEX].values.astype(np.uint32)
            for name in embeddings:
                embedding = category.embeddings[name]
                if not np.isfinite(embedding.values).all():
                    raise ExportError(
                        f"embedding '{name}' of category '{category.name}' has values that are not finite, which make "
                        "ViRelAy's page fail: leave it out of the analysis"
                    )
                written = group.create_dataset(f"embedding/{keys[name]}", data=embedding.values.astype(np.float32))
                written.attrs["name"] = name
                if EIGEN in embedding.dims and EIGENVALUE in category.node:
                    written.attrs["eigenvalue"] = category.node[EIGENVALUE].values.astype(np.float32)
            for name in clusterings:
                group[f"cluster/{keys[name]}"] = category.clusterings[name].values.astype(np.int32)
                group[f"cluster/{keys[name]}"].attrs["name"] = name


def _common(groups: Sequence[dict[str, xr.DataArray]], title: str) -> list[str]:
    """Return the names that are in all groups."""
    common = [name for name in groups[0] if all(name in group for group in groups)]
    if not common:
        raise ExportError(f"there is no {title} that every category has, without which ViRelAy shows none")
    return common


# --- files --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _hdf5(h5py: Any, path: Path) -> Iterator[Any]:
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        yield file


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
