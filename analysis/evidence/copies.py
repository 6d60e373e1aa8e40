"""Copies: samples that are identical, or as good as that, which make clusters of themselves and leak between splits."""

from typing import Any, Final

import numpy as np
import xarray as xr
import xxhash
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from relfunc.schema import ATTRIBUTION, INPUT, LABEL, SAMPLE, TOKEN, X, Y

from .._kernels.near import FEWEST, near_pairs
from ..errors import DataError, listed
from ..results.table import CATEGORY
from .against_rest import checked_level
from .known import class_names, in_blocks
from .region import filled, shares

GROUP: Final = "group"
MEMBER: Final = "member"
SIDE: Final = 16
"""Pixels of a thumbnail's sides, at most."""


def duplicates(
    data: xr.Dataset,
    *,
    variable: str = INPUT,
    by: str | None = LABEL,
    split: str | None = None,
    level: float = 0.05,
    threshold: float | None = None,
) -> xr.Dataset:
    """Find groups of samples that are identical or nearly so: they fake clusters, and across a split they are leaks.

    Identical are samples with the same values, wherever they stand. Near are two of the same category that lie much
    nearer to each other than neighbours do there: thumbnails of inputs are compared by correlation, so that brightness
    and contrast do not count, and heatmaps by their Hellinger distance. How near that is follows, sample by sample,
    from the distances to its other neighbours [1]_, so that dense and sparse parts of a category are judged alike.
    Copies that are many, such as frames of a video, are counted as one there, if they lie five times as far from all
    others as from each other; beyond 50 they are taken for a dense part.

    Parameters
    ----------
    data : xarray.Dataset
        May be opened lazily: the variable is read once, in blocks, of which a thumbnail of each sample is kept.
    variable : str
        "input", "attribution", or any numbers over ``sample``. Of ids of tokens only identical ones are found.
    by : str or None
        The variable over ``sample`` that tells categories, within which near ones are sought; None for all together.
    split : str, optional
        A variable over ``sample``, such as which of them trained the model.
    level : float
        About the chance that any pair of a category is called near if all its samples are independent. Lower it if
        what is found is not near.
    threshold : float, optional
        Call near what is at most so far apart instead; ``distance`` is √(2 − 2r) of inputs with correlation r, in
        [0, 2], and the Hellinger distance of attributions, in [0, 1].

    Returns
    -------
    xarray.Dataset
        Over ``group``, largest first: ``kind`` ("identical" or "near"), ``size``, ``distance`` (the largest of a pair
        that joins it), and whether it is ``across_category`` or ``across_split``. Over ``member``: the ``sample``, its
        ``position`` in the data, the number ``group_of_member``, its ``category``, and its ``split``. Attributes say
        how it was computed and how many samples are copies of another.

    Raises
    ------
    DataError
        If a variable is missing or of the wrong kind.

    References
    ----------
    .. [1] Facco et al. 2017, Estimating the intrinsic dimension of datasets by a minimal neighborhood information,
       Scientific Reports 7 (arXiv 1803.06992). See also Barz and Denzler 2020, Do we train on test data? Purging CIFAR
       of near-duplicates, Journal of Imaging 6 (arXiv 1902.00423).

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, size=(20, 1, 8, 8))
    >>> images[4], images[9] = images[2], images[7] + 1
    >>> data = xr.Dataset({"input": (("sample", "channel", "y", "x"), images)}, {"sample": range(20)})
    >>> found = duplicates(data, by=None)
    >>> found["kind"].values.tolist(), found["position"].values, found["group_of_member"].values
    (['identical', 'near'], array([2, 4, 7, 9]), array([0, 0, 1, 1]))
    """
    checked_level(level, "duplicates")
    _check(data, variable, by, split)
    n = data.sizes[SAMPLE]
    ids = TOKEN in data[variable].dims and data[variable].dtype.kind in "iu"
    digest, small = _read(data, variable, thumbnails=not ids)
    category = _texts(data, by) if by else np.full(n, "")
    parts = _texts(data, split) if split else np.full(n, "")
    first, of = np.unique(digest, return_index=True, return_inverse=True)[1:]
    same = np.flatnonzero(first[of] != np.arange(n))
    pairs, distance, unjudged = [np.stack([first[of[same]], same], 1)], [np.zeros(same.size)], []
    for name in np.unique(category):
        if small is None:
            break
        own = np.flatnonzero(category == name)
        own = own[np.sort(np.unique(of[own], return_index=True)[1])]  # of identical ones the first
        near, apart = near_pairs(small[own], level=level, threshold=threshold)
        pairs.append(own[near])
        distance.append(apart)
        if threshold is None and own.size < FEWEST:
            unjudged.append(str(name))
    found = _grouped(np.concatenate(pairs), np.concatenate(distance), digest, category, parts)
    if SAMPLE in data.coords:
        found[SAMPLE] = MEMBER, data[SAMPLE].values[found["position"].values]
    attrs: dict[str, Any] = {"variable": variable, "by": by or "", "split": split or "", "level": level, "n": n}
    attrs |= {} if threshold is None else {"threshold": threshold}
    attrs["copies"] = int((found["size"] - 1).sum()) if found.sizes[GROUP] else 0
    attrs["near"] = (
        "not sought among ids"
        if ids
        else f"{'Hellinger' if variable == ATTRIBUTION else 'correlation'} distance of at most {SIDE} × {SIDE} pixels"
    )
    attrs["not_judged"] = ", ".join(unjudged)
    return found.assign_attrs(attrs)


def _check(data: xr.Dataset, variable: str, by: str | None, split: str | None) -> None:
    if variable not in data or data[variable].dims[:1] != (SAMPLE,) or data[variable].ndim < 2:
        there = listed(name for name, values in data.data_vars.items() if values.dims[:1] == (SAMPLE,))
        raise DataError(f"duplicates: variable='{variable}' is none over 'sample' and more; there are {there}")
    if data[variable].dtype.kind not in "fiub":
        raise DataError(f"duplicates: variable='{variable}' is {data[variable].dtype}: give one of numbers")
    for parameter, name in (("by", by), ("split", split)):
        if name is not None and (name not in data.variables or data[name].dims != (SAMPLE,)):
            there = listed(name for name, values in data.data_vars.items() if values.dims == (SAMPLE,))
            raise DataError(f"duplicates: {parameter}='{name}' is none over 'sample'; there are {there}, and None")


def _texts(data: xr.Dataset, name: str) -> NDArray:
    values = data[name].values
    return (class_names(data, values) if name == LABEL else values).astype(str)


def _read(data: xr.Dataset, variable: str, *, thumbnails: bool) -> tuple[NDArray, NDArray | None]:
    """Return the digest of each sample, and points whose distances tell how alike they are."""
    digest = np.empty(data.sizes[SAMPLE], "V16")
    small: NDArray | None = None
    for part, block in in_blocks(data, [variable], np.arange(data.sizes[SAMPLE])):
        values = np.ascontiguousarray(block[variable].values)
        if values.dtype.kind == "f":
            values = values + values.dtype.type(0)  # −0 is 0
        digest[part] = [xxhash.xxh3_128_digest(one.tobytes()) for one in values]
        if thumbnails:
            points = _points(block[variable], variable)
            if small is None:
                small = np.empty((len(digest), points.shape[1]), np.float32)
            small[part] = points
    return digest, small


def _points(values: xr.DataArray, variable: str) -> NDArray:
    """Return thumbnails as points: Hellinger distances of relevance, √(2 − 2r) of anything else."""
    if variable == ATTRIBUTION:
        share = shares(values, 0.0)
        small = _pooled(share, [str(dim) for dim in values.dims if dim != "channel"], total=True)
        return np.sqrt(small / 2).reshape(len(share), -1)
    small = _pooled(values.values.astype(np.float64), [str(dim) for dim in values.dims], total=False)
    flat = filled(small.reshape(len(small), -1))
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)


def _pooled(values: NDArray, dims: list[str], *, total: bool) -> NDArray:
    """Sum or average along ``y`` and ``x`` to at most ``SIDE`` pixels."""
    for axis, dim in enumerate(dims):
        size = values.shape[axis]
        if dim in (Y, X) and size > SIDE:
            start = np.linspace(0, size, SIDE, endpoint=False).astype(int)
            values = np.add.reduceat(values, start, axis=axis)
            if not total:
                shape = [-1 if one == axis else 1 for one in range(values.ndim)]
                values = values / np.diff([*start, size]).reshape(shape)
    return values


def _grouped(pairs: NDArray, distance: NDArray, digest: NDArray, category: NDArray, split: NDArray) -> xr.Dataset:
    """Lay out the connected components of pairs, largest first."""
    n = len(digest)
    joined = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    component = connected_components(joined, directed=False)[1]
    position = np.unique(pairs)
    names, of, size = np.unique(component[position], return_inverse=True, return_counts=True)
    rank = np.empty(names.size, np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(names.size)
    of = rank[of]
    order = np.argsort(of, kind="stable")
    position, of = position[order], of[order]
    farthest = np.zeros(names.size)
    np.maximum.at(farthest, rank[np.searchsorted(names, component[pairs[:, 0]])], distance)

    start = np.searchsorted(of, np.arange(names.size))

    def several(values: NDArray) -> NDArray[np.bool]:
        own = values[position]
        return np.logical_or.reduceat(own != own[start[of]], start) if start.size else np.zeros(0, bool)

    return xr.Dataset(
        {
            "kind": (GROUP, np.where(several(digest), "near", "identical").astype(str)),
            "size": (GROUP, np.bincount(of, minlength=names.size)),
            "distance": (GROUP, farthest),
            "across_category": (GROUP, several(category)),
            "across_split": (GROUP, several(split)),
            "position": (MEMBER, position),
            "group_of_member": (MEMBER, of),
            CATEGORY: (MEMBER, category[position]),
            "split": (MEMBER, split[position]),
        }
    )
