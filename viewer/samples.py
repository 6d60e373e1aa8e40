"""Samples as pictures: the rows that a page shows, each as input, attribution and overlay."""

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relfunc.heatmap import heatmap, overlay, picture

from .project import Project, pixels

KINDS: Final = ("input", "attribution", "overlay")
MEAN_OF: Final = 512
"""Of how many samples a mean is taken at most."""
LARGEST: Final = 224
"""Longest side of a thumbnail in pixels; larger pictures are reduced before they are sent."""


def thumbnails(
    project: Project,
    rows: NDArray[np.int64],
    *,
    kinds: Sequence[str] = KINDS,
    cmap: str = "bwr",
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
        Which of :data:`KINDS` to draw. Without inputs, only attributions are drawn.
    cmap : str
        The heatmap's colour map, as :func:`relfunc.heatmap.palette` takes it.
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
    relevance = [as_picture(attribution) for attribution in attributions]
    shown = None if inputs is None else [as_picture(picture) for picture in inputs]
    return [
        {
            kind: data_uri(drawn, largest)
            for kind in KINDS
            if kind in kinds and (drawn := draw(kind, relevance[k], None if shown is None else shown[k], cmap))
        }
        for k in range(rows.size)
    ]


def mean(
    project: Project, rows: NDArray[np.int64], *, cmap: str = "bwr", largest: int = LARGEST, bytes_read: int = 1 << 24
) -> tuple[dict[str, str], int]:
    """Draw the mean input and the mean attribution of some samples, as data URIs by kind.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, at least one.
    cmap, largest
        As in :func:`thumbnails`.
    bytes_read : int
        How much is read at most; of more samples, that many are taken at equal steps.

    Returns
    -------
    pictures : dict
        As :func:`thumbnails` gives for one sample, without an overlay, and without those whose shapes differ.
    count : int
        Of how many samples it is the mean.
    """
    each = pixels(project, rows[:1])[0][0].nbytes
    most = min(MEAN_OF, max(bytes_read // max(each, 1), 1))
    some = rows if rows.size <= most else rows[np.linspace(0, rows.size - 1, most).astype(int)]
    attributions, inputs = pixels(project, some)
    drawn: dict[str, Image.Image | None] = {}
    if inputs is not None and len({shown.shape for shown in inputs}) == 1:
        average = as_picture(np.mean(inputs, axis=0, dtype=float))
        drawn["input"] = picture(average.astype(np.uint8) if inputs[0].dtype == np.uint8 else average, channels="first")
    if len({attribution.shape for attribution in attributions}) == 1:
        drawn["attribution"] = draw("attribution", as_picture(np.mean(attributions, axis=0, dtype=float)), None, cmap)
    return {kind: data_uri(image, largest) for kind, image in drawn.items() if image is not None}, some.size


def draw(kind: str, relevance: NDArray, shown: NDArray | None, cmap: str) -> Image.Image | None:
    """Draw one sample as a kind of picture; None where that needs an input and there is none."""
    if kind == "attribution":
        return heatmap(relevance, cmap=cmap, channels="first").convert("RGB")
    if shown is None:
        return None
    if kind == "input":
        return picture(shown, channels="first")
    return overlay(relevance, shown, cmap=cmap, channels="first")


def as_picture(values: NDArray) -> NDArray:
    """Return a sample as ``(y, x)`` or ``(channel, y, x)``: a vector becomes a picture one pixel high.

    Examples
    --------
    >>> as_picture(np.zeros(7)).shape
    (1, 7)
    """
    return values.reshape(1, -1) if values.ndim == 1 else values


def data_uri(image: Image.Image, largest: int) -> str:
    """Return a picture as a PNG data URI, reduced if it is larger than ``largest``."""
    if max(image.size) > largest:
        image = image.copy()
        image.thumbnail((largest, largest))
    held = io.BytesIO()
    image.save(held, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
