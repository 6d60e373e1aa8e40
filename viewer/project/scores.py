"""Scores: what an analysis says of categories, clusterings, clusters and single samples."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from analysis.results.rank import judge, margin_of, most_separable, order
from analysis.roles import CLUSTER, CLUSTER_SEPARABILITY, SIZE
from relfunc.schema import CLUSTERING, EIGENVALUE, INDEX, LABEL, SAMPLE

from ..cache import of
from .project import UNREADABLE, Project, gone, node_of, read_rows, scored, scores_of

SEPARABILITY: Final = "separability"


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
    margin : float, optional
        How far the cluster stands apart, where the analysis says what of that is chance.
    p_value : float
        Of the margin, corrected for the number of categories; NaN where that cannot be told.
    """

    category: str
    value: float
    clustering: str = ""
    cluster: int | None = None
    size: int = 0
    margin: float | None = None
    p_value: float = np.nan


def measures(project: Project, category: str) -> tuple[str, ...]:
    """Names of what has one number for each sample of a category, in the attributions or in the analysis."""
    held = [project.attributions.drop_vars(LABEL)]
    if project.analysis is not None:
        node = node_of(project, category)
        held += [node.to_dataset().drop_vars(INDEX), scores_of(node)]
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
            node = node_of(project, category)
            for data in (node.to_dataset(), scores_of(node)):
                if name in data.data_vars and data[name].size == rows.size:
                    return np.asarray(data[name].values, float)
        return np.asarray(read_rows(project.attributions[name], rows), float)
    except UNREADABLE as error:
        raise gone(project, error) from error


def eigenvalues(project: Project, category: str) -> NDArray[np.float64]:
    """Eigenvalues of the graph Laplacian of a category, in file order; empty if there are none."""
    if project.analysis is None or EIGENVALUE not in node_of(project, category):
        return np.empty(0)
    return np.asarray(node_of(project, category)[EIGENVALUE].values, float)


def score_names(project: Project) -> tuple[str, ...]:
    """Names of the scores that any category has, separability first."""
    if project.analysis is None:
        return ()
    held = [scores for _, scores, _ in scored(project)]
    names = {
        str(name): None
        for scores in held
        for name, score in scores.variables.items()
        if score.dims in ((), (CLUSTERING,)) and name not in scores.coords
    }
    if any({CLUSTER_SEPARABILITY, SIZE} <= scores.keys() for scores in held):
        names[SEPARABILITY] = None
    return tuple(sorted(names, key=lambda name: name != SEPARABILITY))


def ranking(project: Project, score: str) -> tuple[Ranked, ...]:
    """Categories by a score, the highest first.

    The separability of a category is that of the cluster that stands farthest apart, over all its clusterings, where
    the analysis knows it of each cluster; of other scores, and without it, it is the best clustering's value. Where the
    analysis says how far chance reaches, categories are in the order of that evidence, as :func:`analysis.ranking`
    has them.
    """
    if project.analysis is None:
        return ()

    def ranked() -> tuple[Ranked, ...]:
        if score == SEPARABILITY and all({CLUSTER_SEPARABILITY, SIZE} <= set(each) for _, each, _ in scored(project)):
            return _judged(scored(project))
        found = [_ranked(category, scores, score, n) for category, scores, n in scored(project)]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.value))

    return of(project, ("ranking", score), ranked)


def clustering_scores(project: Project, category: str, clustering: str) -> dict[str, float]:
    """Return the scores of one clustering of a category."""
    if project.analysis is None:
        return {}
    scores = scores_of(node_of(project, category))
    if CLUSTERING not in scores.coords or clustering not in scores[CLUSTERING].values:
        return {}
    chosen = scores.isel({CLUSTERING: scores[CLUSTERING].values.tolist().index(clustering)})
    return {str(name): float(value) for name, value in chosen.data_vars.items() if scores[name].dims == (CLUSTERING,)}


def cluster_scores(project: Project, category: str, clustering: str) -> dict[int, float]:
    """Return how separable each cluster of a clustering is, where the analysis says so."""
    if project.analysis is None:
        return {}
    scores, name = scores_of(node_of(project, category)), CLUSTER_SEPARABILITY
    if name not in scores or scores[name].dims != (CLUSTERING, CLUSTER) or clustering not in scores[CLUSTERING].values:
        return {}
    chosen = scores[name].isel({CLUSTERING: scores[CLUSTERING].values.tolist().index(clustering)})
    return {int(k): float(v) for k, v in zip(chosen[CLUSTER].values, chosen.values, strict=True) if np.isfinite(v)}


def _is_measure(values: xr.DataArray) -> bool:
    return values.dims == (SAMPLE,) and values.dtype.kind in "fiub"


def _judged(held: tuple[tuple[str, xr.Dataset, int], ...]) -> tuple[Ranked, ...]:
    """Rank categories by the evidence that a cluster stands apart, and those without such a cluster not at all."""
    scores = [each for _, each, _ in held]
    found = [most_separable(each, n) for _, each, n in held]
    judged = judge(found, scores)
    judged = None if judged is None or np.isnan(judged.p_value).all() else judged
    rows: list[Ranked] = []
    for k in order(found, judged):
        apart = found[k]
        if apart is not None and judged is not None:
            margin, p = margin_of(apart, scores[k]), float(judged.p_adjusted[k])
            rows.append(Ranked(held[k][0], *apart, margin, p))
        elif apart is not None:
            rows.append(Ranked(held[k][0], *apart))
    return tuple(rows)


def _ranked(category: str, scores: xr.Dataset, score: str, n: int) -> Ranked | None:
    if score == SEPARABILITY and {CLUSTER_SEPARABILITY, SIZE} <= set(scores):
        apart = most_separable(scores, n)
        return apart and Ranked(category, *apart)
    if score not in scores or not np.isfinite(scores[score].values).any():
        return None
    values = np.asarray(scores[score].values, float)
    name = "" if values.ndim == 0 else str(scores[CLUSTERING].values[np.nanargmax(values)])
    return Ranked(category, float(np.nanmax(values)), name)
