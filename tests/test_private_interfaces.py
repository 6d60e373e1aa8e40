"""Private names of other packages that ours use: each with its reason, and the public name that would replace it.

A name is private if a part of it begins with an underscore, or if its makers say that its module is internal. An
attribute that none of our files defines is written with a full stop before it, as ``._schema``.
"""

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("relfunc", "analysis", "viewer")
INTERNAL = ("joblib.externals", "umap.umap_", "xarray.backends.netCDF4_", "xarray.conventions", "xarray.core")
"""Modules that are internal, though no underscore says so."""

DOCUMENTED = {"_asdict", "_fields", "_replace"}
"""Of named tuples; their underscore keeps them from clashing with fields."""


class Private(NamedTuple):
    """Why a private name is used, and the public name that would replace it; empty if none could."""

    why: str
    public: str = ""


LAZY = "variables whose rows are read when they are asked for, as xarray's guide to new backends makes them"
MUTABLE = "whether an operation writes to an operand, and what memory its output shares"
HOOKS = "whether a hook came or went since the model was compared with its graph"
TRANSFORMS = "whether a transform of torch.func is at work, under which nothing may be overwritten"
UNDERLYING = "the module or function that torch.compile wrapped"
WHOLE = "the dictionary itself, which holds children that are None and those of two names, as named_children does not"

TABLE = {
    "joblib.externals.loky.process_executor.TerminatedWorkerError": Private(
        "a worker that was killed is told from an error of the work", "joblib.TerminatedWorkerError"
    ),
    "panel.reactive.Syncable._event_coroutine": Private(
        "the page's lock for changes that waited", "panel.reactive.Syncable.event_coroutine"
    ),
    "torch.Tensor._make_subclass": Private("stand-ins of a type that calls no constructor"),
    "torch._C": Private("the spellings of operations in _nn and _VariableFunctions"),
    "torch._C._functorch.TransformType": Private(TRANSFORMS, "torch.func.TransformType"),
    "torch._C._functorch.is_batchedtensor": Private(TRANSFORMS, "torch.func.is_batchedtensor"),
    "torch._assert": Private("a model's own check of values, which a graph has no place for", "torch.check"),
    "torch._functorch.pyfunctorch.retrieve_all_functorch_interpreters": Private(TRANSFORMS, "torch.func.interpreters"),
    "torch._ops": Private(
        "the type of an operation of torch.ops, as exported graphs have them", "torch.library.OpOverload"
    ),
    "torch.ops.aten._adaptive_avg_pool2d_backward": Private(
        "the adjoint, without its forward pass", "torch.ops.aten.adaptive_avg_pool2d_backward"
    ),
    "torch.utils._pytree": Private("inputs and outputs that are nested", "torch.utils.pytree"),
    "torch.utils._pytree._broadcast_to_and_flatten": Private(
        "one baseline for several inputs", "torch.utils.pytree.tree_broadcast"
    ),
    "umap.umap_.find_ab_params": Private("UMAP on neighbours that a plan has found already", "umap.find_ab_params"),
    "umap.umap_.simplicial_set_embedding": Private(
        "UMAP on neighbours that a plan has found already", "umap.simplicial_set_embedding"
    ),
    "xarray.backends.netCDF4_.NETCDF4_PYTHON_LOCK": Private(
        "one thread at a time is in netCDF's library, xarray's own included", "xarray.backends.NETCDF4_PYTHON_LOCK"
    ),
    "xarray.conventions.decode_cf_variables": Private(
        "the variables of one group as xarray reads them, without a file of its own", "xarray.decode_cf_variables"
    ),
    "xarray.conventions.encode_cf_variable": Private("a tree's variables as xarray writes them", "xarray.encode_cf"),
    "xarray.conventions.encode_dataset_coordinates": Private(
        "a tree's coordinates as xarray writes them", "xarray.encode_cf"
    ),
    "xarray.core.indexing": Private(LAZY, "xarray.backends.indexing"),
    "._VariableFunctions": Private("the spellings of operations"),
    "._backward_hooks": Private(HOOKS, "torch.nn.Module.backward_hooks"),
    "._backward_pre_hooks": Private(HOOKS, "torch.nn.Module.backward_pre_hooks"),
    "._buffers": Private(WHOLE),
    "._field_type": Private("whether a field is one of the class, in the key of a dataclass"),
    "._forward_hooks": Private(HOOKS, "torch.nn.Module.forward_hooks"),
    "._forward_pre_hooks": Private(HOOKS, "torch.nn.Module.forward_pre_hooks"),
    "._in_memory": Private("whether a variable's values are there, or in a file", "xarray.Variable.in_memory"),
    "._nn": Private("the spellings of operations"),
    "._orig_mod": Private(UNDERLYING, "torch.compiler.unwrap"),
    "._overloadname": Private("an operation of torch.ops by name, so that a graph pickles"),
    "._qualified_op_name": Private("an operation of torch.ops by name"),
    "._schema": Private(MUTABLE),
    "._version": Private("whether the forward wrote to a tensor since it was read"),
    "._torchdynamo_orig_callable": Private(UNDERLYING, "torch.compiler.unwrap"),
}


def used(sources: Iterable[str]) -> set[str]:
    """Return the private names that these sources import, or reach by attributes."""
    trees = [ast.parse(source) for source in sources]
    own = {name for tree in trees for name in _defined(tree)}
    return {name for tree in trees for name in _of_others(tree, own)}


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                yield name


def _of_others(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Yield the private names of one file; what it imports, it knows by local names."""
    home = dict(_imported(tree))
    yield from (name for name in home.values() if is_private(name))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=last) if is_private(last):
                whole = _dotted(node, home)
                if whole is not None and is_private(whole):
                    yield whole
                elif whole is None and last not in own | DOCUMENTED:
                    yield f".{last}"
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(last)), *_]):
                if is_private(last) and last not in own | DOCUMENTED:
                    yield f".{last}"


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    first = alias.name.partition(".")[0]
                    yield (alias.asname, alias.name) if alias.asname else (first, first)
                    if is_private(alias.name):
                        yield alias.name, alias.name
            case ast.ImportFrom(module=str(module), level=0, names=names):
                for alias in names:
                    yield alias.asname or alias.name, f"{module}.{alias.name}"


def _dotted(node: ast.expr, home: dict[str, str]) -> str | None:
    """Write an attribute of something imported with the name of its module; None for others."""
    match node:
        case ast.Name(id=name):
            return home.get(name)
        case ast.Attribute(value=value, attr=attr):
            whole = _dotted(value, home)
            return None if whole is None else f"{whole}.{attr}"
    return None


def is_private(name: str) -> bool:
    parts = name.split(".")
    if parts[0] in {*sys.stdlib_module_names, *PACKAGES} and len(parts) > 1:
        return False
    internal = any(f"{name}.".startswith(f"{module}.") for module in INTERNAL)
    return internal or any(part.startswith("_") and not part.endswith("__") and part != "_" for part in parts)


def exists(name: str) -> bool:
    """Whether a dotted name can be imported; of a package that is not installed, nothing can."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def is_public(name: str) -> bool:
    """Whether a dotted name can be imported, and its module hands it on."""
    home, _, last = name.rpartition(".")
    return exists(name) and last in getattr(sys.modules.get(home), "__all__", [last])


def test_every_private_name_is_in_the_table_and_no_other():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = used(path.read_text(encoding="utf-8") for path in files)
    assert sorted(found - set(TABLE)) == [], "new: use a public name, or say in the table why there is none"
    assert sorted(set(TABLE) - found) == [], "gone: take it out of the table"


@pytest.mark.filterwarnings("ignore::ImportWarning")  # umap's, of what it could do with Tensorflow
@pytest.mark.parametrize("name", TABLE)
def test_no_public_name_has_come(name):
    why, public = TABLE[name]
    assert why
    assert not (public and is_public(public)), f"{public} is public now: use it in the place of {name}"


@pytest.mark.parametrize("name", [name for name in TABLE if not name.startswith((".", "umap"))])
def test_every_private_name_is_still_there(name):
    assert exists(name), f"{name} is gone from this release: it is used for {TABLE[name].why}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from torch._functorch import pyfunctorch", {"torch._functorch.pyfunctorch"}),
        ("import torch._dynamo", {"torch._dynamo"}),
        ("import torch\nx = torch._C.thing", {"torch._C"}),
        ("import torch as t\nx = t.utils._stats.count", {"torch.utils._stats"}),
        ("from xarray.core import indexing as i", {"xarray.core.indexing"}),
        ("from xarray.backends.netCDF4_ import LOCK", {"xarray.backends.netCDF4_.LOCK"}),
        ("def f(x):\n    return x._secret", {"._secret"}),
        ("def f(x):\n    return getattr(x, '_secret', None)", {"._secret"}),
        ("class A:\n    def __init__(self):\n        self._own = 1\n    def f(self):\n        return self._own", set()),
        ("import torch\nx = torch.nn.Linear\ny = x.__name__", set()),
        ("from .keys import _own\nfrom relfunc.keys import _other\nimport sys\nsys._getframe()", set()),
        ("def f(x):\n    return x.mul_(2)._asdict()", set()),
    ],
)
def test_what_is_found(source, expected):
    assert used([source]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torch.func.vmap", True),
        ("torch.func.nothing", False),
        ("no_such_package.name", False),
        ("torch.nn.Linear", True),
    ],
)
def test_what_is_public(name, expected):
    assert is_public(name) == expected
