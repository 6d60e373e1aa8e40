"""Padding: texts of several lengths in one array, each as long as the longest, with what stands for no token."""

from typing import Any

import numpy as np

from ..errors import SchemaError


def filler(dtype: np.dtype) -> Any:
    """Return what stands where a text has ended: no relevance, the id −1, no text, and False in a mask.

    Examples
    --------
    >>> filler(np.dtype("float32")), filler(np.dtype("int64")), filler(np.dtype(object)), filler(np.dtype(bool))
    (0.0, -1, '', False)
    """
    found = {"f": 0.0, "i": -1, "b": False, "U": "", "T": "", "O": "", "S": b""}.get(dtype.kind)
    if found is None:
        raise SchemaError(f"tokens have values of type {dtype}: give floats, signed integers, text, or yes and no")
    return found


def padded(values: np.ndarray, length: int) -> np.ndarray:
    """Fill texts up at their end, to a length.

    Parameters
    ----------
    values : numpy.ndarray
        ``(sample, token, ...)``.
    length : int
        At least the number of tokens.

    Examples
    --------
    >>> padded(np.array([[5, 6]]), 4).tolist()
    [[5, 6, -1, -1]]
    """
    missing = length - values.shape[1]
    if not missing:
        return values
    shape = (values.shape[0], missing, *values.shape[2:])
    return np.concatenate([values, np.full(shape, filler(values.dtype), values.dtype)], axis=1)
