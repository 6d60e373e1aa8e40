"""Two groups of numbers: whether those of one tend to be larger, by how much, and how surely.

Cliff's δ = P(X > Y) − P(X < Y) lies in [−1, 1] for numbers of any scale and distribution. Of yes and no it is the
difference of the two shares, so that all evidence has one scale.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FEW: Final = 25
"""Up to so many values that can tell the groups apart in the smaller one, the normal approximation is not trusted."""
FIRST: Final = 999
ALL: Final = 99_999
PLAIN: Final = 20
"""So many groups are drawn at first, and so many in all where fewer than this exceed what was found."""
DRAWN: Final = 1 << 24  # numbers at a time, of all permutations together
SMALL: Final = 64


def cliffs_delta(values: NDArray, inside: NDArray) -> float:
    """Return P(X > Y) − P(X < Y) for X of one group and Y of the other [1]_; NaN if one is empty.

    Parameters
    ----------
    values : ndarray, shape (n,)
        None of them NaN.
    inside : ndarray of bool, shape (n,)
        Who is in the one.

    References
    ----------
    .. [1] Cliff 1993, Dominance statistics: ordinal analyses to answer ordinal questions, Psychological Bulletin 114.

    Examples
    --------
    >>> cliffs_delta(np.array([3.0, 4.0, 1.0, 2.0]), np.array([True, True, False, False]))
    1.0
    """
    from scipy import stats  # slow to load

    m, n = int(inside.sum()), int((~inside).sum())
    if not m or not n:
        return np.nan
    above = float(stats.rankdata(values)[inside].sum()) - m * (m + 1) / 2
    return 2 * above / (m * n) - 1


def delta_interval(delta: float, m: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """Return an interval that covers Cliff's δ in 1 − ``level`` of all cases: method 5 of [1]_.

    It keeps its coverage for groups of a few samples, and where all of one exceed all of the other.

    Parameters
    ----------
    delta : float
        As :func:`cliffs_delta` returns it.
    m, n : int
        Sizes of the groups.
    level : float
        One minus the coverage.

    References
    ----------
    .. [1] Newcombe 2006, Confidence intervals for an effect size measure based on the Mann–Whitney statistic, part 2,
       Statistics in Medicine 25.

    Examples
    --------
    >>> low, high = delta_interval(1.0, 5, 20)
    >>> round(low, 2), high
    (0.52, 1.0)
    """
    from scipy import optimize, special

    if not np.isfinite(delta):
        return np.nan, np.nan
    root: Any = optimize.brentq
    found, z, pairs = (delta + 1) / 2, float(special.ndtri(1 - level / 2)), (m + n) / 2 - 1

    def outside(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        return abs(found - theta) - z * spread**0.5

    # at 0 and 1 themselves nothing is spread, which would be taken for a bound
    low = 0.0 if found == 0 else float(root(outside, 0, min(found, 1 - 1e-9)))
    high = 1.0 if found == 1 else float(root(outside, max(found, 1e-9), 1))
    return 2 * low - 1, 2 * high - 1


def rank_sum_p(values: NDArray, inside: NDArray, *, seed: int = 0) -> float:
    """Return the two-sided p-value of the Mann–Whitney test, valid for groups of any size and any ties [1]_.

    Where one group has few values, or most values are the same, groups of that size are drawn at random: first
    ``FIRST`` times, and where few of these exceed what was found ``ALL`` times. The chance of a p-value up to any
    level is then at most the level [2]_. Elsewhere it is the normal approximation, with the correction for ties.

    Parameters
    ----------
    values : ndarray, shape (n,)
        None of them NaN.
    inside : ndarray of bool, shape (n,)
        Who is in the one group.
    seed : int
        Of the draws.

    Returns
    -------
    float
        NaN if a group is empty.

    References
    ----------
    .. [1] Mann and Whitney 1947, On a test of whether one of two random variables is stochastically larger than the
       other, Annals of Mathematical Statistics 18.
    .. [2] Besag and Clifford 1991, Sequential Monte Carlo p-values, Biometrika 78.

    Examples
    --------
    >>> inside = np.arange(100) < 10
    >>> rank_sum_p(np.where(inside, 1.0, 0.0), inside), rank_sum_p(np.ones(100), inside)
    (1e-05, 1.0)
    """
    from scipy import stats

    fewer = inside if 2 * inside.sum() <= inside.size else ~inside
    k = int(fewer.sum())
    if not k:
        return np.nan
    distinct, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    if distinct.size == 1:
        return 1.0
    if k * (1 - counts.max() / values.size) > FEW:
        return float(stats.mannwhitneyu(values[inside], values[~inside], method="asymptotic").pvalue)
    rank = np.cumsum(counts) - (counts - 1) / 2
    rng, expected = np.random.default_rng(seed), k * (values.size + 1) / 2
    found = abs(rank[of[fewer]].sum() - expected)

    def exceeding(times: int) -> int:
        parts = np.diff([*range(0, times, max(1, DRAWN // max(k, distinct.size if k > SMALL else k))), times])
        drawn = (_drawn_sums(rng, rank, of, counts, k, int(part)) for part in parts)
        return sum(int((abs(sums - expected) >= found - 1e-9).sum()) for sums in drawn)

    exceeded, times = exceeding(FIRST), FIRST
    if exceeded < PLAIN:
        times = ALL if k <= SMALL else int(np.clip(DRAWN / distinct.size, 10 * FIRST, ALL))
        exceeded += exceeding(times - FIRST)
    return (exceeded + 1) / (times + 1)


def _drawn_sums(rng: np.random.Generator, rank: NDArray, of: NDArray, counts: NDArray, k: int, times: int) -> NDArray:
    """Sum the ranks of k samples drawn without replacement, so many times."""
    if k > SMALL:
        return rng.multivariate_hypergeometric(counts, k, size=times, method="marginals") @ rank
    chosen = np.empty((k, times), np.int64)  # by Floyd's algorithm: no draw costs more than k² comparisons
    for row, last in enumerate(range(of.size - k, of.size)):
        draw = rng.integers(0, last + 1, size=times)
        chosen[row] = np.where((chosen[:row] == draw).any(0), last, draw)
    return rank[of[chosen]].sum(0)
