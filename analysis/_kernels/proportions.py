"""Shares: of one group, of one against another, and of the same samples twice, with intervals and exact tests."""

import numpy as np
from numpy.typing import NDArray


def wilson(hits: float, n: float, level: float = 0.05) -> tuple[float, float]:
    """Return the score interval of a share [1]_; NaN of none.

    Parameters
    ----------
    hits, n : float
        How many of how many.
    level : float
        One minus the coverage.

    References
    ----------
    .. [1] Wilson 1927, Probable inference, the law of succession, and statistical inference, Journal of the American
       Statistical Association 22.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    from scipy import special

    if not n:
        return np.nan, np.nan
    z, share = float(special.ndtri(1 - level / 2)), hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(hits: float, n: float, other_hits: float, other_n: float, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of the difference of two shares, made of the score intervals of each: method 10 of [1]_.

    Parameters
    ----------
    hits, n, other_hits, other_n : float
        How many of how many in the one group, and in the other.
    level : float
        One minus the coverage.

    References
    ----------
    .. [1] Newcombe 1998, Interval estimation for the difference between independent proportions, Statistics in
       Medicine 17, 873–890.

    Examples
    --------
    >>> [round(bound, 4) for bound in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    if not n or not other_n:
        return np.nan, np.nan
    (low, high), (other_low, other_high) = wilson(hits, n, level), wilson(other_hits, other_n, level)
    share, other = hits / n, other_hits / other_n
    below = ((share - low) ** 2 + (other_high - other) ** 2) ** 0.5
    above = ((high - share) ** 2 + (other - other_low) ** 2) ** 0.5
    return max(-1.0, share - other - below), min(1.0, share - other + above)


def fisher_p(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Return the two-sided p-value of Fisher's exact test: of all tables as unlikely as this one, or more [1]_.

    Parameters
    ----------
    hits, n, other_hits, other_n : int
        How many of how many in the one group, and in the other.

    References
    ----------
    .. [1] Fisher 1935, The logic of inductive inference, Journal of the Royal Statistical Society 98.

    Examples
    --------
    >>> round(fisher_p(3, 4, 1, 4), 4)
    0.4857
    """
    from scipy.special import gammaln

    if not n or not other_n:
        return np.nan
    total, drawn = n + other_n, hits + other_hits
    possible = np.arange(max(0, drawn - other_n), min(n, drawn) + 1)

    def log_choose(of: int, chosen: NDArray) -> NDArray:
        return gammaln(of + 1) - gammaln(chosen + 1) - gammaln(of - chosen + 1)

    log = log_choose(n, possible) + log_choose(other_n, drawn - possible)
    chance = np.exp(log - log_choose(total, np.array(drawn)))
    found = chance[hits - possible[0]]
    return float(min(1.0, chance[chance <= found * (1 + 1e-7)].sum()))


def mcnemar_p(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of a change in pairs: of those that changed, half should have gained [1]_.

    Parameters
    ----------
    gained, lost : int
        Pairs that changed from no to yes, and from yes to no.

    References
    ----------
    .. [1] McNemar 1947, Note on the sampling error of the difference between correlated proportions or percentages,
       Psychometrika 12.

    Examples
    --------
    >>> mcnemar_p(0, 5), mcnemar_p(0, 0)
    (0.0625, 1.0)
    """
    from scipy.special import bdtr

    return float(min(1.0, 2 * bdtr(min(gained, lost), gained + lost, 0.5))) if gained + lost else 1.0


def paired_interval(gained: int, lost: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of a change of a share in ``n`` pairs, after adding half a pair to each kind [1]_.

    Parameters
    ----------
    gained, lost : int
        As :func:`mcnemar_p` takes them.
    n : int
        Of how many pairs.
    level : float
        One minus the coverage.

    References
    ----------
    .. [1] Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions, Statistics in
       Medicine 24.

    Examples
    --------
    >>> [round(bound, 3) for bound in paired_interval(8, 2, 50)]
    [-0.006, 0.236]
    """
    from scipy import special

    if not n:
        return np.nan, np.nan
    z, total = float(special.ndtri(1 - level / 2)), n + 2
    up, down = (gained + 0.5) / total, (lost + 0.5) / total
    half = z * ((up + down - (up - down) ** 2) / total) ** 0.5
    return max(-1.0, up - down - half), min(1.0, up - down + half)
