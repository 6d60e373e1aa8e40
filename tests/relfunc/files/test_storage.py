"""Files are whole or absent, and what breaks the contract is named."""

import numpy as np
import pytest
import xarray as xr

from relfunc import schema
from relfunc.errors import SchemaError
from relfunc.files.netcdf import open_analysis, open_attributions, replacing, save


def attributions(**changes):
    data = xr.Dataset(
        {
            "attribution": (("sample", "channel", "y", "x"), np.ones((3, 1, 2, 2), "f4")),
            "prediction": (("sample", "class"), np.eye(3, dtype="f4")),
            "label": ("sample", [0, 1, 2]),
        },
        coords={"sample": ["a", "é", "c"], "class": ["cat", "dog", "koala"]},
    )
    return data.assign(changes)


def test_text_survives_and_a_file_may_be_open_twice(tmp_path):
    save(attributions(), tmp_path / "attributions.nc")
    with open_attributions(tmp_path) as first:
        with open_attributions(tmp_path / "attributions.nc") as second:
            xr.testing.assert_identical(first.load(), second.load())
        xr.testing.assert_equal(first, attributions())


def test_a_tree_survives(tmp_path):
    tree = xr.DataTree.from_dict(
        {
            "cat": xr.Dataset({"index": ("sample", [0, 2])}, coords={"sample": ["a", "c"]}),
            "cat/embedding": xr.Dataset({"tsne": (("sample", "component"), np.zeros((2, 2)))}),
            "cat/cluster": xr.Dataset({"kmeans-02": ("sample", [0, 1])}),
        }
    )
    save(tree, tmp_path / "analysis.nc")
    with open_analysis(tmp_path) as found:
        assert list(schema.embeddings(found["cat"])) == ["tsne"]
        assert list(schema.clusterings(found["cat"])) == ["kmeans-02"]
        assert found["cat"]["sample"].values.tolist() == ["a", "c"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (attributions().drop_vars("prediction"), "no variable 'prediction'; it has 'attribution', 'label'"),
        (attributions().rename(sample="row"), r"'attribution' has dimensions \('row', .*begin with \('sample',\)"),
        (attributions(label=("sample", [0, 1, 3])), "label 3 of sample 'c' names none of the 3 classes"),
        (attributions(label=("sample", [0.0, 1.0, 2.0])), "'label' is float64, not an integer index"),
        (attributions().assign_coords(sample=["a", "a", "c"]), "identifier 'a' occurs more than once"),
        (attributions().drop_vars("class"), "dimension 'class' has no coordinate"),
    ],
)
def test_what_breaks_the_contract_is_named(tmp_path, data, message):
    save(data, tmp_path / "attributions.nc")
    with pytest.raises(SchemaError, match=message):
        open_attributions(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not netCDF at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
@pytest.mark.parametrize("reader", [open_attributions, open_analysis])
def test_a_file_that_is_no_netcdf_is_named(tmp_path, content, reader):
    path = tmp_path / "broken.nc"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"broken.nc cannot be read"):
        reader(path)


def test_a_missing_file_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"give an attributions\.nc or a folder that holds one"):
        open_attributions(tmp_path)
