"""Projects: a folder of attributions and their analysis, opened lazily, read row by row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.errors import RelfuncError
from relfunc.schema import (
    ATTRIBUTION,
    CHANNEL,
    CLASS,
    CLUSTER_GROUP,
    CLUSTERING,
    EIGENVALUE,
    EMBEDDING_GROUP,
    INDEX,
    INPUT,
    LABEL,
    NOISE,
    PREDICTION,
    SAMPLE,
    SCORE_GROUP,
    X,
    Y,
    clusterings,
    embeddings,
)
from relfunc.storage import attributions_files, unread_analysis, unread_attributions

from .rows import taken
from .shared import of

NONE: Final = -1
"""Stands for several labels, and for no prediction."""
SEPARABILITY, CLUSTER, CLUSTER_SCORE, SIZE = "separability", "cluster", "cluster_separability", "size"
SMALLEST: Final = 5
"""Clusters of fewer samples, and those that leave fewer out, do not count in a ranking."""
YAML: Final = (".yaml", ".yml")
"""Suffixes of the files that describe a project of ViRelAy."""
PART: Final = 1 << 16
"""Samples whose predictions are read at a time."""


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
    """

    name: str
    path: Path
    attributions: xr.Dataset
    analysis: xr.DataTree | None = None
    pictures: Callable[[NDArray[np.integer]], Pictures] | None = None
    files: tuple[tuple[Path, int], ...] = ()


@dataclass(frozen=True)
class Failure:
    """A path that could not be opened, and why."""

    path: Path
    reason: str


Held = Project | Failure
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


@dataclass(frozen=True)
class Outcome:
    """What is known about some samples, in their order.

    Parameters
    ----------
    ids : numpy.ndarray
        Identifiers.
    label : tuple of str
        Class names; several joined by commas if multi-label.
    prediction : tuple of str
        The predicted class's name.
    probability : numpy.ndarray
        Its probability: the model's output if that is a distribution, else its softmax.
    correct : numpy.ndarray
        Whether the predicted class is (one of) the label(s).
    """

    ids: NDArray
    label: tuple[str, ...]
    prediction: tuple[str, ...]
    probability: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What the model made of many samples, as numbers.

    Parameters
    ----------
    label, prediction : numpy.ndarray
        Positions in ``class``; −1 stands for several labels, or for no prediction.
    probability : numpy.ndarray
        Probability of the prediction.
    correct : numpy.ndarray
        Whether the predicted class is (one of) the label(s).
    """

    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    probability: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Ranked:
    """A category and what it is ranked by.

    Parameters
    ----------
    category : str
        Its name.
    value : float
        Its score.
    clustering : str
        The clustering that has this score; empty if the score is the category's own.
    cluster : int, optional
        The cluster that has it, if it is a cluster's.
    size : int
        How many samples are in that cluster.
    """

    category: str
    value: float
    clustering: str = ""
    cluster: int | None = None
    size: int = 0


def open_project(path: str | Path | Sequence[Path]) -> Project:
    """Open attributions and, if the analysis has run, the ``analysis.nc`` beside them, in a time independent of ``n``.

    Parameters
    ----------
    path : str, pathlib.Path or sequence of them
        A folder with ``attributions.nc`` or with shards, one such file, the shards' manifest, a pattern of their names,
        the shards themselves, or the YAML file of a project of ViRelAy.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    relfunc.errors.SchemaError
        If a file is truncated, is not netCDF-4, or breaks the contract.
    """
    first = Path(path) if isinstance(path, str | Path) else Path(path[0])
    if first.suffix in YAML:
        from .virelay import open_virelay

        return open_virelay(first)
    folder = first if first.is_dir() else first.parent
    attributions = unread_attributions(path)
    analysis = folder / "analysis.nc"
    try:
        tree = unread_analysis(analysis) if analysis.exists() else None
    except BaseException:
        attributions.close()
        raise
    files = measured_files([*attributions_files(path), folder / "attributions.nc", analysis])
    return Project(folder.resolve().name, folder, attributions, tree, files=files)


def measured_files(paths: Iterable[Path]) -> tuple[tuple[Path, int], ...]:
    """Return the files among some paths, each with its size in bytes."""
    return tuple((path, path.stat().st_size) for path in paths if path.is_file())


def categories(project: Project) -> tuple[str, ...]:
    """Names of the categories: those of the analysis, or the classes that occur if there is none."""
    if project.analysis is not None:
        return tuple(project.analysis.children)
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
    node = _node(project, category)
    return tuple(sorted(embeddings(node), key=lambda name: node[EMBEDDING_GROUP][name].sizes.get(_axis(node, name), 1)))


def clustering_names(project: Project, category: str) -> tuple[str, ...]:
    """Names of the clusterings of a category, in file order."""
    return () if project.analysis is None else tuple(clusterings(_node(project, category)))


def axes(project: Project, category: str, embedding: str) -> int:
    """Return the number of dimensions of an embedding."""
    node = _node(project, category)
    return node[EMBEDDING_GROUP][embedding].sizes.get(_axis(node, embedding), 1)


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
    node, size = _node(project, category), project.attributions.sizes[SAMPLE]
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


def measures(project: Project, category: str) -> tuple[str, ...]:
    """Names of what has one number for each sample of a category, in the attributions or in the analysis."""
    held = [project.attributions.drop_vars(LABEL)]
    if project.analysis is not None:
        node = _node(project, category)
        held += [node.to_dataset().drop_vars(INDEX), _scores(node)]
    return tuple(sorted({str(name) for data in held for name, values in data.data_vars.items() if _is_measure(values)}))


def measured(project: Project, category: str, name: str, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Read one of :func:`measures` for the samples of a category, whose rows in ``attributions.nc`` are given.

    Raises
    ------
    ProjectError
        If the file cannot be read any more.
    """
    try:
        if project.analysis is not None:
            node = _node(project, category)
            for data in (node.to_dataset(), _scores(node)):
                if name in data.data_vars and data[name].size == rows.size:
                    return np.asarray(data[name].values, float)
        return np.asarray(_rows(project.attributions[name], rows), float)
    except UNREADABLE as error:
        raise _gone(project, error) from error


def eigenvalues(project: Project, category: str) -> NDArray[np.float64]:
    """Eigenvalues of the graph Laplacian of a category, in file order; empty if there are none."""
    if project.analysis is None or EIGENVALUE not in _node(project, category):
        return np.empty(0)
    return np.asarray(_node(project, category)[EIGENVALUE].values, float)


def score_names(project: Project) -> tuple[str, ...]:
    """Names of the scores that any category has, separability first."""
    if project.analysis is None:
        return ()
    names = {
        str(name): None
        for node in project.analysis.children.values()
        for name, score in _scores(node).data_vars.items()
        if score.dims in ((), (CLUSTERING,))
    }
    if any({CLUSTER_SCORE, SIZE} <= set(_scores(node)) for node in project.analysis.children.values()):
        names[SEPARABILITY] = None
    return tuple(sorted(names, key=lambda name: name != SEPARABILITY))


def ranking(project: Project, score: str) -> tuple[Ranked, ...]:
    """Categories by a score, the highest first.

    The separability of a category is that of the cluster that stands farthest apart, over all its clusterings, where
    the analysis knows it of each cluster; of other scores, and without it, it is the best clustering's value.
    """
    if project.analysis is None:
        return ()
    found = [
        _ranked(category, _scores(node), score, node.sizes[SAMPLE])
        for category, node in project.analysis.children.items()
    ]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.value))


def clustering_scores(project: Project, category: str, clustering: str) -> dict[str, float]:
    """Return the scores of one clustering of a category."""
    if project.analysis is None:
        return {}
    scores = _scores(_node(project, category))
    if CLUSTERING not in scores.coords or clustering not in scores[CLUSTERING].values:
        return {}
    chosen = scores.isel({CLUSTERING: scores[CLUSTERING].values.tolist().index(clustering)})
    return {str(name): float(value) for name, value in chosen.data_vars.items() if scores[name].dims == (CLUSTERING,)}


def cluster_scores(project: Project, category: str, clustering: str) -> dict[int, float]:
    """Return how separable each cluster of a clustering is, where the analysis says so."""
    if project.analysis is None:
        return {}
    scores, name = _scores(_node(project, category)), CLUSTER_SCORE
    if name not in scores or scores[name].dims != (CLUSTERING, CLUSTER) or clustering not in scores[CLUSTERING].values:
        return {}
    chosen = scores[name].isel({CLUSTERING: scores[CLUSTERING].values.tolist().index(clustering)})
    return {int(k): float(v) for k, v in zip(chosen[CLUSTER].values, chosen.values, strict=True) if np.isfinite(v)}


def outcome(project: Project, rows: NDArray[np.integer]) -> Outcome:
    """Read identifiers, labels and predictions of some rows of ``attributions.nc``.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, in any order.
    """
    data = project.attributions
    names = class_names(project)
    known = verdict(project, rows)
    if data[LABEL].ndim == 2:
        several = _rows(data[LABEL], rows)
        labels = tuple(", ".join(names[k] for k in np.flatnonzero(row)) for row in several)
    else:
        labels = tuple("none" if k == NONE else names[k] for k in known.label)
    called = tuple("none" if k == NONE else names[k] for k in known.prediction)
    return Outcome(_rows(data[SAMPLE], rows), labels, called, known.probability, known.correct)


def verdict(project: Project, rows: NDArray[np.integer]) -> Verdict:
    """Read what the model made of some rows, a part of them at a time, so that all of a large file is never held.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, in any order.
    """
    try:
        _whole(project)
        parts = [_verdict(project, rows[k : k + PART]) for k in range(0, max(rows.size, 1), PART)]
    except UNREADABLE as error:
        raise _gone(project, error) from error
    return Verdict(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.prediction for part in parts]),
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.correct for part in parts]),
    )


def labels(project: Project, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Read the labels of some rows as positions in ``class``; −1 stands for several, and for none that is known.

    Raises
    ------
    ProjectError
        If the file cannot be read any more.
    """
    try:
        _whole(project)
        return _single(_rows(project.attributions[LABEL], rows), project.attributions.sizes[CLASS])
    except UNREADABLE as error:
        raise _gone(project, error) from error


def pixels(project: Project, rows: NDArray[np.integer]) -> Pictures:
    """Read attributions and inputs (None if there are none) of some rows, channels before ``y`` and ``x``.

    Raises
    ------
    ProjectError
        If the file has gone or cannot be read any more.
    """
    data = project.attributions
    try:
        _whole(project)
        if project.pictures is not None:
            return project.pictures(rows)
        attribution = _rows(_channels_first(data[ATTRIBUTION]), rows)
        shown = _rows(_channels_first(data[INPUT]), rows) if INPUT in data else None
    except UNREADABLE as error:
        raise _gone(project, error) from error
    return list(attribution), None if shown is None else list(shown)


def _verdict(project: Project, rows: NDArray[np.integer]) -> Verdict:
    each = np.arange(rows.size)
    output = _rows(project.attributions[PREDICTION], rows)
    best = output.argmax(axis=1) if output.size else np.zeros(rows.size, int)
    best[np.isnan(output[each, best])] = NONE
    label = _rows(project.attributions[LABEL], rows)
    correct = (label[each, best].astype(bool) if label.ndim == 2 else label == best) & (best != NONE)
    probability = np.nan_to_num(_probability(output)[each, best])
    return Verdict(_single(label, output.shape[1]), best, probability, correct)


def _single(label: NDArray, classes: int) -> NDArray[np.int64]:
    if label.ndim == 2:
        return np.where(label.astype(bool).sum(axis=1) == 1, label.argmax(axis=1), NONE)
    return np.where((label >= 0) & (label < classes), label, NONE).astype(np.int64)


def _node(project: Project, category: str) -> xr.DataTree:
    assert project.analysis is not None
    if category not in project.analysis.children:
        known = ", ".join(project.analysis.children)
        raise ProjectError(f"{project.path}: no category '{category}': choose one of {known}")
    return project.analysis.children[category]


def _member(node: xr.DataTree, group: str, name: str, category: str) -> xr.DataArray:
    held = node[group].to_dataset()
    if name not in held.data_vars:
        known = ", ".join(map(str, held.data_vars)) or "none"
        raise ProjectError(f"category '{category}': no {group} '{name}': choose one of {known}")
    return held[name]


def _is_measure(values: xr.DataArray) -> bool:
    return values.dims == (SAMPLE,) and values.dtype.kind in "fiub"


def _axis(node: xr.DataTree, name: str) -> str:
    dims = node[EMBEDDING_GROUP][name].dims
    return str(dims[-1]) if len(dims) > 1 else ""


def _ranked(category: str, scores: xr.Dataset, score: str, n: int) -> Ranked | None:
    if score == SEPARABILITY and {CLUSTER_SCORE, SIZE} <= set(scores):
        apart, size = scores[CLUSTER_SCORE].values, scores[SIZE].values
        # As analysis.ranking has it: tiny clusters do not count; of two that are each other's rest, the smaller does.
        apart = np.where((size >= SMALLEST) & (n - size >= SMALLEST), apart, np.nan)
        if np.isnan(apart).all():
            return None
        best = np.argwhere(np.isclose(apart, np.nanmax(apart), rtol=1e-9))
        at, k = min(map(tuple, best), key=lambda found: (size[found], found))
        name, cluster = str(scores[CLUSTERING].values[at]), int(scores[CLUSTER].values[k])
        return Ranked(category, float(apart[at, k]), name, cluster, int(size[at, k]))
    if score not in scores or not np.isfinite(scores[score].values).any():
        return None
    values = np.asarray(scores[score].values, float)
    name = "" if values.ndim == 0 else str(scores[CLUSTERING].values[np.nanargmax(values)])
    return Ranked(category, float(np.nanmax(values)), name)


def _scores(node: xr.DataTree) -> xr.Dataset:
    return node[SCORE_GROUP].to_dataset() if SCORE_GROUP in node.children else xr.Dataset()


def _of_class(project: Project, category: str) -> NDArray[np.int64]:
    data = project.attributions
    names = data[CLASS].values.astype(str).tolist()
    if category not in names:
        raise ProjectError(f"{project.path}: no category '{category}': choose one of {', '.join(names)}")
    label = data[LABEL].values
    member = label == names.index(category) if label.ndim == 1 else label[:, names.index(category)].astype(bool)
    return np.flatnonzero(member)


def _rows(variable: xr.DataArray, rows: NDArray[np.integer]) -> NDArray:
    each = variable.dtype.itemsize * int(np.prod(variable.shape[1:]))
    return taken(lambda first, last: variable[first:last].values, rows, each)


def _whole(project: Project) -> None:
    """Raise an error if a file is shorter than it was: HDF5 would read zeros where it ended too soon."""
    for path, size in project.files:
        if path.is_file() and path.stat().st_size < size:
            raise OSError(f"{path.name} is shorter than it was when it was opened")


def _gone(project: Project, error: Exception) -> ProjectError:
    return ProjectError(
        f"{project.path} can no longer be read ({error}): was a file moved, deleted or overwritten? Reload the page"
    )


def _channels_first(variable: xr.DataArray) -> xr.DataArray:
    if {Y, X} <= set(variable.dims) and CHANNEL in variable.dims:
        return variable.transpose(SAMPLE, CHANNEL, Y, X)
    return variable


def _probability(output: NDArray) -> NDArray[np.float64]:
    output = output.astype(float)
    there = output[np.isfinite(output).all(axis=1)]
    if there.size == 0 or ((there >= 0).all() and np.allclose(there.sum(axis=1), 1, atol=1e-3)):
        return output
    odds = np.exp(output - output.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
