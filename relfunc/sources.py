"""Sources: whatever holds samples, as batches of identifier, input, label and what to keep of the input.

To attribute from another kind of data, write a class with the attributes of :class:`Source` and add it to
:func:`source_of`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
import xxhash
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from .errors import RelfuncError
from .schema import CLASS, INPUT, LABEL, SAMPLE


class DataError(RelfuncError, ValueError):
    """Data to attribute cannot be read, or do not fit together."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one shape that were read together.

    Parameters
    ----------
    ids : list of int or str
        Their identifiers, unique in the source.
    x : Tensor
        The model's inputs, ``(sample, ...)``.
    label : numpy.ndarray or None
        Index of each one's class, ``(sample,)``; bool ``(sample, class)``, if it may have several; None if unknown.
    kept : numpy.ndarray or None
        The inputs as they were before they were normalized, of the shape of ``x``, where the source knows them.
    """

    ids: Sequence[int | str]
    x: Tensor
    label: np.ndarray | None = None
    kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: slice) -> "Samples":
        label, kept = (None if values is None else values[at] for values in (self.label, self.kept))
        return Samples(self.ids[at], self.x[at], label, kept)

    def singly(self) -> list["Samples"]:
        """Return the samples one by one."""
        return [self[i : i + 1] for i in range(len(self))]


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read, and why."""

    id: int | str
    reason: str

    def __len__(self) -> int:
        return 1


class Reader:
    """Takes as many samples as are asked for from those that come, some at a time.

    Parameters
    ----------
    samples : iterator of Samples or Unreadable
        As :meth:`Source.samples` yields them.
    """

    def __init__(self, samples: Iterator[Samples | Unreadable]) -> None:
        self._samples = samples
        self._rest: Samples | None = None

    def take(self, count: int) -> Iterator[Samples | Unreadable]:
        """Yield the next ``count`` samples, or what is left of them."""
        while count > 0:
            part = next(self._samples, None) if self._rest is None else self._rest
            self._rest = None
            if part is None:
                return
            if isinstance(part, Samples) and len(part) > count:
                part, self._rest = part[:count], part[count:]
            count -= len(part)
            yield part


def together(parts: Sequence[Samples]) -> Samples:
    """Join samples of one shape.

    Raises
    ------
    DataError
        If some have labels and others have none.
    """
    if len(parts) == 1:
        return parts[0]
    labels = [part.label for part in parts if part.label is not None]
    kept = [part.kept for part in parts if part.kept is not None]
    if labels and len(labels) < len(parts):
        unlabelled = next(part.ids[0] for part in parts if part.label is None)
        raise DataError(f"sample '{unlabelled}' has no label, and others have: label all samples, or none")
    return Samples(
        [name for part in parts for name in part.ids],
        torch.cat([part.x for part in parts]),
        np.concatenate(labels) if labels else None,
        np.concatenate(kept) if len(kept) == len(parts) else None,
    )


class Source(Protocol):
    """Samples in a fixed order.

    Attributes
    ----------
    length : int or None
        How many; None if only reading them all would tell.
    classes : list of str or None
        Class names, if it knows them.
    dims : tuple of str or None
        Names of the input's dimensions behind ``sample``, if it knows them.
    """

    length: int | None
    classes: list[str] | None
    dims: tuple[str, ...] | None

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read the samples at these positions."""
        ...

    def fingerprint(self) -> str:
        """Return a digest that tells this source from others; it need not read everything."""
        ...


def source_of(data: Any, transform: Callable[[Any], Tensor] | None) -> Source:
    """Read data of any kind as a source.

    Parameters
    ----------
    data : xarray.Dataset, str, pathlib.Path, Dataset, DataLoader or iterable
        What :func:`relfunc.attribute_dataset` takes.
    transform : callable or None
        As there.

    Returns
    -------
    Source

    Raises
    ------
    DataError
        If it is of no known kind, or shuffled.
    """
    if isinstance(data, xr.Dataset):
        return Labelled(data, transform)
    if isinstance(data, str | Path):
        return Folder(data, transform)
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, RandomSampler):
            raise DataError("the DataLoader shuffles, so that its samples have no fixed order: make it shuffle=False")
        return Stream(data, transform, length=None)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple):
        return Indexed(data, transform)
    if isinstance(data, Iterable):
        return Stream(data, transform, length=None)
    raise DataError(
        f"data is a {type(data).__name__}: give an xarray.Dataset, an image folder, a torch Dataset or DataLoader, or "
        "an iterable of batches"
    )


class Labelled:
    """Samples of an xarray Dataset with ``input (sample, ...)`` and, if known, ``label``."""

    def __init__(self, data: xr.Dataset, transform: Callable[[Any], Tensor] | None) -> None:
        if INPUT not in data or data[INPUT].dims[0] != SAMPLE:
            raise DataError(f"the Dataset has no variable '{INPUT}' with dimensions that begin with '{SAMPLE}'")
        self.data, self.transform = data, transform
        self.length: int | None = data.sizes[SAMPLE]
        self.classes = [str(name) for name in data[CLASS].values] if CLASS in data.coords else None
        self.dims: tuple[str, ...] | None = tuple(str(dim) for dim in data[INPUT].dims[1:])
        self._ids = data[SAMPLE].values if SAMPLE in data.coords else np.arange(data.sizes[SAMPLE])

    def samples(self, start: int, stop: int | None) -> Iterator[Samples]:
        """Read the samples at these positions, some at a time."""
        stop = self.length or 0 if stop is None else min(stop, self.length or 0)
        named = [name for name in (INPUT, LABEL) if name in self.data]
        step = max(1, min(_AT_ONCE // max(1, self.data[INPUT][:1].nbytes), stop - start))
        for at in range(start, stop, step):
            part = self.data[named].isel({SAMPLE: slice(at, min(at + step, stop))}).load()
            raw = part[INPUT].values
            x = self.transform(raw) if self.transform else torch.as_tensor(raw).float()
            if len(x) != len(raw):
                raise DataError(f"the transform made {len(x)} inputs of {len(raw)}: it takes and gives (sample, ...)")
            kept = raw if raw.dtype == np.uint8 and x.shape == raw.shape else None
            ids = self._ids[at : at + len(raw)].tolist()
            yield Samples(ids, x, part[LABEL].values if LABEL in part else None, kept)

    def fingerprint(self) -> str:
        """Digest shapes, identifiers, labels, and the first and last input."""
        ends = self.data[INPUT].isel({SAMPLE: [0, -1]}).values if self.length else np.empty(0)
        label = self.data[LABEL].values if LABEL in self.data else np.empty(0)
        return digest(self.data[INPUT].shape, ends, label, self._ids)


class Indexed:
    """Samples of a torch Dataset: tensors, or pairs of a tensor and a label."""

    def __init__(self, data: Any, transform: Callable[[Any], Tensor] | None) -> None:
        self.data, self.transform = data, transform
        self.length: int | None = len(data)
        self.classes = _class_names(data)
        self.dims: tuple[str, ...] | None = None
        self._paths = _paths(data)
        self._kept = denormalized(getattr(data, "transform", None) or transform)

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read the samples at these positions."""
        for i in range(start, min(self.length or 0 if stop is None else stop, self.length or 0)):
            name = self._paths[i] if self._paths else i
            try:
                item = self.data[i]
            except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
                yield Unreadable(name, str(error) or type(error).__name__)
                continue
            yield _sample(name, item, self.transform, self._kept)

    def fingerprint(self) -> str:
        """Digest the length, the classes, and the files' names, sizes and times, or else the first sample."""
        files = [Path(path) for path, *_ in getattr(self.data, "samples", [])] if self._paths else []
        states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
        first = next(iter(self.samples(0, 1)), None) if not files else None
        content = first.x.numpy() if isinstance(first, Samples) else np.empty(0)
        return digest(type(self.data).__qualname__, self.length, self.classes, states, content)


class Folder(Indexed):
    """Images of a folder: of its subfolders, one for each class, or of the folder itself, without labels."""

    def __init__(self, path: str | Path, transform: Callable[[Any], Tensor] | None) -> None:
        from torchvision.datasets import ImageFolder

        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}: give a folder of images")
        if transform is None:
            raise DataError(f"images of {folder} need a transform from an image to the model's input: give transform=")
        if any(entry.is_dir() for entry in folder.iterdir()):
            try:
                super().__init__(ImageFolder(str(folder), transform), None)
            except FileNotFoundError as error:
                raise DataError(f"{folder}: {error}") from error
        else:
            super().__init__(_Images(folder, transform), None)
        if not self.length:
            raise DataError(f"no images in {folder}: their names end in {', '.join(_EXTENSIONS)}")


class _Images:
    """Images of one folder, without labels."""

    def __init__(self, folder: Path, transform: Callable[[Any], Tensor]) -> None:
        self.root, self.transform = str(folder), transform
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _EXTENSIONS)
        self.samples = [(str(path), None) for path in files]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.samples[i][0]) as image:
            return self.transform(image.convert("RGB"))


_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class Stream:
    """Samples of an iterable of batches: tensors, or pairs of a tensor and labels, or xarray Datasets."""

    def __init__(self, batches: Iterable[Any], transform: Callable[[Any], Tensor] | None, length: int | None) -> None:
        self.batches, self.transform = batches, transform
        self.length = length
        dataset = getattr(batches, "dataset", None)
        self.classes = _class_names(dataset)
        self.dims: tuple[str, ...] | None = None
        self._kept = denormalized(getattr(dataset, "transform", None) or transform)

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read on from position ``start``, which costs reading all before it."""
        return itertools.islice(self._all(), start, stop)

    def _all(self) -> Iterator[Samples | Unreadable]:
        numbers = itertools.count()
        for batch in self.batches:
            if isinstance(batch, xr.Dataset):
                for part in Labelled(batch, self.transform).samples(0, None):
                    yield from part.singly()
                continue
            x, label = batch if isinstance(batch, tuple | list) else (batch, None)
            for i in range(len(x)):
                yield _sample(next(numbers), x[i] if label is None else (x[i], label[i]), self.transform, self._kept)

    def fingerprint(self) -> str:
        """Digest the kind alone: what an iterable yields is only known when it has."""
        return digest(type(self.batches).__qualname__)


def _sample(
    name: int | str, item: Any, transform: Callable[[Any], Tensor] | None, kept: Callable[[Tensor], np.ndarray] | None
) -> Samples:
    x, label = item if isinstance(item, tuple | list) else (item, None)
    x = transform(x) if transform else x
    if not isinstance(x, Tensor):
        raise DataError(f"sample '{name}' is a {type(x).__name__}, not a tensor: give the data a transform to tensors")
    label = np.asarray(label)[None] if label is not None else None
    return Samples([name], x[None], label, kept(x)[None] if kept else None)


def _class_names(data: Any) -> list[str] | None:
    """Names of a torchvision dataset's classes."""
    names = getattr(data, "classes", None)
    return None if names is None else [str(name) for name in names]


def _paths(data: Any) -> list[str] | None:
    """File names relative to the dataset's root, if it is made of files."""
    root, samples = getattr(data, "root", None), getattr(data, "samples", None)
    if root is None or not isinstance(samples, list) or not all(isinstance(s[0], str) for s in samples):
        return None
    return [Path(path).relative_to(root).as_posix() for path, *_ in samples]


def denormalized(transform: Any) -> Callable[[Tensor], np.ndarray] | None:
    """Return the function that undoes the normalization at the end of a torchvision transform, to uint8.

    Parameters
    ----------
    transform : callable or None
        A ``Compose`` that ends in a ``Normalize``, or the preset of a model's weights.

    Returns
    -------
    callable or None
        From a float tensor ``(channel, y, x)`` to a uint8 array of that shape; None if there is no such normalization.
    """
    steps = getattr(transform, "transforms", [transform])
    mean, std = getattr(steps[-1], "mean", None), getattr(steps[-1], "std", None)
    if mean is None or std is None:
        return None

    def undo(x: Tensor) -> np.ndarray:
        shape = (-1, *(1,) * (x.ndim - 1))
        pixels = x * torch.as_tensor(std).view(shape) + torch.as_tensor(mean).view(shape)
        return (pixels * 255).round().clamp(0, 255).byte().numpy()

    return undo


def digest(*parts: Any) -> str:
    """Digest of arrays by dtype, shape and content, and of anything else by its ``repr``; as fast as memory is read."""
    total = xxhash.xxh3_128()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            total.update(repr(part).encode())
        total.update(b"\0")
    return total.hexdigest()


_AT_ONCE = 2**21
"""Bytes of an xarray Dataset's inputs that are read at a time."""
