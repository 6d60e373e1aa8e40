"""Projects: a folder of attributions and their analysis, opened lazily, read row by row."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc import schema
from relfunc.errors import RelfuncError
from relfunc.files.contents import unpacked
from relfunc.schema import (
    CLASS,
    CLUSTER_GROUP,
    EMBEDDING_GROUP,
    INDEX,
    LABEL,
    NOISE,
    SAMPLE,
    SCORE_GROUP,
    clusterings,
    members,
)

from ..cache import of
from .rows import taken

YAML: Final = (".yaml", ".yml")
"""Suffixes of the files that describe a project of ViRelAy."""


UNREADABLE: Final = (OSError, RuntimeError, KeyError, IndexError, ValueError)
"""What reading a file raises that has gone, was overwritten, or is not what it said when it was opened."""


class ProjectError(RelfuncError, ValueError):
    """A project lacks what was asked for."""


Pictures = tuple[list[NDArray], list[NDArray] | None]
"""Attributions, and inputs if there are any, of some samples; their shapes may differ."""


@dataclass(frozen=True, eq=False)
class Project:
    """What was found at one path.

    Parameters
    ----------
    name : str
        The folder's name.
    path : pathlib.Path
        Where it is.
    attributions : xarray.Dataset
        As :mod:`relfunc.schema` describes; opened, not read.
    analysis : xarray.DataTree, optional
        As :mod:`relfunc.schema` describes; opened, not read. None if there is none yet.
    pictures : callable, optional
        Reads the attributions and inputs of some rows, where they are not variables of ``attributions``.
    files : tuple of (pathlib.Path, int)
        What it is read from, and how many bytes each file had when it was opened.
    contents : xarray.Dataset, optional
        As :mod:`relfunc.files.contents` describes, where the analysis has them.
    """

    name: str
    path: Path
    attributions: xr.Dataset
    analysis: xr.DataTree | None = None
    pictures: Callable[[NDArray[np.integer]], Pictures] | None = None
    files: tuple[tuple[Path, int], ...] = ()
    contents: xr.Dataset | None = None


@dataclass(frozen=True)
class Failure:
    """A path that could not be opened, and why."""

    path: Path
    reason: str


Opened = Project | Failure
"""What a path turned out to be."""


@dataclass(frozen=True, eq=False)
class Points:
    """The samples of a category: where they stand in the files, in an embedding, and in which cluster.

    Parameters
    ----------
    rows : numpy.ndarray
        (n,) positions in ``attributions.nc``, of an integer type.
    xy : numpy.ndarray, optional
        (n, 2) float32 or float64 coordinates; a row that is not finite is not drawn. None without an embedding.
    cluster : numpy.ndarray, optional
        (n,) cluster of each; −1 is noise. None without a clustering.
    """

    rows: NDArray
    xy: NDArray[np.floating] | None = None
    cluster: NDArray[np.integer] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, and about as many again of what is made of them."""
        return 2 * sum(held.nbytes for held in (self.rows, self.xy, self.cluster) if held is not None)

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """Which rows have a place in the embedding."""
        xy = self.xy
        if xy is None:
            return np.zeros(self.rows.size, bool)
        return of(self, "drawn", lambda: np.isfinite(xy[:, 0]) & np.isfinite(xy[:, 1]))


def measured_files(paths: Iterable[Path]) -> tuple[tuple[Path, int], ...]:
    """Return the files among some paths, each with its size in bytes."""
    return tuple((path, path.stat().st_size) for path in paths if path.is_file())


def categories(project: Project) -> tuple[str, ...]:
    """Names of the categories: those of the analysis, or the classes that occur if there is none."""
    if project.analysis is not None:
        return tuple(nodes(project))
    label = project.attributions[LABEL]
    occurs = np.unique(label.values) if label.ndim == 1 else np.flatnonzero(label.values.any(axis=0))
    names = class_names(project)
    return tuple(names[k] for k in occurs.tolist() if 0 <= k < len(names))


def class_names(project: Project) -> tuple[str, ...]:
    """Names of the classes, by their number."""
    return tuple(project.attributions[CLASS].values.astype(str).tolist())


def embedding_names(project: Project, category: str) -> tuple[str, ...]:
    """Names of the embeddings of a category, the flattest (t-SNE, UMAP) before the spectral one."""
    if project.analysis is None:
        return ()
    node = node_of(project, category)
    held = members(node, EMBEDDING_GROUP)
    return tuple(sorted(held, key=lambda name: _width(held[name])))


def clustering_names(project: Project, category: str) -> tuple[str, ...]:
    """Names of the clusterings of a category, in file order."""
    return () if project.analysis is None else tuple(clusterings(node_of(project, category)))


def axes(project: Project, category: str, embedding: str) -> int:
    """Return the number of dimensions of an embedding."""
    node = node_of(project, category)
    return _width(members(node, EMBEDDING_GROUP)[embedding])


def points(
    project: Project,
    category: str,
    *,
    embedding: str | None = None,
    clustering: str | None = None,
    x: int = 0,
    y: int = 1,
) -> Points:
    """Read where the samples of a category are.

    Parameters
    ----------
    project : Project
        Where to read.
    category : str
        One of :func:`categories`.
    embedding, clustering : str, optional
        Which to read; none is read by default.
    x, y : int
        The axes of the embedding to read. An axis that it does not have is zero.

    Raises
    ------
    ProjectError
        If there is no such category, embedding or clustering.
    """
    if project.analysis is None:
        return Points(_of_class(project, category))
    node, size = node_of(project, category), project.attributions.sizes[SAMPLE]
    # A slice is not kept by xarray, as all of a variable is, beside what is kept here.
    rows = node.dataset[INDEX][:].values.astype(np.int32 if size < 1 << 31 else np.int64)
    if rows.size and not 0 <= rows.min() <= rows.max() < size:
        raise ProjectError(
            f"{project.path}: category '{category}' has sample {rows.max()}, the attributions have {size}: "
            "was the analysis made of others? Run it again"
        )
    xy = cluster = None
    if embedding is not None:
        values = _member(node, EMBEDDING_GROUP, embedding, category)
        flat = values if values.ndim == 2 else values.expand_dims("axis", axis=1)
        kind = np.float32 if flat.dtype.itemsize <= 4 else np.float64
        xy = np.zeros((rows.size, 2), kind)
        for column, axis in enumerate((x, y)):
            if axis < flat.shape[1]:
                xy[:, column] = flat[:, axis].values
    if clustering is not None:
        values = _member(node, CLUSTER_GROUP, clustering, category)[:].values
        if values.dtype.kind == "f":
            values = np.where(np.isfinite(values), values, NOISE)
        small = values.size and -(1 << 15) <= values.min() <= values.max() < 1 << 15
        cluster = values.astype(np.int16 if small else np.int32)
    return Points(rows, xy, cluster)


def node_of(project: Project, category: str) -> xr.DataTree:
    """Return the analysis of a category.

    Raises
    ------
    ProjectError
        If there is no such category.
    """
    known = nodes(project)
    if category not in known:
        raise ProjectError(f"{project.path}: no category '{category}': choose one of {', '.join(known)}")
    try:
        return known[category]
    except RelfuncError as error:
        raise ProjectError(str(error)) from error
    except UNREADABLE as error:
        raise gone(project, error) from error


def nodes(project: Project) -> Mapping[str, xr.DataTree]:
    """Return the analysis of every category, by its name, each read when it is wanted; nothing without an analysis."""
    tree = project.analysis
    return {} if tree is None else of(project, "nodes", lambda: schema.categories(tree))


def scored(project: Project) -> tuple[tuple[str, xr.Dataset, int], ...]:
    """Name, scores and number of samples of every category; none is opened if the analysis has contents."""
    known, held = nodes(project), project.contents

    def listed() -> tuple[tuple[str, xr.Dataset, int], ...]:
        if held is not None:
            return tuple((name, scores, n) for name, (_, scores, n) in zip(known, unpacked(held), strict=True))
        return tuple((name, scores_of(node), node.sizes[SAMPLE]) for name, node in known.items())

    return of(project, "scored", listed)


def scores_of(node: xr.DataTree) -> xr.Dataset:
    """Return the scores of a category's node."""
    return node[SCORE_GROUP].to_dataset() if SCORE_GROUP in node.children else xr.Dataset()


def _member(node: xr.DataTree, group: str, name: str, category: str) -> xr.DataArray:
    held = members(node, group)
    if name not in held:
        known = ", ".join(held) or "none"
        raise ProjectError(f"category '{category}': no {group} '{name}': choose one of {known}")
    return held[name]


def _width(embedding: xr.DataArray) -> int:
    return embedding.sizes[embedding.dims[-1]] if embedding.ndim > 1 else 1


def _of_class(project: Project, category: str) -> NDArray[np.int64]:
    data = project.attributions
    names = data[CLASS].values.astype(str).tolist()
    if category not in names:
        raise ProjectError(f"{project.path}: no category '{category}': choose one of {', '.join(names)}")
    label = data[LABEL].values
    member = label == names.index(category) if label.ndim == 1 else label[:, names.index(category)].astype(bool)
    return np.flatnonzero(member)


def read_rows(variable: xr.DataArray, rows: NDArray[np.integer]) -> NDArray:
    """Read some rows of a variable, (k,) in any order."""
    each = variable.dtype.itemsize * int(np.prod(variable.shape[1:]))
    return taken(lambda first, last: variable[first:last].values, rows, each)


def check_whole(project: Project) -> None:
    """Raise an error if a file is shorter than it was: HDF5 would read zeros where it ended too soon."""
    for path, size in project.files:
        if path.is_file() and path.stat().st_size < size:
            raise OSError(f"{path.name} is shorter than it was when it was opened")


def gone(project: Project, error: Exception) -> ProjectError:
    """Say that what was opened cannot be read any more."""
    return ProjectError(
        f"{project.path} can no longer be read ({error}): was a file moved, deleted or overwritten? Reload the page"
    )
