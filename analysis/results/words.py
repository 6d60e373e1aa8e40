"""A ranking in words: one sentence on each category, and one on all, for whoever does not read tables."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from relfunc.schema import LABEL, PREDICTION, TARGET

from .table import CATEGORY

ENOUGH: Final = 4
"""A category is judged if it has so many times the smallest cluster: a group and its rest, in each half, too."""
SURE: Final = 1e-4
"""Smaller p-values are not told apart: they are those of a tail that was fitted."""
JUDGED: Final = "judged"
"""The attribute of a part of a ranking that says for how many categories it was corrected."""
_ODDS: Final = (1e-4, 1e-3)
_FEW: Final = 5
"""So many names are listed in a sentence."""


def verdict(table: xr.Dataset, *, most: int | None = None) -> list[str]:
    """Say of each category whether samples of it stand apart by more than chance.

    Parameters
    ----------
    table : xarray.Dataset
        As :func:`analysis.ranking` returns it.
    most : int, optional
        Of more categories than this, so many have a sentence, and the others one together.

    Returns
    -------
    list of str
        One sentence for each category, in the order of the table.

    Examples
    --------
    >>> rows = {"n": [183, 179, 8], "size": [61, 12, 0], "p_adjusted": [2e-4, 0.4, np.nan]}
    >>> rows |= {"significant": [True, False, False], "p_value": [7e-5, 0.2, np.nan]}
    >>> columns = {name: ("category", values) for name, values in rows.items()}
    >>> for line in verdict(xr.Dataset(columns, {"category": ["3", "7", "x"]}, {"by": "label"})):
    ...     print(line)
    Class '3': 61 of 183 samples stand apart, which chance would do in fewer than 1 of 1,000 datasets (p = 0.0002 after
    correction for 2 classes).
    Class '7': no cluster stands apart by more than chance (p = 0.4).
    Class 'x': too few samples to judge (8; about 20 would do).
    """
    lines = [f"{_named(table, row[CATEGORY])}: {_sentence(table, row)}" for row in itertools.islice(rows(table), most)]
    left = table.isel({CATEGORY: slice(len(lines), None)})
    if not left.sizes[CATEGORY]:
        return lines
    beyond = int(left["significant"].sum()) if is_judged(table) else 0
    said = f"{beyond:,} of them with samples that stand apart by more than chance" if beyond else ""
    said = said or ("in none of which samples stand apart by more than chance" if is_judged(table) else "not judged")
    return [*lines, f"And {left.sizes[CATEGORY]:,} more {nouns(table)}, {said}."]


def summary(table: xr.Dataset) -> str:
    """Say in one sentence or two in which categories samples stand apart.

    Parameters
    ----------
    table : xarray.Dataset
        As :func:`analysis.ranking` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> columns = {name: ("category", values) for name, values in {"n": [60, 50], "p_value": [1e-9, 0.5]}.items()}
    >>> columns["significant"] = "category", [True, False]
    >>> summary(xr.Dataset(columns, {"category": ["3", "7"]}, {"by": "label"}))
    "In 1 of 2 classes a group of samples stands apart by more than chance: '3'."
    """
    several = nouns(table)
    if not is_judged(table):
        return f"The {several} were not compared with chance: {_UNJUDGED}."
    p = table["p_value"].values
    judged = int(np.isfinite(p).sum())
    names = [str(name) for name in table[CATEGORY].values[table["significant"].values.astype(bool)]]
    left = f" {p.size - judged} could not be judged." if judged < p.size else ""
    if not names:
        return f"In none of {judged:,} {several} does a group of samples stand apart by more than chance.{left}"
    return (
        f"In {len(names):,} of {judged:,} {several} a group of samples stands apart by more than chance: "
        f"{_listed(names)}.{left}"
    )


def is_judged(table: xr.Dataset) -> bool:
    """Whether a ranking says what is more than chance."""
    return {"p_value", "significant"} <= set(table.data_vars)


def is_too_small(table: xr.Dataset, n: float) -> bool:
    """Whether a category that was not judged has too few samples for that."""
    return n < enough(table)


def enough(table: xr.Dataset) -> int:
    """How many samples a category needs to be judged at all; to be found, a group may need more."""
    return ENOUGH * int(table.attrs.get("smallest", 5))


def nouns(table: xr.Dataset) -> str:
    """Return what several categories are called.

    Examples
    --------
    >>> nouns(xr.Dataset(attrs={"by": "label"})), nouns(xr.Dataset(attrs={"by": "hospital"}))
    ('classes', 'groups by hospital')
    """
    by = table.attrs.get("by", "")
    return (
        "classes"
        if by in (LABEL, TARGET)
        else {PREDICTION: "predicted classes", "": "groups"}.get(by, f"groups by {by}")
    )


def p_words(p: float) -> str:
    """Write a p-value, with as many digits as it bears.

    Examples
    --------
    >>> p_words(0.04321), p_words(3e-9), p_words(0.9999)
    ('p = 0.043', 'p < 0.0001', 'p = 1')
    """
    return f"p {p_text(p)}" if p < SURE else f"p = {p_text(p)}"


def p_text(p: float) -> str:
    """Write a p-value for a table, with as many digits as it bears."""
    return f"< {SURE:.4f}" if p < SURE else f"{p:.2g}"


def odds(p: float) -> str:
    """Say how often chance does something.

    Examples
    --------
    >>> odds(3e-9), odds(0.0002), odds(0.003), odds(0.034)
    ('fewer than 1 of 10,000', 'fewer than 1 of 1,000', 'about 3 of 1,000', 'about 3 of 100')
    """
    for bound in _ODDS:
        if p < bound:
            return f"fewer than 1 of {round(1 / bound):,}"
    scale = 1_000 if p < 0.01 else 100
    return f"about {round(p * scale)} of {scale:,}"


def rows(table: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield the rows of a ranking."""
    columns = {str(name): values.values for name, values in table.variables.items() if values.dims == (CATEGORY,)}
    for at in range(table.sizes[CATEGORY]):
        yield {name: values[at] for name, values in columns.items()}


_UNJUDGED: Final = "the plan lacks the steps apart and chance, or the analysis was made before they were there"


def _named(table: xr.Dataset, category: object) -> str:
    by = table.attrs.get("by", "")
    noun = "Class" if by in (LABEL, TARGET) else {PREDICTION: "Predicted class", "": "Group"}.get(by, by)
    return f"{noun} '{category}'"


def _sentence(table: xr.Dataset, row: dict[str, Any]) -> str:
    if not is_judged(table):
        if row["cluster"] < 0:
            return f"no cluster of its {row['n']:,.0f} samples can be compared with the rest."
        return (
            f"{row['size']:,.0f} of {row['n']:,.0f} samples are farthest apart from the rest (separability "
            f"{row['separability']:.2f}), which was not compared with chance."
        )
    p, judged = row["p_adjusted"], table.attrs.get(JUDGED, int(np.isfinite(table["p_value"].values).sum()))
    if np.isnan(p):
        if is_too_small(table, row["n"]):
            return f"too few samples to judge ({row['n']:,.0f}; about {enough(table)} would do)."
        return f"not judged, as no cluster of its {row['n']:,.0f} samples can be compared with the rest."
    if not row["significant"]:
        return f"no cluster stands apart by more than chance ({p_words(p)})."
    corrected = f" after correction for {judged:,} {nouns(table)}" if judged > 1 else ""
    return (
        f"{row['size']:,.0f} of {row['n']:,.0f} samples stand apart, which chance would do in {odds(p)} datasets "
        f"({p_words(p)}{corrected})."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_FEW])
    return f"{shown} and {len(names) - _FEW:,} more" if len(names) > _FEW else shown
