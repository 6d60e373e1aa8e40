"""Roles: what a step, a function ``Dataset -> Dataset``, makes, and where in the tree its results belong.

A step reads variables of the dataset it is given and returns a dataset of what it computed, and only that. Working
variables, such as ``features`` or the edges of a graph, serve the steps after it. *Results* carry the attribute
``role``: an ``embedding``, a ``clustering`` or a ``score`` goes into the group of that name, an ``eigenvalue`` to the
category itself. A step is made for one role, or kind of working variable, which :func:`makes` declares, so that plans
know what may stand in its place.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import xarray as xr

from relfunc import schema

from .errors import DataError, PlanError, listed

ROLE: Final = "role"
EMBEDDING: Final = "embedding"
CLUSTERING: Final = "clustering"
SCORE: Final = "score"
SPECTRUM: Final = "eigenvalue"
ROLES: Final = (SPECTRUM, EMBEDDING, CLUSTERING, SCORE)

FEATURES: Final = "features"
SHAPE: Final = "shape"
"""The attribute of features that says what they were before they were laid out."""
GRAPH: Final = "graph"
CLUSTER: Final = "cluster"
"""The dimension of scores that each cluster has."""
CLUSTER_SEPARABILITY, SIZE = "cluster_separability", "size"
"""The scores that a ranking needs."""
MARGIN, MARGIN_CHANCE, MARGIN_SUBSAMPLE = "margin", "margin_chance", "margin_subsample"
REPLICATION: Final = "replication"
"""The scores that say whether that is more than chance."""

MADE: Final = (schema.ATTRIBUTION, FEATURES, GRAPH, *ROLES)
"""All that a step can be made for: working variables, and roles of results."""

AnyStep = TypeVar("AnyStep", bound=Callable[..., xr.Dataset])
_TRANSIENT = "__analysis_transient__"
_PER_SAMPLE = "__analysis_per_sample__"
_MAKES = "__analysis_makes__"


def makes(*made: str) -> Callable[[AnyStep], AnyStep]:
    """Declare what a step is made for, so that :func:`analysis.replace` puts it only where that fits.

    Parameters
    ----------
    *made : str
        "attribution", "features", "graph", "eigenvalue", "embedding", "clustering" or "score"; of several it makes one,
        depending on its parameters.

    Returns
    -------
    callable
        A decorator that returns the same step.

    Raises
    ------
    PlanError
        If there is no such role.

    Examples
    --------
    >>> @makes("score")
    ... def most_relevant(data):
    ...     return xr.Dataset({"most": xr.Variable((), data["attribution"].max(), {"role": "score"})})
    """
    check_made(made, "makes")

    def declared(step: AnyStep) -> AnyStep:
        setattr(step, _MAKES, made)
        return step

    return declared


def made_by(step: Callable[..., Any]) -> tuple[str, ...]:
    """Return what a step declares to make, one of these; nothing, if it declares nothing."""
    return getattr(step, _MAKES, ())


def check_made(made: Iterable[str], where: str) -> None:
    """Raise an error if a step can never make one of these."""
    unknown = [name for name in made if name not in MADE]
    if unknown:
        raise PlanError(f"{where}: steps make {listed(MADE)}, not {listed(unknown)}")


def transient(step: AnyStep) -> AnyStep:
    """Mark a step whose working variables are as large as its input and quick to compute: they are never stored."""
    setattr(step, _TRANSIENT, True)
    return step


def is_transient(step: Callable[..., Any]) -> bool:
    """Whether a step's result is computed again rather than stored."""
    return getattr(step, _TRANSIENT, False)


def per_sample(step: AnyStep) -> AnyStep:
    """Mark a step that makes working variables, over ``sample`` first, of each sample by itself.

    It may then be given a few samples at a time: such steps in a row never hold more than a block of samples and
    their common result, so attributions may be larger than memory. The result is computed again rather than stored.

    Parameters
    ----------
    step : callable
        A step.

    Returns
    -------
    callable
        The same.

    Examples
    --------
    >>> @per_sample
    ... def halved(data):
    ...     return data[["attribution"]] / 2
    """
    setattr(step, _PER_SAMPLE, True)
    return transient(step)


def is_per_sample(step: Callable[..., Any]) -> bool:
    """Whether a step may be given a few samples at a time."""
    return getattr(step, _PER_SAMPLE, False)


def variable(data: xr.Dataset, name: str, step: str) -> xr.DataArray:
    """Return variable ``name``, or say which there are."""
    if name not in data.data_vars:
        there = listed(data.data_vars)
        raise DataError(f"{step}: no variable '{name}'; there are {there}: put the step that makes it before this one")
    return data[name]


def matrix(data: xr.Dataset, name: str, step: str) -> np.ndarray:
    """Return variable ``name`` as an array (sample, feature)."""
    values = variable(data, name, step)
    if values.ndim != 2 or values.dims[0] != schema.SAMPLE:
        raise DataError(f"{step}: variable '{name}' has dimensions {values.dims}, not (sample, feature): flatten it")
    return values.values


def result(role: str, dims: tuple[str, ...], values: Any, **attrs: Any) -> xr.Variable:
    """Return a variable that is laid out in the tree by its role."""
    return xr.Variable(dims, values, {ROLE: role, **attrs})


def having(data: xr.Dataset, role: str) -> dict[str, xr.DataArray]:
    """Variables of a role, by name, in order."""
    return {str(name): array for name, array in data.data_vars.items() if array.attrs.get(ROLE) == role}


def choice(value: str, among: tuple[str, ...], parameter: str, step: str) -> str:
    """Return ``value`` if it is one of the choices of a parameter."""
    if value not in among:
        raise DataError(f"{step}: {parameter}={value!r} is none of {', '.join(map(repr, among))}")
    return value


def merged(data: xr.Dataset, computed: xr.Dataset) -> xr.Dataset:
    """Return ``data`` with ``computed`` added or in place of what it had.

    A variable of ``data`` that lies along a dimension whose size has changed is dropped, as a resized heatmap and
    the image it once matched share no pixels any more.
    """
    sizes: Mapping[Any, int] = computed.sizes
    stale = [
        name
        for name, old in data.variables.items()
        if name in computed.variables or any(sizes.get(dim, size) != size for dim, size in old.sizes.items())
    ]
    return xr.merge([data.drop_vars(stale), computed], join="exact", combine_attrs="override", compat="identical")
