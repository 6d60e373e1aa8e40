"""Heatmaps: relevance as pictures, and as words on its colour."""

from . import pictures, words
from .pictures import *  # noqa: F403  (what its __all__ names)
from .words import *  # noqa: F403

__all__ = []
__all__ += pictures.__all__
__all__ += words.__all__
