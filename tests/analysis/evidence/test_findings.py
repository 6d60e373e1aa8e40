"""Findings: where, what and in whom, on planted artefacts; and nothing where nothing is."""

from datetime import datetime

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis.errors import DataError
from analysis.evidence.against_rest import Named, of_numbers, of_variable, tabled
from analysis.evidence.known import outcome
from relfunc import open_attributions

from .planted import KINDS, analysed, heatmaps, row, twenty


def _tests(found: xr.Dataset, **chosen: str) -> xr.Dataset:
    own = np.ones(found.sizes["test"], bool)
    for name, value in chosen.items():
        own &= found[name].values == value
    return found.isel(test=np.flatnonzero(own))


# --- where --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("kind", KINDS)
def test_the_region_is_where_the_artefact_was_planted(kind, size):
    overlaps = []
    for seed in range(3):
        data, mask = heatmaps(kind, size=size, strength=0.1, noise=0.2, seed=seed)
        found = analysis.findings(analysed(data, data["artifact"]), data, table=row())
        region = found["region"].values[0]
        overlaps.append((region & mask).sum() / (region | mask).sum())
        share = _tests(found, kind="relevance")
        assert share["significant"].all()
        assert share["effect"].item() > 0.4
        assert share["inside"].item() > share["outside"].item()
        assert found["region_area"].item() == pytest.approx(region.mean())
    assert min(overlaps) >= 0.5


def test_a_random_cluster_has_no_region_that_holds_in_the_other_half():
    data, _ = heatmaps("patch", share=0, seed=0)
    significant = []
    for seed in range(30):
        cluster = np.random.default_rng(seed).permutation(120) < 20
        found = analysis.findings(analysed(data, cluster), data, table=row(), metadata=[])
        significant.append(found["p_value"].item() <= 0.05)
    assert np.mean(significant) <= 0.15


def test_a_region_measured_where_it_was_found_would_accuse_a_random_cluster():
    """What the halves are for."""
    from analysis.evidence.region import find, shares

    data, _ = heatmaps("patch", share=0, seed=0)
    heat = shares(data["attribution"], 0.5)
    accused = []
    for seed in range(30):
        inside = np.random.default_rng(seed).permutation(120) < 20
        region = find(data, np.arange(120), inside, None, 0)
        share = (heat * region.mask).sum((1, 2))
        accused.append(of_numbers(Named("relevance", "share"), share, inside, 0.05).p_value <= 0.05)
    assert np.mean(accused) > 0.5


@pytest.mark.parametrize("kind", ["patch", "border"])
def test_where_a_network_looks_at_a_part_the_region_is_the_whole_piece_of_the_input(kind):
    """Of a border, networks look at some parts of one side."""
    rng = np.random.default_rng(0)
    data, _ = heatmaps("patch", share=0, seed=0)
    inside, images = np.arange(120) < 30, _photographs(rng, 120)
    mask = np.zeros((24, 24), bool)
    if kind == "patch":
        mask[14:20, 15:21] = True
    else:
        mask[:] = True
        mask[2:-2, 2:-2] = False
    images[:30] = np.where(mask, 128, images[:30])  # no other mean: only that it is the same in all
    part = mask & (np.arange(24) > 17)
    data["attribution"].values[:30] += 0.6 * rng.exponential(size=(30, 1, 24, 24)) * part
    data["input"] = ("sample", "rgb", "y", "x"), images.astype(np.uint8)
    found = analysis.findings(analysed(data, inside), data, table=row(), metadata=[])
    region, alone = found["region"].values[0], found["relevance_region"].values[0]
    assert (region & mask).sum() / (region | mask).sum() > 0.9
    assert (alone & mask).sum() / (alone | mask).sum() < 0.6
    assert _tests(found, kind="relevance")["significant"].all()


def test_where_inputs_do_not_differ_the_region_is_that_of_relevance():
    data, mask = heatmaps("patch", seed=0)
    data["input"] = ("sample", "rgb", "y", "x"), _photographs(np.random.default_rng(0), 120).astype(np.uint8)
    found = analysis.findings(analysed(data, data["artifact"]), data, table=row(), metadata=[])
    np.testing.assert_array_equal(found["region"], found["relevance_region"])
    assert (found["region"].values[0] & mask).any()


def test_relevance_of_features_has_a_region_too():
    rng = np.random.default_rng(0)
    heat, inside = rng.uniform(size=(60, 30)), np.arange(60) < 15
    heat[inside, 4:7] += 2
    data = xr.Dataset({"attribution": (("sample", "feature"), heat)}, {"sample": np.arange(60)})
    found = analysis.findings(analysed(data, inside), data, table=row())
    assert np.flatnonzero(found["region"].values[0]).tolist() == [4, 5, 6]


# --- what ---------------------------------------------------------------------------------------------------


def _photographs(rng: np.random.Generator, n: int) -> np.ndarray:
    from scipy import ndimage

    return (128 + 60 * ndimage.gaussian_filter(rng.normal(size=(n, 3, 24, 24)), (0, 0, 1, 1))).clip(0, 255)


def _blurred(images: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(images, (0, 0, 1.5, 1.5))


@pytest.mark.parametrize(
    ("change", "variable", "place", "larger"),
    [
        (lambda images: images + 25, "brightness", "whole input", True),
        (lambda images: 128 + 0.5 * (images - 128), "contrast", "whole input", False),
        (_blurred, "sharpness", "whole input", False),
        (_blurred, "fine_detail", "whole input", False),
        (lambda images: images * np.array([1.3, 1, 1])[:, None, None], "channel_0", "whole input", True),
        (lambda images: images.mean(1, keepdims=True).repeat(3, 1), "saturation", "whole input", False),
    ],
)
def test_what_the_inputs_have_is_named(change, variable, place, larger):
    rng = np.random.default_rng(0)
    data, _ = heatmaps("patch", seed=0)
    images, inside = _photographs(rng, 120), data["artifact"].values
    images[inside] = change(images[inside])
    data["input"] = ("sample", "rgb", "y", "x"), images.clip(0, 255).astype(np.uint8)
    found = analysis.findings(analysed(data, inside), data, table=row(), metadata=[])
    test = _tests(found, kind="input", variable=variable, value=place)
    assert test["significant"].item()
    assert (test["effect"].item() > 0.5) if larger else (test["effect"].item() < -0.5)


def test_a_bright_patch_is_named_in_its_region():
    rng = np.random.default_rng(0)
    data, mask = heatmaps("patch", seed=0)
    images, inside = _photographs(rng, 120), data["artifact"].values
    images[np.ix_(inside, range(3))] = np.where(mask, 255, images[np.ix_(inside, range(3))])
    data["input"] = ("sample", "rgb", "y", "x"), images.astype(np.uint8)
    found = analysis.findings(analysed(data, inside), data, table=row(), metadata=[])
    test = _tests(found, kind="input", variable="brightness", value="region")
    assert test["effect"].item() > 0.95
    assert test["inside"].item() > 230
    difference = found["input_difference"].values[0].mean(0)
    assert difference[mask].mean() > 80 > 20 > abs(difference[~mask]).max()


def test_inputs_that_have_nothing_are_not_accused():
    rng = np.random.default_rng(0)
    data, _ = heatmaps("patch", share=0, seed=0)
    data["input"] = ("sample", "rgb", "y", "x"), _photographs(rng, 120).astype(np.uint8)
    wrong = []
    for seed in range(20):
        cluster = np.random.default_rng(seed).permutation(120) < 12
        found = analysis.findings(analysed(data, cluster), data, table=row(), metadata=[], seed=seed)
        wrong.append(_tests(found, kind="input")["significant"].any())
    assert np.mean(wrong) <= 0.15


def test_ids_of_tokens_are_no_images():
    data = xr.Dataset(
        {
            "attribution": (("sample", "token"), np.random.default_rng(0).uniform(size=(40, 6))),
            "input": (("sample", "token"), np.random.default_rng(1).integers(0, 99, (40, 6))),
        },
        {"sample": np.arange(40)},
    )
    found = analysis.findings(analysed(data, np.arange(40) < 9), data, table=row())
    assert "input_inside" not in found
    assert set(found["kind"].values) == {"relevance"}


# --- who ----------------------------------------------------------------------------------------------------


def _enriched(n: int, k: int, seed: int) -> set[str]:
    """Variables that are significant in a cluster of k samples, of twenty and a hospital from which they come."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(n, bool)
    inside[rng.choice(n, k, replace=False)] = True
    variables = twenty(n, rng)
    variables["hospital"] = np.where(rng.random(n) < np.where(inside, 0.95, 0.1), "A", rng.choice(["B", "C"], n))
    rows = [test for name, x in variables.items() for test in of_variable(name, x, inside, 0.05, seed=seed)[0]]
    table = tabled(rows, [0] * len(rows), 0.05, "holm", "test")
    return set(table["variable"].values[table["significant"].values])


@pytest.mark.parametrize(("n", "k"), [(400, 8), (300, 20)])
def test_a_planted_confounder_is_found_among_twenty_variables_and_no_other(n, k):
    found = [_enriched(n, k, seed) for seed in range(100)]
    assert sum(variables == {"hospital"} for variables in found) >= 90


@pytest.mark.parametrize(
    ("values", "value", "effect"),
    [
        (np.where(np.arange(60) < 12, 9.5, np.arange(60) / 60), "", 1.0),
        (np.datetime64("2020-01-01") + np.arange(60), "", -1.0),
        (np.arange(60) < 12, "True", 1.0),
        (np.array(["x"] * 12 + ["y", "z"] * 24), "x", 1.0),
        (np.array([2] * 12 + [1, 3] * 24), "2", 1.0),
        (np.array([None] * 12 + ["y", "z"] * 24, object), "(missing)", 1.0),
        (np.where(np.arange(60) < 12, np.nan, 1.0), "(missing)", 1.0),
    ],
    ids=["number", "date", "bool", "text", "code", "missing text", "missing number"],
)
def test_every_kind_of_variable_is_compared(values, value, effect):
    tests, why = of_variable("it", values, np.arange(60) < 12, 0.05)
    (test,) = [test for test in tests if test.value == value]
    assert not why
    assert test.effect == pytest.approx(effect)
    assert test.p_value < 1e-4


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.arange(60).astype(str), "none of its 60 values occurs in 5 samples"),
        (np.full(60, 3), "all of its values are the same"),
        (np.full(60, np.nan), "all of its values are missing"),
    ],
)
def test_what_cannot_be_tested_is_said(values, why):
    assert of_variable("it", values, np.arange(60) < 12, 0.05) == ([], why)


def _with_predictions() -> xr.Dataset:
    data, _ = heatmaps("patch", seed=0)
    wrong = data["artifact"].values
    data["prediction"] = ("sample", "class"), np.where(wrong[:, None], [[0.4, 0.6]], [[0.9, 0.1]])
    data["label"] = "sample", np.zeros(120, int)
    return data.assign_coords({"class": ["cat", "dog"]})


def test_prediction_and_label_tell_class_confidence_and_correctness():
    data = _with_predictions()
    found = analysis.findings(analysed(data, data["artifact"]), data, table=row(), metadata=[])
    for variable, value, effect in (("predicted_class", "dog", 1), ("confidence", "", -1), ("correct", "True", -1)):
        assert _tests(found, variable=variable, value=value)["effect"].item() == effect
    assert "label" not in found["not_tested"].item(), "metadata=[] asks for none of the data's own"


def test_numbers_and_dates_among_objects_are_ordered():
    data = _with_predictions()
    marked = data["artifact"].values
    age = np.where(marked, 60.5, 30.5).astype(object) + np.arange(120)
    age[3] = None
    born = np.array([datetime(1990 if one else 1950, 1, 1 + k % 28) for k, one in enumerate(marked)], object)
    people = xr.Dataset({"age": ("sample", age), "born": ("sample", born)})
    found = analysis.findings(analysed(data, marked), data, table=row(), metadata=people)
    for variable in ("age", "born"):
        test = _tests(found, variable=variable, value="")
        assert test["measure"].item().startswith("median")
        assert test["significant"].item()


def test_metadata_are_matched_by_their_identifiers():
    data = _with_predictions()
    order = np.random.default_rng(0).permutation(120)
    sites = xr.Dataset(
        {"site": ("sample", np.where(data["artifact"], "A", "B")[order])}, {"sample": data["sample"][order]}
    )
    found = analysis.findings(analysed(data, data["artifact"]), data, table=row(), metadata=sites)
    assert _tests(found, variable="site")["effect"].item() == 1


# --- together -----------------------------------------------------------------------------------------------


def test_only_significant_rows_are_described_where_the_ranking_says_which():
    data, _ = heatmaps("patch", seed=0)
    tree, table = analysed(data, data["artifact"]), row()
    table["significant"] = "category", [False]
    none = analysis.findings(tree, data, table=table)
    assert none.sizes["finding"] == none.sizes["test"] == 0
    assert none["region"].dims == ("finding", "y", "x")
    assert analysis.findings(tree, data, table=table, significant_only=False).sizes["finding"] == 1
    table["significant"] = "category", [True]
    assert analysis.findings(tree, data, table=table).sizes["finding"] == 1


def test_a_file_holds_it_and_lazily_opened_data_give_the_same(tmp_path, monkeypatch):
    data = _with_predictions()
    data["input"] = ("sample", "channel", "y", "x"), np.random.default_rng(0).integers(0, 255, (120, 1, 24, 24))
    data.to_netcdf(tmp_path / "attributions.nc")
    tree = analysed(data, data["artifact"])
    whole = analysis.findings(tree, data, table=row())
    monkeypatch.setattr("relfunc.keys.blocks.BYTES", 50_000)  # so that there are many blocks
    with open_attributions(tmp_path / "attributions.nc") as opened:
        found = analysis.findings(tree, opened, table=row())
    xr.testing.assert_allclose(found, whole)
    for part in (found, analysis.findings(tree, data, table=row(cluster=-1))):
        part.to_netcdf(tmp_path / "findings.nc")
        with xr.open_dataset(tmp_path / "findings.nc") as again:
            xr.testing.assert_equal(again.load(), part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": row(cluster=7)}, "cluster 7 of 'given' has 0 of the 120 samples"),
        ({"table": row(category="dog")}, "no category 'dog' in the analysis; there are 'all'"),
        ({"table": row(clustering="kmeans-02")}, "no clustering 'kmeans-02', only 'given'"),
        ({"table": xr.Dataset()}, "'table' has no 'category'"),
        ({"metadata": ["site"]}, "metadata 'site' is no variable over 'sample' alone; there are 'artifact'"),
        ({"metadata": xr.Dataset({"site": ("sample", ["A"])}, {"sample": ["s0"]})}, "the metadata lack 119 samples"),
        (
            {"metadata": xr.Dataset({"site": ("sample", ["A"])})},
            "the metadata are of 1 samples and have no identifiers",
        ),
        ({"level": 5}, "level=5 is no chance of error"),
        ({"correction": "none"}, "correction='none' is none of 'holm', 'benjamini-hochberg'"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    data, _ = heatmaps("patch", seed=0)
    with pytest.raises(DataError, match=message):
        analysis.findings(analysed(data, data["artifact"]), data, **{"table": row(), **change})


def test_data_that_the_analysis_is_not_of_are_refused():
    data, _ = heatmaps("patch", seed=0)
    tree = analysed(data, data["artifact"])
    with pytest.raises(DataError, match="not of these data"):
        analysis.findings(tree, data.isel(sample=slice(None, None, -1)), table=row())


def test_a_lost_pixel_costs_one_sample_and_not_the_test():
    data, mask = heatmaps("patch", seed=0)
    marked = data["artifact"].values
    images = np.random.default_rng(0).uniform(0, 0.2, size=(120, 1, 24, 24))
    images[marked] += mask
    data["input"] = ("sample", "channel", "y", "x"), images
    whole = analysis.findings(analysed(data, marked), data, table=row())
    lost = np.flatnonzero(marked)[:2]
    data["input"].values[lost, 0, 20, 20] = np.nan
    found = analysis.findings(analysed(data, marked), data, table=row())
    np.testing.assert_array_equal(found["region"], whole["region"])
    for name in ("kind", "variable", "value", "significant"):
        np.testing.assert_array_equal(found[name], whole[name])
    everywhere = (found["kind"].values == "input") & (found["value"].values == "whole input")
    assert everywhere.sum() == 4
    np.testing.assert_array_equal(whole["n_inside"] - found["n_inside"], np.where(everywhere, 2, 0))


def test_outputs_for_several_labels_are_no_probabilities_of_one():
    shares = np.random.default_rng(0).uniform(size=(20, 3))
    data = xr.Dataset({"prediction": (("sample", "class"), shares), "label": (("sample", "class"), shares > 0.5)})
    assert set(outcome(data)) == {"predicted_class"}


def test_of_an_output_that_is_no_number_no_class_is_predicted():
    output = np.eye(3)[[0, 1, 2, 0]]
    output[2, 0] = np.nan
    data = xr.Dataset({"prediction": (("sample", "class"), output), "label": ("sample", [0, 1, 2, 0])})
    found = outcome(data)
    assert found["predicted_class"].tolist() == ["0", "1", "", "0"]
    assert found["correct"].tolist() == [True, True, False, True]
