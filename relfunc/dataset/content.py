"""Content: what a source holds, as a digest, without reading more of it than tells it from another."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import xxhash
from torch import Tensor

from ..errors import KeyingError
from ..keys.values import described, digest, of_array, of_source
from ..schema import INPUT, LABEL
from .samples import Samples, Unreadable

Read = Callable[[int, int | None], Iterator[Samples | Unreadable]]


class Content:
    """A running digest of samples: their identifiers, inputs and labels, in their order.

    Examples
    --------
    >>> a, b = Content(), Content()
    >>> a.add(Samples([0], torch.zeros(1, 2)))
    >>> b.add(Samples([0], torch.ones(1, 2)))
    >>> a.so_far() == b.so_far()
    False
    """

    def __init__(self) -> None:
        self._total = xxhash.xxh3_128()

    def add(self, samples: Samples | Unreadable) -> None:
        """Add samples; of one that cannot be read, only its identifier."""
        if isinstance(samples, Unreadable):
            self._total.update(repr((samples.id, "unreadable")).encode(errors="surrogatepass"))
            return
        for one in samples.singly():
            x = one.x.detach().cpu().contiguous()
            label = None if one.label is None else (str(one.label.dtype), one.label.tolist())
            self._add((one.ids[0], label), x)
            for name, value in sorted(one.others.items()):
                self._add((one.argument, name), value.detach().cpu().contiguous())

    def _add(self, head: tuple[Any, ...], x: Tensor) -> None:
        self._total.update(repr((*head, str(x.dtype), tuple(x.shape))).encode(errors="surrogatepass"))
        self._total.update(x.reshape(-1).view(torch.uint8).numpy().data if x.numel() else b"")

    def so_far(self) -> str:
        """Return the digest of what has been added."""
        return self._total.hexdigest()


def of_indexed(
    data: Any, transform: Callable[[Any], Tensor] | None, ids: Iterable[Any], length: int, read: Read
) -> str:
    """Digest a dataset with positions: its code and all that it holds, the states of its files, a spread of samples.

    Where it holds something without a value, such as an open file, all of its samples are read instead.

    Parameters
    ----------
    data : object
        The dataset.
    transform : callable, optional
        To the model's inputs.
    ids : iterable of int or str
        Of all samples.
    length : int
        How many there are.
    read : callable
        Reads samples between two positions.
    """
    spread = _of_spread(length, read)  # first: it may open files
    try:
        held = (described(_state(data), "the dataset"), described(transform, "the transform"))
    except KeyingError:
        return _of_all(read)
    return digest("indexed", spread, held, list(_files(data)), of_array(np.array(list(ids))), length)


def of_labelled(data: xr.Dataset, ids: np.ndarray, transform: Callable[[Any], Tensor] | None, read: Read) -> str:
    """Digest an xarray Dataset: all identifiers and labels, the inputs that are in memory, and a spread of samples.

    Parameters
    ----------
    data : xarray.Dataset
        With its ``input``, which may be larger than memory: then its file's size and time stand for it.
    ids : numpy.ndarray
        Of all samples.
    transform : callable, optional
        To the model's inputs.
    read : callable
        Reads samples between two positions.
    """
    spread = _of_spread(len(ids), read)
    x = data[INPUT]
    label = of_source(data[[LABEL]].reset_coords(drop=True)) if LABEL in data else None
    whole = of_array(x.variable) if x.nbytes <= _WHOLE or x.variable._in_memory else list(_files(x.encoding))
    try:
        how = described(transform, "the transform")
    except KeyingError:
        return _of_all(read)
    return digest("labelled", spread, x.dims, x.shape, str(x.dtype), of_array(ids), label, whole, how)


def _of_spread(length: int, read: Read) -> str:
    content = Content()
    for i in np.unique(np.linspace(0, length - 1, min(length, _SPREAD)).round().astype(int)).tolist():
        for samples in read(i, i + 1):
            content.add(samples)
    return content.so_far()


def _of_all(read: Read) -> str:
    content = Content()
    for samples in read(0, None):
        content.add(samples)
    return digest("all", content.so_far())


def _state(data: Any) -> Any:
    """Return what a dataset holds, without the place of its files: a folder may be moved."""
    if not isinstance(getattr(data, "root", None), str) or not isinstance(getattr(data, "samples", None), list):
        return data
    held = {name: value for name, value in vars(data).items() if name not in ("root", "samples", "imgs")}
    return (type(data), held, [label for _, *label in data.samples])


def _files(data: Any) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of every file that a dataset, or one inside it, names."""
    held = data if isinstance(data, Mapping) else getattr(data, "__dict__", {})
    root = held.get("root")
    for name, value in held.items():
        inner = value if isinstance(value, list | tuple) else [value]
        for each in inner:
            first = each[0] if isinstance(each, tuple) and each else each
            if isinstance(first, str | Path):
                yield from _of_file(first, root)
            elif name in ("dataset", "datasets"):
                yield from _files(each)
            elif not isinstance(each, tuple):
                break


def _of_file(name: str | Path, root: Any) -> Iterator[tuple[str, int, int]]:
    path = Path(name)
    try:
        found = path.stat() if path.is_file() else None
    except (OSError, ValueError):  # a text that is no file's name
        return
    if found is not None:
        inside = isinstance(root, str | Path) and path.is_relative_to(root)
        said = path.relative_to(root).as_posix() if inside else path.name
        yield said, found.st_size, found.st_mtime_ns


_SPREAD = 16
"""Samples that are read to tell a source from another whose files, labels and code are the same."""

_WHOLE = 2**28
"""Bytes of inputs up to which all are read, if they are not in memory."""
