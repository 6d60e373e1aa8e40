"""Nothing is silently taken for something else: labels, orders, types, names and files are what they are."""

import errno
import json
import logging
import os
import subprocess
import sys
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
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import relfunc as rf
from relfunc.dataset.samples import DataError
from relfunc.errors import RelfuncError, SchemaError

from .runs import N, Rows, X, Y, labelled, model, of_model, run


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


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
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
