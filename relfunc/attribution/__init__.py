"""Attribution: transforms from a function to one that explains it."""

from .transforms import InputError, Target, TargetError, gradient, per_class, relevance_at, seed

__all__ = [
    "InputError",
    "Target",
    "TargetError",
    "gradient",
    "per_class",
    "relevance_at",
    "seed",
]
