"""The contract between the packages: the names of dimensions and variables, and checks that a dataset has them.

``attributions.nc`` is a :class:`xarray.Dataset`:

=================  ======================================  ==========================================================
variable           dimensions                              values
=================  ======================================  ==========================================================
``attribution``    ``sample``, then the input's own, such  float; the relevance of every input value, in the units of
                   as ``channel, y, x`` or ``feature``     the model's output
``prediction``     ``sample, class``                       float; the model's output
``label``          ``sample`` (or ``sample, class``)       integer index into ``class`` (or bool, if multi-label)
``input``          as ``attribution`` (optional)           the input; uint8 for images, the ids of tokens
``target``         ``sample`` (optional)                   integer; the class that was explained
``token_mask``     ``sample, token`` (of texts)            bool; what is a token, and not padding
``token_text``     ``sample, token`` (optional)            the text of each token, as the tokenizer gives it
``sample``         ``sample`` (coordinate)                 unique identifiers, integers or strings
``class``          ``class`` (coordinate)                  class names
=================  ======================================  ==========================================================

Texts are ``attribution(sample, token)``, or ``(sample, token, feature)`` where embeddings were explained; ``token``
is as long as the longest text. Where ``token_mask`` is False there is no token: its relevance is what the model gave
padding, if it was given padding, and otherwise 0, its id −1 and its text empty.

Its attributes name the model, the composite, the method, the versions and the command that made it.

``analysis.nc`` is a :class:`xarray.DataTree` with one child per category (a class, or ``all``). Its name is the
attribute ``category``; the child is called so too, unless files cannot have such a group: see :mod:`relfunc.text`. A
node has the coordinates ``sample`` (identifiers), ``eigen`` and ``component``, the variable ``index(sample)`` (the
positions of its samples in ``attributions.nc``) and ``eigenvalue(eigen)``; below it stand three groups:

=================  ==========================================================================================
group              holds
=================  ==========================================================================================
``embedding``      one float variable per embedding, ``(sample, eigen)`` if spectral, else ``(sample, component)``
``cluster``        one integer variable per clustering, ``(sample,)``; −1 is noise
``score``          float variables over ``clustering`` (the names in ``cluster``), or over ``clustering, cluster``;
                   scalars; and ``margin_chance(surrogate)`` and ``margin_subsample(subsample, group)``, how far groups
                   stand apart by chance and in halves of the samples
=================  ==========================================================================================

The groups ``embedding`` and ``cluster`` declare no dimension themselves, so other HDF5 readers see only data there.

In a file, the root repeats of all categories what a list of them shows, so that it can be shown before any is opened:
see :mod:`relfunc.files.contents`. netCDF does not see that, and a file need not have it.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import xarray as xr

from .errors import SchemaError
from .groups import attribute
from .text import distinct

SAMPLE: Final = "sample"
CHANNEL: Final = "channel"
Y: Final = "y"
X: Final = "x"
FEATURE: Final = "feature"
TOKEN: Final = "token"
CLASS: Final = "class"
EIGEN: Final = "eigen"
COMPONENT: Final = "component"
CLUSTERING: Final = "clustering"

ATTRIBUTION: Final = "attribution"
PREDICTION: Final = "prediction"
LABEL: Final = "label"
INPUT: Final = "input"
TARGET: Final = "target"
TOKEN_MASK: Final = "token_mask"
TOKEN_TEXT: Final = "token_text"
CATEGORY: Final = "category"
NAME: Final = "name"
INDEX: Final = "index"
EIGENVALUE: Final = "eigenvalue"

EMBEDDING_GROUP: Final = "embedding"
CLUSTER_GROUP: Final = "cluster"
SCORE_GROUP: Final = "score"

NOISE: Final = -1


def check_attributions(data: xr.Dataset, source: str = "dataset") -> xr.Dataset:
    """Return ``data`` unchanged if it follows the contract of ``attributions.nc``.

    Parameters
    ----------
    data : xarray.Dataset
        The dataset to check. Only labels are read for a lazily opened one, no attribution.
    source : str
        What the messages call it, such as the file's path.

    Raises
    ------
    SchemaError
        If a variable or dimension is missing, or a label names no class.

    Examples
    --------
    >>> check_attributions(xr.Dataset(), "run.nc")
    Traceback (most recent call last):
    ...
    relfunc.errors.SchemaError: run.nc: no variable 'attribution'; it has none: is this an attributions file?
    """
    check_layout(data, source)
    if not data.indexes[SAMPLE].is_unique:
        twice = data[SAMPLE].values[data.indexes[SAMPLE].duplicated()][0]
        raise SchemaError(f"{source}: sample identifier '{twice}' occurs more than once: make them unique")
    label = data[LABEL]
    if label.dims == (SAMPLE,):
        values, classes = label.values, data.sizes[CLASS]
        wrong = np.flatnonzero((values < 0) | (values >= classes))
        if wrong.size:
            raise SchemaError(
                f"{source}: label {values[wrong[0]]} of sample '{data[SAMPLE].values[wrong[0]]}' names none of the "
                f"{classes} classes: labels are 0 … {classes - 1}"
            )
    return data


def check_layout(data: xr.Dataset, source: str = "dataset") -> xr.Dataset:
    """Return ``data`` unchanged if it has the variables and dimensions of ``attributions.nc``; no value is read.

    Raises
    ------
    SchemaError
        If a variable, dimension or coordinate is missing, or labels are no integers.
    """
    for name in (ATTRIBUTION, PREDICTION, LABEL):
        _require(data, name, source, "is this an attributions file?")
    _require_dims(ATTRIBUTION, data[ATTRIBUTION], (SAMPLE,), source)
    _require_dims(PREDICTION, data[PREDICTION], (SAMPLE, CLASS), source)
    _require_dims(LABEL, data[LABEL], (SAMPLE,), source)
    if INPUT in data:
        _require_dims(INPUT, data[INPUT], (SAMPLE,), source)
    if TOKEN in data[ATTRIBUTION].dims:
        _require_dims(ATTRIBUTION, data[ATTRIBUTION], (SAMPLE, TOKEN), source)
    for name in (TOKEN_MASK, TOKEN_TEXT):
        if name in data:
            _require_dims(name, data[name], (SAMPLE, TOKEN), source)
            if TOKEN not in data[ATTRIBUTION].dims:
                raise SchemaError(
                    f"{source}: variable '{name}' is of tokens, and 'attribution' has dimensions "
                    f"{tuple(data[ATTRIBUTION].dims)}: name that of tokens '{TOKEN}', or leave '{name}' out"
                )
    for name in (SAMPLE, CLASS):
        if name not in data.coords:
            raise SchemaError(f"{source}: dimension '{name}' has no coordinate: assign identifiers or names to it")
    label = data[LABEL]
    if label.dims == (SAMPLE,) and not np.issubdtype(label.dtype, np.integer):
        raise SchemaError(f"{source}: variable 'label' is {label.dtype}, not an integer index into 'class'")
    return data


def check_analysis(tree: xr.DataTree, source: str = "tree") -> xr.DataTree:
    """Return ``tree`` unchanged if it follows the contract of ``analysis.nc``.

    Parameters
    ----------
    tree : xarray.DataTree
        The tree to check, one child per category.
    source : str
        What the messages call it, such as the file's path.

    Raises
    ------
    SchemaError
        If there is no category, or one lacks its index or its embeddings.
    """
    if not tree.children:
        raise SchemaError(f"{source}: no categories: is this an analysis file?")
    for category, node in tree.children.items():
        check_category(category, node, source)
    return tree


def check_category(category: str, node: xr.DataTree, source: str = "tree") -> None:
    """Check one category of an analysis, as :func:`check_analysis` checks all.

    Raises
    ------
    SchemaError
        If it lacks its index or its embeddings.
    """
    where = f"{source}, category '{category}'"
    _require(node.to_dataset(), INDEX, where, "is this an analysis file?")
    for group in (EMBEDDING_GROUP, CLUSTER_GROUP):
        if group not in node.children:
            raise SchemaError(f"{where}: no group '{group}'; it has {_listed(node.children)}")
        for name, variable in node[group].variables.items():
            if name not in node[group].coords:
                _require_dims(str(name), variable, (SAMPLE,), f"{where}, {group}/{name}")


def categories(tree: xr.DataTree) -> Mapping[str, xr.DataTree]:
    """Nodes of the categories by their names; of several with one name, all but the first have a number.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`relfunc.open_analysis` returns it; a category is opened when it is asked for.

    Examples
    --------
    >>> crane = xr.Dataset(attrs={"category": "crane"})
    >>> list(categories(xr.DataTree.from_dict({"crane": crane, "crane%%2": crane, "all": xr.Dataset()})))
    ['crane', 'crane (2)', 'all']
    """
    return _Categories(tree)


class _Categories(Mapping[str, xr.DataTree]):
    def __init__(self, tree: xr.DataTree) -> None:
        named = attribute(tree, CATEGORY)
        shown = distinct(str(named.get(key, key)) for key in tree.children)
        self._children, self._keys = tree.children, dict(zip(shown, tree.children, strict=True))

    def __getitem__(self, name: str) -> xr.DataTree:
        return self._children[self._keys[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __len__(self) -> int:
        return len(self._keys)


def members(node: xr.DataTree, group: str) -> dict[str, xr.DataArray]:
    """Variables of a group of a category node by their names, in file order.

    A name that no variable of a file can have is the attribute ``name``.
    """
    held = node[group].to_dataset().data_vars if group in node.children else {}
    return {str(values.attrs.get(NAME, key)): values for key, values in held.items()}


def embeddings(node: xr.DataTree) -> Iterator[str]:
    """Names of the embeddings of a category node, in file order."""
    yield from members(node, EMBEDDING_GROUP)


def clusterings(node: xr.DataTree) -> Iterator[str]:
    """Names of the clusterings of a category node, in file order."""
    yield from members(node, CLUSTER_GROUP)


def _require(data: xr.Dataset, name: str, source: str, hint: str) -> None:
    if name not in data.variables:
        raise SchemaError(f"{source}: no variable '{name}'; it has {_listed(data.data_vars)}: {hint}")


def _require_dims(name: str, variable: xr.DataArray | xr.Variable, first: tuple[str, ...], source: str) -> None:
    if variable.dims[: len(first)] != first:
        raise SchemaError(
            f"{source}: variable '{name}' has dimensions {tuple(variable.dims)}, "
            f"which should begin with {first}: transpose or rename them"
        )


def _listed(names: Iterable[Hashable]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
