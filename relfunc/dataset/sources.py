"""Sources: whatever holds samples, as batches of identifier, input, label and what to keep of the input.

To attribute from another kind of data, write a class with the attributes of :class:`Source` and add it to
:func:`source_of`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
import xarray as xr
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from ..errors import DataError
from ..keys.values import digest, of_source
from ..schema import ATTRIBUTION, CLASS, INPUT, LABEL, PREDICTION, SAMPLE, TARGET, TOKEN, TOKEN_MASK, TOKEN_TEXT
from .arguments import arranged, count, of_batch
from .content import of_indexed, of_labelled
from .samples import Samples, Unreadable


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


def source_of(
    data: Any, transform: Callable[[Any], Tensor] | None, variables: Sequence[str] = (), *, ids: bool = False
) -> Source:
    """Read data of any kind as a source.

    Parameters
    ----------
    data : xarray.Dataset, str, pathlib.Path, Dataset, DataLoader or iterable
        What :func:`relfunc.attribute_dataset` takes.
    transform : callable or None
        As there.
    variables : sequence of str
        As there.
    ids : bool
        Whether the model takes the ids of tokens, so that integers stay what they are.

    Returns
    -------
    Source

    Raises
    ------
    DataError
        If it is of no known kind, or shuffled, or has no such variables.
    """
    if variables and not isinstance(data, xr.Dataset):
        raise DataError(f"variables are kept of an xarray.Dataset, and the data are a {type(data).__name__}: give none")
    is_labelled = isinstance(data, xr.Dataset)
    source = Labelled(data, transform, variables, ids) if is_labelled else _source_of(data, transform, ids)
    if source.length == 0:
        raise DataError(f"the {type(data).__name__} holds no samples: give data with at least one")
    return source


def _source_of(data: Any, transform: Callable[[Any], Tensor] | None, ids: bool) -> Source:
    if isinstance(data, str | Path):
        return Folder(data, transform)
    if isinstance(data, DataLoader):
        return Stream(data, transform, length=None, positions=_order(data), ids=ids)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple):
        return Indexed(data, transform)
    if isinstance(data, Iterable):
        return Stream(data, transform, length=None, ids=ids)
    raise DataError(
        f"data is a {type(data).__name__}: give an xarray.Dataset, an image folder, a torch Dataset or DataLoader, or "
        "an iterable of batches"
    )


def _order(loader: DataLoader) -> list[int] | None:
    """Positions in its dataset of the samples that a loader yields, which identify them; None if it has none.

    Raises
    ------
    DataError
        If they are drawn at random, or some come more than once.
    """
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        samplers: list[Any] = [] if isinstance(loader.dataset, IterableDataset) else [loader.sampler]
    else:
        samplers = [loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None), loader.sampler]
    random = next((one for one in samplers if isinstance(one, _RANDOM)), None)
    drawn = [list(samplers[0]) for _ in range(2)] if samplers and random is None else [[], []]
    if random is not None or drawn[0] != drawn[1]:
        raise DataError(
            f"the DataLoader shuffles ({type(random or samplers[0]).__name__}), so that its samples have no fixed "
            "order: make it shuffle=False, or give it a sampler that yields the same positions each time"
        )
    batches = [each if isinstance(each, list | tuple) else [each] for each in drawn[0]]
    found = [i for batch in batches for i in batch]
    if loader.batch_sampler is None or not all(isinstance(i, int | np.integer) for i in found):
        return None
    _check_unique(np.array(found, np.int64), "the DataLoader's sampler yields position")
    return [int(i) for i in found]


_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def _check_unique(ids: np.ndarray, what: str) -> None:
    twice = pd.Index(ids).duplicated()
    if twice.any():
        raise DataError(f"{what} '{ids[twice][0]}' more than once: identifiers of samples must be unique")


class Labelled:
    """Samples of an xarray Dataset with ``input (sample, ...)`` and, if known, ``label``."""

    def __init__(
        self,
        data: xr.Dataset,
        transform: Callable[[Any], Tensor] | None,
        variables: Sequence[str] = (),
        ids: bool = False,
    ) -> None:
        if INPUT not in data or data[INPUT].dims[0] != SAMPLE:
            raise DataError(f"the Dataset has no variable '{INPUT}' with dimensions that begin with '{SAMPLE}'")
        for name in variables:
            _check_kept(data, name)
        self.data, self.transform, self.variables = data, transform, list(variables)
        self.length: int | None = data.sizes[SAMPLE]
        self.classes = [str(name) for name in data[CLASS].values] if CLASS in data.coords else None
        self.dims: tuple[str, ...] | None = tuple(str(dim) for dim in data[INPUT].dims[1:])
        self._are_tokens = data[INPUT].dtype.kind in "iu" and (ids or self.dims == (TOKEN,))
        self._ids = data[SAMPLE].values if SAMPLE in data.coords else np.arange(data.sizes[SAMPLE])
        if self._ids.dtype.kind not in "iuUTO" or not all(isinstance(name, int | str) for name in self._ids.tolist()):
            raise DataError(f"the Dataset's '{SAMPLE}' is {self._ids.dtype}: identifiers are integers or text")
        _check_unique(self._ids, f"the Dataset's '{SAMPLE}' has")

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read the samples at these positions, some at a time."""
        stop = self.length or 0 if stop is None else min(stop, self.length or 0)
        needed = [name for name in (INPUT, LABEL, *self.variables) if name in self.data]
        step = max(1, min(_AT_ONCE // max(1, self.data[INPUT][:1].nbytes), stop - start))
        for at in range(start, stop, step):
            part = self.data[needed].isel({SAMPLE: slice(at, min(at + step, stop))}).load()
            yield from self._made({name: part[name].values for name in needed}, self._ids[at : at + step].tolist())

    def _made(self, read: dict[str, np.ndarray], ids: list[int | str]) -> Iterator[Samples | Unreadable]:
        """Transform what was read together; where that fails, one by one."""
        raw = read[INPUT]
        try:
            x = self.transform(raw) if self.transform else self._as_input(raw)
        except Exception as error:
            if len(raw) == 1:
                yield _unreadable(ids[0], error)
                return
            for i in range(len(raw)):
                yield from self._made({name: values[i : i + 1] for name, values in read.items()}, ids[i : i + 1])
            return
        if len(x) != len(raw):
            raise DataError(f"the transform made {len(x)} inputs of {len(raw)}: it takes and gives (sample, ...)")
        kept = raw if raw.dtype == np.uint8 and x.shape == raw.shape else None
        yield Samples(ids, x, read.get(LABEL), kept, {name: read[name] for name in self.variables})

    def _as_input(self, raw: np.ndarray) -> Tensor:
        return torch.as_tensor(raw.astype(np.int64)) if self._are_tokens else torch.as_tensor(raw).float()

    def fingerprint(self) -> str:
        """Digest identifiers, labels, the inputs or their file, the transform, and the variables to keep."""
        whole = of_labelled(self.data, self._ids, self.transform, self.samples)
        kept = self.data[self.variables].reset_coords(drop=True)
        return digest(whole, of_source(kept)) if self.variables else whole


def _check_kept(data: xr.Dataset, name: str) -> None:
    """Refuse a variable that cannot stand beside the attributions of each sample."""
    if name in _TAKEN:
        raise DataError(f"variables has '{name}', which the results have of their own: rename it")
    if name not in data or data[name].dims != (SAMPLE,):
        got = f"has dimensions {data[name].dims}" if name in data else "is not in the Dataset"
        raise DataError(f"variable '{name}' {got}: those to keep have one value for each '{SAMPLE}'")
    values = data[name]
    if values.dtype.kind not in "biufUT" and not all(isinstance(value, str) for value in values.values.tolist()):
        raise DataError(f"variable '{name}' is {values.dtype}: convert it to numbers, text, or yes and no")


_TAKEN = (ATTRIBUTION, CLASS, INPUT, LABEL, PREDICTION, SAMPLE, TARGET, TOKEN_MASK, TOKEN_TEXT)


class Indexed:
    """Samples of a torch Dataset: tensors or mappings of arguments, or pairs of one and a label."""

    def __init__(self, data: Any, transform: Callable[[Any], Tensor] | None) -> None:
        self.data, self.transform = data, transform
        self.length: int | None = len(data)
        self.classes = _class_names(data)
        self.dims: tuple[str, ...] | None = None
        self._ids: Sequence[int | str] = _paths(data) or range(len(data))
        self._kept = denormalized(getattr(data, "transform", None) or transform)

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read the samples at these positions."""
        for i in range(start, min(self.length or 0 if stop is None else stop, self.length or 0)):
            yield _sample(self._ids[i], lambda i=i: self.data[i], self.transform, self._kept)

    def fingerprint(self) -> str:
        """Digest the dataset's code, all that it holds, its files, and a spread of samples."""
        return of_indexed(self.data, self.transform, self._ids, self.length or 0, self.samples)


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
    """Samples of an iterable of batches: tensors or mappings, pairs of one and labels, or xarray Datasets."""

    def __init__(
        self,
        batches: Iterable[Any],
        transform: Callable[[Any], Tensor] | None,
        length: int | None,
        positions: Iterable[int] | None = None,
        *,
        ids: bool = False,
    ) -> None:
        self.batches, self.transform, self._positions, self._ids = batches, transform, positions, ids
        self.length = length
        dataset = getattr(batches, "dataset", None)
        self.classes = _class_names(dataset)
        self.dims: tuple[str, ...] | None = None
        self._kept = denormalized(getattr(dataset, "transform", None) or transform)

    def samples(self, start: int, stop: int | None) -> Iterator[Samples | Unreadable]:
        """Read on from position ``start``, which costs reading all before it."""
        return itertools.islice(self._all(), start, stop)

    def _all(self) -> Iterator[Samples | Unreadable]:
        numbers = iter(self._positions if self._positions is not None else itertools.count())
        named: set[Any] = set()
        for batch in self.batches:
            if isinstance(batch, xr.Dataset):
                for part in Labelled(batch, self.transform, ids=self._ids).samples(0, None):
                    for one in part.singly():
                        name = one.ids[0]
                        if name in named:
                            raise DataError(f"sample identifier '{name}' occurs in two batches: make them unique")
                        named.add(name)
                        yield one
                continue
            x, label = batch if isinstance(batch, tuple | list) else (batch, None)
            for i in range(count(x)):
                item = of_batch(x, i) if label is None else (of_batch(x, i), label[i])
                yield _sample(next(numbers), lambda item=item: item, self.transform, self._kept)

    def fingerprint(self) -> str:
        """Digest the kind alone: what an iterable yields is only known when it has, and then each shard says it."""
        return digest(type(self.batches).__qualname__)


def _sample(
    name: int | str,
    read: Callable[[], Any],
    transform: Callable[[Any], Tensor] | None,
    kept: Callable[[Tensor], np.ndarray] | None,
) -> Samples | Unreadable:
    """Read and transform one sample; whatever a decoder raises makes it unreadable."""
    try:
        item = read()
        x, label = item if isinstance(item, tuple | list) else (item, None)
        x = transform(x) if transform else x
    except MemoryError:
        raise
    except Exception as error:
        return _unreadable(name, error)
    argument, others = None, {}
    if isinstance(x, Mapping):
        argument, x, others, own = arranged(x, f"sample '{name}'")
        if own is not None and label is not None:
            raise DataError(f"sample '{name}' has a label among its entries and another beside them: give one")
        label = own if label is None else label
    if not isinstance(x, Tensor):
        raise DataError(f"sample '{name}' is a {type(x).__name__}, not a tensor: give the data a transform to tensors")
    label = np.asarray(label)[None] if label is not None else None
    others = {key: value[None] for key, value in others.items()}
    return Samples([name], x[None], label, kept(x)[None] if kept else None, argument=argument, others=others)


def _unreadable(name: int | str, error: Exception) -> Unreadable:
    kind = "" if isinstance(error, OSError | ValueError) and str(error) else f"{type(error).__name__}: "
    return Unreadable(name, f"{kind}{error}", error)


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


_AT_ONCE = 2**21
"""Bytes of an xarray Dataset's inputs that are read at a time."""
