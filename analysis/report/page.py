"""The page of a report: its parts in order, in one file that needs nothing else."""

from pathlib import Path
from typing import Final

import xarray as xr

from relfunc.heatmap.words import STYLE as WORDS

from ..evidence.finding import FINDING
from ..results.table import CATEGORY
from ..results.words import is_judged, nouns, summary
from . import sections
from .finding import finding
from .markup import Markup, element, joined
from .shown import Shown, paragraph

LARGEST: Final = 10_000_000
"""Bytes of a page, at most."""
IN_FULL: Final = 12
"""So many findings are laid out, and fewer if the page is too large with them."""
STYLE: Final = Path(__file__).with_name("style.css")
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(tree: xr.DataTree, data: xr.Dataset, *, file: str, run: str, command: str) -> str:
    """Lay a report out as HTML.

    Parameters
    ----------
    tree : xarray.DataTree
        From :func:`analysis.report.evidence.evidence`.
    data : xarray.Dataset
        The attributions, of which examples are shown.
    file : str
        The name of the file with the evidence, to which footnotes refer.
    run : str
        What the report is of, as commands have it.
    command : str
        The command that makes the report.

    Returns
    -------
    str
    """
    shown = Shown(tree, file)
    count = tree["findings"].sizes.get(FINDING, 0)
    made = [finding(shown, data, number) for number in range(min(IN_FULL, count))]
    text = _document(shown, made, run, command)
    while made and len(text.encode(errors="backslashreplace")) > LARGEST:
        made = made[: len(made) // 2]
        text = _document(shown, made, run, command)
    return text


def _document(shown: Shown, made: list[Markup], run: str, command: str) -> str:
    table = shown.node("ranking")
    title = f"Strategies of {shown.tree.attrs.get('model') or run}"
    body = element(
        "main",
        element(
            "header",
            element("h1", title),
            element("p", summary(table), class_="summary", data_source=f"{shown.file}: /ranking"),
        ),
        _section("What was analysed", sections.analysed(shown)),
        _section(f"The verdict on each of the {nouns(table)}", sections.verdicts(shown)),
        _section("The findings", _findings(shown, made), "findings"),
        _section("Where the model fails", sections.failures(shown)),
        _section("Copies and leaks", sections.copies(shown)),
        _section("What could not be judged", sections.not_judged(shown)),
        _section("How to compute this again", sections.again(shown, run, command)),
        _section("What this report cannot say", sections.limits(shown)),
    )
    note = (
        f"Every number of this page stands in {shown.file}, in the variable that its footnote names; a number's own "
        "place is the attribute data-source of its element."
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(WORDS + STYLE.read_text(encoding="utf-8"))),
    )
    footer = element("footer", paragraph(note))
    return f"<!doctype html>\n{element('html', head, element('body', body, footer), lang='en')}\n"


def _section(title: str, content: Markup, kind: str | None = None) -> Markup:
    return element("section", element("h2", title), content, class_=kind)


def _findings(shown: Shown, made: list[Markup]) -> Markup:
    table, found = shown.node("ranking"), shown.node("findings")
    shows = found[CATEGORY].values.astype(str)[: len(made)]
    before, named = Markup(""), found[CATEGORY].values
    if is_judged(table):
        named = table[CATEGORY].values[table["significant"].values.astype(bool)]
    else:
        before = paragraph(
            "Nothing was compared with chance: these are the clusters that are farthest apart from the rest."
        )
    if not len(named):
        return paragraph("No group of samples stands apart by more than chance.")
    left = [f"'{name}'" for name in named.astype(str) if name not in shows]
    if not left:
        return joined(before, *made)
    told = paragraph(f"Not shown, to keep this page small, are those of {', '.join(left)}. ", shown.source("ranking"))
    return joined(before, *made, told)
