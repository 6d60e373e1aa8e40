"""Stack: several attributions files as one dataset, none of them read before its values are asked for."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import SchemaError
from ..schema import CLASS, SAMPLE, TOKEN
from .padding import padded


def stacked(parts: Sequence[xr.Dataset], paths: Sequence[Path]) -> xr.Dataset:
    """Join datasets along ``sample``, lazily; texts are as long as the longest of all.

    Parameters
    ----------
    parts : sequence of xarray.Dataset
        Lazily opened, each as :mod:`relfunc.schema` describes.
    paths : sequence of pathlib.Path
        Their files, for messages.

    Returns
    -------
    xarray.Dataset
        Closing it closes all of them.

    Raises
    ------
    SchemaError
        If they do not belong together.
    """
    first = parts[0]
    for part, path in zip(parts[1:], paths[1:], strict=True):
        if difference := _difference(first, part):
            raise SchemaError(f"{paths[0]} and {path} do not belong together: {difference}")
    variables: dict[Any, Any] = {}
    for name, variable in first.variables.items():
        if name == SAMPLE and name in first.xindexes:
            variables[name] = (SAMPLE, np.concatenate([part[SAMPLE].values for part in parts]))
        elif variable.dims[:1] == (SAMPLE,):
            array = _Stacked([part.variables[name] for part in parts])
            variables[name] = xr.Variable(variable.dims, indexing.LazilyIndexedArray(array), variable.attrs)
        else:
            variables[name] = variable
    unread = {SAMPLE: variables.pop(SAMPLE)} if SAMPLE not in first.xindexes and SAMPLE in variables else {}
    together = xr.Dataset(variables, attrs=first.attrs).assign_coords(xr.Coordinates(unread, indexes={}))
    closing = contextlib.ExitStack()
    for part in parts:
        closing.callback(part.close)
    together.set_close(closing.close)
    return together


def _difference(a: xr.Dataset, b: xr.Dataset) -> str:
    """Say how two datasets differ that should be parts of one; nothing if they do not."""
    if list(a.variables) != list(b.variables):
        return f"they have variables {', '.join(map(str, a.variables))}, and {', '.join(map(str, b.variables))}"
    for name, variable in a.variables.items():
        if (variable.dims, _shape(variable)) != (b[name].dims, _shape(b[name])):
            return f"'{name}' has shape {variable.shape} {variable.dims}, and {b[name].shape} {b[name].dims}"
    if CLASS in a.coords and not a[CLASS].equals(b[CLASS]):
        return "their classes differ"
    differing = [key for key in a.attrs if key not in ("skipped", "content") and a.attrs[key] != b.attrs.get(key)]
    return f"{differing[0]} is {a.attrs[differing[0]]!r}, and {b.attrs.get(differing[0])!r}" if differing else ""


def _shape(variable: Any) -> tuple[int, ...]:
    """Return what parts have in common: any number of samples, and texts of any length."""
    return tuple(size for dim, size in variable.sizes.items() if dim not in (SAMPLE, TOKEN))


class _Stacked(BackendArray):
    """Arrays of several files, one behind the other along the first axis."""

    def __init__(self, parts: Sequence[xr.Variable]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *np.max([part.shape[1:] for part in parts], axis=0).astype(int).tolist())
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, rest = key[0], key[1:]
        if isinstance(rows, int | np.integer):
            return self._read((np.array([rows]), *rest))[0]
        rows = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else np.asarray(rows)
        of_part = np.searchsorted(self._ends, rows, side="right")
        read: np.ndarray | None = None
        for number in np.unique(of_part):
            inside = np.flatnonzero(of_part == number)
            local = rows[inside] - (self._ends[number] - len(self._parts[number]))
            values = self._values(self._parts[number], as_slice(local), rest)
            if read is None:
                read = np.empty((len(rows), *values.shape[1:]), dtype=self.dtype)
            read[inside] = values
        return read if read is not None else self._values(self._parts[0], slice(0, 0), rest)

    def _values(self, part: xr.Variable, rows: Any, rest: tuple[Any, ...]) -> np.ndarray:
        if part.shape[1:] == self.shape[1:]:
            return np.asarray(part[(rows, *rest)].values)
        whole = padded(np.asarray(part[rows].values), self.shape[1])
        values = xr.Variable(part.dims, whole)[(slice(None), *rest)]  # one axis after the other, as the others are read
        return np.asarray(values.values)


def as_slice(rows: np.ndarray) -> np.ndarray | slice:
    """Return rows that follow one another as a slice, which is read faster."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
