"""Keys: any one thing that is changed gives another key, and the same script the same key wherever it runs."""

import io
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import relfunc as rf
from relfunc.errors import KeyingError
from relfunc.keys import values as keys

from ..generated import Leaves, defined, value

CASES = 240


@pytest.mark.parametrize("seed", range(CASES))
def test_any_one_change_gives_another_key(seed: int) -> None:
    leaves = Leaves(seed)
    before = keys.key(value(leaves))
    assert keys.key(value(Leaves(seed))) == before
    for changed in random.Random(seed).sample(range(leaves.count), min(4, leaves.count)):
        assert keys.key(value(Leaves(seed, changed))) != before


@pytest.mark.slow
def test_the_same_script_has_the_same_keys_in_another_process_folder_hash_seed_and_number_of_threads(
    tmp_path: Path,
) -> None:
    program = (
        "import torch, os; torch.set_num_threads(int(os.environ['THREADS']))\n"
        "from tests.relfunc.generated import Leaves, value\nfrom relfunc.keys import values as keys\n"
        f"for seed in range({CASES}): print(keys.key(value(Leaves(seed))))"
    )
    found = []
    for hash_seed, threads in (("1", "1"), ("77", "2")):
        folder = tmp_path / hash_seed
        folder.mkdir()
        env = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "THREADS": threads,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder, env=env
        )
        found.append(run.stdout.split())
    here = [keys.key(value(Leaves(seed))) for seed in range(CASES)]
    assert found == [here, here]
    assert len(set(here)) > 0.9 * CASES


def array(**attrs: int) -> xr.DataArray:
    return xr.DataArray([0.0], dims="x", attrs=attrs)


DIFFERENT = {
    "types of numbers": [1, 1.0, True, np.int32(1), np.int64(1), "1", b"1", (1,), [1], {1}, 1j],
    "order": [[1, 2], [2, 1], {1: 0, 2: 0}, {2: 0, 1: 0}],
    "masks": [np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0]), np.array([1, 2])],
    "tables": [
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"b": [1]}),
        pd.DataFrame({"a": [1.0]}),
        pd.DataFrame({"a": [1]}, index=[5]),
        pd.Series([1]),
        pd.Series([1], name="a"),
    ],
    "categories": [
        pd.Series(["a"], dtype=pd.CategoricalDtype(["a", "b"])),
        pd.Series(["a"], dtype=pd.CategoricalDtype(["b", "a"])),
        pd.Series(["a"], dtype=pd.CategoricalDtype(["a", "b"], ordered=True)),
        pd.Series(["a"], dtype=pd.CategoricalDtype(["a"])),
        pd.DataFrame({"a": pd.Categorical(["a"], ["a", "b"])}),
        pd.DataFrame({"a": pd.Categorical(["a"], ["b", "a"])}),
        pd.CategoricalIndex(["a"], ["a", "b"]),
        pd.CategoricalIndex(["a"], ["b", "a"]),
    ],
    "attributes of labelled data": [
        array(),
        array(scale=1),
        array(scale=2),
        array().variable,
        array(scale=1).variable,
        array(scale=1).to_dataset(name="a"),
        array(scale=2).to_dataset(name="a"),
        array().to_dataset(name="a").assign_attrs(scale=1),
        array().to_dataset(name="a"),
    ],
    "tensors": [
        torch.ones(2),
        torch.ones(2, 1),
        torch.ones(2, dtype=torch.float64),
        torch.ones(2, dtype=torch.bfloat16),
    ],
    "Unicode forms": ["é", "e\u0301"],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_values_that_look_alike_have_keys_of_their_own(kind: str) -> None:
    assert len({keys.key(each) for each in DIFFERENT[kind]}) == len(DIFFERENT[kind])


def test_a_hook_of_a_model_counts() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    before = keys.key(model)
    handle = model.register_forward_hook(lambda module, x, y: y * 2)
    hooked = keys.key(model)
    handle.remove()
    model.register_forward_hook(lambda module, x, y: y * 2)
    assert keys.key(model) == hooked != before


OPAQUE = {
    "eval": "def f(x): return eval('x + 1')",
    "exec": "def f(x): exec('y = 1')",
    "globals": "def f(x): return globals()['x']",
    "import_module": "import importlib\ndef f(x): return importlib.import_module(x)",
    "an open file": "import io\nheld = io.StringIO()\ndef f(x): return held.read()",
    "a lock": "import threading\nheld = threading.Lock()\ndef f(x): return held",
    "an iterator": "held = iter([1])\ndef f(x): return next(held)",
    "a ufunc of Python": "held = np.frompyfunc(len, 1, 1)\ndef f(x): return held(x)",
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_cannot_be_followed_is_refused_unless_a_version_is_declared(kind: str) -> None:
    function = defined(OPAQUE[kind], "f")
    with pytest.raises(KeyingError, match=r"relfunc\.versioned\(it, '1'\)"):
        keys.key(function)
    first = keys.key(rf.versioned(function, "1"))
    assert keys.key(rf.versioned(function, "2")) != first


def test_a_version_does_not_excuse_what_can_be_followed() -> None:
    first, second = (defined(f"def f(x): return eval(x) + {n}", "f") for n in (1, 2))
    assert keys.key(rf.versioned(first, "1")) != keys.key(rf.versioned(second, "1"))


def test_a_value_that_holds_itself_has_a_key() -> None:
    first: list[object] = [1]
    first.append(first)
    second: list[object] = [1]
    second.append(second)
    assert keys.key(first) == keys.key(second) != keys.key([1, [1]])


@pytest.mark.parametrize(
    "held", [io.StringIO(), threading.Lock(), object(), iter([1])], ids=lambda one: type(one).__name__
)
def test_the_place_of_what_has_no_value_is_named(held: object) -> None:
    with pytest.raises(KeyingError, match="'held', which"):
        keys.key(lambda: held)
