"""How likely a group of samples is found, by how many samples there are and how many of them are the group."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

MEASURED: Final = Path(__file__).with_name("power.csv")
"""What `python -m benchmarks chance` measured, with the columns ``n``, ``prevalence`` and ``found``."""


def measured() -> pd.DataFrame | None:
    """Return the table that comes with the package, None if it has none."""
    return pd.read_csv(MEASURED) if MEASURED.exists() else None


def power(n: ArrayLike, prevalence: ArrayLike, table: pd.DataFrame) -> NDArray[np.float64]:
    """Return in which share of runs a group of samples is found.

    Parameters
    ----------
    n : array_like of int
        How many samples a category has.
    prevalence : array_like of float
        Which share of them the group is, between 0 and 1; broadcast with ``n``.
    table : pandas.DataFrame
        As :func:`measured` returns it: every prevalence for every ``n``.

    Returns
    -------
    numpy.ndarray of float64
        Between what was measured, linear in log n and in log prevalence; beyond it NaN.

    Examples
    --------
    >>> table = pd.DataFrame({"n": [50, 50, 200, 200], "prevalence": [0.1, 0.4] * 2, "found": [0.2, 0.6, 0.6, 1.0]})
    >>> power([50, 100, 200, 400], 0.2, table)
    array([0.4, 0.6, 0.8, nan])
    """
    from scipy.interpolate import RegularGridInterpolator  # slow to load

    grid = table.pivot(index="n", columns="prevalence", values="found").sort_index().sort_index(axis=1)
    axes = np.log(grid.index.to_numpy(float)), np.log(grid.columns.to_numpy(float))
    between = RegularGridInterpolator(axes, grid.to_numpy(float), bounds_error=False)
    asked = np.stack(np.broadcast_arrays(np.log(n), np.log(prevalence)), axis=-1)
    return between(asked)


def enough(prevalence: float, table: pd.DataFrame, *, wanted: float = 0.8) -> int | None:
    """Return the fewest samples that were measured with which such a group is found as often as wanted, if any.

    Examples
    --------
    >>> table = pd.DataFrame({"n": [50, 200], "prevalence": [0.1, 0.1], "found": [0.2, 0.9]})
    >>> enough(0.1, table), enough(0.1, table, wanted=0.95)
    (200, None)
    """
    often = np.isclose(table["prevalence"], prevalence) & (table["found"] >= wanted)
    return int(np.min(table["n"].to_numpy()[often])) if often.any() else None
