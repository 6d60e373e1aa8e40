"""Results as text: a ranking of categories, or a comparison of models, as columns."""

from typing import Any, Final

import xarray as xr

from relfunc.columns import aligned

CATEGORY: Final = "category"
COLUMNS: Final = {
    "category": "{}",
    "n": "{:.0f}",
    "significant": "{}",
    "p_adjusted": "{:.2g}",
    "margin": "{:.2f}",
    "separability": "{:.2f}",
    "clustering": "{}",
    "cluster": "{:.0f}",
    "size": "{:.0f}",
    "strategies": "{:.0f}",
    "eigengap": "{:.3f}",
    "n_strategies": "{:.0f}",
    "silhouette": "{:.2f}",
}
"""Of a ranking."""
OLDER: Final = {"eigengap", "n_strategies", "silhouette"}
"""What says how many strategies there are, and how far apart, where a ranking has no evidence of it."""

MODEL: Final = "model"
GROUP: Final = "group"
TITLES: Final = {
    "accuracy": ("accuracy", "{:.1%}"),
    "region_relevance": ("relevance", "{:.1%}"),
    "concept_relevance": ("concept", "{:z.2f}"),
}
"""Of a comparison, each once for every model."""


def text(table: xr.Dataset) -> str:
    """Lay out a ranking as text, one line for each category, or a comparison, one line for each group of samples.

    Parameters
    ----------
    table : xarray.Dataset
        As :func:`analysis.ranking` or :func:`analysis.compensate.compare` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> print(text(xr.Dataset({"separability": ("category", [3.14159])}, {"category": ["cat"]})))
    category  separability
    cat               3.14
    >>> values = (("model", "group"), [[1.0], [0.5]])
    >>> print(text(xr.Dataset({"accuracy": values}, {"model": ["before", "after"], "group": ["all"]})))
    group  accuracy before  accuracy after
    all             100.0%           50.0%
    """
    columns = _compared(table) if MODEL in table.dims else _ranked(table)
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return aligned(rows, left={CATEGORY, "clustering", GROUP})


def _ranked(table: xr.Dataset) -> dict[str, list[str]]:
    left_out = OLDER if "strategies" in table.variables else set()
    shown = [name for name in COLUMNS if name in table.variables and name not in left_out]
    return {name: [_cell(value, COLUMNS[name]) for value in table[name].values] for name in shown}


def _cell(value: Any, layout: str) -> str:
    return "–" if value != value else layout.format(value)


def _compared(table: xr.Dataset) -> dict[str, list[str]]:
    columns = {name: [str(value) for value in table[name].values] for name in (GROUP, "n") if name in table}
    for name, (title, layout) in TITLES.items():
        if name in table:
            for model in table[MODEL].values:
                columns[f"{title} {model}"] = [layout.format(v) for v in table[name].sel({MODEL: model}).values]
    return columns
