"""P-values of many tests made one statement: what holds of all of them at once, or of those that are named."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values so that the chance of any false rejection is at most the level, whatever their dependence [1]_.

    Parameters
    ----------
    p : array-like
        Of any shape. NaN, where nothing was tested, stays NaN and does not count.

    Returns
    -------
    numpy.ndarray of float64
        In the same shape, each at least as large as it was, at most 1.

    References
    ----------
    .. [1] Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, np.nan])
    array([0.03, 0.06, 0.06,  nan])
    """
    values = np.asarray(p, np.float64)
    tested = ~np.isnan(values)
    ascending = np.sort(values[tested])
    stepped = np.maximum.accumulate(ascending * np.arange(ascending.size, 0, -1)).clip(max=1)
    return _in_place(values, tested, stepped)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values so that the expected share of false ones among those below a level is at most the level [1]_.

    It holds for independent tests, and for those that depend on each other positively.

    Parameters
    ----------
    p : array-like
        Of any shape. NaN, where nothing was tested, stays NaN and does not count.

    Returns
    -------
    numpy.ndarray of float64
        In the same shape, each at least as large as it was, at most 1.

    References
    ----------
    .. [1] Benjamini and Hochberg 1995, Controlling the false discovery rate, Journal of the Royal Statistical Society,
       Series B 57.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, np.nan])
    array([0.03, 0.04, 0.04,  nan])
    """
    from scipy import stats  # slow to load

    values = np.asarray(p, np.float64)
    tested = ~np.isnan(values)
    if not tested.any():
        return values.copy()
    ascending: Any = np.sort(values[tested])
    return _in_place(values, tested, np.asarray(stats.false_discovery_control(ascending)))


CORRECTIONS: Final[Mapping[str, Callable[[ArrayLike], NDArray[np.float64]]]] = {
    "holm": holm,
    "benjamini-hochberg": benjamini_hochberg,
}
"""What a ``correction`` may be."""


def _in_place(values: NDArray, tested: NDArray, ascending: NDArray) -> NDArray[np.float64]:
    """Put adjusted values, ascending, where the values they are of stand."""
    of_tested = np.empty_like(ascending)
    of_tested[np.argsort(values[tested], kind="stable")] = ascending
    adjusted = np.full(values.shape, np.nan)
    adjusted[tested] = of_tested
    return adjusted
