"""Samples that are no pictures: a bar for each feature, words on the colour of their relevance, as SVG."""

import base64
import html
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from relfunc.heatmap.spelling import pieces
from relfunc.schema import ATTRIBUTION, TOKEN

from ..project.project import Project
from .heat import colours

Form = Literal["image", "feature", "token"]
UP, DOWN, PLAIN = "#e0574f", "#4c7df0", "#8b929c"
LETTER, LINE, GAP, LEAST = 7.2, 22, 3, 220
NAMED: Final = 24
"""How many features have room for their names."""


def form(project: Project) -> Form:
    """Return what a project's samples are, by the dimensions of their attributions."""
    dims = () if project.pictures is not None else project.attributions[ATTRIBUTION].dims
    return "token" if TOKEN in dims else "feature" if len(dims) == 2 else "image"


def words(values: NDArray) -> list[str]:
    """Return the words of an input: its texts, or its numbers where it has none.

    Examples
    --------
    >>> words(np.array(["a", "cat"])), words(np.array([3, 4]))
    (['a', 'cat'], ['3', '4'])
    """
    return [str(value) for value in values.tolist()]


def highlighted(
    relevance: NDArray[np.floating], said: Sequence[str], cmap: str, *, width: int, bound: float | None = None
) -> str:
    """Draw words on the colour of their relevance, the more opaque the greater it is, on white.

    Parameters
    ----------
    relevance : numpy.ndarray
        (token,) relevance of each; NaN has the colour of zero.
    said : sequence of str
        The words, or pieces of words as a tokenizer marks them, which are drawn without a gap.
    cmap, bound
        As in :func:`viewer.draw.heat.heat`.
    width : int
        Of the drawing, in pixels.

    Returns
    -------
    str
        SVG.
    """
    most = (float(np.abs(np.nan_to_num(relevance)).max(initial=0)) if bound is None else bound) or 1.0
    share = np.minimum(np.abs(np.nan_to_num(relevance)) / most, 1)[:, None]
    painted = np.rint(255 * (1 - share) + share * colours(relevance, cmap, bound=bound)).astype(int)
    x, y, parts = 0.0, 0, []
    for (apart, word), value, (red, green, blue) in zip(
        pieces(said), relevance.tolist(), painted.tolist(), strict=True
    ):
        wide = (len(word) + (1.2 if apart else 0.4)) * LETTER
        x += GAP if x and apart else 0
        if x and x + wide > width:
            x, y = 0.0, y + LINE + 4
        ink = "#16191d" if red * 0.299 + green * 0.587 + blue * 0.114 > 128 else "#ffffff"
        parts.append(
            f'<g transform="translate({x:.1f} {y})"><title>{html.escape(word)}: {value:.4g}</title>'
            f'<rect width="{wide:.1f}" height="{LINE}" rx="{4 if apart else 2}" fill="rgb({red},{green},{blue})"/>'
            f'<text x="{wide / 2:.1f}" y="15" fill="{ink}">{html.escape(word)}</text></g>'
        )
        x += wide
    return _svg(width, y + LINE, parts, 'font-family="ui-monospace,monospace" font-size="12" text-anchor="middle"')


def bars(values: NDArray[np.floating], names: Sequence[str], *, signed: bool, bound: float | None = None) -> str:
    """Draw a bar for each feature; of a few, the names too.

    Parameters
    ----------
    values : numpy.ndarray
        (feature,) numbers; one that is not finite has no bar.
    names : sequence of str
        What the features are called.
    signed : bool
        Whether positive and negative numbers are of different colours, as those of relevance are.
    bound : float, optional
        The number whose bar is longest; by default the largest magnitude that occurs.

    Returns
    -------
    str
        SVG.
    """
    finite = np.where(np.isfinite(values), values, 0).astype(float)
    most = (float(np.abs(finite).max(initial=0)) if bound is None else bound) or 1.0
    share = np.clip(finite / most, -1, 1)
    return (
        _named_bars(share, values, names, signed) if len(names) <= NAMED else _bare_bars(share, values, names, signed)
    )


def data_uri(svg: str) -> str:
    """Return SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _named_bars(share: NDArray, values: NDArray, names: Sequence[str], signed: bool) -> str:
    """Lay the bars to both sides of a line, each beside its name."""
    middle, reach, step, parts = LEAST * 0.66, LEAST * 0.33, 15, []
    for k, (part, name) in enumerate(zip(share.tolist(), names, strict=True)):
        y, wide, short = k * step, abs(part) * reach, html.escape(name[:11])
        parts.append(
            f"<g><title>{html.escape(name)}: {values[k]:.4g}</title>"
            f'<text x="{LEAST * 0.31:.1f}" y="{y + 11}" text-anchor="end" fill="{PLAIN}">{short}</text>'
            f'<rect x="{middle - wide if part < 0 else middle:.1f}" y="{y + 3}" width="{wide:.1f}" height="9" rx="1.5" '
            f'fill="{_ink(part, signed)}"/></g>'
        )
    parts.append(f'<line x1="{middle}" x2="{middle}" y1="0" y2="{len(names) * step}" stroke="{PLAIN}" opacity=".5"/>')
    return _svg(LEAST, len(names) * step, parts, 'font-family="system-ui,sans-serif" font-size="10.5"')


def _bare_bars(share: NDArray, values: NDArray, names: Sequence[str], signed: bool) -> str:
    """Stand the bars on a line, one beside the other."""
    height, step, parts = 130, LEAST / len(names), []
    for k, (part, name) in enumerate(zip(share.tolist(), names, strict=True)):
        tall = abs(part) * height / 2
        parts.append(
            f'<rect x="{k * step:.2f}" y="{height / 2 - tall if part > 0 else height / 2:.1f}" '
            f'width="{max(step * 0.86, 0.4):.2f}" height="{tall:.1f}" fill="{_ink(part, signed)}">'
            f"<title>{html.escape(name)}: {values[k]:.4g}</title></rect>"
        )
    parts.append(f'<line x1="0" x2="{LEAST}" y1="{height / 2}" y2="{height / 2}" stroke="{PLAIN}" opacity=".5"/>')
    return _svg(LEAST, height, parts, "")


def _ink(share: float, signed: bool) -> str:
    return PLAIN if not signed else UP if share > 0 else DOWN


def _svg(width: int, height: int, parts: Sequence[str], attributes: Any) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f"{attributes}>{''.join(parts)}</svg>"
    )
