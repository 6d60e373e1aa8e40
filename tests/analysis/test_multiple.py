"""Corrections for many tests: against their definitions, step by step, and by the errors that they promise to bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis._kernels.multiple import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def _holm_by_definition(p: list[float]) -> list[float]:
    """max over the smaller or equal ones before, in order, of (m − j) p_(j)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    return [max(min(1.0, (len(p) - j) * p[order[j]]) for j in range(order.index(i) + 1)) for i in range(len(p))]


def _benjamini_hochberg_by_definition(p: list[float]) -> list[float]:
    order = sorted(range(len(p)), key=lambda i: p[i])
    m = len(p)
    return [min(min(1.0, m * p[order[j]] / (j + 1)) for j in range(order.index(i), m)) for i in range(m)]


@settings(deadline=None)
@given(P_VALUES)
def test_holm_is_its_definition(p):
    np.testing.assert_allclose(holm(p), _holm_by_definition(p))


@settings(deadline=None)
@given(P_VALUES)
def test_benjamini_hochberg_is_its_definition(p):
    np.testing.assert_allclose(benjamini_hochberg(p), _benjamini_hochberg_by_definition(p))


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_what_was_not_tested_does_not_count(correct):
    p = np.array([[0.2, np.nan], [0.01, 0.03]])
    corrected = correct(p)
    assert np.isnan(corrected[0, 1])
    np.testing.assert_array_equal(corrected[~np.isnan(p)], correct(p[~np.isnan(p)]))
    assert np.isnan(correct([np.nan, np.nan])).all()
    assert correct([]).size == 0


def test_holm_errs_in_no_more_than_the_level_of_all_families():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(4000, 10))
    p[:, :3] *= 1e-4  # three true effects
    wrong = np.mean([(holm(family)[3:] <= 0.05).any() for family in p])
    assert 0.03 < wrong < 0.06
    assert np.mean([(family[3:] <= 0.05).any() for family in p]) > 0.25, "uncorrected, it would"
