"""Where in the tree a category's results belong, as :mod:`relfunc.schema` has it."""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from relfunc import schema
from relfunc.groups import deferred
from relfunc.text import group_names

from ..roles import CLUSTERING, EMBEDDING, ROLE, SCORE, SPECTRUM

GROUPS = {EMBEDDING: schema.EMBEDDING_GROUP, CLUSTERING: schema.CLUSTER_GROUP, SCORE: schema.SCORE_GROUP}


def laid_out(
    root: xr.Dataset,
    members: Mapping[str, tuple[str, np.ndarray]],
    sample: np.ndarray,
    results: Callable[[str], xr.Dataset],
    later: Collection[str],
) -> xr.DataTree:
    """Return the tree of all categories, of which some may be laid out later, when they are asked for.

    Parameters
    ----------
    root : xarray.Dataset
        What its root holds.
    members : mapping
        The name of each category, and the positions of its samples, by the name of its group.
    sample : numpy.ndarray
        The identifiers of all samples.
    results : callable
        Returns the results of the category of a group.
    later : collection of str
        Groups that were laid out before and fitted; an error in others is raised now.
    """
    of = {key: sample[index] for key, (_, index) in members.items()}

    def nodes(key: str) -> dict[str, xr.Dataset]:
        return _layout(*members[key], of[key], results(key))

    if not later:
        below = {f"/{key}{path}": node for key in members for path, node in nodes(key).items()}
        return xr.DataTree.from_dict({"/": root, **below})
    attrs = {key: {schema.CATEGORY: name} for key, (name, _) in members.items()}
    tree = deferred(root, attrs, lambda key: xr.DataTree.from_dict(nodes(key)))
    for key in (key for key in members if key not in later):
        tree[key]
    return tree


def _layout(name: str, index: np.ndarray, sample: np.ndarray, found: xr.Dataset) -> dict[str, xr.Dataset]:
    """Datasets of a category's node and the nodes below it, as the schema has them."""
    variables = {name: found.variables[name] for name in found.data_vars}  # items() would make each an array of its own
    coords: dict[Hashable, Any] = {schema.SAMPLE: sample}
    if schema.EIGEN in found.sizes:
        coords[schema.EIGEN] = np.arange(found.sizes[schema.EIGEN])
    if schema.COMPONENT in found.sizes:
        coords[schema.COMPONENT] = np.arange(found.sizes[schema.COMPONENT])
    held = {schema.INDEX: (schema.SAMPLE, index), **_having(variables, SPECTRUM)}
    nodes = {"/": xr.Dataset(held, coords, {schema.CATEGORY: name})}
    for role, group in GROUPS.items():
        of_role = _having(variables, role)
        keys = group_names(map(str, of_role))
        named = {
            key: values if key == name else _named(values, str(name))
            for key, (name, values) in zip(keys, of_role.items(), strict=True)
        }
        dims = {dim for values in of_role.values() for dim in values.dims} if role == SCORE else set()
        nodes[f"/{group}"] = xr.Dataset(named, {dim: found.variables[dim] for dim in found.coords if dim in dims})
    return nodes


def _having(variables: Mapping[Hashable, xr.Variable], role: str) -> dict[Hashable, xr.Variable]:
    return {name: values for name, values in variables.items() if values.attrs[ROLE] == role}


def _named(values: xr.Variable, name: str) -> xr.Variable:
    """Return a variable that tells its name, which no group of a file can have."""
    named = values.copy(deep=False)
    named.attrs[schema.NAME] = name
    return named
