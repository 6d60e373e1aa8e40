"""Where in the tree a category's results belong, as :mod:`relfunc.schema` has it."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from relfunc import schema
from relfunc.text import group_names

from ..roles import CLUSTERING, EMBEDDING, ROLE, SCORE, SPECTRUM

GROUPS = {EMBEDDING: schema.EMBEDDING_GROUP, CLUSTERING: schema.CLUSTER_GROUP, SCORE: schema.SCORE_GROUP}


def layout(key: str, name: str, index: np.ndarray, sample: xr.DataArray, found: xr.Dataset) -> dict[str, xr.Dataset]:
    """Datasets of a category's nodes, as the schema has them."""
    coords: dict[Hashable, Any] = {schema.SAMPLE: sample.values}
    spectrum = {name: values.variable for name, values in _having(found, SPECTRUM)}
    if schema.EIGEN in found.sizes:
        coords[schema.EIGEN] = np.arange(found.sizes[schema.EIGEN])
    if schema.COMPONENT in found.sizes:
        coords[schema.COMPONENT] = np.arange(found.sizes[schema.COMPONENT])
    top = xr.Dataset({schema.INDEX: (schema.SAMPLE, index), **spectrum}, coords, {schema.CATEGORY: name})
    nodes = {f"/{key}": top}
    for role, group in GROUPS.items():
        named = list(_having(found, role))
        keys = group_names(str(name) for name, _ in named)
        variables = {
            key: values.variable if key == name else values.assign_attrs({schema.NAME: str(name)}).variable
            for key, (name, values) in zip(keys, named, strict=True)
        }
        nodes[f"/{key}/{group}"] = xr.Dataset(variables, _score_coords(found) if role == SCORE else None)
    return nodes


def _having(found: xr.Dataset, role: str) -> Iterator[tuple[Hashable, xr.DataArray]]:
    return ((name, values) for name, values in found.data_vars.items() if values.attrs[ROLE] == role)


def _score_coords(found: xr.Dataset) -> Mapping[Hashable, Any]:
    scored = {dim for _, values in _having(found, SCORE) for dim in values.dims}
    return {name: found.coords[name].variable for name in found.coords if name in scored}
