"""Identity of a run: with any one thing changed it is another run, which is refused; the same script goes on."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import (
    DataLoader,
    Subset,
    TensorDataset,
)

import relfunc as rf
from relfunc.dataset.locking import RunError

from ..generated import defined
from .runs import N, Rows, X, Y, labelled, model, moved, of_model, relabelled, renamed, run, scaled, swapped


def own(by: Any) -> Callable[..., Any]:
    """A method of one's own, which captures what it is given."""

    def explain(x: torch.Tensor, target: Any) -> Any:
        output, attribution = rf.gradient(model())(x, target)
        return output, attribution * by

    return explain


def of_explanation(held: Any) -> Callable[..., Any]:
    """A method of one's own around one of relfunc's that is already made."""
    return lambda x, target: held(x, target)


def relevance_of(held: nn.Module, **options: Any) -> Any:
    return rf.gradient(rf.lrp(held, rf.composites.epsilon_plus(**options)))


def with_tanh(op: rf.ops.Op) -> rf.ops.Ops:
    return {**rf.ops.OPS, "tanh": op}


def of_relevance(f: nn.Module) -> Callable[..., Any]:
    return lambda x, target: rf.gradient(f)(x, target)


def batches(x: torch.Tensor = X, y: torch.Tensor = Y) -> Any:
    return DataLoader(TensorDataset(x, y), 5)


def second(by: int) -> Callable[..., Any]:
    return defined(f"SHIFT = {by}\ndef choose(output, label): return (output.argmax(1) + SHIFT) % 3", "choose")


Call = dict[str, Any]
CHANGES: dict[str, tuple[Call, Callable[[int], Call]]] = {
    "batch_size": ({"data": TensorDataset(X, Y)}, lambda k: {"batch_size": 5 + k}),
    "a target": ({"data": TensorDataset(X, Y)}, lambda k: {"target": k % 3}),
    "a target function": (
        {"data": TensorDataset(X, Y), "target": second(0)},
        lambda k: {"target": second(k + 1)},
    ),
    "attrs": ({"data": TensorDataset(X, Y)}, lambda k: {"attrs": {"note": f"{k}"}}),
    "class names": ({"data": TensorDataset(X, Y), "classes": list("abc")}, lambda k: {"classes": ["a", "b", f"c{k}"]}),
    "an input": ({"data": TensorDataset(X, Y)}, lambda k: {"data": TensorDataset(moved(k), Y)}),
    "a label": ({"data": TensorDataset(X, Y)}, lambda k: {"data": TensorDataset(X, relabelled(k))}),
    "a label of xarray": ({"data": labelled()}, lambda k: {"data": labelled(y=relabelled(k))}),
    "an input of xarray": ({"data": labelled()}, lambda k: {"data": labelled(x=moved(k))}),
    "an identifier": ({"data": labelled()}, lambda k: {"data": labelled(ids=renamed(k))}),
    "a label of a loader": ({"data": batches()}, lambda k: {"data": batches(y=relabelled(k))}),
    "an input of a loader": ({"data": batches()}, lambda k: {"data": batches(x=moved(k))}),
    "the order": (
        {"data": TensorDataset(X, Y)},
        lambda k: {"data": TensorDataset(X[swapped(k)], Y[swapped(k)])},
    ),
    "the order of a subset": (
        {"data": Subset(TensorDataset(X, Y), range(N))},
        lambda k: {"data": Subset(TensorDataset(X, Y), swapped(k))},
    ),
    "the order of batches": (
        {"data": batches()},
        lambda k: {"data": batches(X[swapped(k)], Y[swapped(k)])},
    ),
    "a transform": ({"data": labelled(), "transform": scaled(1)}, lambda k: {"transform": scaled(2 + k)}),
    "a dataset's transform": (
        {"data": Rows(X, Y, scaled(1))},
        lambda k: {"data": Rows(X, Y, scaled(2 + k))},
    ),
    "a parameter": ({"data": TensorDataset(X, Y)}, lambda k: {"explain": rf.gradient(model(seed=k + 1))}),
    "a slope": ({"data": TensorDataset(X, Y)}, lambda k: {"explain": rf.gradient(model(slope=0.2 + k / 100))}),
    "a slope under relevance": (
        {"data": TensorDataset(X, Y), "explain": rf.gradient(rf.lrp(model(), rf.composites.epsilon_plus()))},
        lambda k: {
            "explain": rf.gradient(rf.lrp(model(slope=0.2 + k / 100), rf.composites.epsilon_plus())),
        },
    ),
    "what a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": own(1)},
        lambda k: {"explain": own(2 + k)},
    ),
    "a model that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_model(model())},
        lambda k: {"explain": of_model(model(seed=k + 1))},
    ),
    "an explanation that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_explanation(relevance_of(model()))},
        lambda k: {"explain": of_explanation(relevance_of(model(slope=0.2 + k / 100)))},
    ),
    "the composite of an explanation that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_explanation(relevance_of(model()))},
        lambda k: {"explain": of_explanation(relevance_of(model(), epsilon=(k + 1) / 10))},
    ),
    "a relevance function that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_relevance(rf.lrp(model(), rf.composites.epsilon_plus()))},
        lambda k: {"explain": of_relevance(rf.lrp(model(seed=k + 1), rf.composites.epsilon_plus()))},
    ),
    "a captured model that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_model(rf.capture(model()))},
        lambda k: {"explain": of_model(rf.capture(model(slope=0.2 + k / 100)))},
    ),
    "the operations of a captured model that a method of one's own captures": (
        {"data": TensorDataset(X, Y), "explain": of_relevance(rf.capture(model()))},
        lambda k: {
            "explain": of_relevance(rf.capture(model(), ops={**rf.ops.OPS, "tanh": rf.ops.Op("static", name=f"{k}")}))
        },
    ),
    "a seed": (
        {"data": TensorDataset(X, Y), "explain": rf.smoothgrad(model(), samples=2)},
        lambda k: {"explain": rf.smoothgrad(model(), samples=2, seed=k + 1)},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_one_change_is_another_run_and_the_same_again_goes_on(what: str, tmp_path: Path) -> None:
    first, change = CHANGES[what]
    before = run(first["data"], tmp_path, **{key: value for key, value in first.items() if key != "data"})
    again = run(first["data"], tmp_path, **{key: value for key, value in first.items() if key != "data"})
    xr.testing.assert_identical(before, again)
    for k in range(9):
        call = {**first, **change(k)}
        with pytest.raises(RunError, match=r"holds a run of other arguments|was made of other data"):
            run(call.pop("data"), tmp_path, **call)


def test_a_class_constant_of_a_dataset_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Rows(X, Y), tmp_path)
    monkeypatch.setattr(Rows, "scale", 2.0)
    with pytest.raises(RunError, match="data was"):
        run(Rows(X, Y), tmp_path)


@pytest.mark.slow
def test_the_same_script_is_the_same_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch, relfunc as rf\n"
        "torch.set_num_threads(int(sys.argv[1])); torch.manual_seed(0); M = torch.nn.Linear(4, 3).eval()\n"
        "def second(output, label): return output.argsort(1)[:, -2]\n"
        "D = torch.utils.data.TensorDataset(torch.rand(6, 4), torch.zeros(6, dtype=torch.long))\n"
        "G = rf.smoothgrad(rf.lrp(M, rf.composites.epsilon_plus()), samples=2)\n"
        "def explain(x, target): return G(x, target)[0], rf.gradient(M)(x, target)[1]\n"
        "rf.attribute_dataset(explain, D, sys.argv[2], target=second, progress=False, keep_input=None)\n"
    )
    for hash_seed, threads in (("1", "1"), ("2", "2"), ("3", "1")):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        where = tmp_path / hash_seed
        where.mkdir()
        command = [sys.executable, str(script), threads, str(tmp_path / "run")]
        subprocess.run(command, check=True, env=env, cwd=where)


def test_a_stream_that_ends_elsewhere_is_refused(tmp_path: Path) -> None:
    run([(X[:16], Y[:16])], tmp_path)
    with pytest.raises(RunError, match="fewer samples than the data have now"):
        run([(X, Y)], tmp_path)
    with pytest.raises(RunError, match="was made of other data"):
        run([(X[:12], Y[:12])], tmp_path)


class Handle(Rows):
    """A dataset that makes what has no value, as an open file has none, when it is first read."""

    handle: Any = None

    def __getitem__(self, i: int) -> Any:
        self.handle = self.handle or threading.Lock()
        return super().__getitem__(i)


def test_data_that_have_no_key_are_known_by_all_their_samples(tmp_path: Path) -> None:
    held = Handle(X, Y)
    run(held, tmp_path)
    run(held, tmp_path)
    run(Handle(X, Y), tmp_path)
    with pytest.raises(RunError, match="data was"):
        run(Handle(moved(7), Y), tmp_path)


def test_a_method_without_a_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with Path(__file__).open() as file:

        def explain(x: torch.Tensor, target: Any) -> Any:
            return rf.gradient(model())(x, target if file else 0)

        with pytest.raises(RunError, match=r"'file', which .* relfunc\.versioned"):
            run(TensorDataset(X, Y), tmp_path, explain)
        run(TensorDataset(X, Y), tmp_path, rf.versioned(explain, "1"))
