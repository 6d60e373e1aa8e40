"""Heatmaps: relevance as pictures."""

from . import pictures
from .pictures import *  # noqa: F403  (what its __all__ names)

__all__ = []
__all__ += pictures.__all__
