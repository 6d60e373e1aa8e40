"""What a table of the user's knows of samples, as variables of the data it is about."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ..errors import DataError
from ..schema import ATTRIBUTION, CLASS, INPUT, LABEL, PREDICTION, SAMPLE, TARGET, TOKEN_MASK, TOKEN_TEXT

TAKEN: Final = frozenset({ATTRIBUTION, CLASS, INPUT, LABEL, PREDICTION, TARGET, TOKEN_MASK, TOKEN_TEXT})
"""Names that mean something in attributions, whether some have them or not."""
MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "NaT", "<NA>")
DATE: Final = r"\d{4}-\d\d-\d\d.*"


def with_metadata(data: xr.Dataset, path: Path) -> xr.Dataset:
    """Return the data with the columns of a table as further variables over ``sample``.

    Numbers, True and False stay so, dates as ISO 8601 writes them become dates in UTC, everything else is text.

    Parameters
    ----------
    data : xarray.Dataset
        Attributions; may be opened lazily.
    path : pathlib.Path
        The table (``.csv``, ``.tsv`` or ``.parquet``). Its rows are the samples that its column ``sample`` names, or
        without one those of the data, in their order.

    Raises
    ------
    DataError
        If it cannot be read, its samples are not those of the data, or its columns have no names or taken ones.
    """
    table = _read(path)
    columns = {str(name): column for name, column in table.items()}
    given = columns.pop(SAMPLE, None)
    values = {name: _values(column) for name, column in columns.items()}
    if not values:
        raise DataError(f"{path} has no column beside '{SAMPLE}': add what is known of the samples")
    taken = [name for name in values if name in data.variables or name in data.dims or name in TAKEN]
    if taken:
        raise DataError(f"{path}: the data have {_listed(taken)} already, or give it a meaning: rename the column")
    at = _in_order(table, data, path) if given is None else _rows(given.astype(str), data, path)
    return data.assign({name: (SAMPLE, column[at]) for name, column in values.items()})


def _rows(given: pd.Series, data: xr.Dataset, path: Path) -> NDArray[np.intp]:
    """Return the row of each sample of the data."""
    of, sought = pd.Index(given), pd.Index(data[SAMPLE].values.astype(str))
    if not of.is_unique:
        twice = of[of.duplicated()].unique()
        raise DataError(f"{path} has {_listed(twice)} more than once in its column '{SAMPLE}': keep one row of each")
    unknown, lacking = of.difference(sought, sort=False), sought.difference(of, sort=False)
    if len(unknown):
        raise DataError(
            f"{path}: {len(unknown)} of its {len(of)} samples are none of the data's, {_listed(unknown)}; those are "
            f"called {_listed(sought[:2])} and so on: leave these rows out, or correct '{SAMPLE}'"
        )
    if len(lacking):
        raise DataError(
            f"{path} lacks {len(lacking)} of the data's {len(sought)} samples, {_listed(lacking)}: add them, with "
            "empty fields where nothing is known"
        )
    return of.get_indexer(sought)


def _in_order(table: pd.DataFrame, data: xr.Dataset, path: Path) -> NDArray[np.intp]:
    alike = [name for name in table if str(name).lower() == SAMPLE]
    if alike:
        raise DataError(f"{path} has a column {_listed(alike)}: call it '{SAMPLE}', so that rows are found by it")
    if len(table) != data.sizes[SAMPLE]:
        raise DataError(
            f"{path} has {len(table)} rows, and the data {data.sizes[SAMPLE]} samples: give it a column '{SAMPLE}' "
            "that says which is which"
        )
    return np.arange(len(table))


def _read(path: Path) -> pd.DataFrame:
    read = FORMS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is no table: its name ends in {', '.join(FORMS)}")
    if not path.is_file():
        raise DataError(f"there is no file {path}: give a table of what is known of the samples")
    try:
        return read(path)
    except ImportError as error:
        raise DataError(f"{path} cannot be read here: pip install pyarrow, or write it as .csv") from error
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as {path.suffix}, in UTF-8 where it is text: {reason}") from error


def _separated(path: Path, separator: str) -> pd.DataFrame:
    rows = pd.read_csv(path, sep=separator, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    rows = rows.fillna("")  # of lines that end early
    names = [name.strip() for name in rows.iloc[0]]
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name: give it one, or leave it out")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has more than one column {_listed(twice)}: rename them")
    if len(names) == 1 and any(other in names[0] for other in ",;\t"):
        raise DataError(f"{path} has one column, '{names[0]}': separate columns by {SEPARATORS[separator]}")
    table = rows.iloc[1:].set_axis(names, axis=1)
    return table.assign(**{name: _inferred(table[name]) for name in names if name != SAMPLE})


def _inferred(text: pd.Series) -> pd.Series:
    """Return fields of a file as numbers, as True and False, or as they are."""
    missing = text.isin(MISSING)
    known = text.loc[~missing]
    if known.str.lower().isin(("true", "false")).all():
        return text.str.lower().map({"true": True, "false": False})
    numbers = pd.Series(pd.to_numeric(known, errors="coerce"), known.index)
    return text.mask(missing) if numbers.hasnans else numbers.reindex(text.index)


def _parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    table = table.reset_index() if table.index.names != [None] else table
    return table.rename(columns=str)


def _values(column: pd.Series) -> NDArray:
    """Return a column as bools, numbers, dates or texts, in which None, NaN, NaT and empty texts are missing."""
    missing = np.asarray(column.isna(), bool)
    if not missing.all() and pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return column.astype(object).where(~missing, None).to_numpy() if missing.any() else column.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(column):
        whole = pd.api.types.is_integer_dtype(column) and not missing.any()
        return column.to_numpy(np.int64) if whole else column.to_numpy(np.float64, na_value=np.nan)
    text = pd.Series(np.where(missing, "", column.to_numpy(object)).astype(np.str_))
    dated = pd.api.types.is_datetime64_any_dtype(column) or text.loc[~missing].str.fullmatch(DATE).all()
    if missing.all() or not dated:
        return text.to_numpy(np.str_)
    dates = pd.Series(pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce"))
    return text.to_numpy(np.str_) if dates.loc[~missing].hasnans else dates.dt.tz_localize(None).to_numpy()


def _listed(names: Iterable[object]) -> str:
    names = [f"'{name}'" for name in names]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


SEPARATORS: Final = {",": "commas", "\t": "tabulators"}
FORMS: Final[dict[str, Callable[[Path], pd.DataFrame]]] = {
    ".csv": lambda path: _separated(path, ","),
    ".tsv": lambda path: _separated(path, "\t"),
    ".parquet": _parquet,
}
