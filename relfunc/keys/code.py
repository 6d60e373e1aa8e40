"""Code: what a function, class or module is worth, by all of its own code and by the version of each library's.

A function is its bytecode, its defaults, what it captures, what was set on it, and each global name that its code
mentions, followed as far as that goes: functions, classes with their constants, bases and enums, modules beside the
script, code typed at a prompt. Of what was installed, only the version counts. Where its text and line numbers lie,
and when it was compiled, does not count.
"""

import builtins
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "__analysis_version__"
PROJECT = ("relfunc", "analysis", "viewer")


@dataclass(frozen=True)
class Row:
    """How one kind of value is described.

    Parameters
    ----------
    matches : callable
        Whether a value is of this kind.
    describe : callable
        ``(walk, value, where) -> nested tuples``.
    holds : bool
        Whether it may hold itself, so that it is described where it is met first.
    """

    matches: Callable[[Any], bool]
    describe: Callable[[Any, Any, str], Any]
    holds: bool = False


def declared(value: Any) -> Any:
    """Return the version that was declared of a value by :func:`relfunc.versioned`, or None."""
    try:
        return inspect.getattr_static(value, VERSION, None)
    except Exception:  # an object may answer as it likes
        return None


# --- functions ----------------------------------------------------------------------------------------


def _of_function(walk: Any, function: types.FunctionType, where: str) -> Any:
    name = function.__qualname__
    home = str(function.__globals__.get("__name__", ""))
    held = [(key, walk.of(value, f"{name}.{key}")) for key, value in vars(function).items() if key != VERSION]
    captured = [
        (variable, walk.of(_content(cell), f"{variable!r}, which {name} captures,"))
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    ]
    defaults = walk.of((function.__defaults__, function.__kwdefaults__), f"a default of {name}")
    if walk.is_library(home):
        return ("library", home, name, version(home), defaults, captured, held)
    code = _of_bytecode(walk, function.__code__, function.__doc__)
    return ("function", home, name, code, defaults, captured, held, list(_references(walk, function)))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _of_bytecode(walk: Any, code: types.CodeType, doc: str | None) -> Any:
    constants = [
        _of_bytecode(walk, constant, None)
        if isinstance(constant, types.CodeType)
        else walk.of(constant, code.co_qualname)
        for position, constant in enumerate(code.co_consts)
        if not (position == 0 and isinstance(constant, str) and constant == doc)
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
    return (code.co_code.hex(), constants, names, counts, code.co_exceptiontable.hex())


def _references(walk: Any, function: types.FunctionType) -> Iterator[Any]:
    """Describe the global names, attributes of global modules, and imports that the code of a function mentions."""
    known, name = function.__globals__, function.__qualname__
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        instructions = [one for one in dis.get_instructions(code) if one.opname not in ("EXTENDED_ARG", "CACHE")]
        for at, instruction in enumerate(instructions):
            if instruction.opname == "IMPORT_NAME":
                yield from _of_import(walk, function, instructions, at)
            elif instruction.argval in _PLACES:
                continue
            elif instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in known:
                yield _of_attribute(walk, function, known[instruction.argval], instructions, at)
            elif instruction.opname == "LOAD_GLOBAL":
                if instruction.argval in _OPAQUE:
                    called = f"what {name} calls, {instruction.argval},"
                    yield walk.refuse(getattr(builtins, instruction.argval), called, _OPEN)
                yield ("builtin" if hasattr(builtins, instruction.argval) else "absent", instruction.argval)


def _of_attribute(
    walk: Any, by: types.FunctionType, value: Any, instructions: list[dis.Instruction], at: int
) -> tuple[str, Any]:
    """Describe a global value, or the attribute of a global module that is asked for."""
    name = str(instructions[at].argval)
    while isinstance(value, types.ModuleType) and at + 1 < len(instructions):
        at += 1
        if instructions[at].opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        attribute = str(instructions[at].argval)
        name = f"{name}.{attribute}"
        if walk.is_library(value.__name__) and not _is_ones_own(walk, vars(value).get(attribute)):
            if (value.__name__, attribute) == ("importlib", "import_module"):
                return (name, walk.refuse(value, f"what {by.__qualname__} calls, {name},", _OPEN))
            return (name, ("library", value.__name__, attribute, version(value.__name__)))
        if not hasattr(value, attribute):
            return (name, ("absent", value.__name__))
        value = getattr(value, attribute)
    return (name, walk.of(value, f"global {name!r}, to which {by.__qualname__} refers,"))


def _is_ones_own(walk: Any, value: Any) -> bool:
    """Whether what a library's module holds is to be followed: a module below it, or code that was set on it."""
    if isinstance(value, types.FunctionType):
        return not walk.is_library(str(value.__globals__.get("__name__", "")))
    return isinstance(value, types.ModuleType)


def _of_import(walk: Any, by: types.FunctionType, instructions: list[dis.Instruction], at: int) -> Iterator[Any]:
    """Describe an import inside a function: code of one's own is followed; of a library, only the version counts."""
    level, imported = instructions[at - 2].argval or 0, str(instructions[at].argval)
    name = "." * level + imported
    package = by.__globals__.get("__package__")
    absolute = importlib.util.resolve_name(name, package) if level else imported
    if walk.is_library(absolute):
        yield ("import", absolute, version(absolute))
        return
    try:
        module = importlib.import_module(absolute)
    except ImportError:
        yield ("import", absolute, "absent")
        return
    parts = []
    for one in instructions[at + 1 :]:
        if one.opname == "IMPORT_FROM":
            parts.append(str(one.argval))
        elif not one.opname.startswith("STORE_"):
            break
    if not parts:
        yield ("import", absolute, walk.of(module, f"module {absolute}"))
    for part in parts:
        found = getattr(module, part, None)
        yield ("import", f"{absolute}.{part}", walk.of(found, f"{part!r}, which {by.__qualname__} imports,"))


def _of_builtin(walk: Any, function: Any, where: str) -> Any:
    """Describe a function that is not written in Python: by name and version, or with the object it is bound to."""
    bound = getattr(function, "__self__", None)
    home = getattr(function, "__module__", None) or getattr(bound, "__name__", None) or "builtins"
    if bound is not None and not isinstance(bound, types.ModuleType | type):
        return ("bound", function.__name__, walk.of(bound, where))
    if not isinstance(home, str) or walk.is_library(home):
        return ("builtin", str(home), function.__qualname__, version(str(home)))
    return ("builtin", home, function.__qualname__, _file_of(sys.modules.get(home)))


def _of_partial(walk: Any, value: Any, where: str) -> Any:
    return ("partial", walk.of(value.func, where), walk.of((value.args, value.keywords), where))


def _of_method(walk: Any, value: types.MethodType, where: str) -> Any:
    return ("method", walk.of(value.__func__, where), walk.of(value.__self__, f"what {value.__name__} is bound to"))


# --- classes and modules ------------------------------------------------------------------------------


def _of_class(walk: Any, value: type, where: str) -> Any:
    """Describe a class: of one's own by all that stands in it, and by its bases and metaclass."""
    home, name = value.__module__, value.__qualname__
    if value is object or home == "builtins":
        return ("builtin", name)
    bases = walk.all(value.__bases__, f"a base of {name}")
    if walk.is_library(home):
        return ("library", home, name, version(home), bases)
    kind = walk.of(type(value), f"the metaclass of {name}") if type(value) is not type else ""
    named: dict[str, Any] = dict(value.__members__) if isinstance(value, enum.EnumMeta) else {}
    members = [(key, walk.of(one.value, f"{name}.{key}")) for key, one in named.items()]
    held = [
        (key, walk.of(part, f"{name}.{key}"))
        for key, part in vars(value).items()
        if key not in _UNSAID and not (named and (key in named or _is_private(key)))
        if not _is_generated(value, key, part)
    ]
    return ("class", home, name, bases, kind, members, held)


def _is_private(name: str) -> bool:
    return name.startswith("_") and name.endswith("_") and not name.startswith("__")


def _is_generated(value: type, name: str, part: Any) -> bool:
    """Whether :mod:`dataclasses` wrote a method: it follows from the fields."""
    inner = inspect.unwrap(part) if callable(part) else part
    return (
        "__dataclass_fields__" in vars(value)
        and name in _DATACLASS
        and isinstance(inner, types.FunctionType)
        and inner.__code__.co_filename == "<string>"
    )


def _of_field(walk: Any, value: Any, where: str) -> Any:
    said = (value.name, value.default, value.default_factory, value.init, value.repr, value.hash, value.compare)
    return ("field", walk.of((*said, value.kw_only, dict(value.metadata)), where), str(value._field_type))


def _of_module(walk: Any, value: types.ModuleType, where: str) -> Any:
    """Describe a module that is handed around whole: of one's own by its file and the code that it holds."""
    if walk.is_library(value.__name__):
        return ("library", value.__name__, version(value.__name__))
    held = [
        (key, walk.of(part, f"{value.__name__}.{key}"))
        for key, part in vars(value).items()
        if not key.startswith("__") and isinstance(part, types.FunctionType | type | types.ModuleType)
    ]
    return ("module", value.__name__, _file_of(value), held)


def _file_of(module: types.ModuleType | None) -> str:
    """Digest the file of a module: its source, or what was compiled from it."""
    path = getattr(module, "__file__", None)
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=20).hexdigest()


# --- what is installed --------------------------------------------------------------------------------


def is_library(module: str, own: str = "") -> bool:
    """Whether the version of a module says what is in it: it was installed; all else is one's own.

    Parameters
    ----------
    module : str
        Its name.
    own : str
        The package of this project that is looked at; to others, all of this project is a library.

    Examples
    --------
    >>> is_library("numpy.linalg"), is_library("__main__")
    (True, False)
    """
    top = package(module)
    return top != own and (top in PROJECT or _is_installed(top))


@functools.cache
def _is_installed(top: str) -> bool:
    if top == "__main__" or not top:
        return False
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    module = sys.modules.get(top)
    try:
        spec = importlib.util.find_spec(top) if module is None else getattr(module, "__spec__", None)
    except (ImportError, ValueError):
        spec = None
    places = [getattr(module, "__file__", None), getattr(spec, "origin", None)]
    places += list(getattr(spec, "submodule_search_locations", None) or ())
    found = [Path(place).resolve() for place in places if place]
    return any(place.is_relative_to(folder) for place in found for folder in _site_folders())


@functools.cache
def _site_folders() -> tuple[Path, ...]:
    """Folders that installers write to."""
    known = {sysconfig.get_path(name) for name in ("purelib", "platlib")} | set(site.getsitepackages())
    known |= {site.getusersitepackages()}
    return tuple(Path(folder).resolve() for folder in known if folder)


def package(module: str) -> str:
    """Name of the package that a module is in."""
    return module.partition(".")[0]


@functools.cache
def version(module: str) -> str:
    """Name and version of what a module was installed by; Python's for its own."""
    top = package(module)
    if top in sys.stdlib_module_names or top in ("__main__", "builtins"):
        return "" if top == "__main__" else f"python {sys.version_info.major}.{sys.version_info.minor}"
    for distribution in _distributions().get(top, [top]):
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(top), "__version__", ""))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Which distributions have which packages; to find out takes most of a second."""
    return importlib.metadata.packages_distributions()


# --- tables -------------------------------------------------------------------------------------------

_OPAQUE = ("eval", "exec", "globals", "__import__")
_OPEN = "which runs code that cannot be followed"
_PLACES = ("__file__", "__spec__", "__loader__", "__cached__")
"""Globals that say where code lies, and not what it does."""

_DATACLASS = ("__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__", "__replace__")
_UNSAID = (
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    *("__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__dataclass_params__", VERSION),
)
"""What stands in a class beside its code and constants."""


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


ROWS = (
    Row(_is(functools.partial), _of_partial, holds=True),
    Row(
        lambda value: "_torchdynamo_orig_callable" in getattr(value, "__dict__", ()),
        lambda walk, value, where: walk.of(value._torchdynamo_orig_callable, where),
    ),
    Row(
        lambda value: isinstance(value, types.FunctionType) and {"registry", "dispatch"} <= set(vars(value)),
        lambda walk, value, where: ("dispatch", walk.of(dict(value.registry), where)),
        holds=True,
    ),
    Row(_is(types.FunctionType), _of_function, holds=True),
    Row(_is(types.MethodType), _of_method),
    Row(_is(types.BuiltinFunctionType, types.MethodWrapperType), _of_builtin),
    Row(
        _is(types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType),
        lambda walk, value, where: ("of", walk.of(value.__objclass__, where), value.__name__),
    ),
    Row(
        _is(types.GetSetDescriptorType, types.MemberDescriptorType),
        lambda walk, value, where: ("slot", value.__name__),
    ),
    Row(_is(type), _of_class, holds=True),
    Row(_is(types.ModuleType), _of_module, holds=True),
    Row(_is(property), lambda walk, value, where: ("property", walk.of((value.fget, value.fset, value.fdel), where))),
    Row(
        _is(staticmethod, classmethod),
        lambda walk, value, where: (type(value).__name__, walk.of(value.__func__, where)),
    ),
    Row(_is(functools.cached_property), lambda walk, value, where: ("cached", walk.of(value.func, where))),
    Row(
        lambda value: callable(getattr(value, "cache_info", None)) and hasattr(value, "__wrapped__"),
        lambda walk, value, where: ("cached", walk.of(value.__wrapped__, where)),
        holds=True,
    ),
    Row(
        lambda value: isinstance(getattr(value, "py_func", None), types.FunctionType),
        lambda walk, value, where: ("compiled", walk.of(value.py_func, where)),
        holds=True,
    ),
    Row(_is(dataclasses.Field), _of_field),
)
