"""Composites: which rule each operation gets."""

from . import named
from .named import *  # noqa: F403  (what its __all__ names)

__all__ = []
__all__ += named.__all__
