"""The errors of an analysis a user can cause and mend."""

from relfunc.errors import KeyingError, RelfuncError

__all__ = ["DataError", "KeyingError", "PlanError", "StoreError"]


class DataError(RelfuncError, ValueError):
    """The data cannot be analysed as asked: a variable, dimension or category is missing, or a value is not finite."""


class PlanError(RelfuncError, ValueError):
    """A plan names a function or parameter that does not exist, or two branches make the same result."""


class StoreError(RelfuncError, OSError):
    """A store's folder cannot be used."""
