"""A tree whose groups are opened when they are asked for is the one that xarray opens."""

import pickle

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from relfunc import groups
from relfunc.files.trees import write_tree
from relfunc.groups import attribute, deferred, open_tree

TIMES = pd.date_range("2020-01-01", periods=3)
WRITTEN = {
    "text": {"a": xr.Dataset({"x": ("n", ["ä", "", "日本語"])}, {"n": ["p", "q", "rr"]})},
    "no text": {"a": xr.Dataset({"x": (("n", "m"), np.empty((2, 0), object)), "y": ("k", [1, 2])})},
    "times": {"a": xr.Dataset({"x": ("t", TIMES), "y": ("t", TIMES - TIMES[0])}, {"t": TIMES})},
    "bools": {"a": xr.Dataset({"x": ("n", [True, False]), "y": True})},
    "kinds": {
        "a": xr.Dataset({k: ("n", np.array([0, 1], k)) for k in ("i1", "u1", "i2", "u4", "i8", "u8", "f4", "f8")})
    },
    "not finite": {"a": xr.Dataset({"x": ("n", [np.nan, np.inf, -0.0])})},
    "nested": {
        "a": xr.Dataset({"x": ("n", [1, 2])}, {"n": [5, 6]}),
        "a/b": xr.Dataset({"y": ("n", [3, 4])}),
        "a/b/c": xr.Dataset({"z": (("n", "m"), [[1.0], [2.0]])}, {"n": [5, 6], "m": ["u"]}),
        "d": xr.Dataset({"x": ("n", [1.0, 2.0, 3.0])}),
    },
    "empty groups": {"a": xr.Dataset(), "b/c": xr.Dataset(attrs={"only": "attributes"})},
    "names": {"ä ö": xr.Dataset({"ü%": ("é", [1])}, attrs={"日": "本"})},
    "coordinates": {
        "a": xr.Dataset({"v": (("y", "x"), np.eye(2))}, {"lat": (("y", "x"), np.ones((2, 2))), "x": [1, 2], "s": 3.0})
    },
    "root": {"/": xr.Dataset({"r": ("n", [1.5])}, attrs={"by": "label"}), "a": xr.Dataset({"x": ("n", [1, 2])[:2]})},
    "packed": {
        "a": xr.Dataset({"x": ("n", [0.5, np.nan], {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1})})
    },
    "attributes": {
        "a": xr.Dataset(
            {"x": ("n", [1], {"text": "é", "none": "", "int": 3, "float": 0.5, "many": [1, 2, 3], "some": [0.5, 1.5]})},
            attrs={f"a{k}": k for k in range(12)},
        )
    },
}
EMPTY = {k: np.array([], k) for k in ("i1", "u2", "i4", "i8", "f4", "f8", "U1")}
WRITTEN["nothing in attributes"] = {"a": xr.Dataset({"x": ("n", [1.0], EMPTY)}, attrs=EMPTY)}
WRITTEN["root"]["a"] = xr.Dataset({"x": ("m", [1, 2])})


def _strings(file):
    group = file.createGroup("a")
    group.createDimension("n", 2)
    group.createVariable("x", str, ("n",))[:] = np.array(["ä", "bb"], object)
    group.setncattr("names", ["a", "b"])


def _unlimited(file):
    group = file.createGroup("a")
    group.createDimension("n", None)
    group.createDimension("m", 2)
    group.createVariable("x", "f4", ("n", "m"))[:3] = np.ones((3, 2))
    group.createVariable("short", "f4", ("n",))[:1] = [1]


def _types(file):
    group = file.createGroup("a")
    kind = group.createEnumType("u1", "colour", {"red": 0, "blue": 1})
    group.createDimension("n", 2)
    group.createVariable("x", kind, ("n",))[:] = [0, 1]


def _chunks(file):
    file.createDimension("n", 4)
    group = file.createGroup("a")
    group.createVariable("x", "i4", ("n",), zlib=True, chunksizes=(2,))[:] = [1, 2, 3, 4]
    group.createVariable("big", np.dtype(">f8"), ("n",), endian="big")[:] = [1, 2, 3, 4]
    group.createVariable("unwritten", "f4", ("n",))


def _shared(file):
    """Coordinates of the root, which its groups inherit."""
    file.createDimension("n", 2)
    file.createVariable("n", "i4", ("n",))[:] = [7, 8]
    group = file.createGroup("a")
    group.createVariable("x", "f4", ("n",))[:] = [1, 2]


def _characters(file):
    """Characters that no encoding is known of, and a coordinate of two dimensions with a dimension's name."""
    group = file.createGroup("a")
    for name, size in (("n", 2), ("length", 3)):
        group.createDimension(name, size)
    group.createVariable("x", "S1", ("n", "length"))[:] = np.array([list("abc"), list("de ")], "S1")
    group.createVariable("one", "S1", ("n",))[:] = np.array([b"x", b"y"])
    group.createVariable("n", "f4", ("n", "length"))[:] = np.ones((2, 3))


MADE = {f.__name__: f for f in (_strings, _unlimited, _types, _chunks, _shared, _characters)}


@pytest.fixture(params=[*WRITTEN, *MADE])
def path(request, tmp_path):
    file = tmp_path / "a.nc"
    if request.param in WRITTEN:
        write_tree(xr.DataTree.from_dict(WRITTEN[request.param]), file)
    else:
        with netCDF4.Dataset(file, "w") as made:
            MADE[request.param](made)
    return file


@pytest.mark.filterwarnings("ignore::xarray.SerializationWarning", "ignore:.*timedelta:FutureWarning")
@pytest.mark.parametrize("indexed", [True, False])
def test_a_tree_is_that_of_xarray(path, indexed):
    wanted = xr.open_datatree(path, engine="netcdf4", create_default_indexes=indexed)
    with open_tree(path, create_default_indexes=indexed) as found:
        assert [node.path for node in found.subtree] == [node.path for node in wanted.subtree]
        for node, other in zip(found.subtree, wanted.subtree, strict=True):
            assert node.identical(other)
            assert list(node.indexes) == list(other.indexes)
            assert {k: v.dtype for k, v in node.variables.items()} == {k: v.dtype for k, v in other.variables.items()}
            assert {k: repr(v.attrs) for k, v in node.variables.items()} == {
                k: repr(v.attrs) for k, v in other.variables.items()
            }
            assert set(node.coords) == set(other.coords)
    wanted.close()


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "no text"])
def test_what_relfunc_writes_is_not_left_to_xarray(name, tmp_path, monkeypatch):
    write_tree(xr.DataTree.from_dict(WRITTEN[name]), tmp_path / "a.nc")
    monkeypatch.setattr(xr, "open_datatree", None)
    with open_tree(tmp_path / "a.nc") as tree:
        assert len(list(tree.subtree)) >= 2


@pytest.fixture
def two(tmp_path):
    data = xr.Dataset({"x": ("n", np.arange(6.0))}, {"n": list("abcdef")}, {"category": "one"})
    tree = {"a": data, "a/inner": data[["x"]] * 2, "b": data.assign_attrs(category="two")}
    write_tree(xr.DataTree.from_dict(tree), tmp_path / "a.nc")
    return tmp_path / "a.nc"


def test_a_group_is_opened_when_it_is_asked_for_and_once(two, monkeypatch):
    opened = []
    tree = open_tree(two, before=opened.append, check=lambda key, node: opened.append(node.attrs["category"]))
    assert list(tree.children) == ["a", "b"]
    assert "b" in tree.children
    assert attribute(tree, "category") == {"a": "one", "b": "two"}
    assert attribute(tree, "other") == {}
    assert opened == []
    assert tree["b"] is tree.children["b"]
    assert opened == ["b", "two"]
    assert (tree["b"].path, tree["b"].parent is tree) == ("/b", True)
    tree.close()
    assert opened == ["b", "two"]


@pytest.mark.parametrize("value", [np.array([], "f4"), ["a", "b"], np.array([b"ab", b"c"]), "text", 3], ids=repr)
def test_an_attribute_is_asked_for_without_its_group_whatever_it_is(value, tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createGroup("a").setncattr("category", "b" if isinstance(value, np.ndarray) and value.size else value)
    if isinstance(value, np.ndarray) and value.size:  # which netCDF4 does not write, but reads
        with groups.h5py.File(tmp_path / "a.nc", "a") as file:
            file["a"].attrs["category"] = value
    with xr.open_datatree(tmp_path / "a.nc", engine="netcdf4") as wanted, open_tree(tmp_path / "a.nc") as tree:
        assert repr(attribute(tree, "category")) == repr({"a": wanted["a"].attrs["category"]})


def test_a_group_that_fails_the_check_is_given_to_nobody(two):
    def check(key, node):
        if key == "a":
            raise ValueError("not this one")

    with open_tree(two, check=check) as tree:
        for _ in range(2):
            with pytest.raises(ValueError, match="not this one"):
                tree["a"]
        assert tree["b"].attrs["category"] == "two"


def test_values_are_read_when_they_are_asked_for_and_may_be_cut_before(two):
    with open_tree(two, create_default_indexes=False) as tree:
        x = tree["a/inner/x"]
        assert not x._in_memory
        np.testing.assert_array_equal(x[[4, 1]][::-1], [2, 8])
        np.testing.assert_array_equal(x[4:1:-1], [8, 6, 4])
        assert not x._in_memory
        np.testing.assert_array_equal(x, np.arange(6) * 2)
        assert x._in_memory


def test_trees_and_their_groups_can_be_pickled_and_copied_and_changed(two):
    with open_tree(two) as tree, open_tree(two) as other:
        for again in (pickle.loads(pickle.dumps(other)), other.copy(deep=True), other.copy()):
            assert again.identical(tree)
        assert pickle.loads(pickle.dumps(tree["a"])).identical(tree["a"].copy())
        del other["a"]
        other["c"] = xr.DataTree(xr.Dataset({"y": 1}))
        assert list(other.children) == ["b", "c"]
        assert other["b"].identical(tree["b"])


def test_a_closed_tree_has_the_groups_that_were_asked_for(two):
    tree = open_tree(two)
    inner = tree["a/inner"]
    tree.close()
    assert list(tree.children) == ["a"]
    assert inner["x"].values.tolist() == [0, 2, 4, 6, 8, 10]
    tree.close()


def test_what_is_no_file_of_hdf5_is_an_error_of_the_system_s(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"nothing of the kind")
    with pytest.raises(OSError, match="file signature not found"):
        open_tree(tmp_path / "a.nc")


def test_a_file_by_another_library_without_order_is_left_to_xarray(tmp_path):
    with groups.h5py.File(tmp_path / "a.nc", "w") as file:
        file["a/x"] = np.arange(3)
    with open_tree(tmp_path / "a.nc") as tree:
        assert tree["a/x"].values.tolist() == [0, 1, 2]


def _overwritten(path):
    write_tree(xr.DataTree.from_dict({"a": xr.Dataset({"x": ("n", np.full(6, 9.0))}), "b": xr.Dataset({"x": 1})}), path)


def _renewed(path):
    path.unlink()
    _overwritten(path)


def _edited(path):
    with netCDF4.Dataset(path, "a") as file:
        file["b/x"][:] = 9


@pytest.mark.parametrize("change", [_overwritten, _renewed, _edited])
@pytest.mark.parametrize("what", ["tree", "group", "closed"])
def test_another_file_of_the_same_name_is_not_taken_for_the_one_that_was_opened(two, change, what):
    tree = open_tree(two)
    held = tree["b"] if what == "closed" else pickle.dumps(tree if what == "tree" else tree["b"])
    tree.close()
    change(two)
    again = pickle.loads(held) if isinstance(held, bytes) else held
    x = again["b/x"] if what == "tree" else again["x"]
    with pytest.raises(OSError, match=f"{two} was overwritten or changed since it was opened: open it again"):
        x.load()


def test_a_file_that_is_the_same_is_read_again_after_pickling(two):
    tree = open_tree(two)
    held = pickle.dumps(tree["b"])
    tree.close()
    assert pickle.loads(held)["x"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_group_left_to_xarray_is_that_of_the_file_that_was_opened(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        _strings(file)
    with open_tree(tmp_path / "a.nc") as tree:
        (tmp_path / "a.nc").unlink()
        _overwritten(tmp_path / "a.nc")
        with pytest.raises(OSError, match=r"a\.nc was overwritten or changed"):
            tree["a"]


def test_what_is_missing_in_a_file_names_the_file(two, tmp_path):
    with open_tree(two) as tree:
        x = tree["b/x"]
        for place, ask in (("b/no", lambda: x), ("no", lambda: tree._children._opened("no"))):
            x.variable._data.array.array.array._path = "b/no"
            with pytest.raises(OSError, match=f"{place} in {two} cannot be read .*open it again"):
                np.asarray(ask())


def test_children_are_made_once_and_when_they_are_asked_for():
    made = []

    def make(key):
        made.append(key)
        return xr.DataTree.from_dict({"/": xr.Dataset({"x": 1}, attrs={"k": key}), "/below": xr.Dataset()})

    tree = deferred(xr.Dataset(attrs={"of": "all"}), {"a": {"k": "a"}, "b": {"k": "b"}, "c": {}}, make)
    assert list(tree.children) == ["a", "b", "c"]
    assert "b" in tree.children
    assert attribute(tree, "k") == {"a": "a", "b": "b"}
    assert made == []
    assert tree["b/x"].item() == 1
    assert tree["b"].parent is tree
    assert tree["b/below"].path == "/b/below"
    assert made == ["b"]
    assert {node.path for node in tree.subtree} == {"/", "/a", "/a/below", "/b", "/b/below", "/c", "/c/below"}
    assert sorted(made) == ["a", "b", "c"]
