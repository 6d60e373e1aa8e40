"""Two runs over the same samples: whose attributions and predictions moved, and where more than elsewhere."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.keys import blocks
from relfunc.schema import ATTRIBUTION, CLASS, CLUSTERING, LABEL, SAMPLE

from .._kernels.multiple import CORRECTIONS
from .._kernels.proportions import mcnemar_p, paired_interval
from ..errors import DataError, listed
from ..results.rank import ranking
from ..results.table import CATEGORY, GROUP
from ..roles import CLUSTER, choice
from .against_rest import SMALLEST, Named, checked_level, of_numbers, of_yes_or_no
from .known import CORRECT, PREDICTED, class_names, cluster_of, in_blocks, outcome, rows_of
from .region import shares

HELLINGER: Final = "hellinger"
COSINE: Final = "cosine"
FLOOR: Final = 0.95
"""Of the rest, so many moved less than the floor."""


class Group(NamedTuple):
    """Samples that are compared with others, by their positions in the first run."""

    kind: str
    category: str
    clustering: str
    cluster: int
    members: NDArray[np.intp]
    rest: NDArray[np.intp]


def contrast(
    run_a: xr.Dataset,
    run_b: xr.Dataset,
    *,
    tree: xr.DataTree | None = None,
    table: xr.Dataset | None = None,
    level: float = 0.05,
    correction: str = "holm",
    smallest: int = SMALLEST,
    seed: int = 0,
) -> xr.Dataset:
    """Compare two runs over the same samples, as before and after a repair: whose attributions moved, and how far.

    Two runs never agree entirely, so that of each class and cluster is asked whether it moved more than the rest: other
    classes, or the rest of its category. How far is the Hellinger distance of the absolute relevance of a sample in
    both runs, each in shares of its sum. Clusters that were found in one of the runs are extreme there, and would move
    towards the others in any second run; that is no more than they moved in a run with another seed.

    Parameters
    ----------
    run_a, run_b : xarray.Dataset
        Attributions, with the same ``sample`` identifiers in any order. May be opened lazily: each is read once, in
        blocks.
    tree : xarray.DataTree, optional
        An analysis of ``run_a``, whose clusters are compared, too.
    table : xarray.Dataset, optional
        Which of its clusters: rows as :func:`analysis.ranking` returns them, which is called if this is not given.
    level : float
        Up to which corrected p-value a difference is ``significant``, and one minus the coverage of each interval.
    correction : {"holm", "benjamini-hochberg"}
        Over all tests of all groups.
    smallest : int
        Groups of fewer samples are passed over, and those that leave fewer.
    seed : int
        Of the draws of permutation tests.

    Returns
    -------
    xarray.Dataset
        Over ``sample``, in the order of ``run_a``: ``hellinger`` in [0, 1] and the ``cosine`` distance of the relevance
        itself in [0, 2]; ``flipped``, whether the predicted class changed, and with labels ``correct_a`` and
        ``correct_b``.

        Over ``group``, that which moved farthest beyond the rest first: ``kind`` ("class" or "cluster"),
        ``category``, ``clustering`` and ``cluster``; ``n`` and ``n_rest``; ``moved`` and ``moved_rest``, the medians of
        ``hellinger``; the ``floor``, below which 95 % of the rest are, and the share ``above_floor``; ``effect`` with
        ``effect_low`` and ``effect_high``, Cliff's δ [1]_, ``p_value`` of the Mann–Whitney test, ``p_adjusted`` and
        ``significant``. Likewise with ``flipped_`` before: the share ``flipped_inside``, ``flipped_rest`` and their
        difference, by Fisher's test. And with ``accuracy_``: ``accuracy_a`` and ``accuracy_b``, their change as
        ``accuracy_effect`` [2]_, by McNemar's exact test.

    Raises
    ------
    DataError
        If the runs have other samples, classes or shapes.

    References
    ----------
    .. [1] Cliff 1993, Dominance statistics: ordinal analyses to answer ordinal questions, Psychological Bulletin 114.
    .. [2] Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions, Statistics in
       Medicine 24.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = {
    ...     "attribution": (("sample", "feature"), rng.uniform(size=(40, 6))),
    ...     "prediction": (("sample", "class"), np.eye(2)[np.arange(40) % 2]),
    ...     "label": ("sample", np.arange(40) % 2),
    ... }
    >>> before = xr.Dataset(values, {"sample": range(40), "class": ["cat", "dog"]})
    >>> after = before.copy(deep=True)
    >>> after["attribution"][1::2, 0] += 5
    >>> found = contrast(before, after)
    >>> found["category"].values, found["effect"].values, found["significant"].values
    (array(['dog', 'cat'], dtype='<U3'), array([ 1., -1.]), array([ True,  True]))
    """
    checked_level(level, "contrast")
    correct_p = CORRECTIONS[choice(correction, tuple(CORRECTIONS), "correction", "contrast")]
    order = _matched(run_a, run_b)
    samples = _samples(run_a, run_b, order)
    groups = [*_classes(run_a), *_clusters(run_a, tree, table)]
    groups = [one for one in groups if min(one.members.size, one.rest.size) >= smallest]
    rows = [_measured(samples, one, level, seed) for one in groups]
    every = np.arange(samples.sizes[SAMPLE])
    names = rows[0] if rows else _measured(samples, Group("", "", "", -1, every, every), level, seed)
    columns: dict[str, Any] = {
        name: (GROUP, np.array([getattr(one, name) for one in groups], kind))
        for name, kind in (("kind", str), (CATEGORY, str), (CLUSTERING, str), (CLUSTER, np.int64))
    }
    columns |= {name: (GROUP, np.array([row[name] for row in rows], type(kind))) for name, kind in names.items()}
    tests = [name for name in columns if name.endswith("p_value")]
    adjusted = correct_p(np.stack([columns[name][1] for name in tests]))
    for name, values in zip(tests, adjusted, strict=True):
        columns[name.replace("p_value", "p_adjusted")] = GROUP, values
        columns[name.replace("p_value", "significant")] = GROUP, values <= level
    attrs = {
        "level": level,
        "correction": f"{correction}, over all tests of all groups",
        "smallest": smallest,
        "floor": f"quantile {FLOOR} of the rest",
        "seed": seed,
        "n": samples.sizes[SAMPLE],
        HELLINGER: float(samples[HELLINGER].median()),
    }
    found = samples.assign(columns).assign_attrs(attrs)
    return found.isel({GROUP: np.argsort(-found["effect"].values, kind="stable")})


def _matched(run_a: xr.Dataset, run_b: xr.Dataset) -> NDArray[np.intp]:
    """Return where the samples of the first run stand in the second, if both are comparable."""
    for name, run in (("run_a", run_a), ("run_b", run_b)):
        if ATTRIBUTION not in run:
            raise DataError(f"contrast: {name} has no variable '{ATTRIBUTION}', only {listed(run.data_vars)}")
        if SAMPLE not in run.coords:
            raise DataError(f"contrast: {name} has no identifiers: give it the coordinate '{SAMPLE}'")
        identifiers = run[SAMPLE].to_index()
        if not identifiers.is_unique:
            twice = identifiers[identifiers.duplicated()][0]
            raise DataError(f"contrast: {name} has sample '{twice}' more than once: keep one of each")
    a, b = run_a[SAMPLE].values, run_b[SAMPLE].to_index()
    order = b.get_indexer(a)
    if (order < 0).any() or len(a) != len(b):
        lacking = a[order < 0]
        more = len(b) - (len(a) - len(lacking))
        example = f", such as '{lacking[0]}'" if len(lacking) else ""
        raise DataError(
            f"contrast: run_b lacks {len(lacking)} samples of run_a{example}, and has {more} others: give runs over "
            "the same samples, for example .sel(sample=...) of those they share"
        )
    shapes = [{dim: run[ATTRIBUTION].sizes[dim] for dim in run[ATTRIBUTION].dims} for run in (run_a, run_b)]
    if shapes[0] != shapes[1]:
        raise DataError(f"contrast: attributions of run_a have sizes {shapes[0]}, of run_b {shapes[1]}: resize one")
    sizes = {run.sizes[CLASS] for run in (run_a, run_b) if CLASS in run.sizes}
    named = CLASS in run_a.coords and CLASS in run_b.coords
    if len(sizes) > 1 or (named and not run_a[CLASS].equals(run_b[CLASS])):
        raise DataError("contrast: the runs have other classes: give runs of models with the same outputs")
    return order


def _samples(run_a: xr.Dataset, run_b: xr.Dataset, order: NDArray) -> xr.Dataset:
    """How far each sample moved."""
    n = run_a.sizes[SAMPLE]
    hellinger, cosine = np.empty(n), np.empty(n)
    dims = (SAMPLE, *[dim for dim in run_a[ATTRIBUTION].dims if dim != SAMPLE])
    row = (run_a[ATTRIBUTION].nbytes + run_b[ATTRIBUTION].nbytes) // max(1, n)
    for part in blocks.cut((n,), row):
        positions_a = np.arange(n)[part]
        (a,) = (block[ATTRIBUTION] for _, block in in_blocks(run_a, [ATTRIBUTION], positions_a))
        (b,) = (block[ATTRIBUTION] for _, block in in_blocks(run_b, [ATTRIBUTION], order[part]))
        hellinger[part] = _hellinger(a, b)
        cosine[part] = _cosine(a.transpose(*dims).values, b.transpose(*dims).values)
    found: dict[str, Any] = {HELLINGER: hellinger, COSINE: cosine}
    before, after = (outcome(run.drop_vars(CLASS, errors="ignore")) for run in (run_a, run_b))  # classes by number
    if PREDICTED in before and PREDICTED in after:
        found["flipped"] = before[PREDICTED] != after[PREDICTED][order]
    if CORRECT in before and CORRECT in after:
        labels = run_a[LABEL].values, run_b[LABEL].values[order]
        other = np.flatnonzero(labels[0] != labels[1])
        if other.size:
            raise DataError(
                f"contrast: sample '{run_a[SAMPLE].values[other[0]]}' and {other.size - 1} more have another label in "
                "run_b: give both the same labels, or drop those of one"
            )
        found |= {"correct_a": _known(before[CORRECT]), "correct_b": _known(after[CORRECT][order])}
    columns = {name: (SAMPLE, values) for name, values in found.items()}
    return xr.Dataset(columns, {SAMPLE: run_a[SAMPLE].values})


def _known(correct: NDArray) -> NDArray:
    """Return bools as they are, and as numbers with NaN if some are not known."""
    return correct.astype(np.float64 if correct.dtype == object else bool)


def _hellinger(a: xr.DataArray, b: xr.DataArray) -> NDArray[np.float64]:
    """Return the Hellinger distance of heatmaps; 1 where one of the two has no relevance at all."""
    p, q = (shares(one.transpose(*a.dims), 0.0).reshape(a.sizes[SAMPLE], -1) for one in (a, b))
    one_only = p.any(1) != q.any(1)
    return np.where(one_only, 1.0, np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(1) / 2))


def _cosine(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Return the cosine distance of each pair of rows; 0 where both are zero, and 1 where one is."""
    a, b = (one.reshape(len(one), -1).astype(np.float64) for one in (a, b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    return np.where(a.any(1) | b.any(1), 1 - cosine.clip(-1, 1), 0.0)


def _classes(run: xr.Dataset) -> Iterator[Group]:
    if LABEL not in run or run[LABEL].dims != (SAMPLE,):
        return
    names = class_names(run, run[LABEL].values).astype(str)
    for name in np.unique(names[names != ""]):
        yield Group(CLASS, str(name), "", -1, np.flatnonzero(names == name), np.flatnonzero(names != name))


def _clusters(run: xr.Dataset, tree: xr.DataTree | None, table: xr.Dataset | None) -> Iterator[Group]:
    if tree is None:
        return
    for row in rows_of(ranking(tree) if table is None else table, "contrast", significant_only=False):
        index, inside = cluster_of(tree, row, run, "contrast")
        yield Group(CLUSTER, *row, index[inside], index[~inside])


def _measured(samples: xr.Dataset, group: Group, level: float, seed: int) -> dict[str, Any]:
    both = np.concatenate([group.members, group.rest])
    inside = np.arange(both.size) < group.members.size
    moved = samples[HELLINGER].values[both]
    test = of_numbers(Named("relevance", HELLINGER), moved, inside, level, seed)
    floor = float(np.quantile(moved[~inside], FLOOR))
    found: dict[str, Any] = {
        "n": group.members.size,
        "n_rest": group.rest.size,
        "moved": test.inside,
        "moved_rest": test.outside,
        "floor": floor,
        "above_floor": float((moved[inside] > floor).mean()),
        "effect": test.effect,
        "effect_low": test.effect_low,
        "effect_high": test.effect_high,
        "p_value": test.p_value,
    }
    if "flipped" in samples:
        flips = of_yes_or_no(Named("prediction", "flipped"), samples["flipped"].values[both], inside, level)
        found |= {"flipped_inside": flips.inside, "flipped_rest": flips.outside, "flipped_effect": flips.effect}
        found |= {"flipped_effect_low": flips.effect_low, "flipped_effect_high": flips.effect_high}
        found["flipped_p_value"] = flips.p_value
    if "correct_a" in samples:
        pair = np.stack([samples[name].values[group.members].astype(np.float64) for name in ("correct_a", "correct_b")])
        before, after = pair[:, ~np.isnan(pair).any(0)]
        gained, lost, n = int((after > before).sum()), int((before > after).sum()), before.size
        found["accuracy_a"], found["accuracy_b"] = (float(one.mean()) if n else np.nan for one in (before, after))
        found["accuracy_effect"] = (gained - lost) / n if n else np.nan
        bounds = paired_interval(gained, lost, n, level)
        found |= dict(zip(("accuracy_effect_low", "accuracy_effect_high"), bounds, strict=True))
        found["accuracy_p_value"] = mcnemar_p(gained, lost) if n else np.nan
    return found
