"""Heatmaps of the viewer: relfunc's colour maps, those that ViRelAy has, and matplotlib's where it is installed.

ViRelAy's divide relevance by its largest magnitude, and three of them by its largest value, whatever the sign: there,
what lies beyond takes the end's colour, so that a colour is never weaker for more relevance.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relfunc import heatmap
from relfunc.heatmap.pictures import COLORMAPS

Paint = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Takes relevance in [−1, 1], of any shape, and returns colours in [0, 1] along a new last axis."""
Nodes = tuple[tuple[float, float], ...]
"""Places in [0, 1] and the values there."""

ALPHA: Final = 0.9
"""Opacity of the strongest relevance in an overlay."""
LUMA: Final = np.array([0.299, 0.587, 0.114])
QUALITATIVE: Final = ("Accent", "Dark2", "Paired", "Pastel", "Set1", "Set2", "Set3", "tab10", "tab20", "flag", "prism")
"""Beginnings of the names of matplotlib's maps that have no order, and do not suit relevance."""


def names() -> dict[str, list[str]]:
    """Names of the colour maps by where they come from."""
    groups = {"relfunc": list(COLORMAPS), "ViRelAy": [f"virelay:{name}" for name in VIRELAY]}
    if find_spec("matplotlib") is not None:
        from matplotlib import colormaps

        suited = [name for name in colormaps if not name.endswith("_r") and not name.startswith((*QUALITATIVE, "relf"))]
        groups["matplotlib"] = [f"matplotlib:{name}" for name in sorted(suited, key=str.lower)]
    return groups


def listed() -> list[str]:
    """Names of the colour maps, one after the other."""
    return [name for group in names().values() for name in group]


def heat(relevance: NDArray[np.floating], cmap: str, *, bound: float | None = None) -> Image.Image:
    """Draw relevance.

    Parameters
    ----------
    relevance : numpy.ndarray
        (y, x) or (channel, y, x); channels are summed. NaN has the colour of zero.
    cmap : str
        One of :func:`names`.
    bound : float, optional
        The relevance that has the end's colour; by default the largest magnitude that occurs.

    Returns
    -------
    PIL.Image.Image
        Of mode "RGB".

    Examples
    --------
    >>> np.asarray(heat(np.array([[-1.0, 0.0, 1.0]]), "virelay:black-green"))[0].tolist()
    [[0, 0, 255], [0, 0, 0], [0, 255, 0]]
    """
    if cmap in COLORMAPS:
        return heatmap.heatmap(relevance, cmap=cmap, vmax=bound, channels="first").convert("RGB")
    return Image.fromarray(_bytes(_paint(cmap)(_scaled(_summed(relevance), cmap, bound))))


def colours(relevance: NDArray[np.floating], cmap: str, *, bound: float | None = None) -> NDArray[np.uint8]:
    """Return the colours of relevances of one dimension, as :func:`heat` draws them, (n, 3)."""
    return np.asarray(heat(relevance[None], cmap, bound=bound))[0]


def over(relevance: NDArray[np.floating], shown: NDArray, cmap: str, *, bound: float | None = None) -> Image.Image:
    """Lay a heatmap over the grey input, the more opaque the greater the relevance.

    Parameters
    ----------
    relevance, cmap, bound
        As in :func:`heat`.
    shown : numpy.ndarray
        The input: (y, x) or (channel, y, x), with 1, 3 or 4 channels.
    """
    if cmap in COLORMAPS:
        return heatmap.overlay(relevance, shown, cmap=cmap, vmax=bound, alpha=ALPHA, channels="first")
    grey = np.asarray(heatmap.picture(shown, channels="first").convert("RGB"), float) @ LUMA
    summed = _summed(relevance)
    opacity = np.abs(_resized(_scaled(summed, "", bound), grey.shape))
    above = _bytes(_paint(cmap)(_resized(_scaled(summed, cmap, bound), grey.shape)))
    drawn = Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    drawn.paste(Image.fromarray(above), mask=Image.fromarray(_bytes(ALPHA * opacity)))
    return drawn


def strip(cmap: str) -> Image.Image:
    """Draw a colour map, from the most negative relevance to the most positive."""
    return heat(np.linspace(-1, 1, 256)[None], cmap, bound=1.0)


def _summed(relevance: NDArray[np.floating]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(relevance.sum(axis=0, dtype=float) if relevance.ndim == 3 else relevance.astype(float))


def _scaled(relevance: NDArray[np.float64], cmap: str, bound: float | None) -> NDArray[np.float64]:
    """Divide by the bound, or by what a colour map takes for it."""
    if bound is None:
        largest = float(relevance.max(initial=0)) if cmap in BY_LARGEST else 0.0
        bound = largest if largest > 0 else float(np.abs(relevance).max(initial=0))
    return np.clip(relevance / bound, -1, 1) if bound > 0 else np.zeros(relevance.shape)


def _resized(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    if values.shape == shape:
        return values
    height, width = shape
    wide = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(wide, float)


def _bytes(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (np.clip(share, 0, 1) * 255).astype(np.uint8)


@cache
def _paint(cmap: str) -> Paint:
    source, _, name = cmap.partition(":")
    if source == "virelay" and name in VIRELAY:
        return VIRELAY[name]
    if cmap not in names().get("matplotlib", ()):
        raise heatmap.ColormapError(f"no colour map '{cmap}': choose one that the page offers")
    from matplotlib import colormaps

    table = colormaps[name](np.arange(256))[:, :3]
    return lambda relevance: _looked_up(table, relevance)


def _looked_up(table: NDArray[np.float64], relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    return table[np.minimum((relevance + 1) * 128, 255).astype(int)]


def _between(red: Nodes, green: Nodes, blue: Nodes) -> Paint:
    """Make a map of 256 colours, each channel linear between the nodes (place, value)."""
    place = np.linspace(0, 1, 256)
    table = np.stack(
        [np.interp(place, [at for at, _ in nodes], [value for _, value in nodes]) for nodes in (red, green, blue)],
        axis=1,
    )
    return lambda relevance: _looked_up(table, relevance)


def _gray_red(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    up, down = np.maximum(relevance, 0), np.minimum(relevance, 0)
    return 0.8 + np.stack([0.2 * up + 0.8 * down, 0.8 * down - 0.8 * up, -0.8 * up - 0.2 * down], axis=-1)


def _black_green(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    up, down = np.maximum(relevance, 0), np.maximum(-relevance, 0)
    return np.stack([np.zeros_like(up), up, down], axis=-1)


def _black_yellow(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    up, down = np.maximum(relevance, 0), np.maximum(-relevance, 0)
    return np.stack([up, up, down], axis=-1)


def _black_fire_red(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    def step(of: NDArray[np.float64], start: float, width: float) -> NDArray[np.float64]:
        return np.clip(of - start, 0, width) / width

    red = step(relevance, 0, 0.25) + step(-relevance, 0.5, 0.5)
    green = step(relevance, 0.25, 0.25) + step(-relevance, 0.25, 0.25)
    blue = step(relevance, 0.5, 0.5) + step(-relevance, 0, 0.25)
    return np.stack([red, green, blue], axis=-1)


VIRELAY: Final[dict[str, Paint]] = {
    "gray-red": _gray_red,
    "black-green": _black_green,
    "black-fire-red": _black_fire_red,
    "black-yellow": _black_yellow,
    "blue-white-red": _between(((0, 0), (0.5, 1), (1, 1)), ((0, 0), (0.5, 1), (1, 0)), ((0, 1), (0.5, 1), (1, 0))),
    "afm-hot": _between(((0, 0), (0.5, 1), (1, 1)), ((0, 0), (0.25, 0), (0.75, 1), (1, 1)), ((0, 0), (0.5, 0), (1, 1))),
    "jet": _between(
        ((0, 0), (0.35, 0), (0.66, 1), (0.89, 1), (1, 0.5)),
        ((0, 0), (0.125, 0), (0.375, 1), (0.64, 1), (0.91, 0), (1, 0)),
        ((0, 0.5), (0.11, 1), (0.34, 1), (0.65, 0), (1, 0)),
    ),
    "seismic": _between(
        ((0, 0), (0.25, 0), (0.5, 1), (0.75, 1), (1, 0.5)),
        ((0, 0), (0.25, 0), (0.5, 1), (0.75, 0), (1, 0)),
        ((0, 0.3), (0.25, 1), (0.5, 1), (0.75, 0), (1, 0)),
    ),
}
BY_LARGEST: Final = {"virelay:gray-red", "virelay:black-green", "virelay:black-yellow"}
