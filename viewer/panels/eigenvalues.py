"""The eigenvalues that the clusters came from, and their largest gap."""

import html
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..draw import spectrum as eigen
from ..project.scores import eigenvalues
from ..state.view import Shown
from ..widgets import markup, title
from .wiring import Panel, Redraw, Session, always


class Spectrum(NamedTuple):
    """Its parts."""

    heading: Any
    drawing: Any


def build(session: Session, redraw: Redraw) -> Spectrum:
    """Make an empty heading and an empty place for the drawing."""
    return Spectrum(title(""), markup(sizing_mode="stretch_width"))


def work(shown: Shown) -> NDArray[np.float64]:
    """Read the eigenvalues."""
    return eigenvalues(shown.project, shown.category)


def show(spectrum: Spectrum, _: Shown, values: NDArray[np.float64]) -> None:
    """Draw the eigenvalues, if there are any."""
    gap = eigen.largest_gap(values)
    spectrum.heading.object = f"<h2>Eigenvalues<small>largest gap after {gap}</small></h2>" if values.size else ""
    spectrum.drawing.object = eigen.drawing(values)


def clear(spectrum: Spectrum, why: str) -> None:
    """Show nothing but why."""
    spectrum.heading.object, spectrum.drawing.object = "", html.escape(why)


EIGENVALUES: Final = Panel(
    name="eigenvalues",
    place="rail",
    reads=("points", "trouble"),
    build=build,
    work=work,
    show=show,
    clear=clear,
    at_once=always,
)
