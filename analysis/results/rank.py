"""Which category to look at first: the one with the cluster that stands farthest apart."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import CLUSTERING, SAMPLE, SCORE_GROUP, categories

from .._kernels.multiple import benjamini_hochberg, holm
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
CORRECTIONS: Final = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}


class Apart(NamedTuple):
    """The cluster of a category that stands farthest apart."""

    separability: float
    clustering: str
    cluster: int
    size: int


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
        ``strategies_low`` and ``strategies_high``, the fewest and most in halves.

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
    rows = [_row(name, node, smallest) for name, node in nodes.items()]
    if rows and all(MARGIN in row for row in rows):
        rows = _with_evidence(rows, list(nodes.values()), level, CORRECTIONS[correction])
    rows.sort(
        key=lambda row: (
            np.nan_to_num(row.get("p_value", 0.0), nan=1.0),
            -np.nan_to_num(row["separability"], nan=-np.inf),
        )
    )
    rows.sort(key=lambda row: bool(np.isnan(row["separability"])))
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
    tau, size = _eligible(scores, CLUSTER_SEPARABILITY, n, smallest), scores[SIZE].values
    by = _eligible(scores, MARGIN, n, smallest) if MARGIN in scores else tau
    by = np.where(np.isnan(tau), np.nan, by)
    if np.isnan(by).all():
        return None
    best = np.argwhere(np.isclose(by, np.nanmax(by), rtol=1e-9))
    at, cluster = min(map(tuple, best), key=lambda found: (size[found], found))
    name, number = str(scores[CLUSTERING].values[at]), int(scores[CLUSTER].values[cluster])
    return Apart(float(tau[at, cluster]), name, number, int(size[at, cluster]))


def _eligible(scores: xr.Dataset, name: str, n: int, smallest: int) -> NDArray[np.float64]:
    """Return a score of each cluster, NaN of those that do not count."""
    size = scores[SIZE].values
    return np.where((size >= smallest) & (n - size >= smallest), scores[name].values, np.nan)


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


def _row(category: str, node: xr.DataTree, smallest: int) -> dict[str, Any]:
    scores, n = _scores(category, node), node.sizes[SAMPLE]
    judged = int(np.isfinite(_eligible(scores, CLUSTER_SEPARABILITY, n, smallest)).sum())
    apart = most_separable(scores, n, smallest=smallest)
    row = {CATEGORY: category, "chance": _chance(n, judged), "n": n}
    row |= (apart or Apart(np.nan, "", -1, 0))._asdict()
    at = {CLUSTERING: row["clustering"], CLUSTER: row["cluster"]}
    if "silhouette" in scores:
        row["silhouette"] = float(scores["silhouette"].sel({CLUSTERING: at[CLUSTERING]})) if apart else np.nan
    if {MARGIN, MARGIN_CHANCE, MARGIN_SUBSAMPLE, REPLICATION} <= set(scores):
        row |= {name: float(scores[name].sel(at)) if apart else np.nan for name in (MARGIN, REPLICATION)}
    return row | {name: float(scores[name]) for name in ("eigengap", "n_strategies") if name in scores}


def _with_evidence(
    rows: list[dict[str, Any]], nodes: list[xr.DataTree], level: float, corrected: Callable[[Any], NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Add what chance does in these categories, and how many clusters of each exceed it."""
    scores = [node[SCORE_GROUP].to_dataset() for node in nodes]
    margin = np.array([row[MARGIN] for row in rows])
    null = chance(margin, np.stack([score[MARGIN_CHANCE].values for score in scores]))
    p = null.p_value(margin)
    adjusted = corrected(p)
    # of a category that is significant, its cluster is, too: no correction is stricter than that of Bonferroni
    threshold = np.max(p[adjusted <= level], initial=level / max(1, np.isfinite(p).sum()))
    found = []
    for at, (row, score) in enumerate(zip(rows, scores, strict=True)):
        own = Chance(*(part[at] for part in null))
        beyond = score[MARGIN].sel({CLUSTERING: row["clustering"]}).values[1:] if row["clustering"] else np.array([])
        halves = (own.p_value(score[MARGIN_SUBSAMPLE].values) <= threshold).sum(1)
        significant = bool(adjusted[at] <= level)
        found.append(
            row
            | {"p_value": p[at], "p_adjusted": adjusted[at], "significant": significant}
            | {"strategies": 1 + max(int((own.p_value(beyond) <= threshold).sum()), significant)}
            | {"strategies_low": 1 + int(halves.min()) if halves.size else 1}
            | {"strategies_high": 1 + int(halves.max()) if halves.size else 1}
        )
    return found
