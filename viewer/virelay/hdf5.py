"""Arrays of HDF5 whose rows are those of a Dataset or the members of a Group, as ViRelAy's projects have them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..project.rows import taken


@dataclass(frozen=True, eq=False)
class StoredRows:
    """StoredRows to be read when they are asked for.

    Parameters
    ----------
    count : int
        How many there are.
    width : int
        How many numbers are in the first one; 0 if a row is a single number, or there is none.
    names : callable
        Takes positions and returns the identifiers of these rows.
    take : callable
        Takes positions in any order and returns the rows.
    """

    count: int
    width: int
    names: Callable[[NDArray[np.integer]], NDArray]
    take: Callable[[NDArray[np.integer]], list[NDArray]]


def rows(data: Any) -> StoredRows:
    """Describe a Dataset or a Group; the members of a group are in the order of its keys."""
    if hasattr(data, "shape"):
        each = data.dtype.itemsize * int(np.prod(data.shape[1:]))
        width = int(np.prod(data.shape[1:])) if data.ndim > 1 and data.dtype.names is None else 0
        return StoredRows(
            len(data),
            width,
            lambda positions: positions,
            lambda positions: list(taken(lambda first, last: data[first:last], positions, each)),
        )
    names: list[str] = []

    def listed() -> list[str]:
        # Listing a large group takes a while, which can wait until a sample is looked at.
        return names or names.extend(data) or names

    first = next(iter(data.values()), None)
    return StoredRows(
        len(data),
        int(first.size) if first is not None and first.ndim else 0,
        lambda positions: np.array([listed()[k] for k in positions.tolist()], object),
        lambda positions: [data[listed()[k]][()] for k in positions.tolist()],
    )


def places(index: NDArray[np.int64], positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where in ``index`` positions occur first; −1 for one that does not.

    Examples
    --------
    >>> places(np.array([5, 0, 5]), np.array([0, 1, 5]))
    array([ 1, -1,  0])
    """
    order = np.argsort(index, kind="stable")
    at = np.searchsorted(index, positions, sorter=order)
    found = order[np.minimum(at, index.size - 1)] if index.size else np.zeros(positions.size, int)
    return np.where((at < index.size) & (index[found] == positions), found, -1) if index.size else found - 1
