"""A sweep over parameters as one array: its clusterings along a labelled dimension."""

import numpy as np
import xarray as xr

from relfunc.schema import CLUSTER_GROUP, CLUSTERING, SAMPLE

from ..errors import DataError, listed
from ..roles import ROLE


def sweep(node: xr.DataTree, name: str = "") -> xr.DataArray:
    """Return the clusterings of a category as one array.

    Parameters
    ----------
    node : xarray.DataTree
        A category of what :func:`analysis.run` returns.
    name : str
        What the clusterings' names begin with, such as "kmeans"; all, if not given.

    Returns
    -------
    xarray.DataArray
        Over ``clustering, sample``, int32; ``clustering`` has the names, as in the scores. What the clusterings were
        made with and not all have alike, such as ``k``, is a coordinate along it.

    Raises
    ------
    DataError
        If there is no such clustering.

    Examples
    --------
    >>> from analysis import chain, flatten, kmeans, run, step
    >>> data = xr.Dataset({"attribution": (("sample", "x"), np.eye(4))}, {"sample": list("abcd")})
    >>> tree = run(chain(step(flatten), step(kmeans, embedding="features", clusters=(2, 3))), data, by=None)
    >>> swept = sweep(tree["all"], "kmeans").swap_dims(clustering="k")
    >>> swept.dims, swept["k"].values
    (('k', 'sample'), array([2, 3]))
    """
    found = {
        str(key): labels
        for key, labels in node[CLUSTER_GROUP].to_dataset().data_vars.items()
        if str(key).startswith(name)
    }
    if not found:
        there = listed(node[CLUSTER_GROUP].data_vars)
        raise DataError(f"sweep: no clustering begins with {name!r}; there are {there}")
    attrs = [labels.attrs for labels in found.values()]
    varied = [
        key
        for key in attrs[0]
        if key != ROLE and all(key in one for one in attrs) and any(one[key] != attrs[0][key] for one in attrs)
    ]
    coords = {CLUSTERING: list(found), **{key: (CLUSTERING, [one[key] for one in attrs]) for key in varied}}
    values = np.stack([labels.values for labels in found.values()])
    return xr.DataArray(values, {**coords, SAMPLE: node[SAMPLE].values}, (CLUSTERING, SAMPLE), name=name or None)
