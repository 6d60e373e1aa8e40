"""Tables of what is known of samples: what they become, that they reach the report, and what of them is refused."""

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from relfunc import storage
from relfunc.command.metadata import with_metadata
from relfunc.errors import DataError

from ...analysis.report.made import run as made
from .given import run

IDS = ["s2", "s0", "s1"]


def data(ids=("s0", "s1", "s2")):
    n = len(ids)
    return xr.Dataset(
        {"label": ("sample", np.zeros(n, int)), "heat": (("sample", "y"), np.zeros((n, 2)))}, {"sample": list(ids)}
    )


def table(folder, column, ids=IDS, name="table.csv"):
    """Write a table of two columns."""
    separator = {"csv": ",", "tsv": "\t"}[name[-3:]]
    lines = [separator.join(pair) for pair in zip(("sample", *ids), ("what", *column), strict=True)]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["3", "1", "2"], np.array([1, 2, 3])),
        (["3.5", "", "2"], np.array([np.nan, 2, 3.5])),
        (["b", "", "a,ä"], np.array(["", "a,ä", "b"])),
        (["007", "x", "1"], np.array(["x", "1", "007"])),
        (["True", "False", "True"], np.array([False, True, True])),
        (["True", "", "False"], np.array([None, False, True])),
        (["2024-03-01", "", "2023-12-31"], np.array(["NaT", "2023-12-31", "2024-03-01"], "M8[us]")),
        (
            ["2024-03-01T01:00+02:00", "2024-01-01", "2024-02-01"],
            np.array(["2024-01-01", "2024-02-01", "2024-02-29T23"], "M8[us]"),
        ),
        (["2024-03-01", "2024-03-01-north", ""], np.array(["2024-03-01-north", "", "2024-03-01"])),
        (["2024-13-41", "2024-01-01", ""], np.array(["2024-01-01", "", "2024-13-41"])),
        (["", "", ""], np.full(3, np.nan)),
    ],
)
@pytest.mark.parametrize("name", ["table.csv", "TABLE.tsv"])
def test_columns_become_what_they_hold_in_the_order_of_the_data(tmp_path, column, expected, name):
    column = [f'"{value}"' if "," in value else value for value in column]
    found = with_metadata(data(), table(tmp_path, column, name=name))["what"]
    assert found.dims == ("sample",)
    assert found.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.parametrize(
    ("ids", "written"),
    [
        ([2, 0, 1], ["2", "0", "1"]),
        (["007", "7", "NA"], ["007", "7", "NA"]),  # of which pandas makes numbers and a missing value
        (["1e3", "1000", "null"], ["1e3", "1000", "null"]),
    ],
)
def test_identifiers_are_compared_as_they_are_written(tmp_path, ids, written):
    path = table(tmp_path, ["x", "y", "z"], written)
    assert with_metadata(data(ids[::-1]), path)["what"].values.tolist() == ["z", "y", "x"]


def test_without_identifiers_rows_stand_in_the_order_of_the_data(tmp_path):
    (tmp_path / "table.csv").write_text("\ufeffsite\nb\na\nc\n", encoding="utf-8")  # as spreadsheets write it
    assert with_metadata(data(), tmp_path / "table.csv")["site"].values.tolist() == ["b", "a", "c"]


def test_a_parquet_file_is_read_as_what_it_holds(tmp_path, monkeypatch):
    """Whether it can be read depends on another package; what it holds is a frame."""
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["b", None, "a"]),
            "age": pd.array([3, None, 1], "Int64"),
            "ill": pd.array([True, None, False], "boolean"),
            "seen": pd.to_datetime(["2024-03-01", None, "2024-01-01"]).tz_localize("Europe/Berlin"),
        },
        index=pd.Index(IDS, name="sample"),
    )
    monkeypatch.setattr(pd, "read_parquet", lambda _: frame)
    (tmp_path / "table.parquet").touch()
    found = with_metadata(data(), tmp_path / "table.parquet")
    assert found["kind"].values.tolist() == ["", "a", "b"]
    np.testing.assert_array_equal(found["age"], [np.nan, 1, 3])
    assert found["ill"].values.tolist() == [None, False, True]
    expected = np.array(["NaT", "2023-12-31T23", "2024-02-29T23"], "M8[us]")
    np.testing.assert_array_equal(found["seen"], expected)


REFUSED = {
    "unknown": (
        "t.csv",
        "sample,a\ns0,1\ns1,1\ns2,1\ns9,1",
        r"1 of its 4 samples are none of the data's, 's9'.*'s0', 's1' and so on",
    ),
    "missing": ("t.csv", "sample,a\ns1,1", r"lacks 2 of the data's 3 samples, 's0', 's2': add them"),
    "twice": ("t.csv", "sample,a\ns0,1\ns1,1\ns1,2\ns2,1", r"has 's1' more than once .* keep one row of each"),
    "fewer rows": ("t.csv", "a\n1\n2", r"has 2 rows, and the data 3 samples: give it a column 'sample'"),
    "no rows": ("t.csv", "a", r"has 0 rows"),
    "nothing known": ("t.csv", "sample\ns0\ns1\ns2", r"no column beside 'sample'"),
    "name of a variable": ("t.csv", "sample,label\ns0,1\ns1,1\ns2,1", r"the data have 'label' already.*: rename"),
    "name of a dimension": ("t.csv", "y\n1\n2\n3", r"the data have 'y' already"),
    "name with a meaning": ("t.csv", "input,target\n1,1\n2,2\n3,3", r"the data have 'input', 'target' already"),
    "nearly the name": ("t.csv", "Sample,a\ns0,1\ns1,1\ns2,1", r"a column 'Sample': call it 'sample'"),
    "unnamed": ("t.csv", ",a\n0,1\n1,1\n2,1", r"column 1 has no name"),
    "named twice": ("t.csv", "a,b,a\n0,1,2\n1,1,2\n2,1,2", r"more than one column 'a'"),
    "more fields in one row": (
        "t.csv",
        "a,b\n0,1\n1,1,2\n2,1",
        r"cannot be read as \.csv.*Expected 2 fields in line 3",
    ),
    "semicolons": ("t.csv", "sample;a\ns0;1\ns1;1\ns2;1", r"has one column, 'sample;a': separate columns by commas"),
    "commas": ("t.tsv", "sample,a\ns0,1\ns1,1\ns2,1", r"separate columns by tabulators"),
    "empty": ("t.csv", "", r"cannot be read as \.csv"),
    "another encoding": ("t.csv", "a\nä\nb\nc".encode("latin-1"), r"cannot be read as \.csv, in UTF-8"),
    "another kind": ("t.xlsx", "", r"is no table: its name ends in \.csv, \.tsv, \.parquet"),
    "no file": ("t.csv", None, r"there is no file .*t\.csv"),
    "no reader": ("t.parquet", "", r"pip install pyarrow, or write it as \.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_table_is_said(tmp_path, monkeypatch, case):
    for package in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, package, None)
    name, text, message = REFUSED[case]
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as raised:
        with_metadata(data(), tmp_path / name)
    assert "\n" not in str(raised.value)


def test_data_and_table_are_read_and_not_changed(tmp_path):
    given = data()
    before = given.copy(deep=True)
    with_metadata(given, table(tmp_path, ["1", "2", "3"]))
    xr.testing.assert_identical(given, before)


# --- the command ----------------------------------------------------------------------------------------


def folder(path):
    tree, attributions = made("tables")
    storage.save(attributions, path / "attributions.nc")
    storage.save(tree, path / "analysis.nc")
    rng = np.random.default_rng(0)
    order = rng.permutation(attributions.sizes["sample"])
    marked = order < 10
    frame = pd.DataFrame(
        {
            "sample": attributions["sample"].values[order],
            "scanner": np.where(marked, "old", "new"),
            "age": np.where(marked, 70.5, 40.25) + rng.random(order.size),
            "taken": [f"{2010 if old else 2020}-05-{day:02}" for old, day in zip(marked, order % 30 + 1, strict=True)],
            "fold": order % 3,
            "correct": order % 4 > 0,
        }
    )
    frame.to_csv(path / "known.csv", index=False)
    return path


def test_a_report_tells_what_of_the_table_distinguishes_a_group_and_where_the_model_fails(tmp_path, capsys):
    options = ("--metadata", tmp_path / "known.csv", "--split", "fold")
    assert run("report", folder(tmp_path), *options) == 0
    assert capsys.readouterr().err == ""
    with xr.open_datatree(tmp_path / "report.nc", engine="netcdf4") as held:
        tests = held["findings"].to_dataset()
        told = set(tests["variable"].values[tests["significant"].values & (tests["kind"].values == "metadata")])
        assert {"scanner", "age", "taken", "hospital"} <= told
        assert {"scanner", "age", "taken", "fold"} <= set(held["slices"].to_dataset()["variable"].values)
        assert held["files"].to_dataset()["file"].values.tolist() == ["attributions.nc", "analysis.nc", "known.csv"]
        assert held["duplicates"].attrs["split"] == "fold"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"--metadata {tmp_path / 'known.csv'} --split fold" in page


def test_what_is_wrong_with_a_table_is_one_line_of_the_command(tmp_path, capsys):
    (folder(tmp_path) / "known.csv").write_text("hospital\n" + "north\n" * 60)
    assert run("report", tmp_path, "--metadata", tmp_path / "known.csv") == 1
    said = capsys.readouterr().err
    assert said.startswith("relfunc: error: ")
    assert "the data have 'hospital' already" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
