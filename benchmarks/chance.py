"""Whether a verdict can be trusted: how often classes without groups are named, and planted ones found."""

import warnings
from collections.abc import Iterator
from importlib import import_module, util
from typing import Any, Final, NamedTuple, cast

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

import analysis
from analysis.results import power

from .planted import ARTEFACTS, CLASSES, NETWORKS, STRUCTURELESS, WRONG, explained, structureless

LEVEL: Final = 0.05
SIZES: Final = (30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000)
"""Of the ten classes of a run, in random order."""
DRAWS: Final = 8
"""Of samples from one network's heatmaps."""
POOL: Final = 2000
EACH: Final = 400
COUNTS: Final = (50, 100, 200, 400)
SHARES: Final = (0.05, 0.1, 0.2)
ON_PHOTOGRAPHS: Final = ("watermark", "border")
CURVED: Final = ("patch", "watermark", "border")
"""Of a curve of power: samples of a class, and how many of them have the artefact."""
PLAN: Final = analysis.replace(
    analysis.spray(tsne=False),
    neighbor_graph=None,
    spectral=None,
    kmeans=None,
    eigengap=None,
    silhouette=None,
    chance=analysis.step(analysis.chance, subsamples=0),
)
"""Of spray, what p-values come from; the clusters of k-means, which are judged, too, are left out for time."""


class Verdict(NamedTuple):
    """A ranking of one run, and what was planted in it."""

    about: dict[str, Any]
    table: xr.Dataset
    f1: NDArray
    """Of each class's cluster with the planted samples."""
    shortkit: NDArray | None
    """Which classes ShortKit-ML's detector of the same kind names, if it is installed."""


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    if device != "cpu":
        return []  # nothing in it is fast on a GPU
    networks, seeds, maps = (3, 2, 3) if quick else (25, 20, 50)
    rows = [_calibration("digits", list(clean(range(networks))))]
    rows += [_calibration(kind, list(nothing(kind, range(maps)))) for kind in STRUCTURELESS]
    rows += [row for name in (*ARTEFACTS, WRONG) for row in _power(name, list(planted(name, range(seeds))))]
    for name in ON_PHOTOGRAPHS:
        rows += _power(f"{name}, photographs", list(planted(name, range(seeds), photographs=True)))
    by_size = [found for name in CURVED for found in curve(name, range(1 if quick else 2))]
    curved = [_curved(n, share, by_size) for n in COUNTS for share in SHARES]
    if not quick:
        keep(curved)
    return rows + curved


def keep(curved: list[dict[str, Any]]) -> None:
    """Write the curve of power to where reports read it."""
    columns = {"n": "samples", "prevalence": "share", "found": "found"}
    table = pd.DataFrame([{name: row[column] for name, column in columns.items()} for row in curved])
    table.round(3).to_csv(power.MEASURED, index=False, lineterminator="\n")


def clean(seeds: range) -> Iterator[Verdict]:
    """Draw classes of several sizes from the heatmaps of networks that were trained on clean digits."""
    for seed in tqdm(seeds, "digits", leave=False, disable=None):
        found = explained(10_000 + seed, POOL, architecture=seed % len(NETWORKS))
        for draw in range(DRAWS):
            rng = np.random.default_rng((seed, draw))
            sizes = rng.permutation(SIZES)
            members = [rng.choice(np.flatnonzero(found.label == k), n, replace=False) for k, n in enumerate(sizes)]
            yield judged([found.relevance[own] for own in members], seed=seed, draw=draw)


def nothing(kind: str, seeds: range) -> Iterator[Verdict]:
    """Draw classes of several sizes of maps without structure."""
    for seed in tqdm(seeds, kind, leave=False, disable=None):
        rng = np.random.default_rng((STRUCTURELESS.index(kind), seed))
        yield judged([structureless(kind, n, rng) for n in rng.permutation(SIZES)], seed=seed)


def planted(artefact: str, seeds: range, photographs: bool = False) -> Iterator[Verdict]:
    """Plant an artefact in 5 % of one class of ten."""
    for seed in tqdm(seeds, artefact, leave=False, disable=None):
        offset = 1000 * (1 + [*ARTEFACTS, WRONG].index(artefact)) + 40_000 * photographs
        found = explained(offset + seed, EACH, artefact, photographs=photographs)
        parts = [np.flatnonzero(found.label == k) for k in range(CLASSES)]
        truth = [found.planted[own] for own in parts]
        yield judged([found.relevance[own] for own in parts], truth, seed=seed, relied=found.relied)


def curve(artefact: str, seeds: range) -> Iterator[tuple[int, float, Verdict]]:
    """Draw classes of several sizes, one with several shares of an artefact, from the heatmaps of networks."""
    for seed in tqdm(seeds, f"{artefact}, by size", leave=False, disable=None):
        found = explained(20_000 + 1000 * list(ARTEFACTS).index(artefact) + seed, 2 * EACH, artefact, max(SHARES))
        class_ = int(found.label[found.planted][0])
        rng = np.random.default_rng((seed, 1))
        for n in COUNTS:
            others = [_drawn(rng, found.label == k, n) for k in range(CLASSES) if k != class_]
            for share in SHARES:
                marked = _drawn(rng, found.planted, round(share * n))
                plain = _drawn(rng, (found.label == class_) & ~found.planted, n - len(marked))
                parts = [*others, np.concatenate([marked, plain])]
                maps, truth = [found.relevance[own] for own in parts], [found.planted[own] for own in parts]
                yield n, share, judged(maps, truth, seed=seed, relied=found.relied)


def _drawn(rng: np.random.Generator, among: NDArray, count: int) -> NDArray:
    return rng.choice(np.flatnonzero(among), count, replace=False)


def judged(maps: list[NDArray], truth: list[NDArray] | None = None, **about: Any) -> Verdict:
    """Rank classes of maps by the steps of :func:`analysis.spray` that decide."""
    label = np.repeat(np.arange(len(maps)), [len(part) for part in maps])
    dims = "sample", "channel", "y", "x"
    data = xr.Dataset({"attribution": (dims, np.concatenate(maps)[:, None]), "label": ("sample", label)})
    tree = analysis.run(PLAN, data, by="label", progress=False)
    table = analysis.ranking(tree, level=LEVEL).sortby("category")
    f1 = np.full(len(maps), np.nan)
    for k, own in enumerate(truth or []):
        row = table.isel(category=k)
        labels = tree[f"{row['category'].item()}/cluster"][row["clustering"].item() or "apart"].values
        inside = labels == int(row["cluster"])
        f1[k] = 2 * np.sum(inside & own) / max(np.sum(inside) + np.sum(own), 1)
    about["class"] = next((k for k, own in enumerate(truth or []) if own.any()), -1)
    return Verdict(about, table, f1, _shortkit(maps) if SHORTKIT else None)


def _shortkit(maps: list[NDArray]) -> NDArray:
    """Ask ShortKit-ML's detector of each class, with its own settings."""
    detector = import_module("shortcut_detect.xai").SpRAyDetector
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        reports = [detector().fit(np.abs(part).astype(np.float32)).get_report() for part in maps]
    return np.array([bool(report["shortcut_detected"]) for report in reports])


SHORTKIT: Final = util.find_spec("shortcut_detect") is not None
"""It demands older releases of PyTorch and NumPy: `pip install --no-deps shortkit-ml` puts it beside these."""


def _calibration(what: str, runs: list[Verdict]) -> dict[str, Any]:
    named = sum(bool(one.table["significant"].any()) for one in runs)
    ranks = [float(cast(Any, stats.spearmanr(one.table["n"], one.table["p_value"]))[0]) for one in runs]
    return {
        "what": what,
        "runs": len(runs),
        "name any class": named,
        "share": named / len(runs),
        "95 % bound": float(stats.beta.ppf(0.95, named + 1, len(runs) - named)),
        "rank by size (Spearman)": float(np.nanmean(ranks)),
        **_beside(runs),
    }


def _beside(runs: list[Verdict]) -> dict[str, Any]:
    """Count in how many runs ShortKit-ML names the class with the artefact, or any where there is none."""
    known = [(one.shortkit, one.about["class"]) for one in runs if one.shortkit is not None]
    return {"ShortKit-ML": sum(bool(named.any() if at < 0 else named[at]) for named, at in known)} if SHORTKIT else {}


def _curved(n: int, share: float, runs: list[tuple[int, float, Verdict]]) -> dict[str, Any]:
    found = [_found(one) for size, part, one in runs if (size, part) == (n, share)]
    named, right = sum(hit for hit, _ in found), sum(hit and right for hit, right in found)
    about = {"what": " or ".join(CURVED), "samples": n, "share": share, "runs": len(found)}
    return about | {"class named": named, "F1 ≥ 0.9": right, "found": right / len(found)}


def _found(one: Verdict) -> tuple[bool, bool]:
    """Whether the class was named in which something is planted, and whether its cluster is that."""
    at = one.about["class"]
    return bool(one.table["significant"][at]), bool(one.f1[at] >= 0.9)


def _power(artefact: str, runs: list[Verdict]) -> list[dict[str, Any]]:
    """One row for all networks, one for those that rely on the artefact."""
    relied = np.array([one.about["relied"] for one in runs])
    hit, right = np.array([_found(one) for one in runs]).T
    rows = []
    for what, among in ((artefact, np.full(len(runs), True)), (f"{artefact}, relied on", relied >= 0.5)):
        counts = {"class named": int(hit[among].sum()), "F1 ≥ 0.9": int((hit & right)[among].sum())}
        own = [one for one, counted in zip(runs, among, strict=True) if counted]
        rows.append({"what": what, "runs": len(own)} | counts | _beside(own))
    return rows
