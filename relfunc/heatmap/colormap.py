"""Colour maps written as short texts: a literal table of eleven, and their 256-colour palettes.

A colour map is a list of nodes with commas between them, ``[index:]colour``. The index is one or two hexadecimal digits
(one digit counts twice, ``8`` is ``88``), the colour is three or six. Colours between two nodes are mixed linearly, so
``000,fff`` is grey and ``00f,80:fff,f00`` goes from blue through white, at index 128, to red.

* A node without an index stands evenly between its neighbours that have one, rounded down to a whole index.
* The first and the last node, if they have no index, stand at ``00`` and ``ff``; before the first node and after the
  last the colour stays as it is.
* Indices must not fall. Two nodes of one index make a hard edge; the later colour holds from that index on, so
  ``80:00f,80:f00`` shows only the sign.
* White space around indices and colours is ignored, and capital digits are allowed.
"""

import itertools
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import RelfuncError

COLORMAPS: Final[dict[str, str]] = {
    "gray": "000,fff",
    "wred": "fff,f00",
    "wblue": "fff,00f",
    "hot": "000,f00,ff0,fff",
    "cold": "000,00f,0ff",
    "coldnhot": "0ff,00f,80:000,f00,ff0,fff",
    "bwr": "00f,80:fff,f00",
    "france": "0055a4,80:fff,ef4135",
    "seismic": "0000d0,80:d0d0d0,d00000",
    "coolio": "00d0d0,80:d0d0d0,d000d0",
    "coleus": "00d000,80:d0d0d0,d000d0",
}
"""The built-in colour maps by name, each in the notation of this module."""


class ColormapError(RelfuncError, ValueError):
    """A colour map has no such name, or its text breaks the notation of :mod:`relfunc.heatmap.colormap`."""


class MatplotlibMissingError(RelfuncError, ImportError):
    """Matplotlib was asked for and is not installed."""


def palette(cmap: str = "bwr", level: float = 1.0) -> NDArray[np.uint8]:
    """Return the 256 colours of a colour map.

    Parameters
    ----------
    cmap : str
        A name in :data:`COLORMAPS`, or a text in the notation of :mod:`relfunc.heatmap.colormap` (recognised by its
        comma).
    level : float
        The contrast, a positive number: the map is stretched about its middle by this factor, and what falls off
        its ends takes the end's colour. With 2 the ends are reached at half the distance from the middle.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (256, 3): red, green and blue of every index. Mixed colours are rounded down.

    Raises
    ------
    ColormapError
        If there is no such name, the text breaks the notation, or the level is no positive number.

    Examples
    --------
    >>> palette("bwr")[[0, 64, 128, 255]].tolist()
    [[0, 0, 255], [127, 127, 255], [255, 255, 255], [255, 0, 0]]
    >>> palette("000,g00")
    Traceback (most recent call last):
    ...
    relfunc.heatmap.colormap.ColormapError: colour map '000,g00', character 5: 'g00' is no colour: write 3 or 6
    hexadecimal digits, such as f00 or ff0000
    """
    if not (np.isfinite(level) and level > 0):
        raise ColormapError(
            f"level {level!r} is no positive number: 1 leaves the colour map as it is, 2 doubles contrast"
        )
    nodes = _nodes(_source(cmap))
    position, colour = np.array([at for at, _ in nodes]), np.array([rgb for _, rgb in nodes], float)
    sought = np.clip(127.5 + (np.arange(256) - 127.5) * level, 0, 255)
    after = np.searchsorted(position, sought, side="right")
    left, right = np.maximum(after - 1, 0), np.minimum(after, len(nodes) - 1)
    span = position[right] - position[left]
    # Dividing last keeps a mixed colour exact where it is whole, so that rounding down does not lose one.
    mixed = (
        colour[left]
        + (colour[right] - colour[left]) * (sought - position[left])[:, None] / np.maximum(span, 1)[:, None]
    )
    return np.where(span[:, None] > 0, mixed, colour[left]).astype(np.uint8)


def register_matplotlib() -> tuple[str, ...]:
    """Make the built-in colour maps known to matplotlib as ``relfunc.bwr``, ``relfunc.hot`` and so on.

    Names that are registered already are left alone, so calling it twice does no harm. The prefix keeps them apart from
    matplotlib's own maps of the same names.

    Returns
    -------
    tuple of str
        The registered names, in the order of :data:`COLORMAPS`.

    Raises
    ------
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> register_matplotlib()[:2]
    ('relfunc.gray', 'relfunc.wred')
    """
    try:
        import matplotlib
        from matplotlib.colors import ListedColormap
    except ImportError as error:
        raise MatplotlibMissingError("matplotlib is not installed: pip install matplotlib") from error
    names = {f"relfunc.{name}": source for name, source in COLORMAPS.items()}
    for name, source in names.items():
        if name not in matplotlib.colormaps:
            matplotlib.colormaps.register(ListedColormap(palette(source) / 255, name=name))
    return tuple(names)


def _source(cmap: str) -> str:
    if not isinstance(cmap, str):
        raise ColormapError(
            f"a colour map is a text, not {type(cmap).__name__}: give a name or nodes such as '000,fff'"
        )
    if "," in cmap:
        return cmap
    if cmap not in COLORMAPS:
        raise ColormapError(
            f"no colour map {cmap!r}: take one of {', '.join(COLORMAPS)}, or write at least two nodes such as '000,fff'"
        )
    return COLORMAPS[cmap]


def _nodes(source: str) -> list[tuple[int, tuple[int, int, int]]]:
    """Parse a text into (index, colour), every index known."""
    given: list[int | None] = []
    colours: list[tuple[int, int, int]] = []
    last, start = 0, 1
    for text in source.split(","):
        where = f"colour map {source!r}, character {start + len(text) - len(text.lstrip())}"
        index, colon, colour = (part.strip() for part in text.rpartition(":"))
        if colon and not re.fullmatch(r"[0-9a-fA-F]{1,2}", index):
            raise ColormapError(f"{where}: {index!r} is no index: write 1 or 2 hexadecimal digits, such as 80")
        if not re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", colour):
            if colon:
                where = f"colour map {source!r}, character {start + text.index(':') + 1}"
            raise ColormapError(
                f"{where}: {colour!r} is no colour: write 3 or 6 hexadecimal digits, such as f00 or ff0000"
            )
        at = int(index if len(index) == 2 else 2 * index, 16) if colon else None
        if at is not None:
            if at < last:
                raise ColormapError(f"{where}: index {at:02x} follows {last:02x}: sort the nodes by index")
            last = at
        given.append(at)
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        colours.append((int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)))
        start += len(text) + 1
    return list(zip(_spread(given), colours, strict=True))


def _spread(given: list[int | None]) -> list[int]:
    """Place the nodes that have no index evenly between those that do."""
    known = [(i, at) for i, at in enumerate(given) if at is not None]
    if given[0] is None:
        known = [(0, 0), *known]
    if given[-1] is None:
        known = [*known, (len(given) - 1, 255)]
    spread = [known[0][1]]
    for (i, low), (j, high) in itertools.pairwise(known):
        spread += [low + (high - low) * k // (j - i) for k in range(1, j - i + 1)]
    return spread
