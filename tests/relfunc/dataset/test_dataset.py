"""Whole datasets: what comes out, from any kind of data, in shards, by any number of processes, stopped or not."""

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder

import relfunc as rf
from relfunc.dataset.shards import RunError

from ..datasets import (
    CLASSES,
    COUNT,
    NORMALIZED,
    SHAPE,
    attribute,
    explanation,
    labelled,
    network,
    pictures,
    scaled,
    shards,
)


@pytest.fixture
def data() -> xr.Dataset:
    return labelled()


@pytest.fixture
def images(tmp_path) -> Path:
    return pictures(tmp_path)


# --- what comes out ---------------------------------------------------------------------------------------


def test_results_are_those_of_each_sample(data, tmp_path):
    manifest = attribute(data, tmp_path, transform=scaled)
    assert shards(tmp_path) == [*(f"attributions-0000{i}.nc" for i in range(3)), "manifest.json"]
    x, label = scaled(data["input"].values), torch.as_tensor(data["label"].values)
    output, relevance = explanation()(x, label)
    with rf.open_attributions(manifest) as results:
        rf.schema.check_attributions(results)
        np.testing.assert_allclose(results["attribution"], relevance, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(results["prediction"], output, rtol=1e-5, atol=1e-6)
        for name in ("input", "label"):
            np.testing.assert_array_equal(results[name], data[name])
        np.testing.assert_array_equal(results["target"], data["label"])
        assert results["sample"].values.tolist() == data["sample"].values.tolist()
        assert results["class"].values.tolist() == list("abcd")
        assert results["attribution"].dtype == np.float32
        assert results.attrs["composite"] == "epsilon_plus"
    recorded = json.loads(manifest.read_text())
    assert (recorded["complete"], recorded["samples"], recorded["skipped"]) == (True, COUNT, [])


ROWS = {
    "one": 9,
    "one from the end": -1,
    "all": slice(None),
    "a slice across shards": slice(6, 18, 3),
    "backwards": slice(20, 2, -5),
    "any order, some twice": [17, 3, 3, 22, 0],
    "none": [],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_rows_of_many_files_are_those_of_one(data, tmp_path, rows):
    with rf.open_attributions(attribute(data, tmp_path)) as results:
        whole = results["attribution"].load().copy()
    with rf.open_attributions(tmp_path) as results:
        np.testing.assert_array_equal(results["attribution"][rows], whole[rows])
        np.testing.assert_array_equal(results["attribution"][rows, 0, 2:5, [1, 3]], whole[rows, 0, 2:5, [1, 3]])


KINDS = {
    "torch Dataset": lambda x, y: TensorDataset(x, y),
    "DataLoader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5),
    "batches": lambda x, y: [(x[i : i + 6], y[i : i + 6]) for i in range(0, len(x), 6)],
    "batches as Datasets": lambda x, y: [
        xr.Dataset(
            {"input": (("sample", "c", "y", "x"), x[i : i + 7].numpy()), "label": ("sample", y[i : i + 7])}
        ).assign_coords(sample=np.arange(i, min(i + 7, len(x))))
        for i in range(0, len(x), 7)
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same(data, tmp_path, kind):
    x, y = scaled(data["input"].values), torch.as_tensor(data["label"].values)
    attribute(KINDS[kind](x, y), tmp_path / kind)
    attribute(data, tmp_path / "xarray", transform=scaled)
    with rf.open_attributions(tmp_path / kind) as results, rf.open_attributions(tmp_path / "xarray") as expected:
        for name in ("attribution", "prediction", "label", "target", "input"):
            np.testing.assert_array_equal(results[name], expected[name])
        assert results["sample"].values.tolist() == list(range(COUNT))


@pytest.mark.parametrize("kind", ["a folder", "an ImageFolder"])
def test_images_are_kept_as_they_were_before_normalization(images, tmp_path, kind):
    data = images if kind == "a folder" else ImageFolder(images, NORMALIZED)
    attribute(data, tmp_path / "out", transform=NORMALIZED if kind == "a folder" else None, classes=list("abcd"))
    with rf.open_attributions(tmp_path / "out") as results:
        assert results["sample"].values.tolist() == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]
        assert results["label"].values.tolist() == [0, 0, 0, 1, 1, 1]
        for i, name in enumerate(results["sample"].values):
            np.testing.assert_array_equal(results["input"][i, 0], np.asarray(Image.open(images / name)))


def test_a_folder_without_classes_is_labelled_by_prediction(images, tmp_path):
    attribute(images / "a", tmp_path / "out", transform=NORMALIZED, target="prediction")
    with rf.open_attributions(tmp_path / "out") as results:
        np.testing.assert_array_equal(results["label"], results["prediction"].argmax("class"))
        np.testing.assert_array_equal(results["target"], results["label"])
        assert results.attrs["label"] == "prediction"


TARGETS = {
    "prediction": ("prediction", lambda y, label: y.argmax(1)),
    "a class": (2, lambda y, label: torch.full((COUNT,), 2)),
    "a function to classes": (lambda y, label: y.argmin(1), lambda y, label: y.argmin(1)),
    "a function to relevance": (lambda y, label: y - y.mean(), None),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets(data, tmp_path, name):
    target, chosen = TARGETS[name]
    attribute(data, tmp_path, transform=scaled, target=target, batch_size=8)
    explain, x = explanation(), scaled(data["input"].values)
    with rf.open_attributions(tmp_path) as results:
        if chosen is None:
            assert "target" not in results
            expected = torch.cat([explain(part, lambda y: y - y.mean())[1] for part in x.split(8)])
        else:
            classes = chosen(explain(x, 0)[0], None)
            np.testing.assert_array_equal(results["target"], classes)
            expected = explain(x, classes)[1]
        np.testing.assert_allclose(results["attribution"], expected, rtol=1e-4, atol=1e-6)


def test_the_prediction_is_that_at_the_sample_whatever_else_a_method_looks_at(data, tmp_path):
    explain = rf.integrated_gradients(network(), steps=4)
    rf.attribute_dataset(explain, data, tmp_path, target="prediction", transform=lambda a: 40 * scaled(a) - 20)
    x = 40 * scaled(data["input"].values) - 20
    prediction = network()(x).argmax(1)
    with rf.open_attributions(tmp_path) as results:
        np.testing.assert_array_equal(results["target"], prediction)
        np.testing.assert_allclose(results["attribution"], explain(x, prediction)[1], rtol=1e-4, atol=1e-5)


def test_several_labels_of_one_sample_are_explained_together(data, tmp_path):
    several = np.random.default_rng(1).integers(0, 2, (COUNT, CLASSES)).astype(bool)
    attribute(data.assign(label=(("sample", "class"), several)), tmp_path, transform=scaled)
    expected = explanation()(scaled(data["input"].values), torch.as_tensor(several).float())[1]
    with rf.open_attributions(tmp_path) as results:
        assert results["label"].dtype == bool
        np.testing.assert_array_equal(results["label"], several)
        np.testing.assert_allclose(results["attribution"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"dtype": "float16"}, 2**-11),
        ({"channels_last": True}, 1e-5),
        ({"device": "cpu"}, 1e-6),
        ({"autocast": "bfloat16"}, 0.1),
        ({"compiled": True}, 1e-5),
    ],
    ids=str,
)
def test_precision_and_layout(data, tmp_path, options, tolerance):
    attribute(data, tmp_path, transform=scaled, **options)
    expected = explanation()(scaled(data["input"].values), torch.as_tensor(data["label"].values))[1].numpy()
    with rf.open_attributions(tmp_path) as results:
        assert results["attribution"].dtype == np.float32
        scale = np.abs(expected) if "dtype" in options else np.abs(expected).max()
        assert (np.abs(results["attribution"].values - expected) <= tolerance * scale + 1e-8).all()


def test_the_model_given_is_neither_moved_nor_changed(data, tmp_path):
    explain = explanation()
    model = explain.f._lrp.model
    before = [(name, id(p), p.clone(), p.stride()) for name, p in model.named_parameters()]
    rf.attribute_dataset(explain, data, tmp_path, transform=scaled, channels_last=True, device="cpu")
    for (name, identity, value, stride), (now, p) in zip(before, model.named_parameters(), strict=True):
        assert (name, identity, stride) == (now, id(p), p.stride())
        assert torch.equal(value, p)


# --- stop and go on ---------------------------------------------------------------------------------------


class StopError(Exception):
    pass


def stopped_after(count: int) -> Any:
    def progress(done: int, total: int | None) -> None:
        if done >= count:
            raise StopError

    return progress


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stopped_run_goes_on_behind_its_last_whole_shard(data, tmp_path, streamed):
    x, y = scaled(data["input"].values), torch.as_tensor(data["label"].values)
    source = [(x, y)] if streamed else TensorDataset(x, y)
    attribute(source, tmp_path / "whole")
    with pytest.raises(StopError):
        attribute(source, tmp_path / "run", progress=stopped_after(12))
    assert shards(tmp_path / "run") == ["attributions-00000.nc", "manifest.json"]
    (tmp_path / "run" / ".attributions-00001-0a1b2c3d.nc").write_text("left by a killed process")
    inode = (tmp_path / "run" / "attributions-00000.nc").stat().st_ino
    attribute(source, tmp_path / "run")
    assert (tmp_path / "run" / "attributions-00000.nc").stat().st_ino == inode
    assert shards(tmp_path / "run") == shards(tmp_path / "whole")
    with rf.open_attributions(tmp_path / "run") as run, rf.open_attributions(tmp_path / "whole") as whole:
        xr.testing.assert_identical(run.load(), whole.load())


def test_a_complete_run_computes_nothing(data, tmp_path):
    attribute(data, tmp_path)
    attribute(data, tmp_path, progress=stopped_after(1))


def test_ctrl_c_finishes_the_batch_and_leaves_whole_shards(data, tmp_path):
    told = []

    def interrupt(done: int, total: int | None) -> None:
        told.append(done)
        if done == 12:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        attribute(data, tmp_path, progress=interrupt)
    assert told == [4, 8, 12]
    assert shards(tmp_path) == ["attributions-00000.nc", "manifest.json"]
    assert signal.getsignal(signal.SIGINT) is before


def test_two_processes_do_not_write_to_one_folder(data, tmp_path):
    def again(done: int, total: int | None) -> None:
        with pytest.raises(RunError, match="another process writes to"):
            attribute(data, tmp_path)

    attribute(data, tmp_path, progress=again)


OTHERS = {
    "batch_size": {"batch_size": 3},
    "target": {"target": 1},
    "dtype": {"dtype": "float16"},
    "attrs": {"attrs": {"note": "again"}},
    "classes": {"classes": list("wxyz")},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_arguments_are_refused_by_name(data, tmp_path, what):
    attribute(data, tmp_path)
    with pytest.raises(RunError, match=rf"holds a run of other arguments \({what} was "):
        attribute(data, tmp_path, **OTHERS[what])


def test_other_data_models_and_composites_are_refused_by_name(data, tmp_path):
    attribute(data, tmp_path)
    other = network()
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 1e-3
    for what, explain, given in (
        ("data", explanation(), data.isel(sample=slice(1, None))),
        ("parameters", rf.gradient(rf.lrp(other, rf.composites.epsilon_plus())), data),
        ("composite", rf.gradient(rf.lrp(network(), rf.composites.epsilon_plus_flat())), data),
        ("rules", rf.gradient(rf.lrp(network(), rf.composites.epsilon_plus(epsilon=0.1))), data),
        ("method", rf.gradient(network()), data),
    ):
        with pytest.raises(RunError, match=f"{what} was "):
            rf.attribute_dataset(explain, given, tmp_path, batch_size=4, shard_size=8)


def pushed(by):
    return lambda value: value + by


@pytest.mark.parametrize("composite", [None, rf.composites.epsilon_plus()])
def test_another_intervention_is_another_run(data, tmp_path, composite):
    def explain(by):
        push = pushed(by)
        changed = rf.intervene(network(), {"0": push})
        ops = {**rf.ops.OPS, push: rf.ops.Op("scaling", type="scaling")}
        return rf.gradient(rf.lrp(changed, composite, ops=ops) if composite else changed)

    rf.attribute_dataset(explain(1.0), data, tmp_path, batch_size=4)
    rf.attribute_dataset(explain(1.0), data, tmp_path, batch_size=4)
    for other in (2.0, torch.tensor(1.0)):
        with pytest.raises(RunError, match="parameters was "):
            rf.attribute_dataset(explain(other), data, tmp_path, batch_size=4)


# --- memory runs out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_out_of_memory_halves_the_batch_and_says_so_once(data, tmp_path, caplog, error):
    sizes = []

    def explain(x, target):
        sizes.append(len(x))
        if len(x) > 2:
            raise error
        return explanation()(x, target)

    with caplog.at_level(logging.WARNING, "relfunc"):
        rf.attribute_dataset(explain, data, tmp_path, batch_size=5, shard_size=100)
    assert sizes[:4] == [5, 2, 2, 1]
    assert max(sizes[1:]) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 5 samples at once: going on with 2"
    ]
    with rf.open_attributions(tmp_path) as results:
        assert results.sizes["sample"] == COUNT


def test_another_error_of_the_model_is_not_taken_for_memory(data, tmp_path):
    def explain(x, target):
        raise RuntimeError("a bug of the model")

    with pytest.raises(RuntimeError, match="a bug of the model"):
        rf.attribute_dataset(explain, data, tmp_path)


# --- several processes ------------------------------------------------------------------------------------


def test_two_processes_give_the_same_as_one(data, tmp_path):
    attribute(data, tmp_path / "one", transform=scaled)
    attribute(data, tmp_path / "two", transform=scaled, workers=2)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    with rf.open_attributions(tmp_path / "one") as one, rf.open_attributions(tmp_path / "two") as two:
        xr.testing.assert_allclose(one.load(), two.load())


def test_an_iterable_is_not_split_among_processes(tmp_path):
    with pytest.raises(RunError, match="cannot be split among workers"):
        attribute([torch.rand(2, *SHAPE)], tmp_path, workers=2, target=1)
