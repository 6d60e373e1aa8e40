"""The commands attribute, plan and audit: they do what the Python functions do, and their errors are one line."""

import inspect
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
import xarray as xr
from PIL import Image
from torchvision.transforms.functional import to_tensor

import relfunc as rf
from relfunc.columns import fitted
from relfunc.command import commands
from relfunc.command.folders import FolderError, class_index

from .given import LABEL, attribute, fails, network, pictures, results, run, trained, x

SIGNATURE = inspect.signature(rf.attribute_dataset).parameters

# --- attribute ----------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_attributed(here, capsys):
    assert attribute("--checkpoint", "network.pt", "--batch-size", 3, "--shard-size", 4) == 0
    data = results()
    output, relevance = rf.gradient(rf.lrp(trained(), rf.composites.epsilon_plus_flat()))(x(), LABEL)
    np.testing.assert_allclose(data["prediction"], output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(data["attribution"], relevance, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(data["input"], np.moveaxis(pictures(), -1, 1))
    assert data["label"].values.tolist() == LABEL.tolist()
    assert data["class"].values.tolist() == ["a", "b", "c"]
    assert len([*here.glob("run/*.nc")]) == 2
    assert f"7 samples, 0 skipped: {Path('run', 'manifest.json')}" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["networks:network", "networks:Network", "networks:ready"])
@pytest.mark.parametrize(
    ("options", "method"),
    [
        (
            ["--composite", "epsilon_plus(epsilon=0.5)"],
            lambda f: rf.gradient(rf.lrp(f, rf.composites.epsilon_plus(epsilon=0.5))),
        ),
        (["--method", "gradient"], rf.gradient),
        (["--method", "smoothgrad(samples=2, noise=0.2)"], lambda f: rf.smoothgrad(f, samples=2, noise=0.2)),
        (
            ["--method", "input_x_gradient", "--composite", "excitation_backprop"],
            lambda f: rf.input_x_gradient(rf.lrp(f, rf.composites.excitation_backprop())),
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_models_methods_and_composites_by_name(model, options, method):
    assert attribute(*options, "--target", 1, model=model) == 0
    np.testing.assert_allclose(results()["attribution"], method(network())(x(), 1)[1], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("here")
def test_a_folder_without_classes_explains_the_prediction():
    assert attribute("--target", "prediction", "--keep-input", "none", data="flat") == 0
    data = results()
    assert "input" not in data
    assert data["sample"].values.tolist() == [f"{k}.png" for k in range(7)]
    np.testing.assert_array_equal(data["label"], data["prediction"].argmax("class"))


def test_netcdf_is_attributed(here):
    dims = ("sample", "channel", "y", "x")
    data = xr.Dataset({"input": (dims, np.moveaxis(pictures(), -1, 1)), "label": ("sample", LABEL.numpy())})
    rf.storage.save(data, here / "data.nc")
    (here / "names.txt").write_text("ant\nbee\ncat\n")
    assert attribute("--classes", "names.txt", data="data.nc", transform="networks:scaled") == 0
    assert results()["class"].values.tolist() == ["ant", "bee", "cat"]
    np.testing.assert_allclose(results()["attribution"], lrp_of(network()), rtol=1e-4, atol=1e-6)


def lrp_of(model, composite=None):
    return rf.gradient(rf.lrp(model, composite or rf.composites.epsilon_plus_flat()))(x(), LABEL)[1]


def test_a_composite_from_a_file(here):
    (here / "rules.toml").write_text(rf.toml.to_toml(rf.composites.epsilon_alpha2_beta1()))
    assert attribute("--composite", "rules.toml") == 0
    np.testing.assert_allclose(
        results()["attribution"], lrp_of(network(), rf.composites.epsilon_alpha2_beta1()), rtol=1e-4, atol=1e-6
    )


def test_the_same_command_again_leaves_the_results(here):
    assert attribute() == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "run").glob("*.nc")}
    assert attribute() == 0
    assert {path: path.stat().st_mtime_ns for path in (here / "run").glob("*.nc")} == before


@pytest.mark.usefixtures("here")
def test_another_command_is_refused_in_the_same_folder(capsys):
    assert attribute() == 0
    assert "epsilon_alpha2_beta1" in fails(capsys, "--composite", "epsilon_alpha2_beta1")


@pytest.mark.usefixtures("here")
def test_unreadable_pictures_are_skipped_and_listed(here, capsys):
    (here / "photos" / "b" / "2.png").write_bytes(b"no picture")
    assert "b/2.png" in fails(capsys)
    assert attribute("--on-error", "skip", "--out", "other") == 0
    captured = capsys.readouterr()
    assert "skipped b/2.png" in captured.err
    assert "6 samples, 1 skipped" in captured.out


@pytest.mark.usefixtures("here")
def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "attribute_dataset", interrupted)
    assert attribute() == 130
    assert "goes on from here" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_every_option_reaches_attribute_dataset(monkeypatch):
    given = {}

    def recorded(explain, data, out, **options):
        given.update(options, data=data, out=out)
        out.mkdir()
        (out / "manifest.json").write_text('{"samples": 0, "shards": {}, "skipped": []}')
        return out / "manifest.json"

    monkeypatch.setattr(commands, "attribute_dataset", recorded)
    client = SimpleNamespace(Client=lambda address: nullcontext(f"client of {address}"))
    monkeypatch.setitem(sys.modules, "distributed", client)
    options = {
        "batch_size": 5,
        "shard_size": 6,
        "target": 2,
        "keep_input": "float32",
        "dtype": "float16",
        "device": "cpu",
        "autocast": "bfloat16",
        "workers": 3,
        "on_error": "skip",
    }
    argv = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    assert attribute(*argv, "--channels-last", "--compiled", "--scheduler", "tcp://node1:8786") == 0
    expected = options | {"channels_last": True, "compiled": True, "client": "client of tcp://node1:8786"}
    assert {name: given[name] for name in expected} == expected
    assert given["data"] == Path("photos").resolve()
    assert given["transform"] is to_tensor
    assert set(given) - {"data", "out"} == set(SIGNATURE) - {"explain", "data", "out", "progress"}


# --- torchvision --------------------------------------------------------------------------------------


def random_parameters(monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)


def test_weights_bring_their_transform_and_classes(here, monkeypatch):
    random_parameters(monkeypatch)
    for old, new in zip("abc", ("Egyptian_cat", "goldfish", "7"), strict=True):
        (here / "photos" / old).rename(here / "photos" / new)
    given = ("--weights", "SqueezeNet1_1_Weights.DEFAULT", "--composite", "epsilon_plus")
    assert attribute(*given, model="torchvision:squeezenet1_1", transform=None) == 0
    data = results()
    assert data["attribution"].shape == (7, 3, 224, 224)
    assert data["class"].values[285] == "Egyptian cat"
    assert data["label"].values.tolist() == [7, 7, 7, 285, 285, 1, 1]
    bright = np.asarray(Image.open(here / "photos" / "7" / "4.png").resize((224, 224))).mean((0, 1))
    np.testing.assert_allclose(data["input"].values[0].mean((1, 2)), bright, atol=8)


def test_weights_transform_pictures_of_netcdf_too(here, monkeypatch):
    random_parameters(monkeypatch)
    dims = ("sample", "channel", "y", "x")
    images = np.moveaxis(pictures()[:2], -1, 1)
    rf.storage.save(xr.Dataset({"input": (dims, images), "label": ("sample", [3, 4])}), here / "data.nc")
    given = ("--weights", "DEFAULT", "--composite", "epsilon_plus")
    assert attribute(*given, model="torchvision:squeezenet1_1", transform=None, data="data.nc") == 0
    assert results()["attribution"].shape == (2, 3, 224, 224)


CLASSES = ("tabby", "Egyptian cat", "crane", "crane", "3")


@pytest.mark.parametrize(("name", "index"), [("tabby", 0), ("egyptian_cat", 1), ("1", 1), ("3", 4)])
def test_names_of_folders(name, index):
    assert class_index(name, CLASSES) == index


@pytest.mark.parametrize(
    ("name", "message"),
    [("crane", "class 2 or 3"), ("egyptian", "did you mean 'Egyptian cat'"), ("5", "none of the model's 5 classes")],
)
def test_names_of_folders_that_mean_no_class(name, message):
    with pytest.raises(FolderError, match=message):
        class_index(name, CLASSES)


# --- plan and audit -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_plan_lists_every_operation(capsys):
    assert run("plan", "--model", "torchvision:resnet18", "--composite", "epsilon_plus") == 0
    expected = rf.plan(torchvision.models.resnet18(weights=None).eval(), rf.composites.epsilon_plus())
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1 : len(expected) + 1]] == expected.index.tolist()
    assert printed[-1] == f"{len(expected)} operations, {expected['forwards'].sum()} modified forward passes"


@pytest.mark.usefixtures("here")
def test_plan_is_written_whole(capsys):
    assert run("plan", "--model", "networks:network", "--out", "plan.csv") == 0
    expected = rf.plan(network(), rf.composites.epsilon_plus_flat())
    pd.testing.assert_frame_equal(pd.read_csv("plan.csv", index_col="node").astype(str), expected.astype(str))
    assert "plan.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "start"), [("label", LABEL[:4]), ("2", 2), ("prediction", lambda y: torch.eye(3)[y.argmax(1)])]
)
@pytest.mark.usefixtures("here")
def test_audit_accounts_for_the_first_samples(target, start):
    given = ("--data", "photos", "--transform", "networks:to_tensor", "--samples", 4, "--target", target)
    assert run("audit", "--model", "networks:network", *given, "--out", "audit.csv") == 0
    expected = rf.audit(network(), rf.composites.epsilon_plus_flat(), x()[:4], start)
    pd.testing.assert_frame_equal(pd.read_csv("audit.csv", index_col="node").fillna(""), expected, atol=1e-5)


def test_what_torch_fx_cannot_trace_takes_example_inputs(here, capsys):
    assert "example_inputs" in fails(capsys, "plan", "--model", "networks:Branching")


TABLE = pd.DataFrame(
    {
        "module": ["features.0", "classifier.12.very.long.path"],
        "rule": ["flat()"] * 2,
        "forwards": [1, 20],
        "share": [0.123456, 1e-9],
    },
    index=pd.Index(["conv2d", "a_long_name_of_a_node"], name="node"),
)


@pytest.mark.parametrize("width", [None, 200, 100, 60, 50])
def test_tables_fit_and_keep_every_row(width):
    lines = fitted(TABLE, width).splitlines()
    assert len(lines) == 1 + len(TABLE)
    assert all(width is None or len(line) <= width for line in lines)
    assert "20" in lines[2]
    assert "1e-09" in lines[2]
    assert ("…" in "".join(lines)) == (width is not None and width < 100)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_workers_find_the_modules_of_the_current_folder():
    assert attribute("--workers", 2, "--shard-size", 2) == 0
    np.testing.assert_allclose(results()["attribution"], lrp_of(network()), rtol=1e-4, atol=1e-6)
