"""What a number of a score means, as functions of plain arrays: the steps and the viewer ask the same."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

ZERO: Final = 1e-6
"""Eigenvalues of connected components, which are zero, come out of single precision below this."""


def largest_gap(eigenvalues: NDArray[np.floating], *, most: int | None = None) -> int:
    """Return how many eigenvalues lie below the largest gap, which is how many clusters the spectrum suggests [1]_.

    Parameters
    ----------
    eigenvalues : numpy.ndarray
        In any order; those that are not finite are passed over.
    most : int, optional
        Gaps after at most so many eigenvalues are looked at; all of them, if not given.

    Returns
    -------
    int
        Between 1 and the number of eigenvalues; 0 if there are none. Where all that are looked at are zero, the gap
        lies behind the last zero of all: each of them is a connected component.

    References
    ----------
    .. [1] von Luxburg 2007, A tutorial on spectral clustering, Statistics and Computing 17, section 8.3.

    Examples
    --------
    >>> largest_gap(np.array([0.0, 0.01, 0.02, 0.5, 0.6])), largest_gap(np.array([0.0, 0.0, 0.0]))
    (3, 3)
    """
    ordered = np.sort(eigenvalues[np.isfinite(eigenvalues)])
    gaps = np.diff(ordered)[:most]
    zeros = int((np.abs(ordered) < ZERO).sum())
    return zeros if zeros > gaps.size else int(gaps.argmax()) + 1 if gaps.size else ordered.size


def largest_share(values: NDArray) -> float:
    """Return the share of the commonest value, the purity of a cluster [1]_; NaN of none.

    Parameters
    ----------
    values : numpy.ndarray
        Of a cluster's samples, such as their labels.

    Returns
    -------
    float

    References
    ----------
    .. [1] Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, section 16.3.

    Examples
    --------
    >>> largest_share(np.array(["cat", "cat", "dog", "cat"]))
    0.75
    """
    return float(np.unique(values, return_counts=True)[1].max() / values.size) if values.size else np.nan
