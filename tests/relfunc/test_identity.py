"""Identity of a run: with any one thing changed it is another run, which is refused; the same script goes on."""

import errno
import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import relfunc as rf
from relfunc.errors import RelfuncError, SchemaError
from relfunc.locking import RunError
from relfunc.samples import DataError

from .generated import defined

N, CLASSES = 20, 3
X = torch.linspace(0, 1, N * 12).reshape(N, 3, 2, 2)
Y = torch.arange(N) % CLASSES


def model(seed: int = 0, slope: float = 0.1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.LeakyReLU(slope), nn.Linear(4, CLASSES)).eval()


def run(data: Any, out: Path, explain: Any = None, **options: Any) -> xr.Dataset:
    explain = explain or rf.gradient(model())
    manifest = rf.attribute_dataset(
        explain, data, out, **{"progress": False, "shard_size": 8, "batch_size": 4, **options}
    )
    with rf.open_attributions(manifest) as read:
        return read.load()


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


def of_relevance(f: nn.Module) -> Callable[..., Any]:
    return lambda x, target: rf.gradient(f)(x, target)


def of_model(held: nn.Module) -> Callable[..., Any]:
    return lambda x, target: (held(x).detach(), torch.ones_like(x))


class Rows(Dataset):
    """A dataset with code of its own, and a constant that its class holds."""

    scale = 1.0

    def __init__(self, x: torch.Tensor, y: torch.Tensor, transform: Any = None) -> None:
        self.x, self.y, self.transform = x, y, transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        x = self.x[i] * self.scale
        return (self.transform(x) if self.transform else x), self.y[i]


def scaled(by: float) -> Callable[[Any], torch.Tensor]:
    return lambda x: torch.as_tensor(x).float() * by


def moved(at: int, by: float = 1e-3) -> torch.Tensor:
    x = X.clone()
    x[at % N, 0, 0, 0] += by
    return x


def relabelled(at: int) -> torch.Tensor:
    y = Y.clone()
    y[at % N] = (y[at % N] + 1) % CLASSES
    return y


def swapped(k: int) -> list[int]:
    order = list(range(N))
    i, j = random.Random(k).sample(order, 2)
    order[i], order[j] = j, i
    return order


def labelled(x: torch.Tensor = X, y: torch.Tensor = Y, ids: Any = None) -> xr.Dataset:
    coords = {"sample": [f"s{i}" for i in range(N)] if ids is None else ids}
    return xr.Dataset({"input": (("sample", "channel", "y", "x"), x.numpy()), "label": ("sample", y.numpy())}, coords)


def renamed(k: int) -> list[str]:
    return [f"s{i}" if i != k % N else "another" for i in range(N)]


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
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
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


# --- nothing is silently taken for something else ---------------------------------------------------------


class Drawn(Sampler):
    def __iter__(self) -> Any:
        return iter(torch.randperm(N).tolist())

    def __len__(self) -> int:
        return N


RANDOM = {
    "shuffle": {"batch_size": 5, "shuffle": True},
    "SubsetRandomSampler": {"batch_size": 5, "sampler": SubsetRandomSampler(range(N))},
    "WeightedRandomSampler": {"batch_size": 5, "sampler": WeightedRandomSampler([1.0] * N, N)},
    "a batch sampler of random ones": {"batch_sampler": BatchSampler(RandomSampler(range(N)), 5, drop_last=False)},
    "a sampler of one's own": {"batch_size": 5, "sampler": Drawn()},
    "no batches": {"batch_size": None, "sampler": Drawn()},
}


@pytest.mark.parametrize("kind", RANDOM)
def test_samples_in_a_random_order_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shuffles"):
        run(DataLoader(TensorDataset(X, Y), **RANDOM[kind]), tmp_path)


def test_a_loader_in_another_order_names_the_samples_by_their_positions(tmp_path: Path) -> None:
    order = [*range(N)][::-1]
    read = run(DataLoader(TensorDataset(X, Y), 5, sampler=order), tmp_path)
    assert read["sample"].values.tolist() == order
    np.testing.assert_array_equal(read["label"], Y.numpy()[order])
    with pytest.raises(DataError, match="position '3' more than once"):
        run(DataLoader(TensorDataset(X, Y), 5, sampler=[3, 3]), tmp_path / "twice")


LABELS: dict[str, tuple[Any, str]] = {
    "soft": (torch.full((N, 3), 1 / 3), "its labels are 0.3333, 0.3333, 0.3333"),
    "smoothed": (torch.where(torch.eye(3)[Y] > 0, 0.9, 0.05), "its labels are 0.9, 0.05, 0.05"),
    "fractional": (Y + 0.5, "its label is 0.5"),
    "not a number": (Y.float().log() * torch.nan, "its label is nan"),
    "counts": (torch.full((N, 3), 2), "its labels are 2, 2, 2"),
    "a column": (Y[:, None] + 2, "its label is 2"),
    "text": (["cat"] * N, "its label is cat"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_none_are_refused(kind: str, tmp_path: Path) -> None:
    labels, message = LABELS[kind]
    with pytest.raises(DataError, match=message):
        run(Rows(X, labels), tmp_path, target="prediction")


def test_labels_of_another_type_are_the_same_labels(tmp_path: Path) -> None:
    expected = run(TensorDataset(X, Y), tmp_path / "int64")
    for kind in (torch.uint8, torch.int32, torch.float32, torch.float64):
        read = run(TensorDataset(X, Y.to(kind)), tmp_path / str(kind))
        xr.testing.assert_equal(read, expected)
        assert read["label"].dtype == np.int64
    several = run(TensorDataset(X, torch.eye(3)[Y]), tmp_path / "several")
    np.testing.assert_array_equal(several["label"], np.eye(3, dtype=bool)[Y])


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("explain", [rf.gradient(model()), of_model(model())], ids=["relfunc's", "one's own"])
def test_inputs_of_another_precision_are_converted(kind: torch.dtype, explain: Any, tmp_path: Path) -> None:
    read = run(TensorDataset(X.to(kind), Y), tmp_path, explain)
    np.testing.assert_allclose(
        read["prediction"], run(TensorDataset(X, Y), tmp_path / "32", explain)["prediction"], atol=0.05
    )


def test_a_model_in_double_precision_is_given_it(tmp_path: Path) -> None:
    assert run(TensorDataset(X, Y), tmp_path, rf.gradient(model().double())).sizes["sample"] == N


class Failing(Rows):
    def __init__(self, error: type[Exception]) -> None:
        super().__init__(X, Y)
        self.error = error

    def __getitem__(self, i: int) -> Any:
        if i == 3:
            raise self.error("truncated")
        return super().__getitem__(i)


ERRORS = [RuntimeError, EOFError, KeyError, IndexError, ValueError, OSError, SyntaxError, TypeError, AttributeError]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_decoder_raises_can_be_skipped(error: type[Exception], tmp_path: Path) -> None:
    read = run(Failing(error), tmp_path, on_error="skip")
    assert 3 not in read["sample"].values
    assert read.sizes["sample"] == N - 1
    ((name, reason),) = json.loads((tmp_path / "manifest.json").read_text())["skipped"]
    assert (name, "truncated" in reason) == ("3", True)
    with pytest.raises(DataError, match=r"sample '3': .*truncated.*on_error='skip'") as raised:
        run(Failing(error), tmp_path / "raise")
    assert isinstance(raised.value.__cause__, error)


def test_what_a_transform_raises_for_one_sample_leaves_out_that_one(tmp_path: Path) -> None:
    def picky(x: np.ndarray) -> torch.Tensor:
        if (x == X[7].numpy()).all((1, 2, 3)).any():
            raise RuntimeError("truncated")
        return torch.as_tensor(x)

    read = run(labelled(), tmp_path, transform=picky, on_error="skip")
    assert read["sample"].values.tolist() == [f"s{i}" for i in range(N) if i != 7]


WRONG: dict[str, tuple[Any, Call, str]] = {
    "no samples": (TensorDataset(X[:0], Y[:0]), {}, "holds no samples"),
    "no samples of xarray": (labelled().isel(sample=slice(0)), {}, "holds no samples"),
    "an empty stream": ([], {}, "hold no samples"),
    "one identifier twice": (labelled(ids=["a"] * N), {}, "'a' more than once"),
    "identifiers that are no names": (labelled(ids=np.linspace(0, 1, N)), {}, "integers or text"),
    "too few names": (TensorDataset(X, Y), {"classes": ["a", "b"]}, "there are 2 class names .* 3 outputs"),
    "too many names": (TensorDataset(X, Y), {"classes": list("abcd")}, "there are 4 class names .* 3 outputs"),
    "no names": (TensorDataset(X, Y), {"classes": []}, "there are 0 class names"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_would_be_found_after_computing_is_found_before(what: str, tmp_path: Path) -> None:
    data, options, message = WRONG[what]
    with pytest.raises(RelfuncError, match=message):
        run(data, tmp_path, **options)
    assert not list(tmp_path.glob("attributions-*"))


def test_an_identifier_that_two_batches_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'s0' occurs in two batches"):
        run([labelled(), labelled()], tmp_path)


# --- text and file systems --------------------------------------------------------------------------------

NAMES = [
    *("Käse", "e\u0301", "é", "אבג", "猫", "🐈\u200d⬛", "\u202eabc"),
    *("a/b", "..", "", " ", "a ", "\"'", "a\nb", "x" * 5000, "twin", "twin"),
]


def test_names_come_back_as_they_were_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(12, len(NAMES))).eval()
    ids = [f"{name}{i}" for i, name in enumerate(NAMES)] + ["z"] * (len(NAMES) < N)
    ids += [f"rest {i}" for i in range(N - len(ids))]
    read = run(labelled(ids=ids), tmp_path, rf.gradient(wide), classes=NAMES, attrs={"note": "Käse 猫"})
    assert read["class"].values.tolist() == NAMES
    assert read["sample"].values.tolist() == ids
    assert read.attrs["note"] == "Käse 猫"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_hindrance(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "relfunc"):
        assert run(TensorDataset(X, Y), tmp_path).sizes["sample"] == N
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_another_program_writes_to_is_not_called_truncated(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    run(TensorDataset(X, Y), tmp_path)
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "attributions-00000.nc")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SchemaError, match="another program holds it open"):
            rf.open_attributions(tmp_path)
        other.communicate()
    rf.open_attributions(tmp_path).close()
    assert h5py.is_hdf5(tmp_path / "attributions-00000.nc")
