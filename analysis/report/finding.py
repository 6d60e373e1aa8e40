"""The part of a report on one finding: where its samples differ from the rest, what they show, and who they are."""

from typing import Any, Final

import numpy as np
import xarray as xr

from relfunc.schema import ATTRIBUTION, INPUT, TOKEN_TEXT

from ..evidence.finding import FINDING
from ..results.table import CATEGORY
from ..results.words import JUDGED, p_text, verdict
from .markup import Markup, element, joined
from .pictures import (
    curves,
    embedded,
    examples,
    is_image,
    is_series,
    line,
    outlined,
    photograph,
    plane,
    relevance,
)
from .shown import Shown, paragraph, plain

LARGEST: Final = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"), (np.inf, "large"))
"""What effects are called, by the bounds of Romano et al. 2006."""
VALUES: Final = 24
"""Tests that are listed; those that are significant first."""


def finding(shown: Shown, data: xr.Dataset, number: int) -> Markup:
    """Lay one finding out: its sentence, mean heatmaps, region, examples and tests."""
    found, table = shown.node("findings"), shown.node("ranking")
    name = str(found[CATEGORY].values[number])
    at = int(np.flatnonzero(table[CATEGORY].values.astype(str) == name)[0])
    sentence = verdict(table.isel({CATEGORY: [at]}).assign_attrs(judged_of(table)))[0]
    return element(
        "section",
        element("h3", sentence.partition(":")[0]),
        element("p", sentence, data_source=f"{shown.file}: /ranking[category={at}]", class_="verdict"),
        paragraph(
            "The cluster is number ",
            shown.number("findings/cluster", finding=number),
            f" of the clustering {found['clustering'].values[number]}. ",
            *_again(shown, at),
            "Its region is ",
            shown.number("findings/region_area", "{:.1%}", finding=number),
            " of the input.",
        ),
        _where(shown, found.isel({FINDING: number}), number),
        *_pictures(shown, data, number),
        element("h4", "What distinguishes the cluster"),
        tests(shown, number),
        _untested(shown, found, number),
        class_="finding",
    )


def judged_of(table: xr.Dataset) -> dict[str, Any]:
    """Return attributes by which a part of a ranking still knows for how many categories it was corrected."""
    return {JUDGED: int(np.isfinite(table["p_value"].values).sum())} if "p_value" in table else {}


def _again(shown: Shown, at: int) -> list[str]:
    if "replication" not in shown.node("ranking"):
        return []
    found = shown.number("ranking/replication", "{:.2f}", category=at)
    return [
        "Halves of the samples, searched alone, have a group that overlaps with it by ",
        found,
        " (Jaccard index). ",
    ]


def _where(shown: Shown, found: xr.Dataset, number: int) -> Markup:
    """Draw the mean heatmaps, the region, and the mean inputs."""
    names = "findings/relevance_inside", "findings/relevance_outside", "findings/region"
    inside, outside = found["relevance_inside"], found["relevance_outside"]
    if is_series(inside):
        return _where_in_series(shown, found)
    maps = plane(inside), plane(outside)
    most, apart = max(float(one.max()) for one in maps), maps[0] - maps[1]
    mask = plane(found["region"]) > 0
    figures = [
        shown.figure(embedded(relevance(maps[0], most, signed=False), "mean"), "Mean relevance, cluster", names[0]),
        shown.figure(embedded(relevance(maps[1], most, signed=False), "mean"), "Mean relevance, rest", names[1]),
        shown.figure(
            embedded(relevance(apart, float(np.abs(apart).max()), signed=True), "difference"),
            "Difference: red where the cluster has more",
            *names[:2],
        ),
    ]
    ground = relevance(maps[0], most, signed=False)
    if is_image(found, "input_inside") and found["input_inside"].sizes["y"] == mask.shape[0]:
        ground = photograph(found["input_inside"])
        difference = plane(found["input_difference"])
        figures += [
            shown.figure(embedded(ground, "mean input"), "Mean input, cluster", "findings/input_inside"),
            shown.figure(
                embedded(photograph(found["input_outside"]), "mean"), "Mean input, rest", "findings/input_outside"
            ),
            shown.figure(
                embedded(relevance(difference, float(np.abs(difference).max()), signed=True), "difference"),
                "Difference of the inputs: red where the cluster's is brighter",
                "findings/input_difference",
            ),
        ]
    region = shown.figure(embedded(outlined(ground, mask), "region"), "The region, outlined", names[2])
    return element("div", region, *figures, class_="row")


def _where_in_series(shown: Shown, found: xr.Dataset) -> Markup:
    mask = line(found["region"]) > 0
    both = {"cluster": line(found["relevance_inside"]), "rest": line(found["relevance_outside"])}
    said = "Mean share of relevance: the cluster (orange) and the rest (grey), with the region behind"
    names = "findings/relevance_inside", "findings/relevance_outside", "findings/region"
    figures = [shown.figure(curves(both, mask, alt=said), said, *names, class_="wide")]
    if "input_inside" in found and is_series(found["input_inside"]):
        both = {"cluster": line(found["input_inside"]), "rest": line(found["input_outside"])}
        said = "Mean input: the cluster (orange) and the rest (grey)"
        drawn = curves(both, mask if len(mask) == len(both["cluster"]) else None, alt=said)
        figures.append(shown.figure(drawn, said, "findings/input_inside", "findings/input_outside", class_="wide"))
    return joined(*figures)


def _pictures(shown: Shown, data: xr.Dataset, number: int) -> list[Markup]:
    position = shown.node("examples")["position"].values[number]
    return [
        shown.figure(
            examples(data, drawn[drawn >= 0]),
            f"Examples {side}, drawn at random: {_drawn(data)}",
            "examples/position",
            class_="wide",
        )
        for side, drawn in zip(("of the cluster", "of the rest"), position, strict=True)
        if (drawn >= 0).any() and ATTRIBUTION in data
    ]


def _drawn(data: xr.Dataset) -> str:
    """Say what is drawn of an example."""
    if TOKEN_TEXT in data:
        return "orange words speak for what was explained, blue ones against it"
    if is_series(data[ATTRIBUTION]) or not is_image(data, INPUT):
        return "their relevance"
    return "inputs, and below each its relevance, red for what was explained and blue against it"


def tests(shown: Shown, number: int) -> Markup:
    """Lay the tests of a finding out, significant ones first, each with what it says in words."""
    found = shown.node("findings")
    own = np.flatnonzero(found["finding_of_test"].values == number)
    order = own[np.lexsort((-np.abs(found["effect"].values[own]), ~found["significant"].values[own]))]
    rows = [
        [
            _what(found, at),
            _in_words(shown, found, at),
            _effect(shown, at),
            shown.number("findings/p_adjusted", p_text, test=at),
        ]
        for at in order[:VALUES].tolist()
    ]
    titles = ["What", "In the cluster, and in the rest", "Effect [interval]", "p, corrected"]
    left = f" Of {own.size} tests the first {VALUES}." if own.size > VALUES else ""
    note = (
        "Effects are Cliff's δ, from −1 to 1: 0 if the cluster's values are as large as those of the rest, 1 if each "
        "is larger; of shares it is their difference. P-values are corrected for all tests of this finding. The "
        "cluster was found in the relevance, so that a test of the relevance itself says only how well the region "
        f"describes the cluster.{left}"
    )
    return joined(
        shown.table(titles, rows, "findings/effect", "findings/p_adjusted", left=2), paragraph(note, class_="note")
    )


def _what(found: xr.Dataset, at: int) -> Markup:
    kind, variable, value = (str(found[name].values[at]) for name in ("kind", "variable", "value"))
    if kind == "metadata":
        return joined(element("b", f"{variable} is {value}" if value else variable), " ", element("i", "metadata"))
    told = {"share_in_region": "share of relevance", "fine_detail": "fine detail"}.get(variable, variable)
    return joined(element("b", told), " ", element("i", f"{kind}, {value}" if kind == "input" else value))


def _in_words(shown: Shown, found: xr.Dataset, at: int) -> Markup:
    is_share = str(found["measure"].values[at]) == "share" or str(found["variable"].values[at]) == "share_in_region"
    layout = "{:.1%}" if is_share else plain
    inside, outside = (shown.number(f"findings/{side}", layout, test=at) for side in ("inside", "outside"))
    if not found["significant"].values[at]:
        return joined(inside, " and ", outside, ": no difference beyond chance")
    effect = float(found["effect"].values[at])
    size = next(name for bound, name in LARGEST if abs(effect) < bound)
    more = (
        ("more often" if effect > 0 else "less often")
        if str(found["measure"].values[at]) == "share"
        else ("larger" if effect > 0 else "smaller")
    )
    return joined(inside, " against ", outside, f": {more}, a {size} difference")


def _effect(shown: Shown, at: int) -> Markup:
    effect, low, high = (
        shown.number(f"findings/{name}", "{:+z.2f}", test=at) for name in ("effect", "effect_low", "effect_high")
    )
    return joined(effect, " [", low, ", ", high, "]")


def _untested(shown: Shown, found: xr.Dataset, number: int) -> Markup:
    said = str(found["not_tested"].values[number])
    if not said:
        return Markup("")
    return paragraph(f"Not tested: {said}. ", shown.source("findings/not_tested"), class_="note")
