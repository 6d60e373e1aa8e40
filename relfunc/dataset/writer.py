"""Writer: one shard as netCDF-4, whose large variables are written while they come."""

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from ..files.padding import filler, padded
from ..schema import ATTRIBUTION, CHANNEL, CLASS, FEATURE, PREDICTION, SAMPLE, TOKEN, TOKEN_TEXT, X, Y
from ..text import characters


class Batch(NamedTuple):
    """What is written of a batch.

    Parameters
    ----------
    large : dict
        Attributions, inputs and masks, which are written as they come.
    rest : dict
        Identifiers, predictions, labels, targets and texts, which are written at the end.
    dims : tuple of str or None
        Names of the dimensions of ``large`` behind ``sample``, if they are tokens.
    """

    large: dict[str, np.ndarray]
    rest: dict[str, np.ndarray]
    dims: tuple[str, ...] | None = None


def joined(parts: Sequence[Batch], order: np.ndarray) -> Batch:
    """Join texts of several lengths, each as long as the longest.

    Parameters
    ----------
    parts : sequence of Batch
        Of the same variables.
    order : numpy.ndarray
        Positions in the parts, one behind the other, of the samples in their order.
    """
    first, longest = parts[0], max(part.large[ATTRIBUTION].shape[1] for part in parts)
    large = {name: np.concatenate([padded(part.large[name], longest) for part in parts])[order] for name in first.large}
    rest = _concatenated([part.rest for part in parts], longest)
    return Batch(large, {name: values[order] for name, values in rest.items()}, first.dims)


def _concatenated(parts: Sequence[Mapping[str, np.ndarray]], longest: int) -> dict[str, np.ndarray]:
    """Join what is written at the end, one part behind the other."""
    found = {name: [part[name] for part in parts] for name in parts[0]}
    if TOKEN_TEXT in found:
        found[TOKEN_TEXT] = [padded(text, longest) for text in found[TOKEN_TEXT]]
    return {name: np.concatenate(values) for name, values in found.items()}


class Writer:
    """Writes one shard: inputs and attributions as they come, everything else at its end.

    What zlib does not halve is not compressed: relevance in float32 is mostly noise in its last bits, of which it saves
    a fifth, in ten times the time that writing takes; a photograph of 8 bits likewise. Nor are samples of a few bytes.
    Either way one sample can be read without others: what is compressed, or of unknown number, has a chunk for each;
    the rest lies one behind the other, and spares the time to write an index of chunks. Of texts the file is as long as
    the longest that has come.

    Parameters
    ----------
    path : pathlib.Path
        Where to write: a temporary name.
    dims : tuple of str, optional
        Names of the input's dimensions behind ``sample``.
    count : int, optional
        How many samples will come, if that is certain.
    half : bool
        Whether to round attributions to the ten bits of a float16's mantissa.
    """

    def __init__(self, path: Path, dims: tuple[str, ...] | None, *, count: int | None, half: bool) -> None:
        self._path, self._dims, self._count, self._half, self._size = path, dims, count, half, 0
        self._rest: list[dict[str, np.ndarray]] = []
        self._length = 0
        with NETCDF4_PYTHON_LOCK:
            self._file = netCDF4.Dataset(path, "w", format="NETCDF4")
            self._file.createDimension(SAMPLE, count)

    def append(self, batch: Batch) -> None:
        """Write a batch: its attributions and inputs now; identifiers, predictions, labels and targets at the end."""
        count = len(batch.large[ATTRIBUTION])
        before = self._length
        if batch.dims is not None:
            self._length = max(before, batch.large[ATTRIBUTION].shape[1])
        with self._writing():
            for name, values in batch.large.items():
                if name not in self._file.variables:
                    self._create(name, values, self._dims_of(values.shape[1:], batch.dims))
                variable, rows = self._file[name], slice(self._size, self._size + count)
                if batch.dims is None:
                    variable[rows] = values
                    continue
                if self._size and before < self._length:
                    shape = (self._size, self._length - before, *values.shape[2:])
                    variable[: self._size, before : self._length] = np.full(shape, filler(values.dtype), values.dtype)
                variable[rows, : self._length] = padded(values, self._length)
        self._size += count
        self._rest.append(batch.rest)

    def close(self, classes: Sequence[str] | None, attrs: Mapping[str, Any]) -> None:
        """Write what was collected, and close the file."""
        with self._writing():
            self._file.setncatts(attrs)
            if self._rest:
                self._write_rest(classes)
            self._file.close()

    def abort(self) -> None:
        """Close the file if it is open; it is thrown away, so that what could not be written does not matter."""
        with NETCDF4_PYTHON_LOCK, contextlib.suppress(RuntimeError):
            if self._file.isopen():
                self._file.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock of all who use netCDF, and turn its errors into one that names the file."""
        try:
            with NETCDF4_PYTHON_LOCK:
                yield
        except RuntimeError as error:
            raise OSError(f"cannot write {self._path.parent}: {error}; is the disk full?") from error

    def _write_rest(self, classes: Sequence[str] | None) -> None:
        rest = _concatenated(self._rest, self._length)
        names = classes if classes is not None else [str(i) for i in range(rest[PREDICTION].shape[1])]
        self._file.createDimension(CLASS, len(names))
        texts = {name: values for name, values in rest.items() if values.dtype.kind in "UOT"}
        rest |= {CLASS: characters(names), **{name: _letters(values) for name, values in texts.items()}}
        for name, values in rest.items():  # all are defined before one is written: each change of mode flushes the file
            if values.dtype.kind == "S":
                self._create_text(name, values)
            else:
                self._create(name, values, (CLASS,) if values.ndim > 1 else (), whole=True)
        for name, values in rest.items():
            self._file[name][:] = values

    def _create(self, name: str, values: np.ndarray, dims: tuple[str, ...], *, whole: bool = False) -> None:
        shape = values.shape[1:]
        for dim, size in zip(dims, shape, strict=True):
            if dim not in self._file.dimensions:
                self._file.createDimension(dim, None if dim == TOKEN else size)
        is_bool = values.dtype == np.bool_
        half = name == ATTRIBUTION and self._half
        compressed = half or _is_compressible(values)
        chunked = compressed or self._count is None or TOKEN in dims
        variable = self._file.createVariable(
            name,
            "i1" if is_bool else values.dtype,
            (SAMPLE, *dims),
            fill_value=False,
            chunksizes=(max(self._size, 1) if whole else 1, *shape) if chunked else None,
            **(_ZLIB if compressed else {}),
            **(_HALF if half else {}),
        )
        if is_bool:
            variable.setncattr("dtype", "bool")

    def _create_text(self, name: str, letters: np.ndarray) -> None:
        """Keep text as characters: netCDF-C crashes where a file with strings is open twice and closed once."""
        length = f"{name}_length"
        self._file.createDimension(length, letters.shape[-1])
        dims = (CLASS,) if name == CLASS else (SAMPLE, TOKEN)[: letters.ndim - 1]
        compressed = _ZLIB if TOKEN in dims else {}
        variable = self._file.createVariable(name, "S1", (*dims, length), **compressed)
        variable.setncattr("_Encoding", "utf-8")
        variable.set_auto_chartostring(False)

    def _dims_of(self, shape: tuple[int, ...], dims: tuple[str, ...] | None) -> tuple[str, ...]:
        if dims is not None:
            return dims[: len(shape)]
        if self._dims is not None and len(self._dims) == len(shape):
            return self._dims
        return _DIMS.get(len(shape), tuple(f"axis{i}" for i in range(len(shape))))


def _letters(texts: np.ndarray) -> np.ndarray:
    found = characters(texts.ravel().tolist())
    return found.reshape(*texts.shape, found.shape[1])


def _is_compressible(values: np.ndarray) -> bool:
    """Whether zlib halves samples that are not small, so that it is worth its time."""
    few = values[:8]
    few = few.reshape(len(few), -1)
    if few.nbytes < _WORTHWHILE * len(few):
        return False
    skip = max(0, few.shape[1] - _TRIED) // 2
    middle = np.ascontiguousarray(few[:, skip : skip + _TRIED])
    shuffled = middle.view(np.uint8).reshape(-1, few.itemsize).T.tobytes()
    return len(zlib.compress(shuffled, 1)) <= 0.5 * len(shuffled)


_WORTHWHILE = 2048
"""Bytes of a sample from which on it is compressed; below, that takes longer than the network that it came from."""

_TRIED = 2**13
"""Values from the middle of a sample that tell how well it is compressed."""

_ZLIB: dict[str, Any] = {"compression": "zlib", "complevel": 1, "shuffle": True}
_HALF: dict[str, Any] = {"significant_digits": 10, "quantize_mode": "BitRound"}
_DIMS = {1: (FEATURE,), 3: (CHANNEL, Y, X)}
