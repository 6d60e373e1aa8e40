"""Verdicts in words: what every kind of row says."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import analysis
from analysis.results import power, words

NAN = np.nan


def table(n, size, p, *, by="label", **attrs):
    """A ranking of categories a, b, ..., of which those with p-values up to 0.05 are significant."""
    p = np.asarray(p, float)
    columns = {"n": n, "size": size, "p_value": p, "p_adjusted": p, "significant": p <= 0.05}
    names = [chr(97 + k) for k in range(len(n))]
    return xr.Dataset({name: ("category", v) for name, v in columns.items()}, {"category": names}, {"by": by, **attrs})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            table([1830, 50], [610, 5], [0.0002, 0.4]),
            "Class 'a': 610 of 1,830 samples stand apart, which chance would do in fewer than 1 of 1,000 datasets "
            "(p = 0.0002 after correction for 2 classes).",
        ),
        (
            table([50], [9], [1e-12], by=""),
            "Group 'a': 9 of 50 samples stand apart, which chance would do in fewer than 1 of 10,000 datasets "
            "(p < 0.0001).",
        ),
        (
            table([50, 8], [9, 0], [0.034, NAN], by="prediction"),
            "Predicted class 'a': 9 of 50 samples stand apart, which chance would do in about 3 of 100 datasets "
            "(p = 0.034).",
        ),
        (table([50], [9], [0.0501], by="site"), "site 'a': no cluster stands apart by more than chance (p = 0.05)."),
        (table([8], [0], [NAN]), "Class 'a': too few samples to judge (8; about 20 would do)."),
        (table([8], [0], [NAN], smallest=10), "Class 'a': too few samples to judge (8; about 40 would do)."),
        (
            table([900], [0], [NAN]),
            "Class 'a': not judged, as no cluster of its 900 samples can be compared with the rest.",
        ),
    ],
)
def test_each_kind_of_row_is_a_sentence(given, expected):
    assert analysis.verdict(given)[0] == expected


def test_a_ranking_without_chance_is_not_called_significant():
    columns = {"n": [60, 9], "size": [20, 0], "separability": [3.1, NAN], "cluster": [1, -1]}
    given = xr.Dataset({name: ("category", v) for name, v in columns.items()}, {"category": ["a", "b"]})
    said = analysis.verdict(given)
    assert said[0].endswith("(separability 3.10), which was not compared with chance.")
    assert said[1] == "Group 'b': no cluster of its 9 samples can be compared with the rest."
    assert "not compared with chance" in words.summary(given)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.5, 0.9], "In none of 2 classes does a group of samples stand apart by more than chance."),
        ([0.01, NAN], "In 1 of 1 classes a group of samples stands apart by more than chance: 'a'. 1 could not be"),
        (
            [0.01] * 7,
            "In 7 of 7 classes a group of samples stands apart by more than chance: 'a', 'b', 'c', 'd',",
        ),
    ],
)
def test_the_summary_counts(p, expected):
    assert words.summary(table([50] * len(p), [9] * len(p), p)).startswith(expected)


@pytest.mark.parametrize(
    ("p", "last"),
    [
        ([0.01, 0.5, 0.6, 0.7], "And 2 more classes, in none of which samples stand apart by more than chance."),
        ([0.01] * 4, "And 2 more classes, 2 of them with samples that stand apart by more than chance."),
    ],
)
def test_many_categories_are_summed_up(p, last):
    assert analysis.verdict(table([50] * 4, [9] * 4, p), most=2)[2:] == [last]


MEASURED = pd.DataFrame({"n": [50, 50, 400, 400], "prevalence": [0.05, 0.2] * 2, "found": [0.1, 0.5, 0.7, 0.9]})


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(50, 0.05, 0.1), (400, 0.2, 0.9), (np.sqrt(50 * 400), 0.1, 0.55), (20, 0.1, NAN), (800, 0.1, NAN), (50, 0.5, NAN)],
)
def test_power_is_read_between_what_was_measured_and_not_beyond(n, share, expected):
    np.testing.assert_allclose(power.power(n, share, MEASURED), expected, atol=1e-12)


def test_how_many_would_do():
    assert power.enough(0.2, MEASURED) == 400
    assert power.enough(0.05, MEASURED) is None


def test_the_table_that_comes_with_the_package_is_whole():
    found = power.measured()
    if found is None:
        pytest.skip("no power was measured for this version")
    assert list(found.columns) == ["n", "prevalence", "found"]
    assert len(found) == found["n"].nunique() * found["prevalence"].nunique()
    assert found["found"].between(0, 1).all()
