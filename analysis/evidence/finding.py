"""What a finding is: where its samples differ from the rest of their class, what they have there, and who they are."""

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import ATTRIBUTION, CHANNEL, CLUSTERING, INPUT, SAMPLE, X, Y

from .._kernels.dominance import rank_sum_p
from .._kernels.images import properties
from ..errors import DataError, listed
from ..results.rank import ranking
from ..results.table import CATEGORY
from ..roles import CLUSTER
from .against_rest import Evidence, Named, checked_level, of_numbers, of_variable, tabled
from .known import Known, Metadata, cluster_of, in_blocks, known, rows_of
from .region import FOLDS, Region, as_images, find, has_input, shares, smoothed

FINDING: Final = "finding"
RELEVANCE: Final = "relevance"
WHOLE: Final = "whole input"
REGION: Final = "region"
RELEVANCE_REGION: Final = "relevance region"
SHARE: Final = "share_in_region"


def findings(
    tree: xr.DataTree,
    data: xr.Dataset,
    *,
    table: xr.Dataset | None = None,
    significant_only: bool = True,
    metadata: Metadata = None,
    level: float = 0.05,
    correction: str = "holm",
    smoothing: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Say what distinguishes each finding, a cluster, from the rest of its category: where, what, and in whom.

    - *Where*: the region of the input in which the cluster has more of its relevance. The difference of the mean
      shares of absolute relevance is cut by Otsu's threshold [1]_. Networks look at parts, such as corners of a patch:
      if most of this relevance lies on one piece of the images that differs, too, that is the region. How much of
      a sample's relevance lies there is measured with the region that the other half of the samples gives; twice the
      mean of the halves' p-values is a p-value [5]_.
    - *What*: brightness, contrast, sharpness [2]_, colour and fine detail of the inputs, everywhere and in the region.
    - *Who*: what is known of the samples. Numbers and dates are compared by the Mann–Whitney test, values of anything
      else by how often they occur, with Fisher's exact test. Both hold for clusters of a few samples.

    Effects are Cliff's δ [3]_ in [−1, 1] with the intervals of [4]_, which of shares is their difference. P-values
    are corrected over all tests of a finding.

    The clusters were found in the relevance, so that a test of the relevance itself says how well the region describes
    the cluster, and not whether there is one: that is what the ranking says. Inputs are tested in a region that was
    found in relevance, and relevance follows the input; metadata had no part in it.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it.
    data : xarray.Dataset
        The attributions it is of. May be opened lazily: they are read twice, in blocks.
    table : xarray.Dataset, optional
        Which clusters: ``category``, ``clustering`` and ``cluster``, as :func:`analysis.ranking` returns them, which
        is called if this is not given.
    significant_only : bool
        Whether to leave out those that the ranking does not call ``significant``, where it says so.
    metadata : xarray.Dataset or sequence of str, optional
        Variables over ``sample``, matched by its coordinate; or names of such variables of ``data``; by default all of
        those. What follows of prediction and label, ``predicted_class``, ``confidence`` and ``correct``, comes with
        them.
    level : float
        Up to which corrected p-value a test is ``significant``, and one minus the coverage of each interval.
    correction : {"holm", "benjamini-hochberg"}
        Of a finding's tests: the chance of any false one, or the expected share of false ones, is at most ``level``.
    smoothing : float, optional
        Standard deviation, in pixels, of the Gaussian that heatmaps are smoothed by; by default 0.5, and for sides of
        more than 64 pixels a 128th of the longer one.
    seed : int
        Of the halves, and of the draws of permutation tests.

    Returns
    -------
    xarray.Dataset
        Over ``finding``, most suspicious first: ``category``, ``clustering``, ``cluster``, ``size`` and ``n``;
        ``not_tested``, which variables could not be tested and why; ``region`` (over a heatmap's dimensions, bool),
        ``region_area``, its share of the input, and ``relevance_region``, as relevance alone has it;
        ``relevance_inside`` and ``relevance_outside``, the mean shares of relevance of the cluster and of the rest; if
        the data have them, the mean inputs ``input_inside`` and ``input_outside``, and ``input_difference``.

        Over ``test``, each of the finding ``finding_of_test``: ``kind`` ("relevance", "input" or "metadata"),
        ``variable`` and ``value``: of metadata the value whose share is compared, if it is no number; else where,
        "region", "relevance region" or "whole input". ``inside`` and ``outside`` are what ``measure`` says of the
        cluster and of the rest, ``n_inside`` and ``n_outside``, where it is known; ``effect``, ``effect_low`` and
        ``effect_high``; ``p_value``, ``p_adjusted`` and ``significant``.

        Attributes say how it was computed.

    Raises
    ------
    DataError
        If the tree is not of these data, or metadata or a cluster are missing.

    References
    ----------
    .. [1] Otsu 1979, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man, and
       Cybernetics 9.
    .. [2] Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy, ICPR.
    .. [3] Cliff 1993, Dominance statistics: ordinal analyses to answer ordinal questions, Psychological Bulletin 114.
    .. [4] Newcombe 2006, Confidence intervals for an effect size measure based on the Mann–Whitney statistic, part 2,
       and Newcombe 1998, Interval estimation for the difference between independent proportions, Statistics in
       Medicine 25 and 17.
    .. [5] Vovk and Wang 2020, Combining p-values via averaging, Biometrika 107 (arXiv 1212.4966).

    Examples
    --------
    >>> from analysis import run, spray
    >>> rng = np.random.default_rng(0)
    >>> marked = np.arange(40) < 12
    >>> heat = rng.uniform(0, 0.1, size=(40, 6, 6)) + np.eye(6)
    >>> heat[marked, 0, 3:] += 5
    >>> data = xr.Dataset({"attribution": (("sample", "y", "x"), heat)}, {"sample": range(40)})
    >>> data["hospital"] = "sample", np.where(marked, "A", "B")
    >>> found = findings(run(spray(tsne=False), data, by=None), data, significant_only=False)
    >>> found["region"].values[0, 0]
    array([False, False, False,  True,  True,  True])
    >>> found = found.isel(test=(found["kind"] == "metadata").values)
    >>> [found[name].item() for name in ("variable", "value", "effect")]
    ['hospital', 'A', 1.0]
    """
    checked_level(level, "findings")
    if ATTRIBUTION not in data:
        raise DataError(f"findings: the data have no variable '{ATTRIBUTION}', only {listed(data.data_vars)}")
    table = ranking(tree) if table is None else table
    about = known(data, metadata, "findings")
    found: list[Region] = []
    tests: list[Evidence] = []
    of: list[int] = []
    heads: list[dict[str, Any]] = []
    for number, row in enumerate(rows_of(table, "findings", significant_only=significant_only)):
        index, inside = cluster_of(tree, row, data, "findings")
        region = find(data, index, inside, smoothing, seed)
        own = _measured(data, index, inside, region, smoothing, level, seed)
        who, untested = _metadata(about, index, inside, level, seed)
        own += who
        found.append(region)
        tests += own
        of += [number] * len(own)
        head = dict(zip((CATEGORY, CLUSTERING, CLUSTER), row, strict=True))
        heads.append(head | {"size": int(inside.sum()), "n": inside.size, "not_tested": untested})
    attrs = {
        "level": level,
        "correction": f"{correction}, over the tests of each finding",
        "effect": "Cliff's delta, of shares their difference",
        "region": "where the cluster has more relevance, and all of the piece of the input that differs there",
        "smoothing": smoothed(data, smoothing),
        "seed": seed,
    }
    described = xr.Dataset(_columns(heads) | _maps(found, data), attrs=attrs)
    return described.merge(tabled(tests, of, level, correction, "findings"), combine_attrs="override")


def _measured(
    data: xr.Dataset,
    index: NDArray,
    inside: NDArray,
    region: Region,
    smoothing: float | None,
    level: float,
    seed: int,
) -> list[Evidence]:
    """Test the relevance in the region, and of what the inputs look like."""
    images = has_input(data) and {Y, X} <= set(data[INPUT].dims)
    names = [ATTRIBUTION, INPUT] if images else [ATTRIBUTION]
    columns: dict[Named, NDArray] = {}
    for part, block in in_blocks(data, names, index):
        heat = shares(block[ATTRIBUTION], smoothed(data, smoothing))
        measured: dict[Named, NDArray] = {}
        for place, masks in zip((REGION, RELEVANCE_REGION), region.held_out, strict=True):
            inside_of = (heat * masks[region.fold[part]]).reshape(len(heat), -1).sum(1)
            measured[Named(RELEVANCE, SHARE, place)] = inside_of
        if np.array_equal(*region.held_out):
            del measured[Named(RELEVANCE, SHARE, RELEVANCE_REGION)]
        if images:
            values = as_images(block[INPUT])
            places = {WHOLE: np.ones(values.shape[-2:], bool)}
            if region.dims == (Y, X) and region.mask.any() and region.mask.shape == values.shape[-2:]:
                places[REGION] = region.mask
            found = properties(values, places)
            measured |= {Named("input", what, place): column for (place, what), column in found.items()}
        for name, column in measured.items():
            columns.setdefault(name, np.empty(inside.size))[part] = column
    tests: list[Evidence] = []
    for name, column in columns.items():
        values = np.where(np.isfinite(column), column, np.nan)
        largest = np.max(abs(column), initial=0, where=np.isfinite(column))
        values = np.round(values / largest, 9) * largest if largest else values  # rounding is no difference
        if np.unique(values[~np.isnan(values)]).size > 1:
            test = of_numbers(name, values, inside, level, seed, "mean")
            p = _held_out_p(values, inside, region.fold, seed) if name.kind == RELEVANCE else test.p_value
            tests.append(test._replace(p_value=p))
    return tests


def _held_out_p(values: NDArray, inside: NDArray, fold: NDArray, seed: int) -> float:
    """Return twice the mean of the folds' p-values, which is one whatever their dependence (Vovk and Wang 2020).

    Each half's region was found in the other half, so that the two have to do with each other: a test of all samples at
    once would accuse too many.
    """
    p = [rank_sum_p(values[fold == number], inside[fold == number], seed=seed) for number in range(FOLDS)]
    return min(1.0, 2 * float(np.mean(p)))


def _metadata(about: Known, index: NDArray, inside: NDArray, level: float, seed: int) -> tuple[list[Evidence], str]:
    """Test what is known of the samples, and say which of it could not be tested and why."""
    tests: list[Evidence] = []
    untested: list[str] = []
    for name, values in about.items():
        own, why = of_variable(name, values[index], inside, level, seed=seed)
        tests += own
        if why:
            untested.append(f"{name}: {why}")
    return tests, "; ".join(untested)


def _columns(heads: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {CATEGORY: str, CLUSTERING: str, CLUSTER: np.int64, "size": np.int64, "n": np.int64, "not_tested": str}
    return {name: (FINDING, np.array([head[name] for head in heads], kind)) for name, kind in kinds.items()}


def _maps(found: list[Region], data: xr.Dataset) -> dict[str, Any]:
    """Lay regions and mean heatmaps and inputs out over ``finding``."""
    dims = tuple(str(dim) for dim in data[ATTRIBUTION].dims if dim not in (SAMPLE, CHANNEL))
    shape = tuple(data.sizes[dim] for dim in dims)

    def stacked(arrays: list[NDArray], dtype: Any) -> NDArray:
        return np.stack(arrays).astype(dtype) if arrays else np.empty((0, *shape), dtype)

    maps: dict[str, Any] = {
        "region": ((FINDING, *dims), stacked([one.mask for one in found], bool)),
        "relevance_region": ((FINDING, *dims), stacked([one.of_relevance for one in found], bool)),
        "region_area": (FINDING, np.array([one.mask.mean() for one in found], float)),
        "relevance_inside": ((FINDING, *dims), stacked([one.relevance[0] for one in found], np.float32)),
        "relevance_outside": ((FINDING, *dims), stacked([one.relevance[1] for one in found], np.float32)),
    }
    if has_input(data):
        own = tuple(str(dim) for dim in data[INPUT].dims if dim != SAMPLE)
        sides = np.empty((2, len(found), *(data.sizes[dim] for dim in own)), np.float32)
        for number, one in enumerate(found):
            sides[:, number] = one.inputs
        for name, values in zip(("inside", "outside", "difference"), (*sides, sides[0] - sides[1]), strict=True):
            maps[f"input_{name}"] = (FINDING, *own), values
    return maps
