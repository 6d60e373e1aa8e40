"""Heatmaps: relevance as pictures."""

from .pictures import (
    COLORMAPS,
    ColormapError,
    MatplotlibMissingError,
    PictureError,
    heatmap,
    indices,
    overlay,
    palette,
    picture,
    recolor,
    register_matplotlib,
    save,
)

__all__ = [
    "COLORMAPS",
    "ColormapError",
    "MatplotlibMissingError",
    "PictureError",
    "heatmap",
    "indices",
    "overlay",
    "palette",
    "picture",
    "recolor",
    "register_matplotlib",
    "save",
]
