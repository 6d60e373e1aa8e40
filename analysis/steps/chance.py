"""Groups that stand apart, and how far chance alone would set some apart."""

import math
import zlib

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import CLUSTERING, NOISE, SAMPLE

from .._kernels import apart as kernel
from .._kernels.near import originals
from .._kernels.views import laid_out, pooled
from ..errors import DataError
from ..roles import (
    CLUSTER,
    FEATURES,
    MARGIN,
    MARGIN_CHANCE,
    MARGIN_SUBSAMPLE,
    REPLICATION,
    SCORE,
    SHAPE,
    makes,
    matrix,
    result,
)
from ..roles import CLUSTERING as CLUSTERING_ROLE
from .cluster import by_size
from .scores import clusterings_of, most_clusters

SURROGATE, SUBSAMPLE, GROUP = "surrogate", "subsample", "group"
GROUPS = 8
"""As many groups are told apart at most."""


@makes(CLUSTERING_ROLE)
def apart(
    data: xr.Dataset,
    *,
    of: str = FEATURES,
    ridge: float = 1.0,
    smallest: int = 5,
    least: float = 2.0,
    most: int = 1000,
    seed: int = 0,
    name: str = "apart",
) -> xr.Dataset:
    """Cluster by gaps: groups that a discriminant sets apart from all other samples, however small the difference.

    Distances of whole heatmaps do not show a mark of a few pixels, nor a faint texture, as they are ruled by what
    varies most. Here, groups are sought in the whole map, in each of its windows (of 8 × 8 pixels, half overlapping;
    more than 32 × 32 pixels are averaged first), and in windows of the moduli of its Fourier transform. A group starts
    as the samples beyond the widest gap along a feature or a principal component. Every sample is projected by the
    discriminant between group and rest that was fitted without it [1]_, and those that lie beyond the middle are the
    group from which it is fitted anew, until it stays the same [2]_.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``of (sample, feature)``.
    of : str
        "features", or an embedding, which has no windows and no spectrum; nor have features that no longer have the
        shape that :func:`analysis.flatten` notes.
    ridge : float
        Strength of the regularisation, as :func:`analysis.separability` takes it; where there are as many features as
        samples, at least 1e-4.
    smallest : int
        Smaller groups are passed over; none has more than half of the samples that are searched.
    least : float
        Beside the group with the largest margin, others of at least this margin count; see :func:`analysis.chance`.
    most : int
        Of more samples than this, so many are drawn at random for the search; the discriminants assign the others.
        Of copies, one has a part in it, and the others are where it is; what differs by rounding errors is a copy.
    seed : int
        Seed of the draw.
    name : str
        The clustering's name.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample)``, int32: the rest and up to eight groups, from the largest down. Fewer than ten samples, and
        samples that coincide, are one cluster.

    Raises
    ------
    DataError
        If an option cannot be met, or a value is not finite.

    References
    ----------
    .. [1] Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, sections 4.3 and 7.10.
    .. [2] De la Torre and Kanade 2006, Discriminative cluster analysis, ICML.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 20))
    >>> x[:9, 3] += 12
    >>> data = xr.Dataset({"features": (("sample", "feature"), x)})
    >>> np.flatnonzero(apart(data)["apart"])
    array([0, 1, 2, 3, 4, 5, 6, 7, 8])
    """
    x = _checked(data, of, "apart", ridge=ridge, smallest=smallest, most=most)
    drawn, seen, same = _drawn(x, most, seed)
    label = np.zeros(len(x), dtype=np.int32)
    groups = kernel.disjoint(kernel.search(x[drawn], ridge=ridge, smallest=smallest), most=GROUPS, least=least)
    label[drawn] = kernel.labels(groups)
    label[seen] = label[same]
    left = np.setdiff1d(np.arange(len(x)), seen)
    label[left] = kernel.labels(kernel.assigned(x[drawn], groups, x[left], ridge=ridge))
    return xr.Dataset({name: result(CLUSTERING_ROLE, (SAMPLE,), by_size(label), of=of, ridge=ridge, seed=seed)})


@makes(SCORE)
def chance(
    data: xr.Dataset,
    *,
    of: str = FEATURES,
    ridge: float = 1.0,
    smallest: int = 5,
    surrogates: int = 2,
    subsamples: int = 4,
    most: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Score how far every cluster stands apart, and how far the best group does where there is one strategy.

    The margin of a cluster is the gap between it and the rest: of the projections by the discriminant between the two,
    each fitted without the sample that it projects, (q_inside − q_outside) / σ · √a · min(1, √(2a)), a = m / (m + 20),
    for the m samples of the smaller of the two, a tenth of which lies below q_inside, and as many of the others above
    q_outside, and the standard deviation σ within the two. It is the largest over all that :func:`analysis.apart` looks
    at: the whole map, its windows and its spectrum. A region of a continuum has no gap around it, however far apart its
    ends lie.

    Surrogates have the mean and covariance of the samples and are otherwise normal: the samples' principal components
    are rotated at random, which is exact where the samples are normal [1]_. In each, the same search is made as in the
    samples.

    Parameters
    ----------
    data : xarray.Dataset
        With clusterings and the variable ``of``.
    of, ridge, smallest, most
        As :func:`analysis.apart` takes them.
    surrogates : int
        How many; those of all categories together say how far chance reaches. Of 0, nothing says so, and a ranking has
        no p-values.
    subsamples : int
        How many halves of the samples are searched, too.
    seed : int
        Seed of the draws, which depend on the values, too.

    Returns
    -------
    xarray.Dataset
        ``margin(clustering, cluster)``, NaN for clusters smaller than ``smallest``, or that leave fewer out;
        ``margin_chance(surrogate)``, the largest margin in each surrogate; ``margin_subsample(subsample, group)``, the
        largest margins of disjoint groups in each half, NaN where there are no more; and ``replication(clustering,
        cluster)``, how far the cluster is found again in halves: the mean over them of the largest Jaccard index with
        any group found there [2]_. A score of a category with too few samples for a group is NaN; the replication,
        also where halves have too few, or there are none.

    Raises
    ------
    DataError
        If there is no clustering, an option cannot be met, or a value is not finite.

    References
    ----------
    .. [1] Langsrud 2005, Rotation tests, Statistics and Computing 15.
    .. [2] Hennig 2007, Cluster-wise assessment of cluster stability, Computational Statistics & Data Analysis 52.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(60, 20))
    >>> x[:9, 3] += 12
    >>> data = xr.Dataset({"features": (("sample", "feature"), x)})
    >>> scores = chance(data.merge(apart(data), combine_attrs="override"))
    >>> bool(scores["margin"].max() > scores["margin_chance"].max())
    True
    """
    counts = {"surrogates": surrogates, "subsamples": subsamples}
    x = _checked(data, of, "chance", ridge=ridge, smallest=smallest, most=most, **counts)
    drawn = _drawn(x, most, seed)[0]
    flat = x.reshape(len(x), -1)
    # categories of one size would otherwise have the same rotations, and all of them the same luck
    rng = np.random.default_rng(
        (seed, zlib.crc32(np.argsort(flat[:, np.ptp(flat, axis=0).argmax()], kind="stable").data))
    )
    options = {"ridge": ridge, "smallest": smallest}
    given = clusterings_of(data, "chance")
    margin = np.full((len(given), most_clusters(given)), np.nan)
    names = [np.unique(label[label != NOISE]) for label in given.values()]
    inside = [label[drawn][:, None] == own for label, own in zip(given.values(), names, strict=True)]
    every = np.repeat(np.arange(len(given)), [own.size for own in names]), np.concatenate(names)
    margin[every] = kernel.margins_of(x[drawn], np.concatenate(inside, axis=1), **options)
    largest = np.full(surrogates, np.nan)
    for at in range(surrogates if len(drawn) >= kernel.FEWEST else 0):
        found = kernel.search(kernel.rotated(x[drawn], rng), **options)
        largest[at] = found.margin[0] if found.margin.size else np.nan
    again, halves = np.full(margin.shape, np.nan), np.full((subsamples, GROUPS), np.nan)
    if subsamples and len(drawn) // 2 >= max(2 * smallest, kernel.FEWEST):
        again[~np.isnan(margin)] = 0
    for half in halves if len(drawn) > 1 else []:
        part = drawn[rng.permutation(len(drawn))[: len(drawn) // 2]]
        found = kernel.disjoint(kernel.search(x[part], **options), most=GROUPS)
        half[: found.margin.size] = found.margin
        for row, label in enumerate(given.values()):
            again[row] += _agreement(label[part][:, None] == np.arange(margin.shape[1]), found.inside) / subsamples
    attrs = {"of": of, "ridge": ridge, "smallest": smallest, "seed": seed}
    per_cluster = CLUSTERING, CLUSTER
    return xr.Dataset(
        {
            MARGIN: result(SCORE, per_cluster, margin, **attrs),
            MARGIN_CHANCE: result(SCORE, (SURROGATE,), largest, **attrs),
            MARGIN_SUBSAMPLE: result(SCORE, (SUBSAMPLE, GROUP), halves, **attrs),
            REPLICATION: result(SCORE, per_cluster, again, **attrs),
        },
        coords={CLUSTERING: list(given), CLUSTER: list(range(margin.shape[1]))},
    )


def _checked(data: xr.Dataset, of: str, step: str, *, ridge: float, smallest: int, most: int, **counts: int) -> NDArray:
    """Return the features that are compared, as the maps they were, or say which option or value cannot be."""
    x = matrix(data, of, step)
    if not 0 <= ridge < np.inf:
        raise DataError(f"{step}: ridge={ridge} is no strength: it must be finite and at least 0")
    if smallest < 2:
        raise DataError(f"{step}: smallest={smallest} must be at least 2: one sample has no spread")
    if most < 2 * smallest:
        raise DataError(f"{step}: most={most} leaves no two groups of {smallest}: give at least {2 * smallest}")
    for name, count in counts.items():
        if count < 0:
            raise DataError(f"{step}: {name}={count} must be at least 0")
    if not np.isfinite(x).all():
        raise DataError(f"{step}: a feature is NaN or infinite: leave out that sample, or mend the step that made it")
    shape = tuple(np.atleast_1d(data[of].attrs.get(SHAPE, ())).tolist())
    return laid_out(x, shape) if shape and math.prod(shape) == x.shape[1] else pooled(x)


def _drawn(x: NDArray, most: int, seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return the positions of at most so many samples, ascending; of copies, one: leaving one out leaves the others.

    Returns
    -------
    drawn, seen, same : ndarray of int
        Those; all, with the copies; and of which of the drawn ones each of these is a copy.
    """
    seen = np.arange(len(x)) if len(x) <= most else np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
    which = originals(x[seen].reshape(len(seen), -1))
    return seen[np.unique(which)], seen, seen[which]


def _agreement(given: NDArray, found: NDArray) -> NDArray:
    """Return the largest Jaccard index of each of some groups (n, c) with any found, or with what that leaves, (c,)."""
    found = np.concatenate([found, ~found], axis=1).astype(float)
    both = given.T.astype(float) @ found
    either = given.sum(0)[:, None] + found.sum(0) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0).max(1, initial=0)
