"""Keys: what must change them and what must not."""

import functools
import importlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

import relfunc
from analysis import KeyingError
from analysis.engine import keys
from analysis.steps.cluster import kmeans
from relfunc import storage
from relfunc.keys import blocks, code


def source() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "attribution": (("sample", "y", "x"), rng.normal(size=(4, 3, 3)).astype(np.float32)),
            "label": ("sample", np.array([0, 1, 1, 0])),
            "train": ("sample", np.array([True, False, True, False])),
        },
        coords={"sample": ["a", "b", "c", "d"], "y": [0.0, 0.5, 1.0]},
    )


def one_element(data: xr.Dataset) -> xr.Dataset:
    changed = data.copy(deep=True)
    changed["attribution"][2, 1, 1] = np.nextafter(changed["attribution"][2, 1, 1], np.float32(9))
    return changed


CHANGES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "one element, by one bit": one_element,
    "dtype": lambda data: data.assign(attribution=data["attribution"].astype(np.float64)),
    "integer dtype": lambda data: data.assign(label=data["label"].astype(np.int32)),
    "bool to int": lambda data: data.assign(train=data["train"].astype(np.int8)),
    "shape": lambda data: data.isel(sample=slice(3)),
    "order": lambda data: data.isel(sample=[1, 0, 2, 3]),
    "dims swapped": lambda data: data.assign(attribution=data["attribution"].transpose("sample", "x", "y")),
    "dim's name": lambda data: data.rename_dims(x="width"),
    "variable's name": lambda data: data.rename(label="target"),
    "a coordinate's value": lambda data: data.assign_coords(sample=["a", "b", "c", "e"]),
    "a coordinate without an index": lambda data: data.assign_coords(split=("sample", [0, 0, 1, 1])),
    "coordinate to variable": lambda data: data.reset_index("y").reset_coords("y"),
    "one variable fewer": lambda data: data.drop_vars("train"),
    "minus zero": lambda data: data.assign(label=data["label"] * -0.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_of_the_data_changes_the_key(name: str) -> None:
    assert keys.of_source(CHANGES[name](source())) != keys.of_source(source())


def test_key_survives_netcdf(tmp_path: Path) -> None:
    data = source().assign(
        when=("sample", np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-04"], "datetime64[ns]")),
        wide=("sample", np.array([1.0, np.nan, np.inf, -0.0])),
        byte=("sample", np.arange(4, dtype=np.uint8)),
    )
    storage.save(data, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as read:
        assert keys.of_source(read) == keys.of_source(data)


def test_key_is_the_same_for_c_and_fortran_order_strides_and_byte_order() -> None:
    values = np.arange(12.0).reshape(3, 4)
    expected = keys.of_source(xr.Dataset({"a": (("x", "y"), values)}))
    for other in (np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2], values.astype(">f8")):
        assert keys.of_source(xr.Dataset({"a": (("x", "y"), other)})) == expected


def test_key_ignores_attributes_and_the_order_of_variables() -> None:
    data = source()
    assert keys.of_source(data[["train", "label", "attribution"]].assign_attrs(made="today")) == keys.of_source(data)


@pytest.mark.slow
def test_key_is_the_same_in_another_process(tmp_path: Path) -> None:
    storage.save(source(), tmp_path / "a.nc")
    program = textwrap.dedent(
        """
        import sys, xarray
        from analysis import kmeans; from analysis.engine import keys
        print(keys.of_source(xarray.load_dataset(sys.argv[1])), keys.of_step(kmeans, {"seed": 1}, ("x",)))
        """
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "a.nc")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    here = [keys.of_source(source()), keys.of_step(kmeans, {"seed": 1}, ("x",))]
    assert found == [here, here]


@pytest.mark.parametrize("other", [1.0, "1", True, (1,), None, np.float32(1), b"1", 2])
def test_parameters_count_with_their_type(other: object) -> None:
    assert keys.of_step(kmeans, {"seed": 1}, ()) != keys.of_step(kmeans, {"seed": other}, ())


def test_numpy_scalars_of_one_value_are_keyed_by_it() -> None:
    assert keys.of_step(kmeans, {"seed": np.int64(1)}, ()) == keys.of_step(kmeans, {"seed": np.int64(1)}, ())


def test_inputs_count() -> None:
    assert keys.of_step(kmeans, {}, ("a",)) != keys.of_step(kmeans, {}, ("b",))


MODULE = """
import numpy as np
from .other import helper
from . import other

LIMIT = 3
TABLE = {"a": helper}

class Shift:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x + 7 * self.by

    @property
    def double(self):
        return 2.5 * self.by

def step(data, *, seed=0):
    '''A step.'''
    from .other import late
    import absent_library
    inner = lambda x: x + 1
    data = late(Shift(1)(data))
    return helper(data) + LIMIT + inner(seed) + np.sqrt(2) + TABLE["a"](1) + other.through(1)
"""
OTHER = """
FACTOR = 2.0

def helper(x):
    return x * FACTOR

def through(x):
    return x - 1

def late(x):
    return x * 11

def unrelated(x):
    return x
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Make a package of two modules, their text edited as asked, and import it."""
    folder = tmp_path / "keyed_package"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(old: str = "", new: str = "") -> ModuleType:
        for name in [name for name in sys.modules if name.startswith("keyed_package")]:
            del sys.modules[name]
        assert old in MODULE + OTHER
        (folder / "__init__.py").write_text("")
        (folder / "steps.py").write_text(MODULE.replace(old, new) if old else MODULE)
        (folder / "other.py").write_text(OTHER.replace(old, new) if old else OTHER)
        importlib.invalidate_caches()
        return importlib.import_module("keyed_package.steps")

    return load


EDITS = {
    "the body": ("return helper(data) + LIMIT", "return helper(data) - LIMIT"),
    "a constant in the body": ("np.sqrt(2)", "np.sqrt(3)"),
    "a nested function": ("x + 1", "x + 2"),
    "a default": ("seed=0", "seed=1"),
    "a module's constant": ("LIMIT = 3", "LIMIT = 4"),
    "a helper's body": ("x * FACTOR", "x / FACTOR"),
    "a helper's constant": ("FACTOR = 2.0", "FACTOR = 2.5"),
    "a method of a class it makes": ("x + 7 * self.by", "x - 7 * self.by"),
    "a property of a class it makes": ("2.5 * self.by", "3.5 * self.by"),
    "a helper imported inside": ("x * 11", "x * 12"),
    "a helper reached through its module": ("return x - 1", "return x - 2"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit_of_the_code_changes_the_key(name: str, package: Callable[..., ModuleType]) -> None:
    before = keys.of_code(package().step)
    assert keys.of_code(package(*EDITS[name]).step) != before


@pytest.mark.parametrize(
    "edit",
    [("", ""), ("def unrelated(x):\n    return x", "def unrelated(x):\n    return 2"), ("\nLIMIT", "\n# why\nLIMIT")],
    ids=["none", "a function it does not use", "a comment"],
)
def test_edit_of_something_else_does_not(edit: tuple[str, str], package: Callable[..., ModuleType]) -> None:
    before = keys.of_code(package().step)
    assert keys.of_code(package(*edit).step) == before


def test_declared_version_counts(package: Callable[..., ModuleType]) -> None:
    step = package().step
    before = keys.of_code(step)
    assert keys.of_code(relfunc.versioned(step, "2")) != before


def test_library_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys.of_code(kmeans)
    versions = code.version
    monkeypatch.setattr(code, "version", lambda module: "0.0.1" if module.startswith("sklearn") else versions(module))
    assert keys.of_code(kmeans) != before


def test_keying_loads_no_library() -> None:
    program = "import sys, analysis; from analysis.engine import keys; keys.of_code(analysis.neighbor_graph); "
    program += "keys.of_code(analysis.umap); print({'torch', 'umap', 'pynndescent'} & {*sys.modules})"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert found.stdout == "set()\n"


def test_array_larger_than_a_block_has_the_key_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys.of_source(source())
    monkeypatch.setattr(blocks, "BYTES", 1)
    assert keys.of_source(source()) == before


def test_code_of_a_kernel_below_a_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis._kernels import eigen
    from analysis.steps import embed

    before = keys.of_code(embed.spectral)
    monkeypatch.setattr(eigen, "DENSE", eigen.DENSE + 1)
    assert keys.of_code(embed.spectral) != before


def closure(captured: object) -> Callable[[xr.Dataset], object]:
    return lambda data: (data, captured)


def test_lambdas_are_keyed_by_code_and_captured_values() -> None:
    assert keys.of_code(closure(1)) == keys.of_code(closure(1))
    assert keys.of_code(closure(1)) != keys.of_code(closure(2))
    assert keys.of_code(closure(np.arange(3))) != keys.of_code(closure(np.arange(1, 4)))
    assert keys.of_code(closure(lambda x: x + 1)) != keys.of_code(closure(lambda x: x + 2))
    assert keys.of_code(functools.partial(kmeans, seed=1)) != keys.of_code(functools.partial(kmeans, seed=2))


@pytest.mark.parametrize("captured", [object(), threading.Lock(), iter([1]), open], ids=lambda one: type(one).__name__)
def test_captured_object_without_a_value_is_refused(captured: object) -> None:
    if captured is open:
        with Path(__file__).open() as captured, pytest.raises(KeyingError, match="'captured', which"):
            keys.of_code(closure(captured))
    else:
        with pytest.raises(KeyingError, match="'captured', which"):
            keys.of_code(closure(captured))


def test_objects_without_a_value_in_the_data_are_refused() -> None:
    with pytest.raises(KeyingError, match="an array of Python objects"):
        keys.of_source(xr.Dataset({"a": ("x", np.array([object()], dtype=object))}))
