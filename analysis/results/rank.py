"""Which category to look at first: the one with the cluster that stands farthest apart."""

from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import CLUSTERING, SAMPLE, SCORE_GROUP, categories

from ..errors import DataError
from ..roles import CLUSTER, CLUSTER_SEPARABILITY, SIZE
from .table import CATEGORY

SMALLEST: Final = 5
"""Clusters of fewer samples, and those that leave fewer out, do not count in a ranking."""


class Apart(NamedTuple):
    """The cluster of a category that stands farthest apart."""

    separability: float
    clustering: str
    cluster: int
    size: int


def ranking(tree: xr.DataTree, *, smallest: int = SMALLEST) -> xr.Dataset:
    """Rank the categories by their most separable cluster.

    The cluster of a category is the one with the largest held-out Fisher separability τ against the rest, over all
    its clusterings, after [1]_. Of two clusters that are each other's rest, it is the smaller: the exception.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it, with the scores ``cluster_separability`` and ``size``.
    smallest : int
        Clusters of fewer samples are passed over, and those that leave fewer samples out.

    Returns
    -------
    xarray.Dataset
        Over ``category``, most suspicious first: ``separability``, ``clustering`` and ``cluster`` (which one), its
        ``size``, the category's ``n``, ``chance``, and of the scores there are, ``eigengap``, ``n_strategies`` and the
        clustering's ``silhouette``. A category without any such cluster has the separability NaN, the clustering ""
        and the cluster −1, and comes last.

        ``chance`` is the separability that the best of as many clusters reaches in half of all cases where they have
        nothing to do with the heatmaps. It falls with ``n``: a separability of a small category says less. Clusters
        that were found in the same heatmaps exceed it even in noise.

    Raises
    ------
    DataError
        If the tree has no such scores.

    References
    ----------
    .. [1] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77, section 3.1 (arXiv 1912.11425).

    Examples
    --------
    >>> from analysis import run, spray
    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> x[:8, 0] += 20
    >>> data = xr.Dataset({"attribution": (("sample", "x"), x), "group": ("sample", ["a"] * 20)})
    >>> table = ranking(run(spray(n_neighbors=4, tsne=False), data, by="group"))
    >>> table["clustering"].item(), table["size"].item()
    ('kmeans-02', 8)
    """
    rows = [_row(name, node, smallest) for name, node in categories(tree).items()]
    rows.sort(key=lambda row: -np.nan_to_num(row["separability"], nan=-np.inf))
    names = [row.pop(CATEGORY) for row in rows]
    columns = {column: (CATEGORY, [row[column] for row in rows]) for column in (rows[0] if rows else {})}
    return xr.Dataset(columns, coords={CATEGORY: names}, attrs={"smallest": smallest, "by": tree.attrs.get("by", "")})


def most_separable(scores: xr.Dataset, n: int, *, smallest: int = SMALLEST) -> Apart | None:
    """Return the most separable cluster over all clusterings of a category of ``n`` samples; None if none counts.

    Parameters
    ----------
    scores : xarray.Dataset
        Of the category, with ``cluster_separability`` and ``size``.
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
    tau, size = _eligible(scores, n, smallest), scores[SIZE].values
    if np.isnan(tau).all():
        return None
    best = np.argwhere(np.isclose(tau, np.nanmax(tau), rtol=1e-9))
    at, cluster = min(map(tuple, best), key=lambda found: (size[found], found))
    name, number = str(scores[CLUSTERING].values[at]), int(scores[CLUSTER].values[cluster])
    return Apart(float(tau[at, cluster]), name, number, int(size[at, cluster]))


def _eligible(scores: xr.Dataset, n: int, smallest: int) -> NDArray[np.float64]:
    """Separability of each cluster, NaN of those that do not count."""
    tau, size = scores[CLUSTER_SEPARABILITY].values, scores[SIZE].values
    return np.where((size >= smallest) & (n - size >= smallest), tau, np.nan)


def _chance(n: int, clusters: int) -> float:
    """Median of the largest of some ratios of variances between and within two groups, all of one distribution.

    (n − 2) times such a ratio has the F distribution with 1 and n − 2 degrees of freedom.
    """
    if n < 3 or not clusters:
        return np.nan
    from scipy import stats  # slow to load, and the viewer needs only what is above

    return float(stats.f.isf(1 - 0.5 ** (1 / clusters), 1, n - 2)) / (n - 2)


def _row(category: str, node: xr.DataTree, smallest: int) -> dict[str, Any]:
    scores = node[SCORE_GROUP].to_dataset() if SCORE_GROUP in node.children else xr.Dataset()
    for name in (CLUSTER_SEPARABILITY, SIZE):
        if name not in scores:
            raise DataError(f"ranking: category '{category}' has no score '{name}': add that step to the plan")
    n = node.sizes[SAMPLE]
    judged = int(np.isfinite(_eligible(scores, n, smallest)).sum())
    apart = most_separable(scores, n, smallest=smallest)
    row = {CATEGORY: category, "chance": _chance(n, judged), "n": n}
    row |= (apart or Apart(np.nan, "", -1, 0))._asdict()
    if "silhouette" in scores:
        of = scores[CLUSTERING].values.tolist().index(apart.clustering) if apart else None
        row["silhouette"] = np.nan if of is None else float(scores["silhouette"].values[of])
    return row | {name: float(scores[name]) for name in ("eigengap", "n_strategies") if name in scores}
