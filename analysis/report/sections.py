"""The parts of a report that are not of one finding: what was analysed, verdicts, slices, copies, limits."""

from typing import Final

import numpy as np
import xarray as xr

from ..evidence.copies import GROUP
from ..evidence.failure import SLICE
from ..results import power
from ..results.table import CATEGORY
from ..results.words import enough, is_judged, is_too_small, nouns, p_text, rows, summary, verdict
from .evidence import PREVALENCES
from .finding import judged_of
from .markup import Markup, element, joined
from .shown import Shown, paragraph

SENTENCES: Final = 40
"""Of more categories, the others stand in a table."""
ROWS: Final = 2000
SLICES: Final = 10
COPIES: Final = 20
MEMBERS: Final = 8
TOLD: Final = {
    "model": "Model",
    "parameters": "Digest of its parameters",
    "method": "Method",
    "composite": "Composite",
    "command": "Command",
    "setting": "Settings",
    "run": "Digest of the run",
    "content": "Digest of the content",
}
"""Attributes of the evidence that come first, and what they are called."""
APART: Final = ("plan", "skipped", "split", "without_samples", "by", "created")
"""Attributes that are told elsewhere."""


def verdicts(shown: Shown) -> Markup:
    """Say of every category what was found: the first so many in sentences, the others in a table."""
    table = shown.node("ranking")
    sentences = verdict(table.isel({CATEGORY: slice(SENTENCES)}).assign_attrs(judged_of(table)))
    lines = [
        element("li", one, data_source=f"{shown.file}: /ranking[category={at}]", class_=_kind(table, at))
        for at, one in enumerate(sentences)
    ]
    told = element("ul", *lines, class_="verdicts")
    if table.sizes[CATEGORY] <= SENTENCES:
        return joined(told, shown.source("ranking/p_adjusted" if is_judged(table) else "ranking/separability"))
    return joined(told, _others(shown, table))


def _kind(table: xr.Dataset, at: int) -> str:
    if not is_judged(table) or np.isnan(table["p_adjusted"].values[at]):
        return "open"
    return "apart" if table["significant"].values[at] else "plain"


def _others(shown: Shown, table: xr.Dataset) -> Markup:
    layouts = {"n": "{:,}", "size": "{:,}", "margin": "{:.2f}", "separability": "{:.2f}", "p_adjusted": p_text}
    columns = {name: layout for name, layout in layouts.items() if name in table}
    listed = range(SENTENCES, min(table.sizes[CATEGORY], SENTENCES + ROWS))
    body = [
        [
            str(table[CATEGORY].values[at]),
            *(shown.number(f"ranking/{name}", layout, category=at) for name, layout in columns.items()),
        ]
        for at in listed
    ]
    titles = [nouns(table).capitalize(), *(name.replace("_", " ") for name in columns)]
    return shown.table(titles, body, *(f"ranking/{name}" for name in columns))


def analysed(shown: Shown) -> Markup:
    """Say what was analysed: counts, and where attributions and analysis come from."""
    attrs, about, table = shown.tree.attrs, shown.node("about"), shown.node("ranking")
    shape = [
        joined(shown.number("about/shape", dimension=at), f" {name}")
        for at, name in enumerate(about["dimension"].values.astype(str))
    ]
    counts = [
        joined(shown.number("about/samples"), " samples in ", shown.number("about/categories"), f" {nouns(table)}"),
        joined("attributions of ", joined(*shape, by=" × ")),
    ]
    if about["skipped"].item():
        counts.append(joined(shown.number("about/skipped"), " samples could not be read"))
    pairs: list[tuple[str, str]] = [("Data", joined(*counts, by="; "))]
    names = [*TOLD, *(name for name in attrs if name not in TOLD and name not in APART)]
    pairs += [(TOLD.get(str(name), str(name)), _cell(attrs[name])) for name in names if attrs.get(name)]
    if attrs.get("without_samples"):
        pairs.append(("Without samples", attrs["without_samples"]))
    pairs.append(("Report made", str(attrs["created"])))
    listed = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return joined(element("dl", *listed), shown.source("about", "@attributes"), _files(shown))


def _cell(text: str) -> Markup:
    return element("code", text) if len(text) > 24 and " " not in text[:24] else joined(text)


def _files(shown: Shown) -> Markup:
    if "files" not in shown.tree.children:
        return Markup("")
    files = shown.node("files")
    body = [
        [
            str(files["file"].values[at]),
            str(files["written"].values[at]),
            shown.number("files/bytes", file=at),
            element("code", str(files["sha256"].values[at])),
        ]
        for at in range(min(files.sizes["file"], COPIES))
    ]
    return shown.table(["File", "Written", "Bytes", "SHA-256"], body, "files/sha256", left=2)


def failures(shown: Shown) -> Markup:
    """Say on which slices the model is surely worse than on the rest."""
    if "slices" not in shown.tree.children:
        return paragraph("Nothing says which predictions are right, so that no slice has an accuracy.")
    found = shown.node("slices")
    accuracy = element(
        "data",
        f"{found.attrs['accuracy']:.1%}",
        value=repr(float(found.attrs["accuracy"])),
        data_source=f"{shown.file}: /slices@accuracy",
    )
    said = joined("The model is right on ", accuracy, " of all samples. ")
    if not found.sizes[SLICE]:
        return paragraph(said, "No cluster or value of metadata has enough samples to compare.")
    worse = int((found["significant"].values & (found["gap"].values < 0)).sum())
    several = f"{worse:,} slices are" if worse > 1 else "One slice is"
    told = (
        f"{several} less accurate than the rest by more than chance"
        if worse
        else ("No slice is less accurate than the rest by more than chance")
    )
    losing = np.flatnonzero(found["gap"].values < 0)[:SLICES].tolist()
    first = paragraph(said, told, ", after correction for all ", shown.length("slices/gap"), " slices.")
    if not losing:
        return joined(first, shown.source("slices/gap"))
    titles = ["Slice", "Samples", "Accuracy [interval]", "Rest", "Gap [interval]", "p, corrected"]
    body = [_slice(shown, found, at) for at in losing]
    table = shown.table(titles, body, "slices/accuracy", "slices/gap", "slices/p_adjusted")
    return joined(first, paragraph("Those that are most surely worse:"), table)


def _slice(shown: Shown, found: xr.Dataset, at: int) -> list[str]:
    kind, category, variable, value = (str(found[name].values[at]) for name in ("kind", CATEGORY, "variable", "value"))
    name: str = f"{variable} is {value}"
    if kind == "cluster":
        name = joined(f"'{category}', cluster ", shown.number("slices/cluster", slice=at), f" of {variable}")

    def interval(of: str, layout: str) -> Markup:
        low, high = (shown.number(f"slices/{of}_{end}", layout, slice=at) for end in ("low", "high"))
        return joined(shown.number(f"slices/{of}", layout, slice=at), " [", low, ", ", high, "]")

    return [
        name,
        shown.number("slices/n", slice=at),
        interval("accuracy", "{:.1%}"),
        shown.number("slices/accuracy_rest", "{:.1%}", slice=at),
        interval("gap", "{:+z.1%}"),
        shown.number("slices/p_adjusted", p_text, slice=at),
    ]


def copies(shown: Shown) -> Markup:
    """Say which samples are copies of others, and which of these lie across a split."""
    if "duplicates" not in shown.tree.children:
        return paragraph("The samples are no numbers that could be compared.")
    found = shown.node("duplicates")
    of, split = f"the {found.attrs['variable']}s of two samples", found.attrs["split"]
    unjudged = found.attrs["not_judged"]
    left = f" In {unjudged}, there are too few samples to tell near ones." if unjudged else ""
    across = f", nor across '{split}'" if split else ""
    apart = "" if split else " Whether copies lie in training and test data was not asked: --split names the variable."
    if not found.sizes[GROUP]:
        said = f"No samples are identical or nearly so{across}: {of} were compared."
        return paragraph(said, left, apart, " ", shown.source("duplicates/kind"))
    told = [
        shown.length("duplicates/position"),
        " samples are in ",
        shown.length("duplicates/kind"),
        " groups of copies, ",
    ]
    if split:
        told += [shown.total("duplicates/across_split"), f" of which lie across '{split}', and are leaks; "]
    told += [shown.total("duplicates/across_category"), " groups have samples of several classes."]
    body = [_copy(shown, found, at) for at in range(min(COPIES, found.sizes[GROUP]))]
    titles = ["Group", "Samples", "Distance", "Across"]
    return joined(
        paragraph(*told, left, apart),
        shown.table(titles, body, "duplicates/kind", "duplicates/size", "duplicates/sample"),
    )


def _copy(shown: Shown, found: xr.Dataset, at: int) -> list[str]:
    own = np.flatnonzero(found["group_of_member"].values == at)
    named = found["sample"] if "sample" in found.variables else found["position"]
    members = [str(name) for name in named.values[own[:MEMBERS]]]
    more = f" and {own.size - MEMBERS:,} more" if own.size > MEMBERS else ""
    both = {"class": found["across_category"].values[at], "split": found["across_split"].values[at]}
    return [
        f"{found['kind'].values[at]}: {', '.join(members)}{more}",
        shown.number("duplicates/size", group=at),
        shown.number("duplicates/distance", "{:.2g}", group=at),
        " and ".join(name for name, several in both.items() if several) or "–",
    ]


def not_judged(shown: Shown) -> Markup:
    """Say which categories have too few samples, and how likely a group would have been found in the others."""
    table = shown.node("ranking")
    if not is_judged(table):
        return paragraph(summary(table))
    small = [row for row in rows(table) if np.isnan(row["p_value"]) and is_too_small(table, row["n"])]
    told = f"All {nouns(table)} have enough samples to be judged."
    if small:
        names = ", ".join(f"'{row[CATEGORY]}' ({row['n']:,})" for row in small[:SENTENCES])
        more = f" and {len(small) - SENTENCES:,} more" if len(small) > SENTENCES else ""
        told = f"Too few samples to judge have {names}{more}. About {enough(table)} would do to judge at all."
    few = paragraph(told, " ", shown.source("ranking/n", "ranking/p_value"))
    return joined(few, _power(shown, table)) if "power" in shown.tree.children else few


def _power(shown: Shown, table: xr.Dataset) -> Markup:
    """Say how likely groups of some sizes are found in categories of the sizes that there are."""
    sizes = table["n"].values
    order = np.unique(np.quantile(sizes, [0, 0.25, 0.5, 0.75, 1], method="nearest"), return_index=False)
    first = [int(np.flatnonzero(sizes == size)[0]) for size in order]
    body = [
        [
            str(table[CATEGORY].values[at]),
            shown.number("ranking/n", category=at),
            *(shown.number("power/found", "{:.0%}", category=at, prevalence=k) for k in range(len(PREVALENCES))),
        ]
        for at in first
    ]
    titles = ["Such as", "Samples", *(f"{share:.0%} of them" for share in PREVALENCES)]
    measured = power.measured()
    would = [power.enough(share, measured) for share in PREVALENCES] if measured is not None else []
    needed = ", ".join(f"{n:,} for {share:.0%}" for share, n in zip(PREVALENCES, would, strict=False) if n is not None)
    said = "How often a patch, watermark or border that a network relies on is found, by its share of the class"
    last = f"; so many samples find it in 4 of 5 runs: {needed}." if needed else "."
    return joined(paragraph(said, last), shown.table(titles, body, "power/found"))


def again(shown: Shown, run: str, command: str) -> Markup:
    """Say how to compute all of this again."""
    attrs = shown.tree.attrs
    by = attrs.get("by") or "none"
    lines = [
        f"{attrs['command']}" if attrs.get("command") else "",
        f"relfunc analyze plan.toml {run} --by {by} --out {run}/analysis.nc",
        command,
    ]
    packages = shown.node("packages")
    versions = [
        f"{name} {held}" for name, held in zip(packages["package"].values, packages["version"].values, strict=True)
    ]
    return joined(
        element("pre", "\n".join(filter(None, lines))),
        paragraph("with plan.toml:"),
        element("pre", attrs.get("plan", ""), class_="plan"),
        paragraph("Versions of this report: ", ", ".join(versions), ". ", shown.source("packages/version", "@plan")),
    )


def limits(shown: Shown) -> Markup:
    """Say what no report of this kind can."""
    level = shown.node("ranking").attrs.get("level", 0.05)
    said = [
        "Artefacts that the model does not use leave no trace in its relevance, and are not found.",
        "An artefact in nearly all samples of a class sets no group apart from the others, and is not found.",
        "That no cluster stands apart by more than chance is no proof that there is no artefact: a group may be too "
        "small, or its trace too weak.",
        "A group that stands apart is no proof of an artefact: it may be a legitimate kind of the class, such as one "
        "of two ways of writing a digit. Look at its region and its examples.",
        "Attributions are an approximation of what a model does. Methods of explanation miss artefacts that nobody "
        "suspects, and accuse models that are clean (Adebayo, Muelly, Abelson and Kim 2022, Post hoc explanations may "
        "be ineffective for detecting unknown spurious correlation, ICLR).",
        f"The level of {level:g} is kept over all categories together for the question whether groups stand apart, and "
        "for each finding and each table by itself.",
    ]
    return element("ul", *(element("li", one) for one in said))
