"""One group of samples against the rest: tests of any variable, each with effect, interval and p-value, and a table.

All effects are Cliff's δ in [−1, 1]: how much more often a sample of the group has the larger value than it has the
smaller one, compared with a sample of the rest. Of a yes or no that is the difference of the two shares.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .._kernels.dominance import cliffs_delta, delta_interval, rank_sum_p
from .._kernels.multiple import CORRECTIONS
from .._kernels.proportions import fisher_p, newcombe
from ..errors import DataError
from ..roles import choice

TEST: Final = "test"
SMALLEST: Final = 5
"""Values, groups and slices of fewer samples are not tested."""
MOST_VALUES: Final = 50
"""Of a variable with more values that are tested, only so many are, the commonest."""
CODES: Final = 12
"""Whole numbers of at most so many different values may be codes: each value is tested, not their order."""
MISSING: Final = "(missing)"


class Evidence(NamedTuple):
    """One variable, or one value of it, in a group against the rest."""

    kind: str
    variable: str
    value: str
    measure: str
    inside: float
    outside: float
    n_inside: int
    n_outside: int
    effect: float
    effect_low: float
    effect_high: float
    p_value: float


class Named(NamedTuple):
    """What a test is of, as a table has it."""

    kind: str
    variable: str
    value: str = ""


def of_numbers(
    name: Named, values: NDArray, inside: NDArray, level: float, seed: int = 0, measure: str = "median"
) -> Evidence:
    """Test whether numbers are larger or smaller inside, by the Mann–Whitney test; NaN does not count.

    Examples
    --------
    >>> test = of_numbers(Named("metadata", "age"), np.arange(40.0), np.arange(40) < 10, 0.05)
    >>> test.inside, test.outside, test.effect, test.p_value < 1e-4
    (4.5, 24.5, -1.0, True)
    """
    seen = ~np.isnan(values)
    values, inside = values[seen], inside[seen]
    m, n = int(inside.sum()), int((~inside).sum())
    if not m or not n:
        return Evidence(*name, measure, np.nan, np.nan, m, n, np.nan, np.nan, np.nan, np.nan)
    middle = np.mean if measure == "mean" else np.median
    delta = cliffs_delta(values, inside)
    p = rank_sum_p(values, inside, seed=seed)
    summary = float(middle(values[inside])), float(middle(values[~inside]))
    return Evidence(*name, measure, *summary, m, n, delta, *delta_interval(delta, m, n, level), p)


def of_yes_or_no(name: Named, yes: NDArray, inside: NDArray, level: float) -> Evidence:
    """Test whether more or fewer say yes inside, by Fisher's exact test.

    Examples
    --------
    >>> test = of_yes_or_no(Named("metadata", "male"), np.arange(40) < 8, np.arange(40) < 10, 0.05)
    >>> test.inside, test.outside, test.effect, test.p_value < 1e-6
    (0.8, 0.0, 0.8, True)
    """
    hits, m, others, n = int(yes[inside].sum()), int(inside.sum()), int(yes[~inside].sum()), int((~inside).sum())
    share, other = (hits / m if m else np.nan), (others / n if n else np.nan)
    low, high = newcombe(hits, m, others, n, level)
    return Evidence(*name, "share", share, other, m, n, share - other, low, high, fisher_p(hits, m, others, n))


def of_variable(
    variable: str, values: NDArray, inside: NDArray, level: float, *, seed: int = 0
) -> tuple[list[Evidence], str]:
    """Test any variable: numbers and dates by their order, everything else by how often each value occurs.

    Which values are tested depends on how often they occur, not on where, so that the tests stay valid.

    Parameters
    ----------
    variable : str
        Its name.
    values : ndarray, shape (n,)
        Numbers, dates, bools, texts or anything else. Values may be missing: NaN, NaT, None or an empty text.
    inside : ndarray of bool, shape (n,)
        Who is in the group.
    level : float
        One minus the coverage of intervals.
    seed : int
        Of the draws of permutation tests.

    Returns
    -------
    list of Evidence
    str
        Why nothing was tested; empty if something was.

    Examples
    --------
    >>> tests, _ = of_variable("site", np.array(["A", "B"] * 10), np.arange(20) < 6, 0.05)
    >>> [(test.variable, test.value, test.effect) for test in tests]
    [('site', 'B', 0.0)]
    >>> of_variable("file", np.arange(20).astype(str), np.arange(20) < 6, 0.05)
    ([], 'none of its 20 values occurs in 5 samples')
    """
    if inside.size != values.size:
        raise DataError(f"{variable}: {values.size} values of {inside.size} samples")
    missing = is_missing(values)
    tests: list[Evidence] = []
    seen = values[~missing]
    if not seen.size:
        return [], "all of its values are missing"
    if is_ordered(seen):
        numbers, measure = np.full(values.size, np.nan), "median"
        if values.dtype.kind in "mM":
            measure = "median, days since 1970-01-01" if values.dtype.kind == "M" else "median, days"
            day = np.timedelta64(1, "D")
            since = seen - np.datetime64(0, "s") if values.dtype.kind == "M" else seen
            numbers[~missing] = since / day
        else:
            numbers[~missing] = seen
        if np.unique(seen).size > 1:
            tests.append(of_numbers(Named("metadata", variable), numbers, inside, level, seed, measure))
    else:
        for value, yes in frequent_values(values, missing).items():
            tests.append(of_yes_or_no(Named("metadata", variable, value), yes, inside, level))
    if SMALLEST <= missing.sum() <= missing.size - SMALLEST:
        tests.append(of_yes_or_no(Named("metadata", variable, MISSING), missing, inside, level))
    if tests:
        return tests, ""
    different = np.unique(seen.astype(str)).size
    if different == 1:
        return [], "all of its values are the same"
    return [], f"none of its {different} values occurs in {SMALLEST} samples"


def frequent_values(values: NDArray, missing: NDArray, *, both: bool = False) -> dict[str, NDArray[np.bool]]:
    """Return who has each value of a variable that is tested, the commonest first; of two, one, unless ``both``.

    Examples
    --------
    >>> list(frequent_values(np.array(["a"] * 9 + ["b"] * 7 + ["c"] * 5 + ["d"]), np.zeros(22, bool)))
    ['a', 'b', 'c']
    >>> list(frequent_values(np.arange(12) < 5, np.zeros(12, bool)))
    ['True']
    """
    whole = values.dtype.kind == "f"  # codes of which some are missing
    text = np.where(missing, "", (np.where(missing, 0, values).astype(np.int64) if whole else values).astype(str))
    different, of, counts = np.unique(text[~missing], return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    enough = [int(k) for k in order if SMALLEST <= counts[k] <= values.size - SMALLEST][:MOST_VALUES]
    if different.size == 2 and not missing.any() and not both:  # what one value tells, the other does
        enough = enough[:1] and [1] if values.dtype.kind == "b" else enough[-1:]
    at = np.flatnonzero(~missing)
    found: dict[str, NDArray[np.bool]] = {}
    for k in enough:
        found[str(different[k])] = np.zeros(values.size, bool)
        found[str(different[k])][at[of == k]] = True
    return found


def tabled(rows: Sequence[Evidence], of: Sequence[int], level: float, correction: str, where: str) -> xr.Dataset:
    """Lay tests out over ``test``, corrected for all that are of the same finding.

    Parameters
    ----------
    rows : sequence of Evidence
        The tests.
    of : sequence of int
        The number of the finding that each is of.
    level : float
        Up to which corrected p-value a test is significant.
    correction : str
        One of :data:`analysis._kernels.multiple.CORRECTIONS`.
    where : str
        The function that messages name.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> yes = of_yes_or_no(Named("metadata", "male"), np.arange(40) < 8, np.arange(40) < 10, 0.05)
    >>> tabled([yes, yes], [0, 0], 0.05, "holm", "doctest")["significant"].values
    array([ True,  True])
    """
    correct = CORRECTIONS[choice(correction, tuple(CORRECTIONS), "correction", where)]
    columns: dict[str, Any] = {"finding_of_test": (TEST, np.array(of, np.int64))}
    for name, kind in Evidence.__annotations__.items():
        dtype = {str: object, int: np.int64, float: np.float64}[kind]
        column = np.array([getattr(row, name) for row in rows], dtype)
        columns[name] = TEST, column.astype(str) if dtype is object else column
    p = columns["p_value"][1]
    adjusted = np.full(p.shape, np.nan)
    for number in np.unique(columns["finding_of_test"][1]):
        own = columns["finding_of_test"][1] == number
        adjusted[own] = correct(p[own])
    columns |= {"p_adjusted": (TEST, adjusted), "significant": (TEST, adjusted <= level)}
    return xr.Dataset(columns)


def checked_level(level: float, where: str) -> float:
    """Return the level if it is one."""
    if not 0 < level < 1:
        raise DataError(f"{where}: level={level} is no chance of error: give a number between 0 and 1, such as 0.05")
    return level


def is_ordered(values: NDArray) -> bool:
    """Whether values are compared by their order: numbers and dates, but not few whole numbers, which may be codes."""
    if values.dtype.kind in "mM":
        return True
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and np.equal(values, np.rint(values)).all())
    return values.dtype.kind in "fiu" and not (whole and np.isfinite(values).all() and np.unique(values).size <= CODES)


def is_missing(values: NDArray) -> NDArray[np.bool]:
    """Return which values are missing: NaN, NaT, None or an empty text."""
    empty = values == "" if values.dtype.kind in "OUST" else False
    return np.asarray(pd.isna(values), bool) | np.asarray(empty, bool)
