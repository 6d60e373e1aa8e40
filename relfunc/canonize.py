"""What :mod:`relfunc.graph.canonize` has, under its public name."""

from .graph.canonize import CanonizeError, canonize, functional, resolved

__all__ = [
    "CanonizeError",
    "canonize",
    "functional",
    "resolved",
]
