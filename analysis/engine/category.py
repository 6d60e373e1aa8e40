"""Categories: which samples are in which, by a label, a prediction or any other variable."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from relfunc import schema

from ..errors import DataError, listed

WHOLE = "all"
Members = list[tuple[str, np.ndarray]]


def members_of(data: xr.Dataset, by: str | None) -> Members:
    """Names of the categories, each with the positions of its samples; names may occur more than once.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``by``, and names of classes if it is over ``sample, class`` or called "label".
    by : str or None
        As :func:`analysis.run` takes it.

    Returns
    -------
    list of (str, numpy.ndarray)

    Raises
    ------
    DataError
        If there is no such variable, or a sample's value names no category.

    Examples
    --------
    >>> members_of(xr.Dataset({"group": ("sample", ["b", "a", "b"])}), "group")
    [('a', array([1])), ('b', array([0, 2]))]
    """
    if by is None:
        return [(WHOLE, np.arange(data.sizes[schema.SAMPLE]))]
    if by not in data.variables:
        raise DataError(f"run: by={by!r} is none of the dataset's variables, {listed(data.variables)}")
    values = data[by]
    if set(values.dims) == {schema.SAMPLE, schema.CLASS}:
        table = values.transpose(schema.SAMPLE, schema.CLASS).values
        if by == schema.PREDICTION:
            _refuse(data, by, ~np.isfinite(table).all(1), "which has no largest output")
            table = np.arange(table.shape[1]) == table.argmax(1)[:, None]
        _refuse(data, by, ~np.isin(table, (0, 1)).all(1), "which is neither yes nor no for some class")
        return [(name, np.flatnonzero(column)) for name, column in zip(_classes(data), table.T, strict=True)]
    if values.dims != (schema.SAMPLE,):
        raise DataError(f"run: by={by!r} has dimensions {values.dims}, not ('sample',) or ('sample', 'class')")
    of = values.values
    _refuse(data, by, np.array(pd.isna(of), bool), "which is no category")
    if by == schema.LABEL and schema.CLASS in data.sizes:
        names = _classes(data)
        _refuse(data, by, ~np.isin(of, np.arange(len(names))), f"which names none of the {len(names)} classes")
        return [(name, np.flatnonzero(of == label)) for label, name in enumerate(names)]
    try:
        return [(str(value), np.flatnonzero(of == value)) for value in np.unique(of)]
    except TypeError as error:
        raise DataError(f"run: by={by!r} holds values of several types ({error}): make all of them text") from error


def _classes(data: xr.Dataset) -> list[str]:
    if schema.CLASS not in data.coords:
        return list(map(str, range(data.sizes[schema.CLASS])))
    return [str(name) for name in data[schema.CLASS].values]


def _refuse(data: xr.Dataset, by: str, wrong: Any, why: str) -> None:
    """Raise an error that names the first sample whose value is wrong, if there is one."""
    if not wrong.any():
        return
    at = np.flatnonzero(wrong)
    more = f", and of {at.size - 1} more" if at.size > 1 else ""
    value = data[by].values[at].tolist()[0]
    raise DataError(
        f"run: by={by!r} is {value!r} of sample {data[schema.SAMPLE].values[at].tolist()[0]!r}{more}, {why}: "
        "correct the values, or drop these samples"
    )
