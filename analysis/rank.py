"""Which category to look at first: the one with the cluster that stands farthest apart."""

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from relfunc.columns import aligned
from relfunc.schema import CLUSTERING, SCORE_GROUP, categories

from .errors import DataError
from .scores import CLUSTER

CATEGORY = "category"
COLUMNS = {
    "category": "{}",
    "n": "{:.0f}",
    "separability": "{:.2f}",
    "clustering": "{}",
    "cluster": "{:.0f}",
    "size": "{:.0f}",
    "eigengap": "{:.3f}",
    "n_strategies": "{:.0f}",
    "silhouette": "{:.2f}",
}


def ranking(tree: xr.DataTree, *, smallest: int = 5) -> xr.Dataset:
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


def text(table: xr.Dataset) -> str:
    """Lay a ranking out as text, one line for each category.

    Parameters
    ----------
    table : xarray.Dataset
        As :func:`ranking` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> print(text(xr.Dataset({"separability": ("category", [3.14159])}, {"category": ["cat"]})))
    category  separability
    cat               3.14
    """
    titles = [name for name in COLUMNS if name in table.variables]
    cells = [titles] + [
        [COLUMNS[name].format(value).replace("nan", "–") for name, value in zip(titles, row, strict=True)]
        for row in zip(*(table[name].values for name in titles), strict=True)
    ]
    return aligned(cells, left={"category", "clustering"})


def _chance(n: int, clusters: int) -> float:
    """Median of the largest of some ratios of variances between and within two groups, all of one distribution.

    (n − 2) times such a ratio has the F distribution with 1 and n − 2 degrees of freedom.
    """
    if n < 3 or not clusters:
        return np.nan
    return float(stats.f.isf(1 - 0.5 ** (1 / clusters), 1, n - 2)) / (n - 2)


def _row(category: str, node: xr.DataTree, smallest: int) -> dict[str, Any]:
    scores = node[SCORE_GROUP].to_dataset() if SCORE_GROUP in node.children else xr.Dataset()
    for name in ("cluster_separability", "size"):
        if name not in scores:
            raise DataError(f"ranking: category '{category}' has no score '{name}': add that step to the plan")
    n = node.sizes["sample"]
    tau, size = scores["cluster_separability"].values, scores["size"].values
    eligible = np.where((size >= smallest) & (n - size >= smallest), tau, np.nan)
    judged = int(np.isfinite(eligible).sum())
    row = {
        CATEGORY: category,
        "chance": _chance(n, judged),
        "separability": np.nan,
        "clustering": "",
        "cluster": -1,
        "size": 0,
        "n": n,
    }
    if not np.isnan(eligible).all():
        best = np.argwhere(np.isclose(eligible, np.nanmax(eligible), rtol=1e-9))
        at, cluster = min(map(tuple, best), key=lambda found: (size[found], found))
        row |= {
            "separability": float(tau[at, cluster]),
            "clustering": str(scores[CLUSTERING].values[at]),
            "cluster": int(scores[CLUSTER].values[cluster]),
            "size": int(size[at, cluster]),
        }
        if "silhouette" in scores:
            row["silhouette"] = float(scores["silhouette"].values[at])
    elif "silhouette" in scores:
        row["silhouette"] = np.nan
    return row | {name: float(scores[name]) for name in ("eigengap", "n_strategies") if name in scores}
