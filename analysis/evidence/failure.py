"""Where the model fails: clusters and values of metadata, by how far their accuracy falls behind the rest."""

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import CLUSTER_GROUP, NOISE, categories, members

from .._kernels.multiple import CORRECTIONS
from .._kernels.proportions import fisher_p, newcombe, wilson
from ..errors import DataError
from ..results.table import CATEGORY
from ..roles import CLUSTER, choice
from .against_rest import SMALLEST, checked_level, frequent_values, is_missing, is_ordered
from .known import CONFIDENCE, CORRECT, Metadata, known, positions

SLICE: Final = "slice"
QUARTERS: Final = (0.25, 0.5, 0.75)


class Gap(NamedTuple):
    """How much less accurate the model is on a slice than on the rest."""

    n: int
    n_rest: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    accuracy_rest: float
    gap: float
    gap_low: float
    gap_high: float
    p_value: float


class Slice(NamedTuple):
    """Samples that have something in common, and those they are compared with."""

    kind: str
    category: str
    variable: str
    value: str
    cluster: int
    members: NDArray[np.intp]
    rest: NDArray[np.intp]


def slices(
    tree: xr.DataTree | None,
    data: xr.Dataset,
    *,
    metadata: Metadata = None,
    level: float = 0.05,
    correction: str = "holm",
    smallest: int = SMALLEST,
) -> xr.Dataset:
    """Rank clusters and values of metadata by how much less accurate the model is on them than on the rest.

    A cluster is compared with the rest of its category, a value with all other samples for which the variable is
    known; samples of which it is not known whether they are correct do not count. Numbers and dates are cut at their
    quartiles. As in slice finding [1]_, a slice is named by one thing that
    its samples have in common. Of a small slice the accuracy is uncertain, so that slices are ranked by the upper bound
    of the gap's interval: first comes what is surely worse, and not what happens to be.

    Parameters
    ----------
    tree : xarray.DataTree or None
        As :func:`analysis.run` returns it; every cluster of every clustering is a slice, once if several clusterings
        have it. None for metadata alone.
    data : xarray.Dataset
        The attributions it is of, with ``prediction`` and ``label``, or with metadata that have ``correct``.
    metadata : xarray.Dataset or sequence of str, optional
        As :func:`analysis.findings` takes them.
    level : float
        Up to which corrected p-value a gap is ``significant``, and one minus the coverage of each interval.
    correction : {"holm", "benjamini-hochberg"}
        Over all slices.
    smallest : int
        Slices of fewer samples are passed over, and those that leave fewer.

    Returns
    -------
    xarray.Dataset
        Over ``slice``, surest loss first: ``kind`` ("cluster" or "metadata"); the ``category``, clustering
        (``variable``) and ``cluster`` of a cluster, or the ``variable`` and ``value`` of metadata; ``n`` and
        ``n_rest``; ``accuracy`` with ``accuracy_low`` and ``accuracy_high`` [2]_, and ``accuracy_rest``; the ``gap``,
        accuracy less that of the rest, with ``gap_low`` and ``gap_high`` [3]_; ``p_value`` of Fisher's exact test,
        ``p_adjusted`` and ``significant``. The attribute ``accuracy`` is that of all samples.

    Raises
    ------
    DataError
        If it is known of no sample whether it is correct, or is neither yes nor no, or the tree is not of these
        data.

    References
    ----------
    .. [1] Chung et al. 2019, Slice Finder: automated data slicing for model validation, ICDE (arXiv 1807.06068).
    .. [2] Wilson 1927, Probable inference, Journal of the American Statistical Association 22.
    .. [3] Newcombe 1998, Interval estimation for the difference between independent proportions, Statistics in
       Medicine 17, 873–890.

    Examples
    --------
    >>> site = np.array(["A", "B", "C", "D"] * 10)
    >>> data = xr.Dataset({"correct": ("sample", site != "C"), "site": ("sample", site)})
    >>> found = slices(None, data)
    >>> found["value"].values.tolist(), found["gap"].values.round(2), found["significant"].values
    (['C', 'A', 'B', 'D'], array([-1.  ,  0.33,  0.33,  0.33]), array([ True, False, False, False]))
    """
    checked_level(level, "slices")
    correct_p = CORRECTIONS[choice(correction, tuple(CORRECTIONS), "correction", "slices")]
    about = known(data, metadata, "slices")
    if CORRECT not in about:
        raise DataError(
            f"slices: nothing says which samples are correct: give data with 'prediction' and one 'label' for each "
            f"sample, or metadata with '{CORRECT}'"
        )
    correct, judged = _correct(about.pop(CORRECT))
    about.pop(CONFIDENCE, None)
    found = [
        one._replace(members=one.members[judged[one.members]], rest=one.rest[judged[one.rest]])
        for one in (*_clusters(tree, data), *_values(about))
    ]
    found = [one for one in found if min(one.members.size, one.rest.size) >= smallest]
    gaps = [_gap(correct[one.members], correct[one.rest], level) for one in found]
    names = {"kind": str, CATEGORY: str, "variable": str, "value": str, CLUSTER: np.int64}
    columns = {name: (SLICE, np.array([getattr(one, name) for one in found], kind)) for name, kind in names.items()}
    for name, kind in Gap.__annotations__.items():
        columns[name] = SLICE, np.array([getattr(gap, name) for gap in gaps], kind)
    adjusted = correct_p(columns["p_value"][1])
    columns |= {"p_adjusted": (SLICE, adjusted), "significant": (SLICE, adjusted <= level)}
    table = xr.Dataset(
        columns,
        attrs={
            "level": level,
            "correction": f"{correction}, over all slices",
            "smallest": smallest,
            "accuracy": float(correct[judged].mean()),
            "n": int(judged.sum()),
            "order": "upper bound of the gap, ascending",
        },
    )
    return table.isel({SLICE: np.argsort(table["gap_high"].values, kind="stable")})


def _correct(values: NDArray) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Return which samples are correct, and of which that is known."""
    values = np.asarray(values)
    judged = ~is_missing(values)
    wrong = np.flatnonzero(~np.isin(values[judged], (0, 1)))
    if wrong.size or not judged.any():
        example = f"'{values[judged][wrong[0]]}' of {wrong.size} samples" if wrong.size else "missing of all samples"
        raise DataError(f"slices: '{CORRECT}' is {example}: give True or False, or None where that is not known")
    return np.where(judged, values, 0).astype(bool), judged


def _gap(correct: NDArray, rest: NDArray, level: float) -> Gap:
    hits, n, others, n_rest = int(correct.sum()), correct.size, int(rest.sum()), rest.size
    accuracy, accuracy_rest = hits / n, others / n_rest
    bounds = newcombe(hits, n, others, n_rest, level)
    gap = accuracy - accuracy_rest, *bounds, fisher_p(hits, n, others, n_rest)
    return Gap(n, n_rest, accuracy, *wilson(hits, n, level), accuracy_rest, *gap)


def _clusters(tree: xr.DataTree | None, data: xr.Dataset) -> Iterator[Slice]:
    """Every cluster, once: of two that are each other's rest, the smaller."""
    for category, node in categories(tree).items() if tree is not None else ():
        index = positions(node, data, f"slices: category '{category}'")
        seen: set[bytes] = set()
        for clustering, labels in members(node, CLUSTER_GROUP).items():
            names, sizes = np.unique(labels.values[labels.values != NOISE], return_counts=True)
            for cluster in names[np.argsort(sizes, kind="stable")]:
                inside = labels.values == cluster
                if seen.isdisjoint((inside.tobytes(), (~inside).tobytes())):
                    seen.add(inside.tobytes())
                    yield Slice(CLUSTER, category, clustering, "", int(cluster), index[inside], index[~inside])


def _values(about: dict[str, NDArray]) -> Iterator[Slice]:
    """Every value of metadata that occurs often enough; of numbers, every quarter."""
    for variable, values in about.items():
        missing = is_missing(values)
        if missing.all():
            continue
        quarters = (
            _quarters(values, missing) if is_ordered(values[~missing]) else frequent_values(values, missing, both=True)
        )
        for value, inside in quarters.items():
            own, rest = np.flatnonzero(inside & ~missing), np.flatnonzero(~inside & ~missing)
            yield Slice("metadata", "", variable, value, -1, own, rest)


def _quarters(values: NDArray, missing: NDArray) -> dict[str, NDArray[np.bool]]:
    bounds = np.unique(np.quantile(values[~missing], QUARTERS, method="inverted_cdf"))
    part = np.full(values.size, -1)
    part[~missing] = np.searchsorted(bounds, values[~missing])
    shown = [str(bound) if bound.dtype.kind in "mM" else f"{bound:.6g}" for bound in bounds]
    shown = shown if len(set(shown)) == len(shown) else [str(bound) for bound in bounds]
    names = [f"≤ {shown[0]}", *(f"> {a}, ≤ {b}" for a, b in itertools.pairwise(shown)), f"> {shown[-1]}"]
    return {name: part == k for k, name in enumerate(names)}
