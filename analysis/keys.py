"""Keys by lineage: a digest of the code, the parameters and the data that a result was computed from.

Only a source array is ever read for its key. The key of a result is a digest of its step's code, its parameters and
the keys of what it was computed from, so equal keys mean equal results without a look at the data between.

The code of a function is its bytecode and, recursively, that of every function of the same package it refers to, the
values of the constants it refers to, and the versions of the libraries it imports or calls.
"""

import dataclasses
import dis
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import itertools
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
import xxhash

from .errors import KeyingError

Digest = str
VERSION = "__analysis_version__"
BLOCK_BYTES = 1 << 25


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
        (str(name), tuple(map(str, variable.dims)), name in data.coords, _of_array(variable))
        for name, variable in data.variables.items()
    ]
    return digest("source", *sorted(found))


def of_step(function: Callable[..., Any], params: Mapping[str, Any], inputs: tuple[Digest, ...]) -> Digest:
    """Key of a step's result.

    Parameters
    ----------
    function : callable
        The step. An attribute ``__analysis_version__``, if it has one, counts as its declared version.
    params : mapping
        All its parameters, defaults included.
    inputs : tuple of str
        Keys of what it is given.

    Returns
    -------
    str

    Raises
    ------
    KeyingError
        If code or a parameter refers to something that has no value.

    Examples
    --------
    >>> of_step(len, {}, ()) == of_step(len, {}, ("other",))
    False
    """
    return digest(
        "step", of_code(function), *[(name, _of_value(params[name], name)) for name in sorted(params)], inputs
    )


def of_code(function: Callable[..., Any]) -> Digest:
    """Key of a function: its name, declared version, bytecode, captured values, and what it refers to.

    Parameters
    ----------
    function : callable
        A function, lambda, closure, partial, method of a frozen dataclass, or built-in.

    Returns
    -------
    str

    Raises
    ------
    KeyingError
        If it captures or refers to something that has no value, such as an open file.

    Examples
    --------
    >>> of_code(lambda x: x + 1) == of_code(lambda x: x + 2)
    False
    """
    return digest("code", *sorted(_of_callable(function, set())))


def digest(*parts: Any) -> Digest:
    """Digest of nested tuples of strings, numbers and None; types count, so that 1 and 1.0 and "1" differ."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()


def blocks(shape: tuple[int, ...], itemsize: int) -> Iterator[Any]:
    """Cut an array along its first axis into indices of parts that are small enough to be read one by one."""
    if not shape:
        yield ()
        return
    rows = max(1, BLOCK_BYTES // max(1, itemsize * math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


def _of_array(array: np.ndarray | xr.Variable) -> Digest:
    if array.dtype.kind in "biufcmMS":
        little = array.dtype.newbyteorder("<")
        content = xxhash.xxh3_128()
        for part in blocks(array.shape, little.itemsize):
            values = np.ascontiguousarray(array[part], dtype=little)
            content.update(values.reshape(-1).view(np.uint8).data)
        return digest("array", little.str, array.shape, content.hexdigest())
    values = np.asarray(array)
    if values.dtype == object:
        texts = values.ravel().tolist()
        if not all(isinstance(text, str) for text in texts):
            raise KeyingError(f"an array of Python objects ({type(texts[0]).__name__}) has no value to be keyed by")
        values = np.array(texts, dtype=np.str_).reshape(values.shape)
    if values.dtype.kind in "UT":
        # netCDF has strings of one kind only, without a width
        return digest("text", values.shape, tuple(values.ravel().tolist()))
    raise KeyingError(f"an array of type {values.dtype} has no value to be keyed by")


def _of_value(value: Any, where: str) -> Any:
    """Return a parameter or captured value as nested tuples of what :func:`digest` takes."""
    match value:
        case None | bool() | int() | str() | bytes():
            return value
        case float():
            return ("float", value.hex())
        case complex():
            return ("complex", value.real.hex(), value.imag.hex())
        case np.generic() | np.ndarray():
            return _of_array(np.asarray(value))
        case tuple() | list() | range():
            return (type(value).__name__, *(_of_value(inner, where) for inner in value))
        case set() | frozenset():
            return ("set", *sorted(repr(_of_value(inner, where)) for inner in value))
        case Mapping():
            return (
                "map",
                *sorted((repr(_of_value(key, where)), _of_value(inner, where)) for key, inner in value.items()),
            )
        case xr.Dataset():
            return of_source(value)
        case type() | types.FunctionType() | types.BuiltinFunctionType() | functools.partial() | np.ufunc():
            return of_code(value)
        case types.ModuleType():
            return ("module", value.__name__, _version(value.__name__))
    if dataclasses.is_dataclass(value):
        fields = [(field.name, _of_value(getattr(value, field.name), where)) for field in dataclasses.fields(value)]
        return ("dataclass", of_code(type(value)), *fields)
    if hasattr(value, "get_params"):
        return ("estimator", of_code(type(value)), _of_value(value.get_params(deep=False), where))
    if isinstance(value, types.GenericAlias) or type(value).__module__ in ("typing", "types"):
        return ("type", repr(value))
    raise KeyingError(
        f"{where} is a {type(value).__qualname__}, which has no value that results could be keyed by: "
        "pass numbers, strings, arrays or functions instead, or run without a store"
    )


def _of_callable(function: Any, seen: set[int]) -> Iterator[str]:
    """One line for each piece of code a callable depends on."""
    if isinstance(function, functools.partial):
        yield f"partial {_of_value((function.args, function.keywords), 'partial')}"
        function = function.func
    function = inspect.unwrap(function)
    if isinstance(function, types.MethodType):
        yield f"bound {_of_value(function.__self__, function.__qualname__)}"
        function = function.__func__
    if id(function) in seen:
        return
    seen.add(id(function))
    module, name = (
        getattr(function, "__module__", None) or "builtins",
        getattr(function, "__qualname__", repr(function)),
    )
    if not isinstance(function, types.FunctionType):
        yield f"named {module}.{name} {_version(module)}"
        if _package(module) == "__main__":
            yield from _of_methods(function, seen)
        return
    yield f"function {module}.{name} {getattr(function, VERSION, '')}"
    yield f"code {name} {_of_bytecode(function.__code__, function.__doc__)}"
    yield f"defaults {name} {_of_value((function.__defaults__, function.__kwdefaults__), name)}"
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"captured {variable} {_of_value(_content(cell), f'{variable!r}, which {name} captures,')}"
    for referred, value in _references(function):
        yield from _of_reference(referred, value, function, seen)


def _of_methods(value: Any, seen: set[int]) -> Iterator[str]:
    """Code that was written for a class; what :mod:`dataclasses` generates follows from its fields."""
    for part in vars(value).values() if isinstance(value, type) else ():
        method = getattr(part, "fget", None) or getattr(part, "__func__", part)
        if isinstance(method, types.FunctionType) and not method.__code__.co_filename.startswith("<"):
            yield from _of_callable(method, seen)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _of_bytecode(code: types.CodeType, doc: str | None) -> Digest:
    constants: list[Any] = []
    for position, constant in enumerate(code.co_consts):
        if isinstance(constant, types.CodeType):
            constants.append(_of_bytecode(constant, None))
        elif not (position == 0 and constant == doc):
            constants.append(_of_value(constant, code.co_qualname) if constant is not ... else "...")
    names = (code.co_names, code.co_varnames, code.co_freevars)
    return digest(code.co_code.hex(), tuple(constants), names, code.co_exceptiontable.hex())


def _references(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Global names, attributes of global modules, and imports that the code of a function mentions."""
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        instructions = list(dis.get_instructions(code))
        for at, instruction in enumerate(instructions):
            if instruction.opname == "IMPORT_NAME":
                level, imported = instructions[at - 2].argval or 0, str(instruction.argval)
                if level or _package(imported) == _package(function.__module__):
                    parent = function.__globals__.get("__package__") if level else None
                    module = importlib.import_module("." * level + imported, parent)
                    yield "import", module
                    for name in itertools.takewhile(lambda one: one.opname != "POP_TOP", instructions[at + 1 :]):
                        if name.opname == "IMPORT_FROM":
                            yield str(name.argval), getattr(module, str(name.argval))
                else:  # of a library only the version counts, so it stands in unloaded: some take seconds to load
                    yield "import", types.ModuleType(imported)
            elif instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in function.__globals__:
                value = function.__globals__[instruction.argval]
                yield str(instruction.argval), value
                following = instructions[at + 1] if at + 1 < len(instructions) else None
                if isinstance(value, types.ModuleType) and following is not None:
                    attribute = following.argval if following.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
                    if isinstance(attribute, str) and hasattr(value, attribute):
                        yield f"{instruction.argval}.{attribute}", getattr(value, attribute)


def _of_reference(name: str, value: Any, by: types.FunctionType, seen: set[int]) -> Iterator[str]:
    """Code of the same package is followed; of a library, only its version counts."""
    if isinstance(value, types.ModuleType):
        yield f"library {value.__name__.partition('.')[0]} {_version(value.__name__)}"
        return
    home = getattr(inspect.unwrap(value) if callable(value) else value, "__module__", None)
    if callable(value) and isinstance(home, str):
        if _package(home) == _package(by.__module__):
            yield from _of_callable(value, seen)
            yield from _of_methods(value, seen)
        else:
            yield f"library {home.partition('.')[0]}.{getattr(value, '__qualname__', name)} {_version(home)}"
        return
    yield f"global {name} {_of_value(value, f'global {name!r}, to which {by.__qualname__} refers,')}"


def _package(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def _version(module: str) -> str:
    package = _package(module)
    if package in sys.stdlib_module_names or package == "__main__":
        return "" if package == "__main__" else f"python {sys.version_info.major}.{sys.version_info.minor}"
    for distribution in _distributions().get(package, [package]):
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(package), "__version__", ""))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Which distributions have which packages; to find out takes most of a second."""
    return importlib.metadata.packages_distributions()
