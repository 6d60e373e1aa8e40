"""What a file's root says of all categories is what each says of itself."""

import os
import shutil

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from relfunc.files.contents import contents, read_contents, unpacked
from relfunc.files.netcdf import open_analysis, save

BOTH = ("clustering", "cluster")


def category(names, clusters, seed=0, n=6):
    rng = np.random.default_rng(seed)
    score = xr.Dataset(
        {
            "cluster_separability": (BOTH, rng.normal(size=(len(names), clusters))),
            "silhouette": ("clustering", rng.normal(size=len(names))),
            "eigengap": rng.normal(),
            "n_strategies": seed,
        },
        {"clustering": np.array(names, object), "cluster": np.arange(clusters)},
    )
    return {
        "": xr.Dataset({"index": ("sample", np.arange(n))}, attrs={"category": f"kind {seed}"}),
        "/embedding": xr.Dataset({"tsne": (("sample", "component"), np.zeros((n, 2)))}),
        "/cluster": xr.Dataset({"k": ("sample", np.zeros(n, int))}),
        "/score": score,
    }


def tree(**nodes):
    return xr.DataTree.from_dict(
        {f"/{key}{group}": data for key, node in nodes.items() for group, data in node.items()}
    )


MANY = {"a": category(["k", "ä"], 3), "b": category(["other"], 5, 1, 9), "c": category([], 0, 2)}


@pytest.fixture
def path(tmp_path):
    save(tree(**MANY), tmp_path / "analysis.nc")
    return tmp_path / "analysis.nc"


def test_scores_of_all_categories_are_those_of_each(path):
    with open_analysis(path) as read:
        held = read_contents(path, read.children)
        assert held is not None
        for (name, scores, n), node in zip(unpacked(held), read.children.values(), strict=True):
            assert (name, n) == (node.attrs["category"], node.sizes["sample"])
            own = node["score"].to_dataset()
            assert scores.keys() == own.keys()
            for key, values in own.data_vars.items():
                assert scores[key].dims == values.dims
                np.testing.assert_array_equal(scores[key], values)
            for dim in BOTH:
                assert scores[dim].values.tolist() == own[dim].values.tolist()


def test_an_open_tree_has_no_contents_and_is_the_one_that_was_written(path):
    with open_analysis(path) as read:
        assert not read.variables
        assert not read.sizes
        xr.testing.assert_equal(read.copy(deep=True).load(), tree(**MANY))


def test_contents_are_made_anew_when_a_tree_is_written(path, tmp_path):
    with open_analysis(path) as read:
        changed = read.copy(deep=True).load()
    del changed["b"]
    changed["a/score"] = xr.DataTree(changed["a/score"].to_dataset() * 0 + 7)
    save(changed, tmp_path / "again.nc")
    held = read_contents(tmp_path / "again.nc", ["a", "c"])
    assert held is not None
    assert held["contents_score_silhouette"].values[0].tolist() == [7, 7]


def test_contents_of_other_categories_are_not_believed(path):
    assert read_contents(path, ["a", "c"]) is None
    with h5py.File(path, "a") as file:
        del file["b"]
    with open_analysis(path) as less:
        assert read_contents(path, less.children) is None


def _score(file):
    file["a/score/silhouette"][0] = 0.123


def _attribute_of_the_same_length(file):
    file["a"].category = "kind 9"


def _label(file):
    file["b/score/cluster"][0] = 7


def _score_and_more(file):
    file["a/score"].createVariable("new", "f8", ("clustering",))[:] = 1


def _name(file):
    file.set_auto_chartostring(False)
    file["b/score/clustering"][0, 0] = b"O"


EDITS = [_score, _attribute_of_the_same_length, _label, _name, _score_and_more]


def _elsewhere(file):
    file["a"].note = "text"


@pytest.mark.parametrize("edit", EDITS)
def test_contents_of_a_file_that_was_edited_are_not_believed(path, edit):
    before = path.stat()
    with netCDF4.Dataset(path, "a") as file:
        edit(file)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with open_analysis(path) as read:
        assert read_contents(path, read.children) is None


def test_contents_are_believed_after_an_edit_elsewhere(path):
    with netCDF4.Dataset(path, "a") as file:
        _elsewhere(file)
    assert read_contents(path, list(MANY)) is not None


def test_contents_of_a_copy_are_believed(path, tmp_path):
    shutil.copyfile(path, tmp_path / "copy.nc")
    assert read_contents(tmp_path / "copy.nc", list(MANY)) is not None


@pytest.mark.parametrize("n", [20, 20_000])
def test_a_file_is_read_but_for_large_values(n, tmp_path, monkeypatch):
    monkeypatch.setattr("relfunc.files.contents._agrees", lambda path, held: False)
    save(tree(a=category(["k"], 2, n=n)), tmp_path / "a.nc")
    content = bytearray((tmp_path / "a.nc").read_bytes())
    with h5py.File(tmp_path / "a.nc") as file:
        start, score = file["a/embedding/tsne"].id.get_offset(), file["a/score/silhouette"].id.get_offset()
    for at, kept in ((start, n > 20), (score, False)):
        changed = content.copy()
        changed[at] ^= 1
        (tmp_path / "a.nc").write_bytes(changed)
        assert (contents_digest_holds(tmp_path / "a.nc")) is kept
    (tmp_path / "a.nc").write_bytes(content)
    assert contents_digest_holds(tmp_path / "a.nc")


def contents_digest_holds(path):
    try:
        return read_contents(path, ["a"]) is not None
    except OSError:  # HDF5 has found the damage before
        return False


@pytest.mark.parametrize(
    "nodes",
    [
        {},
        {"a": {"": xr.Dataset()}},
        {"a": category(["k"], 2), "b": {k: v for k, v in category(["k"], 2).items() if k != "/score"}},
        {"a": category(["k"], 2), "contents": category(["k"], 2)},
        {"a": category(["k"], 2) | {"/score": xr.Dataset({"s": ("clustering", [1.0])})}},
        {
            "a": category(["k"], 2)
            | {"/score": xr.Dataset({"s": (BOTH, [[1.0]])}, {"clustering": ["k"], "cluster": [-1]})}
        },
    ],
    ids=["nothing", "no index", "different scores", "name of a category", "no names", "noise"],
)
def test_a_tree_that_needs_more_has_none_and_is_written_all_the_same(nodes, tmp_path):
    assert contents(tree(**nodes)) is None
    save(tree(**nodes), tmp_path / "a.nc")
    assert read_contents(tmp_path / "a.nc", list(nodes)) is None
    with xr.open_datatree(tmp_path / "a.nc", engine="netcdf4") as read:
        assert list(read.children) == list(nodes)
        assert not read.variables


def test_other_libraries_do_not_see_contents(path):
    with xr.open_datatree(path, engine="netcdf4") as raw:
        xr.testing.assert_equal(raw.load(), tree(**MANY))
