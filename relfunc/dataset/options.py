"""Options of :func:`relfunc.attribute_dataset`: its signature, its runs and the command line read them here."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, get_origin

from ..errors import RunError

if TYPE_CHECKING:  # the command line's help waits for no torch
    from torch import Tensor

Progress: TypeAlias = bool | Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to attribute a dataset.

    Parameters
    ----------
    batch_size : int
        Samples attributed at once. When memory runs out, it is halved for the rest of the run.
    shard_size : int
        Samples in a file: what is done again at most after a stop.
    target : {"label", "prediction"}, int, tuple of int or callable
        The class to explain, or a function from a batch's outputs and labels to class indices ``(sample,)`` or to
        the relevance to start with ``(sample, class)``. Of an output with more axes a tuple indexes it behind the
        sample, the class last: ``(-1, 42)``, token 42 at the last position; the prediction kept is the output there.
    classes : sequence of str, optional
        Class names; by default those that the data know, or numbers.
    transform : callable, optional
        From an image of a folder (or an item of other data; a batch's array, for an xarray Dataset) to the model's
        input. Without one, arrays are taken as float32.
    variables : sequence of str
        Further variables ``(sample,)`` of a Dataset to keep with the results: numbers, text, or yes and no.
    tokens : callable, optional
        What keeps the text of each token: a function from the ids of one sample, a list, to as many texts; or a
        tokenizer with ``convert_ids_to_tokens``.
    keep_input : {"uint8", "float32"} or None
        How to keep the inputs. As ``uint8`` they are kept as they were before a torchvision normalization at the end
        of the transform; where there is none, from 0 … 1, or stretched per sample if their values lie outside. The
        ids of tokens are kept as integers.
    dtype : {"float32", "float16"}
        Precision of the stored attributions. netCDF-4 has no float16: values are rounded to its ten bits of mantissa,
        and the zeros that follow are compressed away.
    device : str, optional
        Where to compute, such as ``"cuda"``; by default where the model is. The model given is not moved.
    autocast : {"bfloat16", "float16"}, optional
        Precision of the model's operations; attributions are converted to float32.
    channels_last : bool
        Whether to compute in this memory format.
    compiled : bool
        Whether to compute with :func:`torch.compile`.
    workers : int
        Processes on this machine, each with a model of its own.
    client : distributed.Client, optional
        Of a Dask cluster whose workers share the folder ``out``; each shard is a task.
    on_error : {"raise", "skip"}
        What becomes of samples that cannot be read or attributed, or whose result is no number; the manifest lists
        those skipped.
    progress : bool or callable
        A bar on a terminal; or a function of the samples done and their number, if that is known.
    attrs : mapping, optional
        Further attributes to keep with the results; part of what tells runs apart.

    Raises
    ------
    RunError
        If a value is none of those that an option has.

    Examples
    --------
    >>> Options(dtype="float16").batch_size
    32
    >>> Options(workers=0)
    Traceback (most recent call last):
    ...
    relfunc.errors.RunError: workers is 0: give at least 1, a whole number
    """

    batch_size: int = 32
    shard_size: int = 1024
    target: "Literal['label', 'prediction'] | int | tuple[int, ...] | Callable[[Tensor, Tensor | None], Tensor]" = (
        "label"
    )
    classes: Sequence[str] | None = None
    transform: "Callable[[Any], Tensor] | None" = None
    variables: Sequence[str] = ()
    tokens: Any = None
    keep_input: Literal["uint8", "float32"] | None = "uint8"
    dtype: Literal["float32", "float16"] = "float32"
    device: str | None = None
    autocast: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False
    compiled: bool = False
    workers: int = 1
    client: Any = None
    on_error: Literal["raise", "skip"] = "raise"
    progress: Progress = True
    attrs: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, listed = getattr(self, field.name), choices(field.type)
            if _is_whole(value):
                object.__setattr__(self, field.name, int(value))  # which JSON takes, unlike NumPy's
            fits, give = _FITS.get(field.name) or _FITS.get(field.type) or (_is_any, "")
            if listed and field.name not in _FITS:
                fits, give = partial(_is_listed, listed), " or ".join(map(repr, listed))
            if not fits(value):
                raise RunError(f"{field.name} is {value!r}: give {give}")


def _is_any(value: Any) -> bool:
    return True


def _is_listed(listed: tuple[Any, ...], value: Any) -> bool:
    return (value is None or isinstance(value, str | bool)) and value in listed


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or NumPy; yes and no are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_target(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) > 1 and all(map(_is_whole, value))
    return _is_whole(value) or callable(value) or (isinstance(value, str) and value in {"label", "prediction"})


def _are_tokens(value: Any) -> bool:
    return value is None or callable(value) or callable(getattr(value, "convert_ids_to_tokens", None))


def _are_names(value: Any) -> bool:
    """Whether a value has several names, or numbers for them, in an order."""
    if isinstance(value, str | bytes | Mapping | Set):
        return False
    names = getattr(value, "tolist", lambda: value)()
    return isinstance(names, Sequence) and all(isinstance(name, str) or _is_whole(name) for name in names)


_FITS: Final[dict[Any, tuple[Callable[[Any], bool], str]]] = {
    int: (lambda value: _is_whole(value) and value >= 1, "at least 1, a whole number"),
    bool: (lambda value: isinstance(value, bool), "True or False"),
    "target": (_is_target, "'label', 'prediction', a class index, two or more indices in a tuple, or a function"),
    "tokens": (_are_tokens, "a function from ids to texts, or a tokenizer with convert_ids_to_tokens"),
    "classes": (lambda value: value is None or _are_names(value), "a list of names"),
    "transform": (lambda value: value is None or callable(value), "a function"),
    "variables": (_are_names, "a list of names"),
    "device": (lambda value: value is None or isinstance(value, str), "its name, such as 'cuda:1'"),
    "progress": (lambda value: isinstance(value, bool) or callable(value), "True, False, or a function"),
}
"""Of an option, by its type or name: whether a value is one it has, and what to give."""


def choices(kind: Any) -> tuple[Any, ...]:
    """Return the values that a type lists; nothing if it lists none.

    Examples
    --------
    >>> choices(Literal["a", "b"] | None)
    (None, 'a', 'b')
    >>> choices(str | None)
    ()
    """
    listed = [value for part in (kind, *get_args(kind)) if get_origin(part) is Literal for value in get_args(part)]
    return (*([None] if listed and NoneType in get_args(kind) else []), *listed)
