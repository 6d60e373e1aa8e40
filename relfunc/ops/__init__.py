"""Operations: what is known of each, in one row of a table."""

from .table import OPS, Function, Kind, Memory, Op, Ops, Returns, Sign, find, known_as, name_of, op_of, table

__all__ = [
    "OPS",
    "Function",
    "Kind",
    "Memory",
    "Op",
    "Ops",
    "Returns",
    "Sign",
    "find",
    "known_as",
    "name_of",
    "op_of",
    "table",
]
