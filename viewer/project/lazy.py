"""Variables that stay where they are until some of their rows are asked for."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

Read = Callable[[NDArray[np.integer]], NDArray]
"""Takes positions in any order and returns their rows."""


def by_rows(dims: tuple[str, ...], shape: tuple[int, ...], dtype: DTypeLike, read: Read) -> xr.Variable:
    """Make a variable whose rows a function reads.

    Examples
    --------
    >>> by_rows(("sample",), (5,), int, lambda rows: rows * 2)[1:3].values
    array([2, 4])
    """
    return _variable(dims, _ReadRows(shape, dtype, read))


def stored(dims: tuple[str, ...], data: Any) -> xr.Variable:
    """Make a variable of an array on disk that can be sliced, such as h5py's."""
    return _variable(dims, _Stored(data))


def _variable(dims: tuple[str, ...], array: BackendArray) -> xr.Variable:
    return xr.Variable(dims, indexing.LazilyIndexedArray(array))


class _ReadRows(BackendArray):
    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, read: Read) -> None:
        self.shape, self.dtype, self._read = shape, np.dtype(dtype), read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, OUTER, self._get)

    def _get(self, key: tuple[Any, ...]) -> NDArray:
        rows = np.arange(self.shape[0])[key[0]]
        values = self._read(np.atleast_1d(rows))[(slice(None), *key[1:])]
        return values if rows.ndim else values[0]


class _Stored(BackendArray):
    def __init__(self, data: Any) -> None:
        self.shape, self.dtype, self._data = data.shape, data.dtype, data

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, BASIC, self._data.__getitem__)


OUTER: Final = indexing.IndexingSupport.OUTER
BASIC: Final = indexing.IndexingSupport.BASIC
