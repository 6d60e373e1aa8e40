"""Slices: where the model fails is found, and chance is not."""

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis.errors import DataError

from .planted import analysed, twenty


def _runs(n: int, accuracy: np.ndarray | float, rng: np.random.Generator) -> xr.Dataset:
    label = rng.integers(0, 3, n)
    right = rng.random(n) < accuracy
    predicted = np.where(right, label, (label + 1) % 3)
    return xr.Dataset(
        {"prediction": (("sample", "class"), 4.0 * np.eye(3)[predicted]), "label": ("sample", label)},
        {"sample": np.arange(n), "class": ["cat", "dog", "owl"]},
    )


def test_a_value_and_a_cluster_on_which_the_model_fails_come_first():
    rng = np.random.default_rng(0)
    site = rng.choice(list("ABCD"), 600)
    data = _runs(600, np.where(site == "C", 0.5, 0.95), rng).assign(site=("sample", site))
    found = analysis.slices(analysed(data, site == "C"), data)
    first = found.isel(slice=slice(0, 2))
    assert set(first["kind"].values) == {"cluster", "metadata"}
    assert first["significant"].all()
    for name in ("n", "accuracy", "gap"):
        assert first[name].values[0] == pytest.approx(first[name].values[1])
    correct = data["prediction"].values.argmax(1) == data["label"].values
    assert first["accuracy"].values[0] == pytest.approx(correct[site == "C"].mean())
    assert first["gap"].values[0] == pytest.approx(correct[site == "C"].mean() - correct[site != "C"].mean())
    assert (np.diff(found["gap_high"].values) >= 0).all()


def test_quarters_of_numbers_and_dates_are_slices():
    rng = np.random.default_rng(0)
    age = rng.uniform(0, 100, 400)
    data = _runs(400, np.where(age > 75, 0.4, 0.95), rng)
    data["age"], data["date"] = ("sample", age), ("sample", np.datetime64("2020-01-01", "D") + age.astype(int))
    found = analysis.slices(None, data, metadata=["age", "date"])
    assert found["variable"].values[:2].tolist() in (["age", "date"], ["date", "age"])
    assert all(value.startswith("> ") for value in found["value"].values[:2])
    assert (found["n"].values[found["variable"].values == "age"] == 100).all()


def test_of_two_values_the_one_that_fails_is_named():
    rng = np.random.default_rng(0)
    marked = rng.random(300) < 0.8
    data = _runs(300, np.where(marked, 0.95, 0.5), rng).assign(marked=("sample", marked))
    found = analysis.slices(None, data, metadata=["marked"])
    assert (found["variable"].values[0], found["value"].values[0]) == ("marked", "False")


def test_a_cluster_that_several_clusterings_have_is_one_slice():
    rng = np.random.default_rng(0)
    data = _runs(100, 0.8, rng)
    inside = rng.random(100) < 0.3
    tree = analysed(data, inside)
    again = np.where(inside, 2, rng.integers(0, 2, 100)).astype(np.int32)
    tree["all/cluster"] = xr.DataTree(tree["all/cluster"].to_dataset().assign(other=("sample", again)))
    found = analysis.slices(tree, data, metadata=["label"])
    assert (found["kind"].values == "cluster").sum() == 3


def test_where_the_model_fails_anywhere_alike_no_slice_is_accused():
    wrong = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = _runs(200, 0.8, rng).assign({name: ("sample", x) for name, x in twenty(200, rng).items()})
        tree = analysed(data, rng.integers(0, 4, 200))
        # whether a prediction is right follows from the class that is predicted and from the label together
        found = analysis.slices(
            tree, data, metadata=[name for name in data.data_vars if data[name].dims == ("sample",)]
        )
        own = ~np.isin(found["variable"].values, ["predicted_class", "label"])
        wrong.append(found["significant"].values[own].any())
    assert np.mean(wrong) <= 0.15


def test_a_file_holds_it(tmp_path):
    data = _runs(100, 0.8, np.random.default_rng(0))
    for tree in (None, analysed(data, np.arange(100) % 2)):
        found = analysis.slices(tree, data)
        found.to_netcdf(tmp_path / "slices.nc")
        with xr.open_dataset(tmp_path / "slices.nc") as again:
            xr.testing.assert_equal(again.load(), found)


def test_small_data_have_no_slices():
    found = analysis.slices(None, _runs(6, 0.8, np.random.default_rng(0)))
    assert found["gap"].sizes == {"slice": 0}


def test_without_labels_metadata_may_say_what_is_correct():
    data = _runs(100, 0.8, np.random.default_rng(0)).drop_vars("label")
    with pytest.raises(DataError, match="nothing says which samples are correct"):
        analysis.slices(None, data)
    correct = xr.Dataset({"correct": ("sample", np.arange(100) % 2 == 0)}, {"sample": np.arange(100)})
    assert analysis.slices(None, data, metadata=correct).attrs["accuracy"] == 0.5


@pytest.mark.parametrize("missing", [None, np.nan])
def test_samples_that_may_be_right_or_wrong_do_not_count(missing: float | None):
    site = np.array(["A", "B", "C"] * 20)
    correct = np.where(np.arange(60) % 2, True, False).astype(object)
    correct[site == "A"] = missing
    data = xr.Dataset({"correct": ("sample", correct), "site": ("sample", site)})
    found, kept = analysis.slices(None, data), analysis.slices(None, data.isel(sample=site != "A"))
    assert found["value"].values.tolist() == ["B", "C"]
    for name in ("n", "n_rest", "accuracy", "gap", "p_value"):
        np.testing.assert_array_equal(found[name], kept[name])
    assert (found.attrs["n"], found.attrs["accuracy"]) == (40, 0.5)


@pytest.mark.parametrize("correct", [["False", "True"], [0.1, 0.9], [None, None]])
def test_what_is_neither_right_nor_wrong_is_refused(correct: list):
    data = xr.Dataset({"correct": ("sample", np.array(correct * 20)), "site": ("sample", ["A", "B"] * 20)})
    with pytest.raises(DataError, match="give True or False, or None"):
        analysis.slices(None, data)


@pytest.mark.parametrize("nowhere", [-1, 3, 255])
def test_unlabelled_samples_are_not_called_wrong(nowhere: int):
    data = _runs(100, 1.0, np.random.default_rng(0))
    data = data.assign(site=("sample", np.where(np.arange(100) < 30, "A", "B")))
    data["label"][:30] = nowhere
    found = analysis.slices(None, data)
    assert found.attrs["accuracy"] == 1
    assert found.attrs["n"] == 70
    assert not found["significant"].values.any()


def test_quarters_of_large_numbers_keep_apart():
    data = xr.Dataset({"correct": ("sample", np.arange(80) % 2), "time": ("sample", 1.7e9 + np.arange(80.0))})
    found = analysis.slices(None, data)
    assert found["n"].values.tolist() == [20] * 4
    assert len(set(found["value"].values)) == 4


def test_codes_are_codes_where_some_are_missing():
    code = np.arange(90) % 3
    correct = code != 1
    whole = analysis.slices(None, xr.Dataset({"correct": ("sample", correct), "code": ("sample", code)}))
    some = xr.Dataset({"correct": ("sample", correct), "code": ("sample", np.where(np.arange(90) == 2, np.nan, code))})
    found = analysis.slices(None, some)
    assert sorted(found["value"].values) == sorted(whole["value"].values) == ["0", "1", "2"]
    assert (found["value"].values[0], found["accuracy"].values[0]) == ("1", 0)
