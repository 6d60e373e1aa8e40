"""Two runs: what moved is found, against what moves anyway."""

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis.errors import DataError

from .planted import analysed, row


def _run(n: int = 120, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    return xr.Dataset(
        {
            "attribution": (("sample", "channel", "y", "x"), rng.exponential(size=(n, 1, 8, 8))),
            "prediction": (("sample", "class"), 4.0 * np.eye(3)[label]),
            "label": ("sample", label),
        },
        {"sample": [f"s{k}" for k in range(n)], "class": ["cat", "dog", "owl"]},
    )


def _again(run: xr.Dataset, seed: int = 1) -> xr.Dataset:
    """The same run with other rounding, as of another seed: everything moves a little."""
    noise = np.random.default_rng(seed).uniform(0.8, 1.25, size=run["attribution"].shape)
    again = run.copy(deep=True)
    again["attribution"] *= noise
    return again


def test_the_cluster_and_the_class_that_moved_are_found():
    a = _run()
    inside = (a["label"].values == 1) & (np.arange(120) % 3 > 0)
    b = _again(a)
    b["attribution"].values[inside, :, :3] *= 8
    b["prediction"].values[inside] = 4 * np.eye(3)[2]
    found = analysis.contrast(a, b, tree=analysed(a, inside), table=row())
    first = found.isel(group=0)
    assert (first["kind"].item(), first["cluster"].item(), first["n"].item()) == ("cluster", 1, inside.sum())
    assert first["effect"].item() == 1 == first["above_floor"].item()
    assert first["moved"].item() > first["floor"].item() > first["moved_rest"].item()
    assert first["flipped_inside"].item() == 1 > first["flipped_rest"].item() == 0
    assert (first["accuracy_a"].item(), first["accuracy_b"].item(), first["accuracy_effect"].item()) == (1, 0, -1)
    for name in ("significant", "flipped_significant", "accuracy_significant"):
        assert first[name].item(), name
    dog = found.isel(group=np.flatnonzero(found["category"] == "dog"))
    assert dog["significant"].item()
    np.testing.assert_array_equal(found["flipped"].values, inside)


def test_samples_are_matched_by_their_identifiers():
    a = _run()
    b = _again(a)
    shuffled = b.isel(sample=np.random.default_rng(0).permutation(120))
    xr.testing.assert_identical(analysis.contrast(a, b), analysis.contrast(a, shuffled))
    order = ("x", "sample", "channel", "y")
    xr.testing.assert_allclose(analysis.contrast(a, b), analysis.contrast(a, b.transpose(*order, ...)))


def test_runs_that_differ_by_chance_accuse_no_group():
    wrong = []
    for seed in range(40):
        a = _run(seed=seed)
        cluster = np.random.default_rng(seed).integers(0, 4, 120)
        found = analysis.contrast(a, _again(a, seed + 1), tree=analysed(a, cluster), table=row(), seed=seed)
        wrong.append(found["significant"].any())
    assert np.mean(wrong) <= 0.15


def test_distances_are_those_of_their_definitions():
    a = _run(12)
    b = _again(a)
    a["attribution"].values[0] = b["attribution"].values[0] = 0
    a["attribution"].values[1] = 0
    b["attribution"].values[2] = -a["attribution"].values[2]
    found = analysis.contrast(a, b)
    p, q = (abs(run["attribution"].values[5]) / abs(run["attribution"].values[5]).sum() for run in (a, b))
    assert found["hellinger"].values[5] == pytest.approx(np.sqrt(0.5 * ((p**0.5 - q**0.5) ** 2).sum()))
    x, y = (run["attribution"].values[5].ravel() for run in (a, b))
    assert found["cosine"].values[5] == pytest.approx(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert found["hellinger"].values[:3] == pytest.approx([0, 1, 0])
    assert found["cosine"].values[:3] == pytest.approx([0, 1, 2])


def test_lazily_opened_runs_give_the_same_and_a_file_holds_it(tmp_path, monkeypatch):
    a = _run()
    b = _again(a).isel(sample=slice(None, None, -1))
    whole = analysis.contrast(a, b)
    a.to_netcdf(tmp_path / "a.nc")
    b.to_netcdf(tmp_path / "b.nc")
    monkeypatch.setattr("relfunc.keys.blocks.BYTES", 10_000)
    with xr.open_dataset(tmp_path / "a.nc") as first, xr.open_dataset(tmp_path / "b.nc") as second:
        found = analysis.contrast(first, second)
    xr.testing.assert_identical(found, whole)
    for part in (found, analysis.contrast(a.isel(sample=slice(4)), b.isel(sample=slice(-4, None)))):
        part.to_netcdf(tmp_path / "found.nc")
        with xr.open_dataset(tmp_path / "found.nc") as again:
            xr.testing.assert_equal(again.load(), part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.isel(sample=slice(100)), "run_b lacks 20 samples of run_a, such as 's100', and has 0 others"),
        (lambda b: b.drop_vars("sample"), "run_b has no identifiers"),
        (lambda b: b.drop_vars("attribution"), "run_b has no variable 'attribution'"),
        (lambda b: b.isel(x=slice(4)), "resize one"),
        (lambda b: b.assign_coords({"class": ["a", "b", "c"]}), "other classes"),
        (lambda b: b.assign_coords(sample=["s0"] * 120), "sample 's0' more than once"),
    ],
)
def test_runs_that_do_not_match_are_refused(change, message):
    a = _run()
    with pytest.raises(DataError, match=message):
        analysis.contrast(a, change(_again(a)))


def test_relevance_that_is_no_number_is_not_called_a_move():
    a = _run()
    b = _again(a)
    b["attribution"].values[3, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="holds NaN or infinity"):
        analysis.contrast(a, b)


def test_predictions_are_compared_by_class_and_not_by_its_name():
    a = _run()
    b = _again(a).drop_vars("class")
    assert not analysis.contrast(a, b)["flipped"].values.any()
    assert not analysis.contrast(b, a)["flipped"].values.any()
    more = _run().isel({"class": [0, 1, 2, 2]}).drop_vars("class")
    with pytest.raises(DataError, match="other classes"):
        analysis.contrast(a, more)


def test_accuracy_is_not_compared_by_two_kinds_of_labels():
    a = _run()
    b = _again(a).assign(label=(a["label"] + 1) % 3)
    with pytest.raises(DataError, match="another label"):
        analysis.contrast(a, b)
    assert "accuracy_a" not in analysis.contrast(a, b.drop_vars("label"))


def test_unlabelled_samples_are_no_class_and_neither_right_nor_wrong(tmp_path):
    a = _run()
    b = _again(a)
    b["prediction"].values[:60] = b["prediction"].values[:60, [1, 2, 0]]
    for one in (a, b):
        one["label"][30:90] = -1
    found = analysis.contrast(a, b)
    assert sorted(found["category"].values) == ["cat", "dog", "owl"]
    for name in found["category"].values:
        row = found.isel(group=np.flatnonzero(found["category"] == name)[0])
        own = np.flatnonzero(a["label"].values == list(a["class"].values).index(name))
        assert row["accuracy_b"].item() == pytest.approx((own >= 60).mean())
    assert np.isnan(found["correct_a"].values[30:90]).all()
    found.to_netcdf(tmp_path / "contrast.nc")
