"""Whole datasets: what is refused, by name, and what stays of what was written before."""

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import relfunc as rf
from relfunc.dataset.samples import DataError
from relfunc.dataset.shards import RunError
from relfunc.dataset.sources import Labelled
from relfunc.dataset.writer import _is_compressible
from relfunc.errors import SchemaError

from ..datasets import COUNT, NORMALIZED, SHAPE, attribute, labelled, pictures, scaled, shards


@pytest.fixture
def data() -> xr.Dataset:
    return labelled()


@pytest.fixture
def images(tmp_path) -> Path:
    return pictures(tmp_path)


def bad(what: str, data: xr.Dataset, images: Path) -> tuple[Any, dict[str, Any], type[Exception], str]:
    x, y = scaled(data["input"].values), torch.as_tensor(data["label"].values)
    if what == "label out of range":
        y[9] += 3
        return TensorDataset(x, y), {}, DataError, r"sample '9': target \[\d\] is out of range"
    if what == "not finite":
        x[9, 0, 1, 1] = torch.nan
        return TensorDataset(x, y), {}, DataError, "sample '9': its input has values that are not finite"
    if what == "not finite, among rows read together":
        data["input"] = (data["input"].dims, data["input"].values.astype(float))
        data["input"][9, 0, 1, 1] = np.nan
        return data.drop_vars("sample"), {"transform": scaled}, DataError, "sample '9': its input has values that are"
    if what == "not all labelled":
        return (
            _Rows([(x[i], y[i]) if i != 9 else x[i] for i in range(COUNT)]),
            {"target": 0},
            DataError,
            ("sample '9' has no label, and others have"),
        )
    if what == "a transform that drops one":
        return data, {"transform": lambda images: scaled(images)[1:]}, DataError, "the transform made 0 inputs of 1"
    if what == "unequal shapes":
        rows = [(x[i, :, : 5 if i == 9 else 6], y[i]) for i in range(COUNT)]
        return _Rows(rows), {}, DataError, r"sample '9': its input has shape \(1, 5, 6\), and others \(1, 6, 6\)"
    if what == "corrupt image":
        (images / "b" / "1.png").write_bytes((images / "b" / "1.png").read_bytes()[:60])
        options = {"transform": NORMALIZED, "classes": list("abcd"), "shard_size": 2, "batch_size": 1}
        return images, options, DataError, "sample 'b/1.png'"
    if what == "no labels":
        return _Rows(list(x)), {}, DataError, "sample '0': it has no label: give target='prediction'"
    if what == "integers":
        return _Rows([(image.int(), 0) for image in x]), {}, DataError, "its input is torch.int32"
    if what == "no tensors":
        return _Rows([("text", 0)]), {}, DataError, "sample '0' is a str, not a tensor"
    if what == "shuffled":
        return DataLoader(TensorDataset(x, y), shuffle=True), {}, DataError, "shuffles"
    if what == "no transform":
        return images, {}, DataError, "give transform="
    if what == "no folder":
        return images / "nowhere", {}, FileNotFoundError, "no folder"
    return 7, {}, DataError, "data is a int"


class _Rows:
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


@pytest.mark.parametrize(
    "what",
    [
        "label out of range",
        "not finite",
        "not finite, among rows read together",
        "not all labelled",
        "a transform that drops one",
        "unequal shapes",
        "corrupt image",
        "no labels",
        "integers",
        "no tensors",
        "shuffled",
        "no transform",
        "no folder",
        "number",
    ],
)
def test_bad_data_are_named_and_what_was_written_stays(data, images, tmp_path, what):
    source, options, error, message = bad(what, data, images)
    with pytest.raises(error, match=message):
        attribute(source, tmp_path / "out", **options)
    if what.startswith(("label out of range", "not finite", "not all", "unequal shapes", "corrupt image")):
        with rf.open_attributions(tmp_path / "out") as written:
            assert written.sizes["sample"] in {2, 8}
            assert np.isfinite(written["attribution"]).all()
        assert not [name for name in shards(tmp_path / "out") if name.startswith(".")]


@pytest.mark.parametrize(
    "what", ["not finite", "not finite, among rows read together", "unequal shapes", "corrupt image"]
)
def test_samples_to_skip_are_left_out_and_listed(data, images, tmp_path, what):
    source, options, _, _ = bad(what, data, images)
    manifest = attribute(source, tmp_path / "out", **options, on_error="skip")
    ((name, reason),) = json.loads(manifest.read_text())["skipped"]
    assert name == ("b/1.png" if what == "corrupt image" else "9")
    assert reason
    with rf.open_attributions(manifest) as results:
        assert name not in map(str, results["sample"].values)
        assert results.sizes["sample"] == (5 if what == "corrupt image" else COUNT - 1)


def of_no_number(where: str):
    """Return a method whose result is no number for what is large."""

    def explain(x, target):
        large, output, attribution = x.flatten(1).amax(1) > 5, x.flatten(1)[:, :4].clone(), x.clone()
        if where == "output":
            output[large, 2] = torch.nan
        elif where == "attribution":
            attribution[large, 0, 3, 2] = torch.inf
        else:
            output[large, 2] = -torch.inf
        return output, attribution

    return explain


NO_NUMBER = {
    "output": "sample '9': the model's output for it is NaN; on_error='skip' leaves such samples out",
    "attribution": "sample '9': its attribution has values that are not finite; on_error=",
}


@pytest.mark.parametrize("at", [[9], [9, 10], list(range(8, 16))], ids=["one", "two", "a whole shard"])
@pytest.mark.parametrize("where", [*NO_NUMBER, "a class is ruled out"])
def test_samples_whose_result_is_no_number_are_named_or_skipped(data, tmp_path, where, at):
    x, y = scaled(data["input"].values), torch.as_tensor(data["label"].values)
    x[at, 0, 1, 1] = 6.0
    given, explain = TensorDataset(x, y), of_no_number(where)
    options = {"batch_size": 4, "shard_size": 8, "progress": False, "target": 0, "keep_input": "float32"}
    if where in NO_NUMBER and at[0] == 9:
        with pytest.raises(DataError, match=NO_NUMBER[where]):
            rf.attribute_dataset(explain, given, tmp_path / "raised", **options)
    manifest = rf.attribute_dataset(explain, given, tmp_path / "skipped", **options, on_error="skip")
    left = [i for i in range(COUNT) if i not in at or where not in NO_NUMBER]
    assert [int(name) for name, _ in json.loads(manifest.read_text())["skipped"]] == sorted(
        set(range(COUNT)) - set(left)
    )
    with rf.open_attributions(manifest) as results:
        assert results["sample"].values.tolist() == left
        np.testing.assert_array_equal(results["input"], x[left])
        np.testing.assert_array_equal(results["attribution"], x[left])
        np.testing.assert_array_equal(results["label"], y[left])


@pytest.mark.parametrize(
    ("options", "layout"),
    [
        ({}, "contiguous"),
        ({"on_error": "skip"}, [1, *SHAPE]),
        ({"dtype": "float16"}, [1, *SHAPE]),
    ],
)
def test_each_sample_lies_for_itself(data, tmp_path, options, layout):
    attribute(data, tmp_path, **options)
    with netCDF4.Dataset(tmp_path / "attributions-00000.nc") as file:
        assert file["attribution"].chunking() == layout


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("missing", [1, COUNT % 8])  # of the last shard: some, or all
def test_data_shorter_than_they_say_are_not_filled_up(data, tmp_path, monkeypatch, missing, on_error):
    whole = Labelled.samples
    monkeypatch.setattr(Labelled, "samples", lambda self, start, stop: whole(self, start, min(stop, COUNT - missing)))
    with pytest.raises(DataError, match=f"the data end {missing} samples early: their length is {COUNT}"):
        attribute(data, tmp_path, on_error=on_error)
    with rf.open_attributions(tmp_path) as written:
        assert written.sizes["sample"] == COUNT // 8 * 8


def test_pictures_are_compressed_where_that_pays():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 3, 64, 64), np.uint8)
    assert not _is_compressible(noise)
    assert not _is_compressible(1 + rng.random((3, 3, 64, 64), np.float32))  # one exponent: zlib saves a fifth
    assert _is_compressible(noise // 64 * 64)
    assert not _is_compressible(noise[..., :8, :8] // 64 * 64)


def test_a_model_without_classes_is_refused(data, tmp_path):
    model = nn.Conv2d(1, 2, 3).eval()
    with pytest.raises(DataError, match="not \\(sample, class\\)"):
        rf.attribute_dataset(rf.gradient(model), data, tmp_path, target=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: give at least 1"),
        ({"dtype": "float64"}, "dtype is 'float64': give 'float32' or 'float16'"),
        ({"target": "labels"}, "target is 'labels'"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
    ],
)
def test_options_that_do_not_exist_are_refused(data, tmp_path, options, message):
    with pytest.raises(RunError, match=message):
        attribute(data, tmp_path, **options)
    assert shards(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_an_error(data, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OSError, match="out"):
        attribute(data, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_files_that_do_not_belong_together_are_refused(data, tmp_path):
    attribute(data, tmp_path / "a", shard_size=100)
    attribute(data.assign_coords(sample=np.arange(COUNT)), tmp_path / "b", shard_size=100, target=1)
    files = [tmp_path / name / "attributions-00000.nc" for name in "ab"]
    with pytest.raises(SchemaError, match="do not belong together: run is"):
        rf.open_attributions(files)
    with pytest.raises(SchemaError, match="occurs more than once"):
        rf.open_attributions([files[0], files[0]])
    with pytest.raises(FileNotFoundError):
        rf.open_attributions(str(tmp_path / "*.nc"))


def test_a_truncated_shard_is_named(data, tmp_path):
    attribute(data, tmp_path)
    shard = tmp_path / "attributions-00001.nc"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(SchemaError, match=r"attributions-00001\.nc cannot be read"):
        rf.open_attributions(tmp_path)
