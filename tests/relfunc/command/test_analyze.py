"""The command analyze: it does what analysis.run does, and its errors are one line."""

import inspect
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import analysis
import relfunc as rf
from analysis import chain, step
from relfunc.command.cli import main

from ...analysis.data import attributions

STEPS = """
import xarray as xr

def first(data, *, count=2):
    '''Take the first columns as an embedding.'''
    features = data["features"][:, :count].values
    return xr.Dataset({"first": (("sample", "component"), features, {"role": "embedding"})})
"""
QUICK = "spray(n_neighbors=4, tsne=False)"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with attributions, a plan, and a module of steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_steps", raising=False)
    rf.storage.save(attributions(12, planted=1), tmp_path / "run" / "attributions.nc")
    plan = chain(step(analysis.flatten), step(analysis.pca, n_components=3))
    (tmp_path / "plan.toml").write_text(analysis.plan.to_toml(plan))
    (tmp_path / "my_steps.py").write_text(STEPS)
    (tmp_path / "mine.toml").write_text('[[chain]]\nstep = "analysis.flatten"\n\n[[chain]]\nstep = "my_steps.first"\n')
    return tmp_path


def analyze(*argv):
    return main(["analyze", *map(str, argv)])


def results(path="analysis.nc"):
    with rf.open_analysis(path) as tree:
        return tree.load()


@pytest.mark.usefixtures("here")
def test_a_named_plan_is_run_and_ranked(capsys):
    assert analyze(QUICK, "run", "--out", "analysis.nc") == 0
    data = attributions(12, planted=1)
    expected = analysis.run(analysis.spray(n_neighbors=4, tsne=False), data)
    xr.testing.assert_equal(results(), expected)
    printed = capsys.readouterr().out
    assert printed.startswith("36 samples, 3 categories: analysis.nc\n\ncategory")
    table = analysis.ranking(expected)
    assert printed.endswith("\n".join([analysis.text(table), "", *analysis.verdict(table)]) + "\n")


@pytest.mark.usefixtures("here")
def test_a_plan_from_a_file_without_scores_is_not_ranked(capsys):
    assert analyze("plan.toml", "run/attributions.nc", "--out", "run", "--by", "none") == 0
    tree = results("run")
    assert list(tree.children) == ["all"]
    assert tree["all/embedding/pca"].shape == (36, 3)
    assert capsys.readouterr().out == "36 samples, 1 categories: run/analysis.nc\n"


@pytest.mark.usefixtures("here")
def test_steps_of_the_current_folder():
    assert analyze("mine.toml", "run", "--out", "analysis.nc", "--categories", "class 2", "class 0") == 0
    assert list(results().children) == ["class 2", "class 0"]
    assert results()["class 0/embedding/first"].shape == (12, 2)


def test_shards_are_analysed_as_one_file_is(here):
    data = attributions(12, planted=1)
    (here / "shards").mkdir()
    for k in range(3):
        rf.storage.save(data.isel(sample=slice(12 * k, 12 * k + 12)), here / "shards" / f"attributions-{k}.nc")
    files = sorted((here / "shards").glob("*.nc"))
    assert analyze("plan.toml", *files, "--out", "files.nc", "--workers", 1) == 0
    assert analyze("plan.toml", "shards", "--out", "folder.nc") == 0
    assert analyze("plan.toml", "run", "--out", "whole.nc") == 0
    xr.testing.assert_equal(results("files.nc"), results("whole.nc"))
    xr.testing.assert_equal(results("folder.nc"), results("whole.nc"))


def test_a_second_run_takes_all_from_the_store(here):
    assert analyze(QUICK, "run", "--out", "analysis.nc", "--store", "store") == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "store").rglob("*.nc")}
    first = results()
    assert analyze(QUICK, "run", "--out", "analysis.nc", "--store", "store") == 0
    assert before
    assert {path: path.stat().st_mtime_ns for path in (here / "store").rglob("*.nc")} == before
    xr.testing.assert_identical(results(), first)


@pytest.mark.usefixtures("here")
def test_what_it_writes_opens_with_xarray_alone():
    assert analyze(QUICK, "run", "--out", "analysis.nc") == 0
    with xr.open_datatree("analysis.nc", engine="netcdf4") as tree:
        xr.testing.assert_identical(tree.load(), results())
        assert tree["class 1/cluster/kmeans-02"].dtype == np.int32
        assert analysis.plan.from_toml(tree.attrs["plan"]) == analysis.spray(n_neighbors=4, tsne=False)


@pytest.mark.usefixtures("here")
def test_every_option_reaches_run(monkeypatch):
    given = {}

    def recorded(plan, data, **options):
        given.update(options, plan=plan)
        return TREE

    monkeypatch.setattr(analysis, "run", recorded)
    client = SimpleNamespace(Client=lambda address: nullcontext(f"client of {address}"))
    monkeypatch.setitem(sys.modules, "distributed", client)
    options = ("--by", "artifact", "--store", "store", "--workers", 3, "--scheduler", "tcp://node1:8786")
    assert analyze("spray(seed=5)", "run", "--out", "analysis.nc", *options, "--categories", "a", "b") == 0
    assert given == {
        "plan": analysis.spray(seed=5),
        "by": "artifact",
        "categories": ["a", "b"],
        "store": analysis.Store("store"),
        "workers": 3,
        "client": "client of tcp://node1:8786",
        "out": Path("analysis.nc"),
    }


TREE = analysis.run(chain(step(analysis.flatten), step(analysis.pca)), attributions(4))


def test_options_are_spelled_as_the_python_names(capsys):
    with pytest.raises(SystemExit):
        analyze("--help")
    shown = capsys.readouterr().out
    names = set(inspect.signature(analysis.run).parameters) - {"plan", "data", "client", "progress"}
    assert [name for name in names if f"--{name.replace('_', '-')}" not in shown] == []


@pytest.mark.usefixtures("here")
def test_categories_without_samples_are_named(capsys):
    data = attributions(12)
    data["label"] = data["label"].clip(max=1)
    rf.storage.save(data, "run/attributions.nc")
    assert analyze("plan.toml", "run", "--out", "analysis.nc") == 0
    assert capsys.readouterr().err == "no samples in class 2\n"


@pytest.mark.usefixtures("here")
def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(analysis, "run", interrupted)
    assert analyze("spray", "run", "--out", "analysis.nc", "--store", "store") == 130
    assert "goes on from here" in capsys.readouterr().err
    assert analyze("spray", "run", "--out", "analysis.nc") == 130
    assert "goes on from here" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["spra", "run"], "there is no plan 'spra': did you mean 'spray'?"),
        (["spray(neighbors=3)", "run"], "unexpected keyword argument 'neighbors'; its options are n_neighbors"),
        (["spray(", "run"], "give NAME or 'NAME(option=value)'"),
        (["none.toml", "run"], "none.toml"),
        (["broken.toml", "run"], "the plan is not TOML"),
        (["binary.toml", "run"], "binary.toml is no text"),
        (["unknown.toml", "run"], "no function 'my_steps.second'"),
        (["plan.toml", "nowhere"], "no file nowhere"),
        (["plan.toml", "plan.toml"], "truncated or not netCDF-4"),
        (["plan.toml", "run", "--by", "artefact"], "by='artefact' is none of the dataset's variables"),
        (["plan.toml", "run", "--categories", "class 7"], "no category 'class 7' by 'label'"),
        (["plan.toml", "run", "--out", "run/attributions.nc"], "is the file of attributions itself"),
        (["plan.toml", "run", "--store", "plan.toml"], "plan.toml is a file: give the folder of a store"),
        (["plan.toml", "run", "--scheduler", "tcp://localhost:1"], 'pip install "relfunc[distributed]"'),
        (["plan.toml", "bad"], "the attribution of sample 's0' holds NaN or infinity"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(here, capsys, monkeypatch, argv, message):
    monkeypatch.setitem(sys.modules, "distributed", None)
    (here / "broken.toml").write_text("[[chain")
    (here / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (here / "unknown.toml").write_text('step = "my_steps.second"\n')
    data = attributions(12)
    data["attribution"][0] = np.nan
    rf.storage.save(data, here / "bad" / "attributions.nc")
    before = (here / "run" / "attributions.nc").read_bytes()
    assert analyze("--out", "analysis.nc", *argv) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("relfunc: error: ")
    assert said.count("\n") == 1
    assert not (here / "analysis.nc").exists()
    assert (here / "run" / "attributions.nc").read_bytes() == before


@pytest.mark.parametrize("argv", [[], ["spray"], ["spray", "run"], ["spray", "run", "--out", "a.nc", "--workers", "0"]])
def test_arguments_that_do_not_parse(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        analyze(*argv)
    assert stop.value.code == 2
    assert "usage: relfunc analyze" in capsys.readouterr().err
