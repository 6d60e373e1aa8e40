"""Blocks: an array that may be larger than memory, cut into parts that are read one by one."""

import math
from collections.abc import Iterator
from typing import Any

BYTES = 1 << 25


def cut(shape: tuple[int, ...], itemsize: int) -> Iterator[Any]:
    """Yield indices of parts along an array's first axis, each of at most :data:`BYTES` if its rows are.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    itemsize : int
        Bytes of a value.

    Examples
    --------
    >>> list(cut((3, 1 << 24), 1))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    if not shape:
        yield ()
        return
    rows = max(1, BYTES // max(1, itemsize * math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)
