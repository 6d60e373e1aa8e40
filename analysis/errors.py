"""The errors of an analysis a user can cause and mend."""

from collections.abc import Iterable
from typing import Any

from relfunc.errors import KeyingError, RelfuncError

__all__ = ["DataError", "KeyingError", "PlanError", "StoreError", "listed"]


class DataError(RelfuncError, ValueError):
    """The data cannot be analysed as asked: a variable, dimension or category is missing, or a value is not finite."""


class PlanError(RelfuncError, ValueError):
    """A plan names a function or parameter that does not exist, or two branches make the same result."""


class StoreError(RelfuncError, OSError):
    """A store's folder cannot be used."""


def listed(names: Iterable[Any]) -> str:
    """Names as a message lists them."""
    return ", ".join(f"'{name}'" for name in names) or "none"
