"""Loops that NumPy cannot write without copies, compiled by Numba."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, fastmath={"reassoc"})
def squared_distances(x: NDArray, rows: NDArray, others: NDArray) -> NDArray:
    """Return ‖x_i − x_j‖² in float64 for the rows i and each row's others j, shape (m, d), (r,), (r, c) → (r, c)."""
    found = np.empty(others.shape, np.float64)
    for position in range(rows.size):
        for candidate in range(others.shape[1]):
            total = 0.0
            for column in range(x.shape[1]):
                difference = np.float64(x[rows[position], column]) - np.float64(x[others[position, candidate], column])
                total += difference * difference
            found[position, candidate] = total
    return found
