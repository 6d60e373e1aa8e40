"""Tables as text: cells in columns, which fit a terminal if they are to; no row is left out."""

from collections.abc import Collection, Sequence

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
    columns = [[str(name), *map(_cell, flat[name])] for name in flat.columns]
    texts = {str(name) for name in flat.columns if not pd.api.types.is_numeric_dtype(flat[name])}
    return aligned([*zip(*columns, strict=True)], left=texts, width=width)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def aligned(rows: Sequence[Sequence[str]], *, left: Collection[str] = (), width: int | None = None) -> str:
    """Lay rows of cells out in columns.

    Parameters
    ----------
    rows : sequence of sequence of str
        The titles first.
    left : collection of str
        Titles of the columns whose cells stand to the left, and may be cut; the others' stand to the right.
    width : int or None
        Characters in a line; None cuts nothing.

    Returns
    -------
    str

    Examples
    --------
    >>> print(aligned([["class", "n"], ["horse", "7"], ["cat", "12"]], left={"class"}))
    class   n
    horse   7
    cat    12
    """
    is_left = [title in left for title in rows[0]]
    widths = _widths([max(map(len, column)) for column in zip(*rows, strict=True)], is_left, width)
    lines = []
    for row in rows:
        cells = [
            _cut(cell, size).ljust(size) if cut else cell.rjust(size)
            for cell, size, cut in zip(row, widths, is_left, strict=True)
        ]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


_GAP, _LEAST = "  ", 4


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else cell[: size - 1] + "…"


def _widths(widths: Sequence[int], may_be_cut: Sequence[bool], width: int | None) -> list[int]:
    """Take from the widest column that may be cut until all fit."""
    found = list(widths)
    while width is not None and sum(found) + len(_GAP) * (len(found) - 1) > width:
        free = [k for k, is_free in enumerate(may_be_cut) if is_free and found[k] > _LEAST]
        if not free:
            break
        found[max(free, key=lambda k: found[k])] -= 1
    return found
