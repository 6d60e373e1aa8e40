"""Tables as text that fits a terminal: no row is left out, and the widest cells are cut."""

from collections.abc import Sequence

import pandas as pd


def fitted(table: pd.DataFrame, width: int | None) -> str:
    """Write a table with one line for each row.

    Parameters
    ----------
    table : pandas.DataFrame
        Its index, whose name heads the first column, and its columns. Numbers are written with up to four digits.
    width : int or None
        Characters in a line. Text is cut where needed, in the widest column first; numbers never. None cuts nothing.

    Returns
    -------
    str

    Examples
    --------
    >>> table = pd.DataFrame({"rule": ["epsilon(epsilon=1e-06)"], "forwards": [1]}, pd.Index(["linear"], name="node"))
    >>> print(fitted(table, 30))
    node    rule          forwards
    linear  epsilon(eps…         1
    """
    flat = table.reset_index()
    numeric = [pd.api.types.is_numeric_dtype(flat[name]) for name in flat.columns]
    columns = [[str(name), *map(_cell, flat[name])] for name in flat.columns]
    widths = _widths([max(map(len, column)) for column in columns], numeric, width)
    lines = []
    for row in zip(*columns, strict=True):
        cells = [
            cell.rjust(size) if number else _cut(cell, size).ljust(size)
            for cell, size, number in zip(row, widths, numeric, strict=True)
        ]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


_GAP, _LEAST = "  ", 4


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else cell[: size - 1] + "…"


def _widths(widths: Sequence[int], fixed: Sequence[bool], width: int | None) -> list[int]:
    """Take from the widest column that may be cut until all fit."""
    found = list(widths)
    while width is not None and sum(found) + len(_GAP) * (len(found) - 1) > width:
        free = [k for k, is_fixed in enumerate(fixed) if not is_fixed and found[k] > _LEAST]
        if not free:
            break
        found[max(free, key=lambda k: found[k])] -= 1
    return found
