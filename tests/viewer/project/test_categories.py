"""Of an analysis of many categories, only those that are looked at are read."""

import dataclasses
import shutil

import netCDF4
import numpy as np
import panel as pn
import pytest
import xarray as xr

import viewer
from relfunc import groups
from relfunc.files.netcdf import open_analysis, save
from relfunc.files.trees import write_tree
from viewer.loading import open_project
from viewer.opening import opened
from viewer.project import probe
from viewer.project.project import Failure, Project, ProjectError, categories, node_of, nodes, points
from viewer.project.scores import ranking, score_names
from viewer.state.view import View, show

from ..conftest import close

NAMES = tuple(f"kind {k}" for k in range(6))


@pytest.fixture(scope="module")
def tree(folder):
    """The categories of the small project, over and over, each less separable than the one before."""
    with open_analysis(folder) as read:
        held = [node.copy(deep=True).load() for node in read.children.values()]
    nodes = {}
    for k, name in enumerate(NAMES):
        for each in held[k % 2].subtree:
            path = each.path.strip("/")
            data = each.to_dataset(inherit=False)
            nodes[f"/{name}/{path}".rstrip("/")] = data * 0.9**k if path == "score" else data
        nodes[f"/{name}"].attrs["category"] = name
    return xr.DataTree.from_dict(nodes)


@pytest.fixture
def many(folder, tree, tmp_path):
    shutil.copy(folder / "attributions.nc", tmp_path)
    save(tree, tmp_path / "analysis.nc")
    return tmp_path


@pytest.fixture
def read(monkeypatch):
    """Return the names of the groups that are read, in order."""
    found, group = [], groups._Source.group
    monkeypatch.setattr(groups._Source, "group", lambda self, key: found.append(key) or group(self, key))
    return found


def test_the_list_of_classes_reads_none_and_the_first_map_reads_its_own(many, read):
    project = opened(many)
    assert categories(project) == NAMES
    assert [len(ranking(project, score)) for score in score_names(project)] == [6, 6]
    assert read == []
    view = View()
    viewer.app(many, view=view)
    assert (view.category, read) == (NAMES[0], [NAMES[0]])
    show([project], view, category=NAMES[3])
    assert (view.category, view.trouble, read) == (NAMES[3], "", [NAMES[0], NAMES[3]])


def test_without_contents_all_are_read_and_the_list_is_the_same(many, tree, read):
    project = open_project(many)
    listed = score_names(project), [ranking(project, score) for score in score_names(project)]
    bare = dataclasses.replace(project, contents=None)
    assert (score_names(bare), [ranking(bare, score) for score in score_names(bare)]) == listed
    (many / "analysis.nc").unlink()  # which is open
    write_tree(tree, many / "analysis.nc")
    older = open_project(many)
    assert older.contents is None
    assert (score_names(older), [ranking(older, score) for score in score_names(older)]) == listed
    assert read == [*NAMES, *NAMES]
    for held in (project, older):
        close(held)


def test_scores_that_another_program_has_changed_are_shown_as_they_are_now(many):
    before = opened(many)
    score = score_names(before)[0]
    first = ranking(before, score)
    close(before)
    pn.state.cache.clear()
    with netCDF4.Dataset(many / "analysis.nc", "a") as file:
        for name in NAMES:
            for variable in file[name]["score"].variables.values():
                if variable.dtype.kind == "f":
                    variable[...] = variable[...] * -3
    project = opened(many)
    assert project.contents is None
    assert ranking(project, score) != first


def test_a_category_is_that_of_the_whole_analysis(many):
    project = open_project(many)
    with xr.open_datatree(many / "analysis.nc", engine="netcdf4", create_default_indexes=False) as wanted:
        for name in NAMES:
            assert node_of(project, name).identical(wanted[name].copy())
            assert project.analysis[name] is nodes(project)[name]
    close(project)


def test_groups_that_were_not_tried_are_tried_before_they_are_read(many, read, monkeypatch):
    monkeypatch.setattr(probe, "MOMENT", -1.0)
    crash = f"import sys, os; sys.argv[3] == '{NAMES[2]}' and os.abort()\n"
    monkeypatch.setattr(probe, "WALK", crash + probe.WALK)
    project = opened(many)
    assert isinstance(project, Project)
    with pytest.raises(ProjectError, match="the library that reads it crashed: a file is damaged"):
        points(project, NAMES[2])
    assert points(project, NAMES[1]).rows.size
    assert read == [NAMES[1]]
    view = View(category=NAMES[2])
    viewer.app(many, view=view)
    assert "the library that reads it crashed" in view.trouble
    assert read == [NAMES[1]]


def test_groups_that_were_tried_are_not_tried_again(many, read, monkeypatch):
    monkeypatch.setattr(probe, "MOMENT", 60.0)
    project = opened(many)
    assert isinstance(project, Project)
    monkeypatch.setattr(probe, "WALK", "import os; os.abort()")
    assert all(points(project, name).rows.size for name in NAMES)


def test_what_was_tried_is_told(many):
    assert probe.walked([many / "attributions.nc", many / "analysis.nc"])[0] is None
    one = probe.walked([many / "analysis.nc"], NAMES[4])
    assert one == (None, frozenset([NAMES[4]]))
    assert probe.walked([many / "analysis.nc"], "no such group") == (None, frozenset())


def test_a_category_that_breaks_the_contract_says_so_when_it_is_looked_at(many, tree):
    broken = tree.copy()
    del broken[NAMES[1]]["embedding"]
    save(broken, many / "analysis.nc")
    project, view = opened(many), View(category=NAMES[1])
    assert len(ranking(project, "separability")) == 6
    viewer.app(many, view=view)
    assert "no group 'embedding'" in view.trouble
    show([project], view, category=NAMES[0])
    assert (view.trouble, view.points.rows.size) == ("", 150)
    (many / "analysis.nc").unlink()
    write_tree(broken, many / "analysis.nc")
    held = opened(many)
    assert isinstance(held, Failure)
    assert "no group 'embedding'" in held.reason


def test_damage_to_one_category_leaves_the_others(many):
    content = bytearray((many / "analysis.nc").read_bytes())
    with groups.h5py.File(many / "analysis.nc") as file:
        address = groups.h5o.get_info(file[f"{NAMES[3]}/embedding"].id).addr
    content[address : address + 64] = b"\0" * 64
    (many / "analysis.nc").write_bytes(content)
    project = opened(many)
    assert isinstance(project, Project)
    with pytest.raises(ProjectError, match="can no longer be read"):
        points(project, NAMES[3])
    np.testing.assert_array_equal(points(project, NAMES[5]).rows, points(project, NAMES[1]).rows)
