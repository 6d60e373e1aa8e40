"""What is known of each sample, beside its input and attribution: the user's variables, and how the model did."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from relfunc.files.stack import as_slice
from relfunc.keys import blocks
from relfunc.schema import (
    CLASS,
    CLUSTER_GROUP,
    CLUSTERING,
    INDEX,
    LABEL,
    PREDICTION,
    SAMPLE,
    TARGET,
    categories,
    members,
)

from ..errors import DataError, listed
from ..results.table import CATEGORY
from ..roles import CLUSTER

PREDICTED: Final = "predicted_class"
CONFIDENCE: Final = "confidence"
CORRECT: Final = "correct"
SIGNIFICANT: Final = "significant"

Metadata = xr.Dataset | Sequence[str] | None
Known = dict[str, NDArray]


def positions(node: xr.DataTree, data: xr.Dataset, where: str) -> NDArray[np.intp]:
    """Return where a category's samples stand in the data it is of.

    Raises
    ------
    DataError
        If other samples stand there.
    """
    labels = node.to_dataset()
    index = labels[INDEX].values
    n = data.sizes[SAMPLE]
    if SAMPLE in data.coords:
        held = data[SAMPLE].values
        if index.size and (index.max() >= n or not np.array_equal(held[index], labels[SAMPLE].values)):
            raise DataError(f"{where}: the analysis is not of these data: its samples have other identifiers there")
    elif index.size and index.max() >= n:
        raise DataError(f"{where}: the analysis is not of these data, which have {n} samples only")
    return index


def cluster_of(
    tree: xr.DataTree, row: tuple[str, str, int], data: xr.Dataset, where: str
) -> tuple[NDArray[np.intp], NDArray[np.bool]]:
    """Return where a category's samples stand in the data, and which of them are in a cluster.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it.
    row : tuple of str, str and int
        Category, clustering and cluster.
    data : xarray.Dataset
        The attributions it is of.
    where : str
        The function that messages name.

    Raises
    ------
    DataError
        If there is no such cluster, or no other samples.
    """
    category, clustering, cluster = row
    nodes = categories(tree)
    if category not in nodes:
        raise DataError(f"{where}: no category '{category}' in the analysis; there are {listed(nodes)}")
    there = members(nodes[category], CLUSTER_GROUP)
    if clustering not in there:
        raise DataError(f"{where}: category '{category}' has no clustering '{clustering}', only {listed(there)}")
    index = positions(nodes[category], data, f"{where}: category '{category}'")
    inside = there[clustering].values == cluster
    if not 0 < inside.sum() < inside.size:
        raise DataError(
            f"{where}: cluster {cluster} of '{clustering}' has {inside.sum()} of the {inside.size} samples of category "
            f"'{category}': there is nothing to compare"
        )
    return index, inside


def rows_of(table: xr.Dataset, where: str, *, significant_only: bool) -> list[tuple[str, str, int]]:
    """Return category, clustering and cluster of each row of a ranking that names a cluster.

    With ``significant_only`` these are those that the ranking calls ``significant``, where it says so.

    Examples
    --------
    >>> rows = {"clustering": ("category", ["kmeans-02", ""]), "cluster": ("category", [1, -1])}
    >>> rows_of(xr.Dataset(rows, {"category": ["cat", "dog"]}), "doctest", significant_only=True)
    [('cat', 'kmeans-02', 1)]
    """
    names = (CATEGORY, CLUSTERING, CLUSTER)
    for name in names:
        if name not in table.variables:
            raise DataError(f"{where}: 'table' has no '{name}': give what analysis.ranking returns, or rows of it")
    category, clustering, cluster = (np.atleast_1d(table[name].values) for name in names)
    named = cluster >= 0
    if significant_only and SIGNIFICANT in table:
        named &= np.atleast_1d(table[SIGNIFICANT].values).astype(bool)
    return [(str(category[k]), str(clustering[k]), int(cluster[k])) for k in np.flatnonzero(named)]


def in_blocks(data: xr.Dataset, names: Sequence[str], index: NDArray) -> Iterator[tuple[slice, xr.Dataset]]:
    """Read variables of some samples, a block of them at a time: which of ``index``, and their values.

    Parameters
    ----------
    data : xarray.Dataset
        May be opened lazily.
    names : sequence of str
        Variables over ``sample``.
    index : ndarray of int
        Positions of samples.
    """
    chosen = data[list(names)]
    row = sum(chosen[name].nbytes for name in names) // max(1, data.sizes[SAMPLE])
    for part in blocks.cut((len(index),), row):
        yield part, chosen.isel({SAMPLE: as_slice(index[part])}).load()


def known(data: xr.Dataset, metadata: Metadata, where: str) -> Known:
    """Return what is known of each sample, by name: the metadata, and what follows of prediction and label.

    Parameters
    ----------
    data : xarray.Dataset
        Attributions.
    metadata : xarray.Dataset or sequence of str, optional
        Variables over ``sample``, matched by its coordinate if it has one; or names of such variables of ``data``; by
        default all of them.
    where : str
        The function that messages name.

    Returns
    -------
    dict
        From name to one value for each sample of ``data``; classes by their names. ``predicted_class``,
        ``confidence`` (the largest output, as a probability: by softmax unless it is one) and ``correct`` are those
        of the prediction and label, None where the label names no class, unless the metadata have such variables
        themselves.

    Raises
    ------
    DataError
        If there is no such variable, or a sample that the metadata do not have.
    """
    found = outcome(data)
    source = metadata if isinstance(metadata, xr.Dataset) else data
    if metadata is None or isinstance(metadata, xr.Dataset):
        names = [str(name) for name, values in source.data_vars.items() if values.dims == (SAMPLE,)]
    else:
        names = list(metadata)
    if isinstance(metadata, xr.Dataset):
        source = _matched(metadata, data, where)
    for name in names:
        if name not in source.variables or source[name].dims != (SAMPLE,):
            there = listed(key for key, values in source.data_vars.items() if values.dims == (SAMPLE,))
            raise DataError(f"{where}: metadata '{name}' is no variable over 'sample' alone; there are {there}")
        found[name] = _plain(source[name].values)
    for name in (LABEL, TARGET):
        if name in found and source is data:
            found[name] = class_names(data, found[name])
    return found


def outcome(data: xr.Dataset) -> Known:
    """Return the class that each sample is predicted to be, how surely, and whether that is its label.

    Of predictions of one class, or none, nothing follows; nor whether they are right, or how surely, where labels are
    several. Where a label names no class, such as −1, ``correct`` is None; where an output is NaN, no class is
    predicted.

    Examples
    --------
    >>> data = xr.Dataset({"prediction": (("sample", "class"), [[0.9, 0.1], [0.2, 0.8]]), "label": ("sample", [0, 0])})
    >>> {name: values.tolist() for name, values in outcome(data).items()}
    {'predicted_class': ['0', '1'], 'confidence': [0.9, 0.8], 'correct': [True, False]}
    """
    if not _predicts(data):
        return {}
    n = data.sizes[SAMPLE]
    best, confidence = np.empty(n, np.int64), np.empty(n)
    for part, block in in_blocks(data, [PREDICTION], np.arange(n)):
        output = block[PREDICTION].values.astype(np.float64)
        best[part] = np.where(np.isnan(output).any(1), -1, output.argmax(1))
        probable = (output >= 0).all(1) & (abs(output.sum(1) - 1) < 1e-3)
        largest = output.max(1)
        with np.errstate(invalid="ignore"):  # an infinite output has no probability
            confidence[part] = np.where(probable, largest, 1 / np.exp(output - largest[:, None]).sum(1))
    found = {PREDICTED: class_names(data, best)}
    if LABEL not in data or data[LABEL].dims == (SAMPLE,):
        found[CONFIDENCE] = confidence
    if tells_correct(data):
        label = data[LABEL].values
        unknown = ~np.isin(label, np.arange(data.sizes[CLASS]))
        found[CORRECT] = best == label
        if unknown.any():
            found[CORRECT] = found[CORRECT].astype(object)
            found[CORRECT][unknown] = None
    return found


def tells_correct(data: xr.Dataset) -> bool:
    """Whether prediction and label say which samples are correct; neither is read."""
    return _predicts(data) and LABEL in data and data[LABEL].dims == (SAMPLE,)


def _predicts(data: xr.Dataset) -> bool:
    return PREDICTION in data and data[PREDICTION].dims == (SAMPLE, CLASS) and data.sizes[CLASS] > 1


def class_names(data: xr.Dataset, numbers: NDArray) -> NDArray:
    """Return the names of classes by their numbers, of numbers of no class an empty text; others stay as they are.

    Examples
    --------
    >>> class_names(xr.Dataset(coords={"class": ["cat", "dog"]}), np.array([1, 0, -1]))
    array(['dog', 'cat', ''], dtype='<U3')
    """
    if CLASS not in data.sizes or not np.issubdtype(numbers.dtype, np.integer):
        return numbers
    names = data[CLASS].values.astype(str) if CLASS in data.coords else np.arange(data.sizes[CLASS]).astype(str)
    known = (numbers >= 0) & (numbers < len(names))
    return np.where(known, names[np.where(known, numbers, 0)], "") if len(names) else numbers


def _plain(values: NDArray) -> NDArray:
    """Return numbers and dates that stand among other objects, such as None, as numbers and dates."""
    if values.dtype != object:
        return values
    missing = np.asarray(pd.isna(values), bool)
    kind = pd.api.types.infer_dtype(values[~missing])
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return np.where(missing, np.nan, values).astype(np.float64)
    if kind in ("date", "datetime", "datetime64"):
        dates = np.full(values.shape, np.datetime64("NaT"), "datetime64[us]")
        dates[~missing] = pd.to_datetime(values[~missing], utc=True).tz_localize(None).to_numpy("datetime64[us]")
        return dates
    return values


def _matched(metadata: xr.Dataset, data: xr.Dataset, where: str) -> xr.Dataset:
    """Bring metadata into the order of the data."""
    if SAMPLE not in metadata.coords or SAMPLE not in data.coords:
        if metadata.sizes.get(SAMPLE) != data.sizes[SAMPLE]:
            raise DataError(
                f"{where}: the metadata are of {metadata.sizes.get(SAMPLE, 0)} samples and have no identifiers, the "
                f"data of {data.sizes[SAMPLE]}: give them the coordinate 'sample'"
            )
        return metadata
    of, sought = metadata[SAMPLE].to_index(), data[SAMPLE].values
    if not of.is_unique:
        twice = of[of.duplicated()][0]
        raise DataError(f"{where}: the metadata have sample '{twice}' more than once: keep one of each")
    at = of.get_indexer(sought)
    if (at < 0).any():
        lacking = sought[at < 0]
        raise DataError(
            f"{where}: the metadata lack {len(lacking)} samples, such as '{lacking[0]}': add them, with NaN or an "
            "empty text where nothing is known"
        )
    return metadata.isel({SAMPLE: at})
