"""Two parts of a category side by side: the selection, the rest, a cluster, or all of it."""

import html
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relfunc.schema import NOISE

from ..draw.summary import TYPICAL, Summary, comparison, judged, summary
from ..plane.selection import invert
from ..state.view import Shown
from ..widgets import Part, card, compact, cover, markup
from .wiring import Panel, Redraw, Session

SELECTION, REST, ALL = "Selection", "The rest", "The whole class"


class Compare(NamedTuple):
    """The bar to choose the parts in, the comparison, and the two choices."""

    bar: Part
    sheet: Any
    one: Any
    other: Any


class Pair(NamedTuple):
    """The names of two parts to be compared."""

    shown: Shown
    one: str
    other: str


def build(session: Session, redraw: Redraw) -> Compare:
    """Make the choices and the place for the comparison."""
    one = compact("First part", [SELECTION], SELECTION, width=168)
    other = compact("Second part", [REST], REST, width=168)
    for widget in (one, other):
        widget.param.watch(lambda _: redraw(), "value")
    versus = markup("<span class='status'>compared with</span>", align="center")
    bar = card(one, versus, other, kind="options", row=True, sizing_mode="stretch_width")
    return Compare(bar, markup(sizing_mode="stretch_both", css_classes=["sheet"]), one, other)


def ask(compare: Compare, shown: Shown) -> Pair:
    """Offer the parts that there are, and say which two are to be compared."""
    cluster = shown.points.cluster
    parts = [] if cluster is None else [_name(int(k)) for k in np.unique(cluster)]
    first = [SELECTION, *parts, ALL] if shown.selected.size or not parts else [*parts, ALL]
    for widget, offered in ((compare.one, first), (compare.other, [REST, *first])):
        before = list(widget.options)
        if before != offered:
            kept = widget.value in offered and (SELECTION in before or SELECTION not in offered)
            widget.param.update(options=offered, value=widget.value if kept else offered[0])
    return Pair(shown, compare.one.value, compare.other.value)


def work(pair: Pair) -> str:
    """Lay two parts of a category side by side, with the difference of their mean attributions between them."""
    shown = pair.shown
    project, points, names = shown.project, shown.points, (pair.one, pair.other)
    first = _part(shown, pair.one)
    parts = first, invert(first, points.rows.size) if pair.other == REST else _part(shown, pair.other)
    for name, part in zip(names, parts, strict=True):
        if not part.size:
            return cover(f"{name} is empty", "Select samples in the map, or choose another part above.")
    known = judged(project, points)
    drawn = comparison(project, points, parts[0], parts[1], shown.cmap)
    difference = (
        f"<figure class='mid'><img alt='difference of the mean attributions' src='{drawn[2]}'>"
        "<figcaption>First − second</figcaption></figure>"
        if drawn[2]
        else "<figure class='mid'></figure>"
    )
    sides = [
        _side(name, summary(project, known, part), pictures)
        for name, part, pictures in zip(names, parts, drawn[:2], strict=True)
    ]
    return f"<div class='versus'>{sides[0]}{difference}{sides[1]}</div>"


def show(compare: Compare, _: Pair, made: str) -> None:
    """Show the comparison."""
    compare.sheet.object = made


def wait(compare: Compare, _: Pair) -> None:
    """Say that other samples are being read."""
    compare.sheet.object = cover("Reading", "Attributions of the class are being read and averaged.")


def clear(compare: Compare, why: str) -> None:
    """Say why there is no comparison."""
    nothing = cover("Nothing to show", "Open a project that can be read.")
    compare.sheet.object = cover("This cannot be read", why) if why else nothing


def _side(name: str, part: Summary, pictures: Sequence[tuple[str, str]]) -> str:
    texts = any(kind.startswith(TYPICAL) for kind, _ in pictures)
    said = [(kind if texts else f"mean {kind}", source) for kind, source in pictures]
    drawn = "".join(
        f"<figure><img alt='{what} of {html.escape(name)}' src='{source}'>"
        f"<figcaption>{what[:1].upper()}{what[1:]}</figcaption></figure>"
        for what, source in said
    )
    facts = [
        ("Samples", f"{part.size:,}"),
        ("Accuracy", f"{part.accuracy:.1%}"),
        ("Mean probability", f"{part.probability:.1%}"),
        ("Labels", _shares(part.labels)),
        ("Predictions", _shares(part.predictions)),
    ]
    listed = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in facts)
    kind = "pair texts" if texts else "pair"
    return f"<section><h2>{html.escape(name)}</h2><div class='{kind}'>{drawn}</div><dl>{listed}</dl></section>"


def _shares(parts: Sequence[tuple[str, float]]) -> str:
    return " · ".join(f"{html.escape(name)} {share:.0%}" for name, share in parts)


def _part(shown: Shown, name: str) -> NDArray[np.int64]:
    """Positions of a part by its name."""
    points = shown.points
    if name == SELECTION:
        return shown.selected
    if name == ALL or points.cluster is None:
        return np.arange(points.rows.size)
    return np.flatnonzero(points.cluster == (NOISE if name == _name(NOISE) else int(name.rpartition(" ")[2])))


def _name(cluster: int) -> str:
    return "Noise" if cluster == NOISE else f"Cluster {cluster}"


COMPARE: Final = Panel(
    name="compare",
    place="below",
    tab="Compare",
    kind="overview",
    reads=("points", "selected", "cmap", "trouble"),
    build=build,
    ask=ask,
    work=work,
    show=show,
    clear=clear,
    wait=wait,
    body=lambda compare: (compare.bar, compare.sheet),
)
