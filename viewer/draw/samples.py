"""Samples as drawings: the rows that a page shows, each as input, attribution and overlay."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relfunc.heatmap.layout import MODES
from relfunc.heatmap.pictures import picture
from relfunc.schema import FEATURE

from ..project.outcomes import pixels
from ..project.project import Project
from . import forms
from .forms import Form, form
from .heat import heat, over

KINDS: Final = ("input", "attribution", "overlay")
MEAN_OF: Final = 512
"""Of how many samples a mean is taken at most."""
READ: Final = 1 << 24
"""How many bytes are read for a mean at most."""
TOGETHER: Final = 8
"""How many neighbours are taken at a time where not all samples are."""
LARGEST: Final = 176
"""Longest side of a thumbnail in pixels; larger pictures are reduced before they are sent."""
NARROW, WIDE = 320, 640
"""Widths of a text in pixels, as a thumbnail and enlarged."""


@dataclass(frozen=True)
class Style:
    """How samples are drawn.

    Parameters
    ----------
    form : {"image", "feature", "token"}
        What they are.
    names : tuple of str
        What features are called; empty if they have no names.
    cmap, bound
        As :func:`viewer.draw.heat.heat` takes them.
    largest : int
        The longest side of a picture in pixels.
    """

    form: Form
    names: tuple[str, ...]
    cmap: str = "bwr"
    bound: float | None = None
    largest: int = LARGEST


def style(project: Project, cmap: str, *, bound: float | None = None, largest: int = LARGEST) -> Style:
    """Return how the samples of a project are drawn."""
    coords = project.attributions.coords
    names = tuple(coords[FEATURE].values.astype(str).tolist()) if FEATURE in coords else ()
    return Style(form(project), names, cmap, bound, largest)


def thumbnails(
    project: Project,
    rows: NDArray[np.int64],
    *,
    kinds: Sequence[str] = KINDS,
    cmap: str = "bwr",
    bound: float | None = None,
    largest: int = LARGEST,
) -> list[dict[str, str]]:
    """Draw some samples, as data URIs by kind.

    Parameters
    ----------
    project : Project
        Where to read; only these rows are read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``.
    kinds : sequence of str
        Which of :data:`KINDS` to draw. Without inputs, only attributions are drawn. Features have no overlay, and of
        words there is one drawing, whatever is asked for.
    cmap, bound
        As :func:`viewer.draw.heat.heat` takes them.
    largest : int
        The longest side of a picture in pixels.

    Raises
    ------
    ProjectError
        If the file cannot be read any more.
    """
    if rows.size == 0:
        return []
    attributions, inputs = pixels(project, rows)
    how = style(project, cmap, bound=bound, largest=largest)
    drawn = []
    for k, relevance in enumerate(attributions):
        shown = None if inputs is None else inputs[k]
        if how.form == "token":
            drawn.append({"attribution": token_uri(relevance, shown, how)})
            continue
        made = {kind: draw(kind, relevance, shown, how) for kind in KINDS if kind in kinds}
        drawings = {kind: source for kind, source in made.items() if source}
        drawn.append(drawings or {"attribution": draw("attribution", relevance, None, how)})
    return drawn


def average(
    project: Project, rows: NDArray[np.int64], *, bytes_read: int = READ
) -> tuple[NDArray | None, NDArray | None, int]:
    """Return the mean input and the mean attribution of some samples, None if their shapes differ, and of how many.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, at least one.
    bytes_read : int
        How much is read at most; of more samples, that many are taken at equal steps.
    """
    some = spread(project, rows, bytes_read)
    attributions, inputs = pixels(project, some)
    means: list[NDArray | None] = []
    for each in (inputs, attributions):
        alike = each is not None and len({one.shape for one in each}) == 1 and each[0].dtype.kind in "uifb"
        if each is None or not alike:
            means.append(None)
            continue
        with np.errstate(invalid="ignore"):  # of infinities of both signs there is no mean
            middle = np.mean(each, axis=0, dtype=float)
        means.append(middle.astype(np.uint8) if each[0].dtype == np.uint8 else middle)
    return means[0], means[1], some.size


def mean(
    project: Project, rows: NDArray[np.int64], *, cmap: str = "bwr", largest: int = LARGEST, bytes_read: int = READ
) -> tuple[dict[str, str], int]:
    """Draw the mean input and the mean attribution of some samples, as data URIs by kind, and say of how many.

    Words have none: their places mean something else in every sample.

    Parameters
    ----------
    project, rows, bytes_read
        As in :func:`average`.
    cmap, largest
        As in :func:`thumbnails`.
    """
    shown, relevance, count = average(project, rows, bytes_read=bytes_read)
    return drawn_mean(project, shown, relevance, cmap, largest), count


def drawn_mean(
    project: Project, shown: NDArray | None, relevance: NDArray | None, cmap: str, largest: int = LARGEST
) -> dict[str, str]:
    """Draw means by :func:`average`, as data URIs by kind."""
    how = style(project, cmap, largest=largest)
    if how.form == "token" or relevance is None:
        return {}
    made = {kind: draw(kind, relevance, shown, how) for kind in KINDS[:2]}
    return {kind: source for kind, source in made.items() if source}


def bound(project: Project, rows: NDArray[np.int64]) -> float:
    """Return the largest magnitude of relevance in some samples, or in as many of them as a mean is taken of."""
    attributions, _ = pixels(project, spread(project, rows, READ))
    largest = (np.abs(np.nan_to_num(summed(one, form(project)))).max(initial=0) for one in attributions)
    return float(max(largest, default=0)) or 1.0


def summed(relevance: NDArray, what: Form) -> NDArray:
    """Add relevance up as it is drawn: over the channels of a picture, over all but the words of a text."""
    if what == "token":
        return relevance.reshape(relevance.shape[0], -1).sum(axis=1, dtype=float)
    return relevance.sum(axis=0, dtype=float) if relevance.ndim == 3 else relevance


def spread(project: Project, rows: NDArray[np.int64], bytes_read: int) -> NDArray[np.int64]:
    """Return rows at equal steps, no more than may be read."""
    each = pixels(project, rows[:1])[0][0].nbytes
    most = min(MEAN_OF, max(bytes_read // max(each, 1), 1))
    if rows.size <= most:
        return rows
    # Neighbours are read together, which takes a fraction of the time.
    together = min(TOGETHER, max(most // 16, 1))
    first = np.linspace(0, rows.size - together, most // together).astype(int)
    return rows[(first[:, None] + np.arange(together)).ravel()]


def draw(kind: str, relevance: NDArray, shown: NDArray | None, how: Style) -> str:
    """Draw one sample as a kind of drawing, as a data URI; empty where that needs an input and there is none."""
    if kind != "attribution" and shown is None:
        return ""
    if how.form == "feature":
        own = kind == "attribution"
        values = relevance if own else shown
        if kind == "overlay" or values is None or values.dtype.kind not in "uifb":
            return ""
        names = how.names or [str(k) for k in range(values.size)]
        return forms.data_uri(forms.bars(values, names, signed=own, bound=how.bound if own else None))
    relevance = as_picture(relevance)
    if kind == "attribution":
        return data_uri(heat(relevance, how.cmap, bound=how.bound), how.largest)
    assert shown is not None
    below = drawable(as_picture(shown))
    if kind == "input":
        return data_uri(picture(below, channels="first"), how.largest)
    return data_uri(over(relevance, below, how.cmap, bound=how.bound), how.largest)


def token_uri(relevance: NDArray, shown: NDArray | None, how: Style) -> str:
    """Draw words on the colour of their relevance, as a data URI; without an input, their numbers."""
    each = summed(relevance, "token")
    said = forms.words(np.arange(each.size) if shown is None or shown.ndim != 1 else shown)
    # What fills a text up to a fixed length is no word of it.
    length = max((k + 1 for k, word in enumerate(said) if word), default=0)
    width = NARROW if how.largest <= LARGEST else WIDE
    return forms.data_uri(forms.highlighted(each[:length], said[:length], how.cmap, width=width, bound=how.bound))


def as_picture(values: NDArray) -> NDArray:
    """Return a sample as ``(y, x)`` or ``(channel, y, x)``: a vector becomes a picture one pixel high.

    Examples
    --------
    >>> as_picture(np.zeros(7)).shape
    (1, 7)
    """
    return values.reshape(1, -1) if values.ndim == 1 else values


def drawable(values: NDArray) -> NDArray:
    """Return an input as it can be drawn: of channels that are no colours, the mean."""
    return values.mean(axis=0) if values.ndim == 3 and len(values) not in MODES else values


def data_uri(image: Image.Image, largest: int) -> str:
    """Return a picture as a data URI: exactly, as PNG, or reduced to ``largest`` if it is larger, as WebP."""
    buffer, kind = io.BytesIO(), "png"
    if max(image.size) > largest:
        image, kind = image.copy(), "webp"
        image.thumbnail((largest, largest))
        image.save(buffer, format="WebP", quality=90, method=0)
    else:
        image.save(buffer, format="PNG", compress_level=1)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
