"""Keys: what a value is worth, as a digest that any process finds again and no other value has.

An array is known by its type, shape and content; a container by its members; a function, class or module as
:mod:`relfunc.keys.code` says; any other object by its class and by what :mod:`pickle` would keep of it. Memory
addresses, hash seeds and file names do not count. What has no such value is refused: a guess would hand out other
data's results.
"""

import copyreg
import enum
import functools
import hashlib
import logging
import operator
import pathlib
import pickle
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
import xxhash

from ..errors import KeyingError
from . import blocks, code

Digest = str
T = TypeVar("T")


def versioned(value: T, version: str) -> T:
    """Declare a version of a function, class or object, which stands for what of it cannot be followed.

    Results are kept by a digest of all they were computed from. Where that ends, as at an open file or at
    ``importlib.import_module``, an error asks for this: a version to be changed whenever the results would.

    Parameters
    ----------
    value : object
        Whatever takes attributes.
    version : str
        Its version. What can be followed still counts beside it.

    Returns
    -------
    object
        The same.

    Examples
    --------
    >>> with open(__file__) as file:
    ...     key(versioned(lambda: file.read(), "1")) == key(versioned(lambda: file.read(), "2"))
    False
    """
    setattr(value, code.VERSION, version)
    return value


def key(value: Any, where: str = "a value") -> Digest:
    """Return the key of any value: a parameter, a model, a function with all that it refers to.

    Parameters
    ----------
    value : object
        What to identify.
    where : str
        What messages call it.

    Returns
    -------
    str

    Raises
    ------
    KeyingError
        If it holds or refers to something that has no value, such as an open file.

    Examples
    --------
    >>> key([1, 2]) == key((1, 2)), key(lambda x: x + 1) == key(lambda x: x + 1)
    (False, True)
    """
    return digest("value", described(value, where))


def described(value: Any, where: str, own: str = "") -> Any:
    """Describe a value by nested tuples of what :func:`digest` takes; :func:`key` is their digest.

    Parameters
    ----------
    value : object
        What to describe.
    where : str
        What messages call it.
    own : str
        A package of this project whose code is to be followed, which otherwise only its version stands for.
    """
    try:
        return Walk(own).of(value, where)
    except RecursionError as error:
        raise KeyingError(f"{where} is nested too deeply to be keyed by: {_WAY_OUT}") from error


def digest(*parts: Any) -> Digest:
    """Digest of nested tuples of strings, numbers and None; types count, so that 1 and 1.0 and "1" differ."""
    return hashlib.blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=20).hexdigest()


def of_source(data: xr.Dataset) -> Digest:
    """Key of a dataset by content: names, dimensions, types and values of its variables and coordinates.

    Attributes and the order in memory do not count, so the key survives netCDF.

    Parameters
    ----------
    data : xarray.Dataset
        Every array is read once, block by block if it is numeric, so that one larger than memory has a key too.

    Returns
    -------
    str

    Examples
    --------
    >>> a = xr.Dataset({"a": ("x", [1, 2])})
    >>> of_source(a) == of_source(a.copy(deep=True)), of_source(a) == of_source(a.astype("int32"))
    (True, False)
    """
    found = [
        (str(name), tuple(map(str, variable.dims)), name in data.coords, of_array(variable))
        for name, variable in data.variables.items()
    ]
    return digest("source", *sorted(found))


def of_array(array: np.ndarray | xr.Variable) -> Digest:
    """Key of an array of numbers, times or text, by type, shape and content."""
    if array.dtype.kind in "biufcmMSV" and not array.dtype.hasobject:
        little = array.dtype.newbyteorder("<")
        content = xxhash.xxh3_128()
        for part in blocks.cut(array.shape, little.itemsize):
            values = np.ascontiguousarray(array[part], dtype=little)
            content.update(values.reshape(-1).view(np.uint8).data if values.size else b"")
        return digest("array", repr(little) if little.names else little.str, array.shape, content.hexdigest())
    values = np.asarray(array)
    if values.dtype == object:
        texts = values.ravel().tolist()
        odd = next((text for text in texts if not isinstance(text, str)), "")
        if not isinstance(odd, str):
            raise KeyingError(f"an array of Python objects ({type(odd).__name__}) has no value to be keyed by")
        values = np.array(texts, dtype=np.dtypes.StringDType()).reshape(values.shape)
    if values.dtype.kind in "UT":
        # netCDF has strings of one kind only, without a width
        return digest("text", values.shape, tuple(values.ravel().tolist()))
    raise KeyingError(f"an array of type {values.dtype} has no value to be keyed by")


class Walk:
    """One walk over all that a value holds, as nested tuples of what :func:`digest` takes.

    An object that is met again, as in a cycle, is the number of its first meeting.
    """

    def __init__(self, own: str = "") -> None:
        self._own = own
        self._met: dict[int, tuple[int, Any]] = {}
        self._count = 0
        self._excused = 0

    def of(self, value: Any, where: str) -> Any:
        """Describe a value."""
        if value is None or type(value) in _ATOMS:
            return value
        if id(value) in self._met:
            return ("again", self._met[id(value)][0])
        row = next(row for row in _ROWS if row.matches(value))
        if row.holds:
            # kept beside its number, so that no later object gets its address
            self._met[id(value)] = (self._count, value)
            self._count += 1
        version = None if row in _PLAIN else code.declared(value)
        self._excused += version is not None
        try:
            found = row.describe(self, value, where)
        finally:
            self._excused -= version is not None
            if type(value) in _CONTAINERS:  # whether equal ones are one may be an accident
                self._met.pop(id(value), None)
        return found if version is None else ("version", str(version), found)

    def all(self, values: Iterable[Any], where: str) -> tuple[Any, ...]:
        """Describe several values, in their order."""
        return tuple(self.of(value, where) for value in values)

    def apart(self) -> "Walk":
        """Return a walk that knows what this one has met, and tells it nothing."""
        walk = Walk(self._own)
        walk._met, walk._count, walk._excused = dict(self._met), self._count, self._excused
        return walk

    def is_library(self, module: str) -> bool:
        """Whether the code of a module is known by its version."""
        return code.is_library(module, self._own)

    def refuse(self, value: Any, where: str, why: str = "which has no value that results could be keyed by") -> Any:
        """Say that something has no value, unless a declared version stands for it."""
        if self._excused:
            return ("declared", type(value).__qualname__)
        raise KeyingError(f"{where} is a {type(value).__qualname__}, {why}: {_WAY_OUT}")


_WAY_OUT = (
    "pass numbers, strings, arrays or functions instead; or declare a version of what refers to it, "
    "relfunc.versioned(it, '1'), to be changed whenever the results would; or do without a store"
)
_ATOMS = (bool, int, str, bytes)
_CONTAINERS = (list, dict, set)


# --- values -------------------------------------------------------------------------------------------


def _sorted(walk: Walk, values: Any, where: str) -> Any:
    """Members of a set, each by itself: their order differs from process to process."""
    return ("set", type(values).__name__, *sorted(repr(walk.apart().of(value, where)) for value in values))


def _array(walk: Walk, value: np.ndarray, where: str) -> Any:
    kind = "" if type(value) is np.ndarray else type(value).__qualname__
    if isinstance(value, np.ma.MaskedArray):
        return ("masked", of_array(value.filled(0)), of_array(np.ma.getmaskarray(value)))
    if value.dtype == object:
        return ("objects", kind, value.shape, walk.all(value.ravel().tolist(), where))
    return ("array", kind, of_array(value))


def _tensor(walk: Walk, value: Any, where: str) -> Any:
    import torch

    if value.is_meta:
        return walk.refuse(value, where)
    a = value.detach()
    if a.layout is not torch.strided:
        return ("tensor", str(a.layout), _tensor(walk, a.to_dense(), where))
    if a.is_quantized:
        return ("tensor", str(a.qscheme()), _tensor(walk, a.dequantize(), where))
    flat = a.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = xxhash.xxh3_128(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return ("tensor", str(a.dtype), tuple(a.shape), content.hexdigest())


def _table(walk: Walk, value: Any, where: str) -> Any:
    columns = [value[name] for name in value] if isinstance(value, pd.DataFrame) and value.columns.is_unique else []
    if isinstance(value, pd.DataFrame) and not columns:
        columns = [value.iloc[:, k] for k in range(value.shape[1])]
    held = columns or [value]
    axes = [value.columns, value.index] if isinstance(value, pd.DataFrame) else getattr(value, "axes", [])
    return (
        type(value).__name__,
        walk.of(getattr(value, "name", None), where),
        walk.of(getattr(value, "attrs", {}), where),
        [(_kind(walk, one.dtype, where), walk.of(one.to_numpy(), where)) for one in held if hasattr(one, "dtype")],
        [
            (walk.of(list(axis.names), where), _kind(walk, axis.dtype, where), walk.of(axis.to_numpy(), where))
            for axis in axes
        ],
    )


def _kind(walk: Walk, dtype: Any, where: str) -> Any:
    """Describe the type of a column; of a category, with what there is to choose from, in its order."""
    if isinstance(dtype, pd.CategoricalDtype):
        return ("category", bool(dtype.ordered), walk.of(dtype.categories.to_numpy(), where))
    return str(dtype)


def _dataset(walk: Walk, value: xr.Dataset, where: str) -> Any:
    """Describe a dataset that code can read: beside its values its attributes, and the order of all that is named."""
    named = [
        (str(name), walk.of(dict(variable.attrs), f"{where}[{name!r}]")) for name, variable in value.variables.items()
    ]
    return ("dataset", of_source(value), named, walk.of(dict(value.attrs), where))


def _labelled(walk: Walk, value: xr.DataArray | xr.Variable, where: str) -> Any:
    if isinstance(value, xr.DataArray):
        return ("labelled", walk.of(value.name, where), _dataset(walk, value.to_dataset(name="values"), where))
    return ("variable", tuple(map(str, value.dims)), of_array(value), walk.of(dict(value.attrs), where))


def _module(walk: Walk, value: Any, where: str) -> Any:
    """Describe a torch module: its class, all its tensors and whatever else was set on it."""
    held = vars(value)
    tensors, modules = ("_parameters", "_buffers"), "_modules"
    rest = [
        (name, list(state.values()) if "hooks" in name and isinstance(state, dict) else state)  # by a running number
        for name, state in held.items()
        if name not in (*tensors, modules)
    ]
    return (
        "module",
        walk.of(type(value), where),
        [(name, walk.of(each, f"{where}.{name}")) for kind in tensors for name, each in held[kind].items()],
        [(name, walk.of(state, f"{where}.{name}")) for name, state in rest],
        [(name, walk.of(each, f"{where}.{name}")) for name, each in held[modules].items()],
    )


def _member(walk: Walk, value: enum.Enum, where: str) -> Any:
    return ("member", walk.of(type(value), where), value.name, walk.of(value.value, where))


def _reduced(walk: Walk, value: Any, where: str) -> Any:
    """Describe any other object by its class and by what pickle would keep of it."""
    if type(value) is object or hasattr(type(value), "__next__"):
        return walk.refuse(value, where)
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        parts: Any = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception:  # whatever an object answers that is not made to be kept
        return walk.refuse(value, where)
    if isinstance(parts, str):
        home = getattr(value, "__module__", None) or pickle.whichmodule(value, parts)  # type: ignore[attr-defined]
        try:
            known = operator.attrgetter(parts)(sys.modules[home])
        except (KeyError, AttributeError):
            return walk.refuse(value, where)
        return ("named", home, parts, code.version(home)) if known is value else walk.refuse(value, where)
    make, args, state, *rest = (*parts, None, None, None)[:5]
    more: tuple[Any, ...] = tuple(tuple(each or ()) for each in rest)
    if isinstance(state, Mapping):
        state = {name: held for name, held in state.items() if name != code.VERSION}
    return (
        "object",
        walk.of(type(value), where),
        walk.of(make, where),
        walk.of(args, where),
        walk.of(state, where),
        walk.of(more, where),
    )


def _is_of(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class whose module is not imported for that."""
    found = functools.reduce(lambda at, part: getattr(at, part, None), name.split("."), sys.modules.get(module))
    return isinstance(found, type) and isinstance(value, found)


def _is_torch(value: Any, name: str) -> bool:
    return _is_of(value, "torch", name)


def _is_attribution(value: Any) -> bool:
    """Whether a value is known by what it computes: a captured model, a relevance function, or what a method made."""
    return any(_is_of(value, f"relfunc.{module}", name) for module, name in _OF_ATTRIBUTION)


_OF_ATTRIBUTION = (
    ("graph.captured", "Captured"),
    ("relevance.function", "Relevance"),
    ("attribution.explanation", "Explanation"),
)


def _attribution(walk: Walk, value: Any, where: str) -> Any:
    from .identity import identity

    return ("attribution", *sorted(identity(value).items()))


def _is_plain_module(value: Any) -> bool:
    """Whether a torch module is what its attributes are; one that pickles in its own way knows better."""
    torch: Any = sys.modules.get("torch")
    return _is_torch(value, "nn.Module") and type(value).__reduce__ is torch.nn.Module.__reduce__


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


Row = code.Row


def _ufunc(walk: Walk, value: np.ufunc, where: str) -> Any:
    scipy = sys.modules.get("scipy.special")
    home = next((home for home in (np, scipy) if getattr(home, value.__name__, None) is value), None)
    if home is None:  # made of a Python function that it does not tell
        return walk.refuse(value, where)
    return ("ufunc", value.__name__, code.version(home.__name__))


_PLAIN = (
    Row(_is(float), lambda walk, value, where: ("float", value.hex())),
    Row(_is(complex), lambda walk, value, where: ("complex", value.real.hex(), value.imag.hex())),
    Row(_is(type(...), type(NotImplemented)), lambda walk, value, where: ("constant", repr(value))),
    Row(_is(tuple), lambda walk, value, where: ("tuple", *walk.all(value, where))),
    Row(_is(list), lambda walk, value, where: ("list", *walk.all(value, where)), holds=True),
    Row(_is(dict), lambda walk, value, where: ("map", *walk.all(value.items(), where)), holds=True),
    Row(_is(set, frozenset), _sorted, holds=True),
    Row(_is(range, slice), lambda walk, value, where: (type(value).__name__, walk.of(value.__reduce__()[1], where))),
    Row(lambda value: isinstance(value, np.generic), lambda walk, value, where: ("scalar", of_array(np.array(value)))),
    Row(lambda value: isinstance(value, np.ndarray), _array),
    Row(lambda value: isinstance(value, np.dtype), lambda walk, value, where: ("dtype", repr(value))),
    Row(lambda value: isinstance(value, pathlib.PurePath), lambda walk, value, where: ("path", str(value))),
    Row(lambda value: _is_torch(value, "Tensor"), _tensor),
)

_OBJECTS = (
    Row(lambda value: isinstance(value, enum.Enum), _member, holds=True),
    Row(lambda value: isinstance(value, np.ufunc), _ufunc),
    Row(_is(types.MappingProxyType), lambda walk, value, where: walk.of(dict(value), where)),
    Row(lambda value: isinstance(value, xr.Dataset), _dataset),
    Row(lambda value: isinstance(value, xr.DataArray | xr.Variable), _labelled),
    Row(lambda value: isinstance(value, pd.DataFrame | pd.Series | pd.Index), _table),
    Row(_is(re.Pattern), lambda walk, value, where: ("re", value.pattern, value.flags)),
    Row(lambda value: isinstance(value, logging.Logger), lambda walk, value, where: ("logger", value.name)),
    Row(
        lambda value: (
            isinstance(value, types.GenericAlias | types.UnionType | typing.TypeVar)
            or type(value).__module__ == "typing"
        ),
        lambda walk, value, where: ("type", repr(value)),
    ),
    Row(
        lambda value: (
            any(_is_torch(value, name) for name in ("dtype", "device", "layout", "memory_format"))
            or type(value).__module__ == "torch._ops"
        ),
        lambda walk, value, where: ("torch", str(value)),
    ),
    Row(lambda value: hasattr(value, "_orig_mod"), lambda walk, value, where: walk.of(value._orig_mod, where)),
    Row(_is_attribution, _attribution),
    Row(_is_plain_module, _module, holds=True),
    Row(lambda value: True, _reduced, holds=True),
)

_ROWS = (*_PLAIN, *code.ROWS, *_OBJECTS)
