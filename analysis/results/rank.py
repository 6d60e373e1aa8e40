"""Which category to look at first: the one with the cluster that stands farthest apart."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import CLUSTERING, SAMPLE, SCORE_GROUP, categories

from .._kernels.multiple import CORRECTIONS
from ..errors import DataError
from ..roles import (
    CLUSTER,
    CLUSTER_SEPARABILITY,
    MARGIN,
    MARGIN_CHANCE,
    MARGIN_SUBSAMPLE,
    REPLICATION,
    SIZE,
    choice,
)
from .chance import Chance, chance
from .table import CATEGORY

SMALLEST: Final = 5
"""Clusters of fewer samples, and those that leave fewer out, do not count in a ranking."""


class Apart(NamedTuple):
    """The cluster of a category that stands farthest apart."""

    separability: float
    clustering: str
    cluster: int
    size: int


class Judged(NamedTuple):
    """What chance does in each category, and how likely the margin of its cluster is by chance."""

    chance: Chance
    p_value: NDArray[np.float64]
    p_adjusted: NDArray[np.float64]


def ranking(
    tree: xr.DataTree, *, smallest: int = SMALLEST, level: float = 0.05, correction: str = "holm"
) -> xr.Dataset:
    """Rank the categories by the evidence that a cluster of theirs stands apart.

    The cluster of a category is the one with the largest margin over all its clusterings, and the evidence is how
    unlikely that margin is where there is one strategy: see :func:`analysis.chance`. Of a tree without these scores,
    it is the cluster with the largest held-out Fisher separability τ against the rest, after [1]_, which says nothing
    of evidence. Of two clusters that are each other's rest, it is the smaller: the exception.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it, with the scores ``cluster_separability`` and ``size``.
    smallest : int
        Clusters of fewer samples are passed over, and those that leave fewer samples out.
    level : float
        The chance of naming any category at all where there is one strategy in each.
    correction : {"holm", "benjamini-hochberg"}
        Of the p-values for the number of categories. The second keeps, instead of that chance, the expected share of
        false ones among those named at the level, and names more of many.

    Returns
    -------
    xarray.Dataset
        Over ``category``, most suspicious first: ``separability``, ``clustering`` and ``cluster`` (which one), its
        ``size``, the category's ``n``, ``chance``, and of the scores there are, ``eigengap``, ``n_strategies`` and the
        clustering's ``silhouette``. A category without any such cluster has the separability NaN, the clustering ""
        and the cluster −1, and comes last.

        Where there are margins, also the cluster's ``margin``; ``p_value``, ``p_adjusted`` and ``significant``, by
        what chance does in this category and how much categories vary; ``replication``, how far it is found again in
        halves of the samples; and ``strategies``, one and the clusters beside the largest that are significant, with
        ``strategies_low`` and ``strategies_high``, the fewest and most in the whole and in halves. Where nothing says
        what chance does, as in a category with too few samples or without surrogates, p-values and numbers of
        strategies are NaN, and nothing is significant.

        ``chance`` is the separability that the best of as many clusters reaches in half of all cases where they have
        nothing to do with the heatmaps. It falls with ``n``: a separability of a small category says less. Clusters
        that were found in the same heatmaps exceed it even in noise.

    Raises
    ------
    DataError
        If the tree has no such scores, or there is no such correction.

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77, section 3.1 (arXiv 1912.11425).

    Examples
    --------
    >>> from analysis import run, spray
    >>> x = np.random.default_rng(0).normal(size=(60, 8))
    >>> x[:20, 0] += 20
    >>> data = xr.Dataset({"attribution": (("sample", "x"), x), "group": ("sample", ["a"] * 60)})
    >>> table = ranking(run(spray(n_neighbors=4, tsne=False), data, by="group"))
    >>> table["clustering"].item(), table["size"].item(), table["significant"].item()
    ('kmeans-02', 20, True)
    """
    choice(correction, tuple(CORRECTIONS), "correction", "ranking")
    nodes = dict(categories(tree).items())
    scores = [_scores(name, node) for name, node in nodes.items()]
    sizes = [node.sizes[SAMPLE] for node in nodes.values()]
    found = [most_separable(own, n, smallest=smallest) for own, n in zip(scores, sizes, strict=True)]
    rows = [_row(*each, smallest) for each in zip(nodes, scores, sizes, found, strict=True)]
    judged = judge(found, scores, correction)
    if judged is not None:
        more = _evidence(rows, scores, judged, level)
        rows = [row | also for row, also in zip(rows, more, strict=True)]
    rows = [rows[k] for k in order(found, judged)]
    columns = {column: (CATEGORY, [row[column] for row in rows]) for column in (rows[0] if rows else {})}
    names = columns.pop(CATEGORY, (CATEGORY, []))[1]
    attrs = {"smallest": smallest, "level": level, "correction": correction, "by": tree.attrs.get("by", "")}
    return xr.Dataset(columns, coords={CATEGORY: names}, attrs=attrs)


def most_separable(scores: xr.Dataset, n: int, *, smallest: int = SMALLEST) -> Apart | None:
    """Return the cluster of a category of ``n`` samples that stands farthest apart; None if none counts.

    Parameters
    ----------
    scores : xarray.Dataset
        Of the category, with ``cluster_separability`` and ``size``, and perhaps with ``margin``, which then decides.
    n : int
        How many samples the category has.
    smallest : int
        As :func:`ranking` takes it.

    Returns
    -------
    Apart or None

    Examples
    --------
    >>> dims = "clustering", "cluster"
    >>> scores = xr.Dataset({"cluster_separability": (dims, [[4.0, 4.0]]), "size": (dims, [[20, 8]])})
    >>> most_separable(scores.assign_coords(clustering=["kmeans-02"], cluster=[0, 1]), 28)
    Apart(separability=4.0, clustering='kmeans-02', cluster=1, size=8)
    """
    tau, size = _eligible(scores, CLUSTER_SEPARABILITY, n, smallest), scores.variables[SIZE].values
    by = _eligible(scores, MARGIN, n, smallest) if MARGIN in scores.variables else tau
    by = np.where(np.isnan(tau), np.nan, by)
    if np.isnan(by).all():
        by = tau  # no cluster is large enough for a margin
    if np.isnan(by).all():
        return None
    best = np.argwhere(np.isclose(by, np.nanmax(by), rtol=1e-9))
    at, cluster = min(map(tuple, best), key=lambda found: (size[found], found))
    name, number = str(scores.variables[CLUSTERING].values[at]), int(scores.variables[CLUSTER].values[cluster])
    return Apart(float(tau[at, cluster]), name, number, int(size[at, cluster]))


def margin_of(apart: Apart | None, scores: xr.Dataset) -> float:
    """Return the margin of a category's cluster; NaN if there is none."""
    return _of_cluster(MARGIN, apart, scores)


def judge(found: Sequence[Apart | None], scores: Sequence[xr.Dataset], correction: str = "holm") -> Judged | None:
    """Return how likely the margins of some categories' clusters are by chance; None if a category has no such scores.

    Parameters
    ----------
    found : sequence of Apart or None
        Of each category, as :func:`most_separable` returns it.
    scores : sequence of xarray.Dataset
        Of each category.
    correction : {"holm", "benjamini-hochberg"}
        As :func:`ranking` takes it.

    Examples
    --------
    >>> dims, found = ("clustering", "cluster"), Apart(9.0, "apart", 0, 20)
    >>> scores = [
    ...     xr.Dataset({"margin": (dims, [[margin]]), "margin_chance": ("surrogate", [0.5, 0.6])}).assign_coords(
    ...         clustering=["apart"], cluster=[0]
    ...     )
    ...     for margin in (0.5, 9.0)
    ... ]
    >>> judge([found, found], scores).p_adjusted < 0.05
    array([False,  True])
    """
    if not scores or not all({MARGIN, MARGIN_CHANCE} <= set(own.variables) for own in scores):
        return None
    margin = np.array([margin_of(*each) for each in zip(found, scores, strict=True)])
    drawn = [own.variables[MARGIN_CHANCE].values for own in scores]
    surrogates = np.full((len(drawn), max(map(len, drawn))), np.nan)
    for row, own in zip(surrogates, drawn, strict=True):
        row[: len(own)] = own
    by_chance = chance(margin, surrogates)
    p = by_chance.p_value(margin)
    return Judged(by_chance, p, CORRECTIONS[correction](p))


def order(found: Sequence[Apart | None], judged: Judged | None) -> list[int]:
    """Return the positions of categories from the most suspicious on: by evidence, then by separability."""
    separability = np.array([np.nan if apart is None else apart.separability for apart in found])
    p = np.zeros(len(found)) if judged is None else np.nan_to_num(judged.p_value, nan=np.inf)
    return np.lexsort((-separability, p, np.isnan(separability))).tolist()


def _of_cluster(name: str, apart: Apart | None, scores: xr.Dataset) -> float:
    """Return a score of a category's cluster; NaN if there is none."""
    if apart is None or name not in scores.variables:
        return np.nan
    at = scores.variables[CLUSTERING].values == apart.clustering, scores.variables[CLUSTER].values == apart.cluster
    return float(scores.variables[name].values[np.ix_(*at)][0, 0])


def _eligible(scores: xr.Dataset, name: str, n: int, smallest: int) -> NDArray[np.float64]:
    """Return a score of each cluster, NaN of those that do not count."""
    size = scores.variables[SIZE].values
    return np.where((size >= smallest) & (n - size >= smallest), scores.variables[name].values, np.nan)


def _chance(n: int, clusters: int) -> float:
    """Median of the largest of some ratios of variances between and within two groups, all of one distribution.

    (n − 2) times such a ratio has the F distribution with 1 and n − 2 degrees of freedom.
    """
    if n < 3 or not clusters:
        return np.nan
    from scipy import stats  # slow to load, and the viewer needs only what is above

    return float(stats.f.isf(1 - 0.5 ** (1 / clusters), 1, n - 2)) / (n - 2)


def _scores(category: str, node: xr.DataTree) -> xr.Dataset:
    scores = node[SCORE_GROUP].to_dataset() if SCORE_GROUP in node.children else xr.Dataset()
    for name in (CLUSTER_SEPARABILITY, SIZE):
        if name not in scores:
            raise DataError(f"ranking: category '{category}' has no score '{name}': add that step to the plan")
    return scores


def _row(category: str, scores: xr.Dataset, n: int, apart: Apart | None, smallest: int) -> dict[str, Any]:
    judged = int(np.isfinite(_eligible(scores, CLUSTER_SEPARABILITY, n, smallest)).sum())
    row = {CATEGORY: category, "chance": _chance(n, judged), "n": n}
    row |= (apart or Apart(np.nan, "", -1, 0))._asdict()
    row |= {name: _of_cluster(name, apart, scores) for name in (MARGIN, REPLICATION) if name in scores}
    if "silhouette" in scores:
        row["silhouette"] = float(scores["silhouette"].sel({CLUSTERING: apart.clustering})) if apart else np.nan
    return row | {name: float(scores[name]) for name in ("eigengap", "n_strategies") if name in scores}


def _evidence(
    rows: list[dict[str, Any]], scores: list[xr.Dataset], judged: Judged, level: float
) -> Iterator[dict[str, Any]]:
    """Yield what is significant in each category, and how many of its clusters are."""
    significant = judged.p_adjusted <= level
    least = max([level / max(np.isfinite(judged.p_value).sum(), 1), *judged.p_value[significant]])
    for at, own in enumerate(scores):
        null, p = Chance(*(part[at] for part in judged.chance)), judged.p_value[at]
        row = {"p_value": p, "p_adjusted": judged.p_adjusted[at], "significant": bool(significant[at])}
        strategies = np.full(1, np.nan)
        if np.isfinite(p):
            beside = own[MARGIN].sel({CLUSTERING: rows[at]["clustering"]}).values[None, 1:]
            halves = own[MARGIN_SUBSAMPLE].values if MARGIN_SUBSAMPLE in own else beside[:0]
            counts = [np.sum(null.p_value(margin) <= least, axis=1) for margin in (beside, halves)]
            strategies = 1.0 + np.concatenate(counts)
        low, high = strategies.min(), strategies.max()
        yield row | {"strategies": strategies[0], "strategies_low": low, "strategies_high": high}
