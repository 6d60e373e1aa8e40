"""Groups: trees whose groups are opened, or made, when they are asked for; above all those of a netCDF-4 file.

netCDF reads about every variable of a file before it gives the first, which takes seconds where there are thousands.
HDF5 does not. What a group holds is decoded by xarray. A group with anything that relfunc does not write itself, such
as strings of any length, types that somebody defined or dimensions without a limit, is left to xarray altogether.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import xarray as xr
from h5py import h5, h5a, h5d, h5g, h5o, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from xarray.backends import BackendArray, CachingFileManager
from xarray.conventions import decode_cf_variables
from xarray.core import indexing

Check = Callable[[str, xr.DataTree], None]
"""Takes the name of a group and its tree; raises an error if that is not what it should be."""


def open_tree(
    path: str | Path,
    *,
    create_default_indexes: bool = True,
    check: Check = lambda key, node: None,
    before: Callable[[str], None] = lambda name: None,
) -> xr.DataTree:
    """Open a netCDF-4 file as :func:`xarray.open_datatree` does, but the groups of its root when they are asked for.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    create_default_indexes : bool
        Whether coordinates of dimensions are read, when their group is asked for, and have an index.
    check : callable, optional
        Called with every group of the root before anybody else has it.
    before : callable
        Called with the name of a group of the root before it is opened.

    Returns
    -------
    xarray.DataTree
        To be closed at its root; then it has only the groups that were asked for. Asking for all groups, as by
        ``tree.children.values()``, opens all.

    Raises
    ------
    OSError
        If the file cannot be read; asking for a group can raise that, too.

    Examples
    --------
    >>> import tempfile
    >>> from relfunc.files.trees import write_tree
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tree(xr.DataTree.from_dict({"/a": xr.Dataset({"x": ("n", [1, 2])})}), Path(folder) / "a.nc")
    ...     with open_tree(Path(folder) / "a.nc") as tree:
    ...         list(tree.children), tree["a/x"].values
    (['a'], array([1, 2]))
    """
    source = _Source(path, create_default_indexes)
    try:
        groups, data = source.root()
    except _UnusualError:
        source.close()
        return _whole(path, create_default_indexes, check)
    except BaseException:
        source.close()
        raise

    def opened(key: str) -> xr.DataTree:
        before(key)
        node = source.group(key)
        check(key, node)
        return node

    tree = xr.DataTree(data)
    tree.encoding["source"] = source.path
    tree.set_close(partial(_close, source, _adopted(tree, groups, opened, source.attributes)))
    return tree


def deferred(
    data: xr.Dataset, groups: Mapping[str, Mapping[str, Any]], made: Callable[[str], xr.DataTree]
) -> xr.DataTree:
    """Return a tree whose children are made when they are asked for.

    Parameters
    ----------
    data : xarray.Dataset
        What stands in its root; no coordinates, which children would have to agree with.
    groups : mapping
        The attributes of each child, by its name.
    made : callable
        Makes the child of a name, once.

    Returns
    -------
    xarray.DataTree
        Asking for all children, as by ``tree.children.values()``, makes all; and so does pickling or copying it.

    Examples
    --------
    >>> tree = deferred(xr.Dataset(), {"a": {"k": 1}}, lambda key: xr.DataTree(xr.Dataset({"x": 2}, attrs={"k": 1})))
    >>> attribute(tree, "k"), tree["a/x"].item()
    ({'a': 1}, 2)
    """
    tree = xr.DataTree(data)
    _adopted(tree, list(groups), made, lambda key, name: {name: groups[key][name]} if name in groups[key] else {})
    return tree


def _adopted(
    tree: xr.DataTree, groups: list[str], opened: Callable[[str], xr.DataTree], attributes: "_Attributes"
) -> "_Children":
    """Give a tree children. Where it keeps them, and a child its parent, is all that is used of xarray's private."""
    children = _Children(tree, groups, opened, attributes)
    tree._children = children  # pyright: ignore[reportAttributeAccessIssue]
    return children


def attribute(tree: xr.DataTree, name: str) -> dict[str, Any]:
    """Return an attribute of each of a tree's children that has it; groups of a file are not opened for that.

    Examples
    --------
    >>> attribute(xr.DataTree.from_dict({"a": xr.Dataset(attrs={"category": "x"}), "b": xr.Dataset()}), "category")
    {'a': 'x'}
    """
    children = tree._children
    if isinstance(children, _Children):
        return children.attribute(name)
    return {key: child.attrs[name] for key, child in children.items() if name in child.attrs}


class _UnusualError(Exception):
    """There is something in a group that is left to xarray."""


_Attributes = Callable[[str, str], dict[str, Any]]
"""Takes the names of a group and of an attribute; returns the attribute by its name, if the group has it."""


class _Children(MutableMapping[str, xr.DataTree]):
    """Groups of a tree's root by their names, each opened when it is asked for."""

    def __init__(
        self, tree: xr.DataTree, groups: list[str], opened: Callable[[str], xr.DataTree], attributes: _Attributes
    ) -> None:
        self._tree, self._opened, self._attributes = tree, opened, attributes
        self._nodes: dict[str, xr.DataTree | None] = dict.fromkeys(groups)
        self._lock = threading.RLock()

    def __getitem__(self, key: str) -> xr.DataTree:
        node = self._nodes[key]
        if node is not None:
            return node
        with self._lock:
            node = self._nodes[key]
            if node is None:
                node = self._opened(key)
                node.name, node._parent = key, self._tree
                self._nodes[key] = node
            return node

    def __setitem__(self, key: str, node: xr.DataTree) -> None:
        self._nodes[key] = node

    def __delitem__(self, key: str) -> None:
        del self._nodes[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (list(self.items()),)

    def forget(self) -> None:
        """Have only the groups that were opened."""
        with self._lock:
            self._nodes = {key: node for key, node in self._nodes.items() if node is not None}

    def attribute(self, name: str) -> dict[str, Any]:
        found = {}
        for key, node in self._nodes.items():
            attrs = self._attributes(key, name) if node is None else node.attrs
            if name in attrs:
                found[key] = attrs[name]
        return found


def _close(source: "_Source", children: MutableMapping[str, xr.DataTree]) -> None:
    """Close a file, and forget what was not opened of it: xarray closes all groups that there are, one by one."""
    if isinstance(children, _Children):
        children.forget()
    source.close()


def _whole(path: str | Path, indexed: bool, check: Check) -> xr.DataTree:
    tree = xr.open_datatree(path, engine="netcdf4", create_default_indexes=indexed)
    try:
        for key, node in tree.children.items():
            check(key, node)
    except BaseException:
        tree.close()
        raise
    return tree


class _Source:
    """A file, open to be read."""

    def __init__(self, path: str | Path, indexed: bool) -> None:
        self.path = str(Path(path).absolute())
        self._indexed = indexed
        with Path(path).open("rb") as file:
            self._which = _which(file.fileno())
        self._file = CachingFileManager(_opened, self.path, self._which, mode="r")
        self._left: list[xr.DataTree] = []
        self._known: dict[int, str] = {}

    def close(self) -> None:
        for tree in self._left:
            tree.close()
        self._left.clear()
        self._file.close()

    def root(self) -> tuple[list[str], xr.Dataset]:
        """Return the names of the groups in the root, and its variables."""
        group = self._file.acquire()["/"].id
        inside = _inside(group)
        self._known = _dimensions(inside)
        data = self._dataset("", group, inside, self._known)
        if data.coords:  # groups would have to agree with them, and inherit them
            raise _UnusualError
        return [name for name, each in inside.items() if isinstance(each, h5g.GroupID)], data

    def attributes(self, key: str, name: str) -> dict[str, Any]:
        """Return one attribute of a group, if it has it."""
        with _naming(self.path, key):
            held = self._file.acquire()[key].id
        if not h5a.exists(held, name.encode()):
            return {}
        try:
            return {name: _value(h5a.open(held, name.encode()))}
        except _UnusualError:
            _check_same(self.path, self._which)
            with xr.open_dataset(self.path, group=key, engine="netcdf4", create_default_indexes=False) as left:
                return {name: left.attrs[name]}

    def group(self, key: str) -> xr.DataTree:
        """Open a group of the root and all below it."""
        try:
            with _naming(self.path, key):
                return self._node(key, self._file.acquire()[key].id, self._known)
        except _UnusualError:
            _check_same(self.path, self._which)
            tree = xr.open_datatree(self.path, group=key, engine="netcdf4", create_default_indexes=self._indexed)
            self._left.append(tree)
            return tree

    def _node(self, path: str, group: Any, above: dict[int, str]) -> xr.DataTree:
        inside = _inside(group)
        known = above | _dimensions(inside)
        node = xr.DataTree(self._dataset(path, group, inside, known))
        below = {
            name: self._node(f"{path}/{name}", each, known)
            for name, each in inside.items()
            if isinstance(each, h5g.GroupID)
        }
        if below:
            node.children = below
        return node

    def _dataset(self, path: str, group: Any, inside: dict[str, Any], known: dict[int, str]) -> xr.Dataset:
        raw = {}
        for name, held in inside.items():
            if isinstance(held, h5d.DatasetID):
                variable = self._variable(f"{path}/{name}", name, held, known)
                if variable is not None:
                    raw[name] = variable
        found, attrs, named = decode_cf_variables(raw, _attributes(group))
        coords, others = {}, {}
        for name, variable in found.items():
            # Kept once it was read as a whole, as xarray does.
            variable.data = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(variable._data))
            (coords if name in named or variable.dims == (name,) else others)[name] = variable
        own = {name: variable for name, variable in coords.items() if self._indexed and variable.dims == (name,)}
        indexed = xr.Coordinates(own)
        both = xr.Coordinates(coords | dict(indexed.variables), indexes=dict(indexed.xindexes))
        return xr.Dataset(others, both, attrs)

    def _variable(self, path: str, name: str, held: h5d.DatasetID, known: dict[int, str]) -> xr.Variable | None:
        if h5a.exists(held, b"NAME") and str(_value(h5a.open(held, b"NAME"))).startswith(_NO_VARIABLE):
            return None
        space, kind = held.get_space(), held.get_type()
        if space.get_simple_extent_type() == h5s.NULL or space.shape != space.get_simple_extent_dims(True):
            raise _UnusualError
        if isinstance(kind, h5t.TypeBitfieldID):  # netCDF passes over these, such as relfunc.contents
            return None
        if not isinstance(kind, h5t.TypeIntegerID | h5t.TypeFloatID) and not _is_character(kind):
            raise _UnusualError
        dtype = np.dtype("S1") if _is_character(kind) else held.dtype
        if not dtype.isnative or name.startswith("_nc4_non_coord_"):
            raise _UnusualError
        dims = _dims(held, name, len(space.shape), known)
        attrs = _attributes(held)
        if dtype.kind == "S" and "_FillValue" in attrs:
            attrs["_FillValue"] = np.bytes_(attrs["_FillValue"])
        data = indexing.LazilyIndexedArray(_Stored(self._file, self.path, path, space.shape, dtype))
        return xr.Variable(dims, data, attrs, {"dtype": dtype, "original_shape": space.shape}, fastpath=True)


class _Stored(BackendArray):
    """A variable of a file, read when it is asked for; it can be pickled, and the file be closed and opened again."""

    def __init__(
        self, file: CachingFileManager, source: str, path: str, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.shape, self.dtype, self._file, self._source, self._path = shape, dtype, file, source, path

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._get)

    def _get(self, key: tuple[Any, ...]) -> np.ndarray:
        with _naming(self._source, self._path):
            return np.asarray(self._file.acquire()[self._path][key])


def _opened(path: str, which: tuple[int, ...], mode: str) -> h5py.File:
    """Open a file if it is the one that it was: its manager opens it again when it was closed or pickled."""
    _check_same(path, which)
    return h5py.File(path, mode=mode)


def _check_same(path: str, which: tuple[int, ...]) -> None:
    if _which(path) != which:
        raise OSError(f"{path} was overwritten or changed since it was opened: open it again")


def _which(file: str | int) -> tuple[int, ...]:
    """Tell a file from others of its name; another machine that has it mounted finds the same."""
    found = os.stat(file)  # noqa: PTH116 (of descriptors, too)
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _naming(source: str, path: str) -> Iterator[None]:
    """Name the file and the place in it where HDF5 does not."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        raise OSError(
            f"{path} in {source} cannot be read ({error}): the file is damaged or was changed since it was opened; "
            "open it again"
        ) from error


def _inside(group: Any) -> dict[str, Any]:
    """Return the variables and groups in a group, in the order in which they were made."""
    names: list[bytes] = []
    try:
        group.links.iterate(names.append, idx_type=h5.INDEX_CRT_ORDER)
    except (RuntimeError, ValueError, OSError) as error:  # another library wrote it, and kept no order
        raise _UnusualError from error
    return {name.decode(): h5o.open(group, name) for name in names}


def _dimensions(inside: dict[str, Any]) -> dict[int, str]:
    """Return the names of the dimensions that a group defines, by their numbers."""
    return {
        int(_value(h5a.open(each, _DIMENSION))): name
        for name, each in inside.items()
        if isinstance(each, h5d.DatasetID) and h5a.exists(each, b"CLASS") and h5a.exists(each, _DIMENSION)
    }


def _dims(held: h5d.DatasetID, name: str, rank: int, known: dict[int, str]) -> tuple[str, ...]:
    """Return the names of a variable's dimensions."""
    if not rank:
        return ()
    if h5a.exists(held, _DIMENSIONS):
        numbers = np.atleast_1d(_value(h5a.open(held, _DIMENSIONS))).tolist()
        if len(numbers) == rank and known.keys() >= set(numbers):
            return tuple(known[number] for number in numbers)
    raise _UnusualError


def _attributes(held: Any) -> dict[str, Any]:
    """Return what netCDF calls the attributes of a variable or a group, in the order in which they were made."""
    names: list[bytes] = []
    try:
        h5a.iterate(held, names.append, index_type=h5.INDEX_CRT_ORDER)
    except (RuntimeError, ValueError, OSError) as error:
        raise _UnusualError from error
    return {name.decode(): _value(h5a.open(held, name)) for name in names if name not in _HIDDEN}


def _value(attribute: h5a.AttrID) -> Any:
    """Return the value of an attribute as netCDF does: text, a number, or an array of several."""
    kind, shape = attribute.get_type(), attribute.shape
    if not isinstance(kind, h5t.TypeStringID | h5t.TypeIntegerID | h5t.TypeFloatID):
        raise _UnusualError
    if attribute.get_space().get_simple_extent_type() == h5s.NULL:
        return "" if isinstance(kind, h5t.TypeStringID) else np.empty(0, attribute.dtype.newbyteorder("="))
    if 0 in shape:
        raise _UnusualError
    held = np.empty(shape, attribute.dtype.newbyteorder("="))
    attribute.read(held)
    if not isinstance(kind, h5t.TypeStringID):
        return held if held.size > 1 else held.reshape(-1)[0]
    if kind.is_variable_str():  # netCDF has no other for text that is not ASCII
        texts = [_text(each) for each in held.astype(object).ravel()]
        return texts if held.size > 1 else texts[0]
    if shape:
        raise _UnusualError
    return _text(held.tobytes())


def _text(held: bytes | str) -> str:
    return held.replace("\0", "") if isinstance(held, str) else held.decode(errors="replace").replace("\0", "")


def _is_character(kind: h5t.TypeID) -> bool:
    return isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str() and kind.get_size() == 1


_DIMENSION: Final = b"_Netcdf4Dimid"
_DIMENSIONS: Final = b"_Netcdf4Coordinates"
_HIDDEN: Final = frozenset(
    (_DIMENSION, _DIMENSIONS, b"CLASS", b"NAME", b"DIMENSION_LIST", b"REFERENCE_LIST", b"_nc3_strict", b"_NCProperties")
)
_NO_VARIABLE: Final = "This is a netCDF dimension but not a netCDF variable."
