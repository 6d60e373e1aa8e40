"""Trees: writing all groups of a tree in a time that grows with their number, and not with its square.

xarray writes one group after another, and netCDF looks through all of a file each time that it goes from defining to
writing. Here everything is defined first, and written then. :mod:`relfunc.groups` reads such files.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from xarray.conventions import encode_cf_variable, encode_dataset_coordinates

from ..text import characters
from .kinds import check_kind, held_attributes


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree as netCDF-4, as xarray does: a group for each node, text as characters.

    Parameters
    ----------
    tree : xarray.DataTree
        What to write; variables that are no numbers, times or text are refused.
    path : pathlib.Path
        The file's name.

    Raises
    ------
    RuntimeError
        If netCDF cannot write.
    TypeError
        If it holds no values of such a kind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tree(xr.DataTree.from_dict({"/a": xr.Dataset({"x": ("n", ["ä", "b"])})}), Path(folder) / "a.nc")
    ...     xr.load_dataset(Path(folder) / "a.nc", group="a")["x"].values.tolist()
    ['ä', 'b']
    """
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        todo = []
        for node in tree.subtree:
            group = file if node.path == "/" else file.createGroup(node.path)
            variables, attrs = _with_coordinates(node.to_dataset(inherit=False))
            if attrs:
                group.setncatts(held_attributes(attrs, f"group '{node.path}'"))
            taken = {*map(str, node.dims), *map(str, variables)}
            todo += [_defined(group, str(name), variable, taken) for name, variable in variables.items()]
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        for variable, values in todo:
            variable[...] = values


def _with_coordinates(data: xr.Dataset) -> tuple[Mapping[Any, xr.Variable], Mapping[Any, Any]]:
    """Return variables and attributes, which name the coordinates that are not those of a dimension."""
    variables = data.variables
    if set(data.coords) <= set(data.dims) and not any("coordinates" in each.encoding for each in variables.values()):
        return variables, data.attrs
    return encode_dataset_coordinates(data)


def _defined(
    group: netCDF4.Group | netCDF4.Dataset, name: str, variable: xr.Variable, taken: Collection[str]
) -> tuple[Any, np.ndarray]:
    """Define a variable, and return it with what is to be written; ``taken`` are names in the group."""
    attrs, dims, values = dict(variable.attrs), tuple(map(str, variable.dims)), np.asarray(variable.values)
    what = f"variable '{name}' of group '{group.path}'"
    if values.dtype.kind in "UOT":
        if not all(isinstance(text, str) for text in values.ravel().tolist()):
            raise TypeError(f"{what} holds Python objects that are no text: give numbers, times or text")
        values = _characters(characters(values.ravel().tolist()), values.shape)
        attrs["_Encoding"] = "utf-8"
    elif values.dtype.kind == "S" and values.dtype.itemsize > 1:
        values = _characters(np.ascontiguousarray(values).reshape(-1, 1).view("S1"), values.shape)
    elif not _is_plain(variable, values.dtype):
        encoded = encode_cf_variable(variable, name=name)
        attrs, values = dict(encoded.attrs), np.asarray(encoded.values)
    check_kind(values.dtype, what)
    dims += (_free(f"{name}_length", taken),) * (values.ndim - len(dims))
    fill = attrs.pop("_FillValue", False)
    for dim, size in zip(dims, values.shape, strict=True):
        if not _has_dimension(group, dim, size):
            group.createDimension(dim, size)
    made = group.createVariable(name, values.dtype if values.dtype.kind != "S" else "S1", dims, fill_value=fill)
    if attrs:
        made.setncatts(held_attributes(attrs, what))
    return made, values


def _characters(letters: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return letters.reshape(*shape, letters.shape[1])


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{name}_"
    return name


def _is_plain(variable: xr.Variable, dtype: np.dtype) -> bool:
    """Whether a variable holds numbers that are written as they are."""
    encoding = {name for name in variable.encoding if name not in _STORAGE}
    as_is = encoding <= {"dtype"} and variable.encoding.get("dtype", dtype) == dtype
    return dtype.kind in "iuf" and dtype.isnative and as_is


def _has_dimension(group: Any, dim: str, size: int) -> bool:
    """Whether the nearest dimension of a name, in a group or above it, is of a size."""
    while group is not None:
        if dim in group.dimensions:
            return group.dimensions[dim].size == size
        group = group.parent
    return False


_FILTERS: Final = ("shuffle", "complevel", "fletcher32", "zlib", "szip", "zstd", "bzip2", "blosc")
_STORAGE: Final = frozenset(("source", "original_shape", "contiguous", "chunksizes", "preferred_chunks", *_FILTERS))
"""Names in xarray's encoding of variables that say how they were kept, and not what their values mean."""
