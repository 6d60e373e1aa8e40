"""Two groups compared: against definitions and SciPy, and by the errors and coverage that are promised."""

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis._kernels.dominance import cliffs_delta, delta_interval, rank_sum_p
from analysis._kernels.proportions import fisher_p, mcnemar_p, newcombe, paired_interval, wilson


def _members(n, k, rng):
    inside = np.zeros(n, bool)
    inside[rng.choice(n, k, replace=False)] = True
    return inside


# --- numbers ------------------------------------------------------------------------------------------------


def test_cliffs_delta_is_its_definition_with_ties():
    rng = np.random.default_rng(0)
    values, inside = rng.integers(0, 5, 40).astype(float), _members(40, 13, rng)
    pairs = list(itertools.product(values[inside], values[~inside]))
    assert cliffs_delta(values, inside) == pytest.approx(np.mean([np.sign(x - y) for x, y in pairs]))
    assert np.isnan(cliffs_delta(values, np.zeros(40, bool)))


def test_a_rank_sum_of_few_values_has_the_p_value_of_all_their_permutations():
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    inside = np.isin(np.arange(10), (4, 5, 7))
    rank = stats.rankdata(values)
    sums = np.array([rank[list(chosen)].sum() for chosen in itertools.combinations(range(10), 3)])
    exact = np.mean(abs(sums - 16.5) >= abs(rank[inside].sum() - 16.5))
    assert rank_sum_p(values, inside) == pytest.approx(exact, abs=0.02)
    assert rank_sum_p(values, inside) == rank_sum_p(values, ~inside)
    assert rank_sum_p(-values, inside) == rank_sum_p(values, inside)


def _continuous(rng, n):
    return rng.normal(size=n)


def _mostly_zero(rng, n):
    return (rng.random(n) < 0.03) * rng.exponential(size=n)


def _few_values(rng, n):
    return rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("draw", [_continuous, _mostly_zero, _few_values])
@pytest.mark.parametrize(("n", "k"), [(60, 5), (400, 5), (400, 20)])
def test_rank_sums_reject_no_more_than_the_level_where_there_is_nothing(draw, n, k):
    rng = np.random.default_rng(0)
    p = np.array([rank_sum_p(draw(rng, n), _members(n, k, rng), seed=seed) for seed in range(120)])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 2.6 * np.sqrt(level * (1 - level) / p.size)


def test_the_normal_approximation_alone_would_accuse_groups_of_a_few_mostly_equal_values():
    rng = np.random.default_rng(0)
    draws = [((rng.random(400) < 0.01) * rng.exponential(size=400), _members(400, 5, rng)) for _ in range(500)]
    approximate = [stats.mannwhitneyu(x[i], x[~i], method="asymptotic").pvalue for x, i in draws]
    ours = [rank_sum_p(x, i) for x, i in draws]
    assert np.mean(np.array(approximate) <= 0.001) > 0.02
    assert np.mean(np.array(ours) <= 0.001) <= 0.003


def test_a_rank_sum_finds_a_shift():
    rng = np.random.default_rng(0)
    inside = _members(400, 8, rng)
    assert rank_sum_p(rng.normal(size=400) + 2 * inside, inside) < 1e-3
    many = _members(4000, 400, rng)
    assert rank_sum_p(rng.normal(size=4000) + many, many) < 1e-30


@pytest.mark.parametrize(("m", "n", "shift"), [(5, 50, 0.0), (5, 50, 2.5), (20, 200, 1.0), (8, 30, 3.0)])
def test_intervals_of_cliffs_delta_cover_it(m, n, shift):
    rng = np.random.default_rng(0)
    true, inside = 2 * stats.norm.cdf(shift / 2**0.5) - 1, np.arange(m + n) < m
    covered = []
    for _ in range(250):
        delta = cliffs_delta(rng.normal(size=m + n) + shift * inside, inside)
        low, high = delta_interval(delta, m, n)
        assert -1 <= low <= delta <= high <= 1
        covered.append(low <= true <= high)
    assert np.mean(covered) > 0.92


def test_an_interval_of_the_extreme_is_not_a_point():
    assert delta_interval(1.0, 5, 100)[0] < 0.7
    assert delta_interval(-1.0, 5, 100)[1] > -0.7


# --- shares -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [(3, 4, 1, 4), (10, 50, 3, 400), (0, 5, 7, 9), (5, 5, 0, 100), (0, 3, 0, 8)])
def test_fishers_test_is_that_of_scipy(table):
    hits, n, others, m = table
    expected = stats.fisher_exact([[hits, n - hits], [others, m - others]]).pvalue
    assert fisher_p(*table) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (3, 9), (7, 7), (12, 1)])
def test_mcnemars_test_is_a_binomial_test(gained, lost):
    assert mcnemar_p(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (9, 10), (263, 263), (1, 29)])
def test_wilsons_interval_is_that_of_scipy(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_newcombes_interval_is_that_of_his_table():
    """Table II of the paper, method 10."""
    for given, expected in [((56, 70, 48, 80), (0.0524, 0.3339)), ((9, 10, 3, 10), (0.1705, 0.8090))]:
        assert newcombe(*given) == pytest.approx(expected, abs=1e-4)


def test_intervals_of_a_paired_change_cover_it():
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(60, (0.15, 0.05, 0.8), size=2000)
    bounds = [paired_interval(int(gained), int(lost), 60) for gained, lost, _ in drawn]
    assert np.mean([low <= 0.1 <= high for low, high in bounds]) > 0.93
