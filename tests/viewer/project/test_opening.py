"""What may be named: a file, a folder, shards, a manifest, a pattern, or a folder of projects."""

import os
import shutil

import numpy as np
import pytest
import xarray as xr

from relfunc.files.netcdf import save
from viewer.loading import open_project
from viewer.opening import opened, sources
from viewer.project.outcomes import outcome, pixels
from viewer.project.project import Failure, Project, categories, points

from ..conftest import close
from ..synthetic import write_project


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The shards of a run, its manifest, and an analysis of it."""
    folder = write_project(tmp_path_factory.mktemp("runs") / "run")
    with xr.open_dataset(folder / "attributions.nc") as whole:
        for k, first in enumerate(range(0, 300, 130)):
            save(whole.isel(sample=slice(first, first + 130)), folder / f"attributions-{k:05d}.nc")
    (folder / "attributions.nc").rename(folder / "whole.nc")
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.mark.parametrize("named", ["", "manifest.json", "attributions-*.nc"])
def test_shards_are_one_project(run, named):
    (source,) = sources(run / named)
    held = open_project(source)
    assert categories(held) == ("ring", "disc")
    rows = np.array([299, 0, 130, 129])
    with xr.open_dataset(run / "whole.nc") as whole:
        np.testing.assert_array_equal(pixels(held, rows)[0], whole["attribution"].values[rows])
    assert outcome(held, rows).ids.tolist() == ["img-0299", "img-0000", "img-0130", "img-0129"]
    assert points(held, "disc", embedding="tsne").rows.size == 150
    close(held)


def test_shards_that_the_shell_lists_are_one_project(run):
    shards = sorted(run.glob("attributions-*.nc"))
    assert sources(shards) == [tuple(shards)]
    held = open_project(sources(shards[:2])[0])
    assert held.attributions.sizes["sample"] == 260
    close(held)


def test_a_folder_of_projects_is_several(run, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "a" / "deeper")
    shutil.copytree(run, tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "project.yaml").write_text("project:\n  name: x\n")
    (tmp_path / "c" / "other.yaml").write_text("- something else\n")
    (tmp_path / ".hidden").mkdir()
    found = [tmp_path / "a" / "deeper", tmp_path / "b", tmp_path / "c" / "project.yaml"]
    assert sources(tmp_path) == found
    assert sources([tmp_path / "*", tmp_path / "b"]) == found


def test_a_path_that_is_nothing_stays_and_says_why(tmp_path):
    assert sources([tmp_path / "none", tmp_path]) == [tmp_path / "none", tmp_path]
    held = opened(tmp_path / "none")
    assert isinstance(held, Failure)
    assert "give an attributions.nc" in held.reason


def test_opening_reads_no_identifier_label_or_attribution(tmp_path):
    held = open_project(write_project(tmp_path))
    assert not any(held.attributions[name]._in_memory for name in ("sample", "label", "prediction", "attribution"))
    assert held.analysis is not None
    assert not any(held.analysis["ring"][name]._in_memory for name in ("sample", "index", "embedding/tsne"))
    close(held)


def test_a_project_is_opened_once_and_anew_when_its_files_change(tmp_path):
    folder = write_project(tmp_path / "p")
    first = opened(folder)
    assert opened(folder) is first
    assert opened(str(folder)) is first
    os.utime(folder / "analysis.nc", (1, 1))
    again = opened(folder)
    assert isinstance(again, Project)
    assert again is not first
