"""Colours of clusters: told apart on white and on near-black, noise grey, stable for a cluster's number."""

import colorsys
from typing import Final

import numpy as np
from numpy.typing import NDArray

from relfunc.schema import NOISE

GREY: Final = "#8b929c"
COLOURS: Final = (
    "#4c7df0",
    "#f08a2c",
    "#22a77a",
    "#e2538c",
    "#8f6be8",
    "#d1a51e",
    "#1aa5c4",
    "#e0574f",
    "#7fa032",
    "#b0723f",
    "#c06bd0",
    "#5e8ba8",
)


def colour(cluster: int) -> str:
    """Return the colour of a cluster as ``#rrggbb``.

    Examples
    --------
    >>> colour(0), colour(-1)
    ('#4c7df0', '#8b929c')
    >>> len({colour(k) for k in range(200)})
    200
    """
    if cluster == NOISE or cluster < 0:
        return GREY
    if cluster < len(COLOURS):
        return COLOURS[cluster]
    # Hues a golden angle apart never repeat; three lightnesses keep neighbours in hue apart.
    hue = (0.09 + cluster * 0.6180339887) % 1
    r, g, b = colorsys.hls_to_rgb(hue, (0.5, 0.6, 0.42)[cluster % 3], 0.62)
    return f"#{round(r * 255):02x}{round(g * 255):02x}{round(b * 255):02x}"


def colours(cluster: NDArray[np.integer]) -> NDArray[np.str_]:
    """Return the colour of each point from its cluster."""
    values, back = np.unique(cluster, return_inverse=True)
    return np.array([colour(int(k)) for k in values], dtype="<U7")[back]
