"""What :mod:`relfunc.composites.toml` has, under its public name."""

from .composites.toml import from_toml, to_toml

__all__ = [
    "from_toml",
    "to_toml",
]
