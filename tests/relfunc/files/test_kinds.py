"""What netCDF holds is read as it was written; what it does not hold is refused by name."""

import datetime

import netCDF4
import numpy as np
import pytest
import xarray as xr

from relfunc.files.netcdf import save
from relfunc.groups import open_tree


def nodes(**data):
    return xr.DataTree.from_dict({f"/{key.replace('_in_', '/')}": node for key, node in data.items()})


def text(values, dim="x", name="v"):
    return xr.Dataset({name: (dim, np.array(values, object))})


SAME_NAMES = {
    "longer above": nodes(a=text(["abcdef", "d"]), a_in_b=text(["z", "d"])),
    "longer below": nodes(a=text(["z", "d"]), a_in_b=text(["abcdef", "d"])),
    "three deep": nodes(a=text(["abc"]), a_in_b=text(["z"]), a_in_b_in_c=text(["abc"])),
    "a dimension of it": nodes(a=text(["abcdef", "d"], "v_length")),
    "a dimension beside it": nodes(a=text(["abcdef"]).assign(w=("v_length", [1, 2]))),
    "a dimension beside it, defined later": nodes(a=xr.Dataset({"v": ("n", ["abc"]), "v_length": [4, 5]})),
    "a dimension above": nodes(a=xr.Dataset({"w": ("v_length", [1, 2])}), a_in_b=text(["abcdef"])),
    "a dimension below": nodes(a=text(["abcdef"]), a_in_b=xr.Dataset({"w": ("v_length", [1, 2])})),
    "a dimension above and below": nodes(
        a=xr.Dataset({"w": ("v_length", [1, 2])}),
        a_in_b=text(["abcdef"]),
        a_in_b_in_c=xr.Dataset({"w": ("v_length", [1, 2])}),
    ),
    "a variable": nodes(a=text(["abc"]).assign(v_length=7)),
    "text of that name": nodes(a=text(["abc"]).assign(v_length=("x", ["defg"]))),
    "no text": nodes(a=text(["", ""]), a_in_b=text(["z", "d"])),
    "bytes": nodes(a=xr.Dataset({"v": ("x", np.array([b"ab", b"c"]))})),
}


@pytest.mark.parametrize("tree", SAME_NAMES.values(), ids=SAME_NAMES)
def test_text_survives_whatever_is_called_as_its_length(tree, tmp_path):
    save(tree, tmp_path / "a.nc")
    with open_tree(tmp_path / "a.nc") as found:
        xr.testing.assert_equal(found.load(), tree)
    with xr.open_datatree(tmp_path / "a.nc", engine="netcdf4") as found:
        xr.testing.assert_equal(found.load(), tree)


ZERO = {"a\0b": "a\\x00b", "a\0": "a\\x00", "\0": "\\x00", "\ud800": "\\ud800", "ä": "ä"}


@pytest.mark.parametrize("given", ZERO)
@pytest.mark.parametrize("form", ["tree", "dataset"])
def test_letters_that_netcdf_would_lose_are_written_as_python_writes_them(given, form, tmp_path):
    data = xr.Dataset(
        {"v": ("x", np.array([given, "b"], object), {"of": given})}, attrs={"category": given, "n": [given, "b"]}
    )
    before = data.copy(deep=True)
    save(xr.DataTree.from_dict({"/a": data}) if form == "tree" else data, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", group="a" if form == "tree" else None, engine="netcdf4") as found:
        assert (found.attrs["category"], found.attrs["n"]) == (ZERO[given], [ZERO[given], "b"])
        assert found["v"].attrs == {"of": ZERO[given]}
        assert found["v"].values.tolist() == [ZERO[given], "b"]
    assert data.identical(before)


REFUSED = {
    "bool": True,
    "bool of numpy": np.bool_(True),
    "bools": [True, False],
    "None": None,
    "None in a list": ["a", None],
    "complex": 1j,
    "half": np.float16(1),
    "halves": np.ones(2, np.float16),
    "date": np.datetime64("2020"),
    "other date": datetime.date(2020, 1, 1),
    "dict": {"a": 1},
    "too large": 2**70,
    "matrix": np.eye(2),
    "lists": [[1], [2, 3]],
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("of", ["node", "variable"])
@pytest.mark.parametrize("form", ["tree", "dataset"])
def test_attributes_that_netcdf_does_not_hold_are_refused_by_name(value, of, form, tmp_path):
    attrs = {"fine": 1, "odd": value}
    data = xr.Dataset({"v": ("x", [1.0], attrs if of == "variable" else {})}, attrs=attrs if of == "node" else {})
    place = {
        ("tree", "node"): "of group '/a/b'",
        ("tree", "variable"): "of variable 'v' of group '/a/b'",
        ("dataset", "node"): "of the dataset",
        ("dataset", "variable"): "of variable 'v'",
    }[form, of]
    with pytest.raises(TypeError, match=f"(?s)attribute 'odd' {place} is .*: netCDF holds text, .*; give one"):
        save(xr.DataTree.from_dict({"/a/b": data}) if form == "tree" else data, tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (np.ones(1, "f2"), r"float16.*astype\('float32'\)"),
        (np.ones(1, np.longdouble), r"float128.*astype\('float64'\)"),
        (np.ones(1, complex), "complex128.*two variables"),
        (np.ones(1, "c8"), "complex64.*two variables"),
    ],
    ids=["half", "long", "complex", "short complex"],
)
@pytest.mark.parametrize("form", ["tree", "dataset"])
def test_variables_that_netcdf_does_not_hold_are_refused_by_name(values, advice, form, tmp_path):
    data = xr.Dataset({"v": ("x", values)})
    with pytest.raises(TypeError, match=f"variable 'v'.* is of the type {advice}"):
        save(xr.DataTree.from_dict({"/a": data}) if form == "tree" else data, tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["tree", "dataset"])
def test_half_floats_with_an_encoding_that_netcdf_holds_are_written(form, tmp_path):
    data = xr.Dataset({"v": ("x", np.ones(1, "f2"), {}, {"dtype": "f4"})})
    save(xr.DataTree.from_dict({"/a": data}) if form == "tree" else data, tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert (file["a/v"] if form == "tree" else file["v"]).dtype == "f4"


KEPT = [
    1,
    0.5,
    np.int8(3),
    np.float32(0.5),
    [1, 2],
    (0.5, 1.5),
    np.arange(3),
    ["a", "b"],
    np.array(["a", "b"]),
    b"ab",
    "",
    [],
]


@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_attributes_are_read_as_xarray_writes_them(value, tmp_path):
    tree = xr.DataTree.from_dict({"/a": xr.Dataset({"v": ("x", [1.0], {"k": value})}, attrs={"k": value})})
    save(tree, tmp_path / "a.nc")
    tree.to_netcdf(tmp_path / "b.nc", engine="netcdf4")
    with open_tree(tmp_path / "a.nc") as found, xr.open_datatree(tmp_path / "b.nc", engine="netcdf4") as wanted:
        for one, other in ((found["a"], wanted["a"]), (found["a/v"], wanted["a/v"])):
            assert repr(one.attrs) == repr(other.attrs)
