"""Whether a margin is more than chance: a category's own chance level, and how much categories vary."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

USUAL: Final = (0.6, 0.65)
"""Mean and standard deviation over categories of how far margins exceed those of their surrogates.

What maps without separate groups reach that are not normal, as bumps at random places or heatmaps of a network that
was trained on clean images; `python -m benchmarks chance` measures it."""
WEIGHT: Final = 6
"""Of so many categories are these worth; the others of a tree count for the rest."""
BEYOND: Final = 2.0
"""No tree's categories are taken to exceed their surrogates by more as a rule than this and what is usual.

Kinds of coarse handwriting, all of 8 × 8 pixels, exceed them by so much."""

FREEDOM: Final = 10
"""Degrees of freedom of a t distribution whose tail is as thick as that of maps without groups, at most.

How far the rarest of them exceed what is usual, many categories tell no better than few."""


class Chance(NamedTuple):
    """What the largest margin of each category is by chance: log(1 + exp m) has a scaled t distribution.

    Parameters
    ----------
    location, scale, freedom : ndarray of float64, shape (c,)
        Of each category; NaN where none can be told.
    """

    location: NDArray
    scale: NDArray
    freedom: NDArray

    def p_value(self, margin: NDArray) -> NDArray[np.float64]:
        """Return how likely a margin at least as large is by chance, NaN of NaN."""
        from scipy import special  # the viewer, which waits for it, has no use for the rest of scipy

        return special.stdtr(self.freedom, (self.location - _above_zero(margin)) / self.scale)


def chance(margin: NDArray, surrogates: NDArray) -> Chance:
    """Return how large margins are in categories without groups.

    A category's margin exceeds that of normal samples with its mean and covariance where its samples are not normal,
    groups or not. How far it may, the other categories tell, as studies tell in a random-effects analysis [1]_: the
    excess over the surrogates x = μ + N(0, σ²) + N(0, v), with the variance v of surrogates. So that strategies in
    some of the others do not hide one here, μ is their median and σ the root mean square of what lies below it. With
    few categories, both are mostly those of known maps without groups.

    Parameters
    ----------
    margin : ndarray of float64, shape (c,)
        The largest of each category, NaN where there is none.
    surrogates : ndarray of float64, shape (c, b)
        Of each category's surrogates, NaN where one has no group. A category without any has no chance level.

    Returns
    -------
    Chance

    References
    ----------
    .. [1] DerSimonian and Laird 1986, Meta-analysis in clinical trials, Controlled Clinical Trials 7.

    Examples
    --------
    >>> margin = np.array([1.1, 0.9, 8.0, 1.2])
    >>> chance(margin, np.zeros((4, 2))).p_value(margin) < 0.01
    array([False, False,  True, False])
    """
    found = Chance(*(np.full(margin.shape, np.nan) for _ in Chance._fields))
    if not surrogates.size:
        return found
    drawn = np.ma.masked_invalid(_above_zero(surrogates))
    level = drawn.mean(1).filled(np.nan)
    spread = float(np.ma.filled(drawn.var(1, ddof=1).mean(), 0.0))
    excess = _above_zero(margin) - level
    for here in np.flatnonzero(np.isfinite(level)):
        others = np.delete(excess, here)
        mean, variance, weight = _pooled(others[np.isfinite(others)])
        found.location[here], found.freedom[here] = level[here] + mean, min(weight, FREEDOM)
        found.scale[here] = np.sqrt(variance * (1 + 1 / weight) + spread)
    return found


def _pooled(excess: NDArray) -> tuple[float, float, float]:
    """Mean and variance of what is usual and of some categories together, and how many that are."""
    mean, deviation = USUAL
    weight = WEIGHT + excess.size
    if not excess.size:
        return mean, deviation**2, weight
    share, middle = excess.size / weight, float(np.median(excess))
    square = 2 * float(np.square(np.minimum(excess - middle, 0)).mean())
    variance = (1 - share) * deviation**2 + share * square
    return (1 - share) * mean + share * min(middle, mean + BEYOND), variance, weight


def _above_zero(margin: NDArray) -> NDArray:
    """Return log(1 + exp m), about m where it is large: groups that overlap have no gap, however much they do."""
    return np.maximum(margin, 0) + np.log1p(np.exp(-np.abs(margin)))
