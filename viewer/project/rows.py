"""Rows of what is on disk, in any order: neighbours are read together, and each row once."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

GAP: Final = 1 << 16
"""Bytes between two rows up to which it is faster to read them too than to begin anew."""
MOST: Final = 1 << 26
"""Bytes that are read at a time at most."""


def taken(read: Callable[[int, int], NDArray], rows: NDArray[np.integer], each: int) -> NDArray:
    """Read some rows.

    Parameters
    ----------
    read : callable
        Takes two positions, and returns the rows from the first up to but without the second.
    rows : numpy.ndarray
        (k,) positions in any order; one may occur several times.
    each : int
        Bytes of one row.

    Returns
    -------
    numpy.ndarray
        (k, ...) the rows in the order asked for.

    Raises
    ------
    IndexError
        If there is no such row.

    Examples
    --------
    >>> values = np.arange(10) * 2
    >>> taken(lambda first, last: values[first:last], np.array([7, 1, 2, 7]), 8)
    array([14,  2,  4, 14])
    """
    ordered, back = np.unique(rows, return_inverse=True)
    gap, most = max(GAP // max(each, 1), 1), max(MOST // max(each, 1), 1)
    # A run ends where the next row is far, and where it would be too long.
    far = np.diff(ordered, prepend=ordered[:1]) > gap
    first_of_run = ordered[np.maximum.accumulate(np.where(far, np.arange(ordered.size), 0))]
    part = (ordered - first_of_run) // most
    ends = np.flatnonzero(far[1:] | (np.diff(part) != 0)) + 1
    runs = np.split(ordered, ends)
    parts = [read(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in runs] if ordered.size else [read(0, 0)]
    return np.concatenate(parts)[back]
