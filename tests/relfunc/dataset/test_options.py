"""Options of attribute_dataset: listed once, and the same in its signature, its runs and on the command line."""

import argparse
import inspect
import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import TensorDataset

import relfunc as rf
from relfunc.command import cli
from relfunc.command.derived import OTHERWISE, derived, descriptions, options_of
from relfunc.dataset.options import Options
from relfunc.errors import DataError, RunError

SIGNATURE = inspect.signature(rf.attribute_dataset).parameters
OPTIONS = [name for name, parameter in SIGNATURE.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
GIVEN = ["attribute", "--model", "a:b", "--data", "photos", "--out", "run"]


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def spelled(command: str = "attribute") -> set[str]:
    return {text for action in parsers()[command]._actions for text in action.option_strings}


def test_the_signature_has_every_option_and_its_default():
    assert [field.name for field in fields(Options)] == OPTIONS
    assert {name: SIGNATURE[name].default for name in OPTIONS} == vars(Options())
    assert list(SIGNATURE)[:3] == ["explain", "data", "out"]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_on_the_command_line_or_in_the_list_that_says_why_not(name):
    assert (f"--{name.replace('_', '-')}" in spelled()) or OTHERWISE[name]


def test_the_list_names_no_other_and_what_stands_in_their_place_is_there():
    assert set(OTHERWISE) <= set(OPTIONS)
    assert {"--target", "--classes", "--transform", "--scheduler"} <= spelled()
    assert "--target" in spelled("audit")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_described(name):
    assert descriptions(inspect.getdoc(Options) or "")[name]
    assert f"\n{name} : " in (inspect.getdoc(rf.attribute_dataset) or "")


def test_options_that_are_not_given_have_the_defaults_of_python():
    assert options_of(cli._parser().parse_args(GIVEN)) == {name: getattr(Options(), name) for name in derived()}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--batch-size", "3"], {"batch_size": 3}),
        (["--compiled", "--workers", "2"], {"compiled": True, "workers": 2}),
        (["--keep-input", "none"], {"keep_input": None}),
        (["--variables", "scanner", "age"], {"variables": ["scanner", "age"]}),
        (["--autocast", "bfloat16", "--device", "cuda:1"], {"autocast": "bfloat16", "device": "cuda:1"}),
    ],
)
def test_options_that_are_given_arrive_as_python_has_them(argv, expected):
    found = options_of(cli._parser().parse_args([*GIVEN, *argv]))
    assert {name: found[name] for name in expected} == expected


def test_an_option_that_is_none_is_refused_by_name():
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        rf.attribute_dataset(rf.gradient(torch.nn.Linear(2, 2)), data(), "run", batchsize=3)


@pytest.mark.parametrize(
    ("name", "value", "give"),
    [
        *(
            (name, value, "at least 1")
            for name in ("batch_size", "shard_size", "workers")
            for value in (2.5, "2", True)
        ),
        *(("target", value, "'label', 'prediction'") for value in ([1], {}, True, 1.0, None)),
        *(("classes", value, "a list of names") for value in ("ab", b"ab", 3, {"a", "b"}, {"a": 1}, [None, None])),
        *(("variables", value, "a list of names") for value in ("ab", 3, None)),
        *(("dtype", value, "'float32' or 'float16'") for value in ([1], np.zeros(2), torch.float16)),
        ("transform", 3, "a function"),
        ("device", 3, "its name"),
        ("channels_last", 1, "True or False"),
        ("compiled", "no", "True or False"),
        ("progress", "no", "True, False, or a function"),
    ],
)
def test_values_that_an_option_has_not_are_refused_before_anything_is_computed(name, value, give, tmp_path):
    with pytest.raises(RunError, match=f"{name} is .*: give {give}"):
        attribute(tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_whole_numbers_of_numpy_are_whole_numbers():
    found = Options(batch_size=np.int64(2), target=np.int64(1))  # pyright: ignore[reportArgumentType]
    assert (type(found.batch_size), type(found.target)) == (int, int)
    assert found == Options(batch_size=2, target=1)


# --- what tells runs apart ------------------------------------------------------------------------------

OTHER = {
    "batch_size": 5,
    "shard_size": 3,
    "target": "prediction",
    "classes": ["x", "y"],
    "transform": lambda x: torch.as_tensor(x).float() / 2,
    "variables": ["site"],
    "tokens": lambda ids: [str(i) for i in ids],
    "keep_input": "float32",
    "dtype": "float16",
    "device": "cpu",
    "autocast": "bfloat16",
    "channels_last": True,
    "compiled": True,
    "on_error": "skip",
    "attrs": {"note": "second"},
}
WHO_COMPUTES = {"workers", "client", "progress"}


def data() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "input": (("sample", "feature"), rng.random((7, 2), "float32")),
            "label": ("sample", np.arange(7) % 2),
            "site": ("sample", ["Zürich", "Wien", "", "Graz", "Ulm", "Bern", "Köln"]),
            "age": ("sample", np.linspace(1, 2, 7)),
            "artifact": ("sample", np.arange(7) % 3 == 0),
        }
    )


def attribute(folder, **options: Any):
    torch.manual_seed(0)
    explain = rf.gradient(torch.nn.Linear(2, 2).eval())
    return rf.attribute_dataset(explain, options.pop("data", data()), folder, **{"keep_input": None, **options})


def test_every_option_but_who_computes_tells_runs_apart():
    assert set(OTHER) | WHO_COMPUTES == set(OPTIONS)


@pytest.mark.parametrize("name", OTHER)
def test_a_run_with_another_option_is_refused(name, tmp_path):
    attribute(tmp_path)
    with pytest.raises(RunError, match="data was" if name == "transform" else f"{name} was"):
        attribute(tmp_path, **{name: OTHER[name]})


# --- variables of the data that are kept ----------------------------------------------------------------

KEPT = ["site", "age", "artifact"]


@pytest.mark.parametrize("options", [{"shard_size": 3}, {"shard_size": 3, "workers": 2}, {}], ids=str)
def test_variables_are_kept_as_they_are(options, tmp_path):
    with rf.open_attributions(attribute(tmp_path, variables=KEPT, batch_size=2, **options)) as results:
        rf.schema.check_attributions(results)
        for name in KEPT:
            assert results[name].dims == ("sample",)
            assert results[name].values.tolist() == data()[name].values.tolist()
        assert results["artifact"].dtype == np.bool_


def test_samples_that_are_skipped_take_their_variables_along(tmp_path):
    broken = data()
    broken["input"][2] = np.nan
    with rf.open_attributions(attribute(tmp_path, data=broken, variables=KEPT, on_error="skip")) as results:
        assert results["site"].values.tolist() == [s for i, s in enumerate(data()["site"].values.tolist()) if i != 2]


def test_variables_of_other_values_are_another_run(tmp_path):
    attribute(tmp_path, variables=KEPT)
    other = data()
    other["age"][3] += 1
    with pytest.raises(RunError, match="data was"):
        attribute(tmp_path, data=other, variables=KEPT)


def test_without_variables_nothing_else_is_kept(tmp_path):
    with rf.open_attributions(attribute(tmp_path)) as results:
        assert not {*KEPT} & {*results.variables}
    assert json.loads((tmp_path / "manifest.json").read_text())["identity"]["variables"] == []


@pytest.mark.parametrize(
    ("made", "variables", "error", "message"),
    [
        (data, ["sight"], DataError, "variable 'sight' is not in the Dataset"),
        (data, ["label"], DataError, "'label', which the results have of their own"),
        (lambda: data().assign(square=(("sample", "sample_2"), np.eye(7))), ["square"], DataError, "has dimensions"),
        (
            lambda: data().assign(day=("sample", np.arange(7).astype("datetime64[D]").astype("datetime64[ns]"))),
            ["day"],
            DataError,
            "'day' is datetime64",
        ),
        (data, "site", RunError, "variables is 'site': give a list of names"),
        (lambda: TensorDataset(torch.rand(3, 2), torch.zeros(3)), ["site"], DataError, "are a TensorDataset"),
    ],
)
def test_variables_that_cannot_be_kept(made, variables, error, message, tmp_path):
    with pytest.raises(error, match=message):
        attribute(tmp_path, data=made(), variables=variables)
