"""The mean input and attribution of the selected samples, or of all of the category if none is selected."""

from typing import Any, Final, NamedTuple

from ..draw.samples import mean
from ..state.view import Shown
from ..widgets import markup, title
from .wiring import Panel, Redraw, Session


class Means(NamedTuple):
    """Its parts."""

    heading: Any
    pictures: Any


def build(session: Session, redraw: Redraw) -> Means:
    """Make an empty heading and an empty place for pictures."""
    return Means(title(""), markup(sizing_mode="stretch_width"))


def work(shown: Shown) -> tuple[dict[str, str], int]:
    """Draw the means, and say of how many samples they were taken."""
    rows = shown.points.rows
    return mean(shown.project, rows[shown.selected] if shown.selected.size else rows, cmap=shown.cmap)


def show(means: Means, shown: Shown, made: tuple[dict[str, str], int]) -> None:
    """Show the means, if samples such as these have any."""
    (drawings, count), of = made, shown.selected.size or shown.points.rows.size
    if not drawings:
        clear(means, "")
        return
    whose = "the selection" if shown.selected.size else "the class"
    some = f" ({count:,} of {of:,})" if count < of else ""
    means.heading.object = f"<h2>Mean<small>of {whose}{some}</small></h2>"
    figures = "".join(
        f"<figure><img src='{source}' alt='mean {kind} of {whose}'><figcaption>{kind}</figcaption></figure>"
        for kind, source in drawings.items()
    )
    means.pictures.object = f"<div class='means'>{figures}</div>"


def clear(means: Means, _: str) -> None:
    """Show nothing: where a file cannot be read, the samples say why."""
    means.heading.object = means.pictures.object = ""


MEANS: Final = Panel(
    name="means",
    place="rail",
    reads=("points", "selected", "cmap", "trouble"),
    build=build,
    ask=lambda _, shown: shown if shown.points.rows.size else None,
    work=work,
    show=show,
    clear=clear,
    subject=("points", "selected"),
)
