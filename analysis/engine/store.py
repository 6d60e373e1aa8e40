"""A store of results by key: one file per entry, whole or absent, shared by any number of processes."""

import contextlib
import logging
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import xarray as xr

from relfunc.files.netcdf import save

from ..errors import StoreError
from ..roles import ROLE

log = logging.getLogger(__name__)

SUFFIX = ".nc"
PREFIX = "store_"


@dataclass(frozen=True)
class Store:
    """A folder of results, found by their keys; see :mod:`analysis.engine.keys`.

    An entry is written to a temporary file that is flushed and renamed, so a killed process leaves no partial entry,
    and processes that compute the same result merely write it twice.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder; it is made when the first entry is written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder)
    ...     _ = store.put("0a1b", xr.Dataset({"a": ("x", [1, 2])}), step="made")
    ...     print(store.get("0a1b")["a"].values, [entry.step for entry in store.ls()])
    [1 2] ['made']
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file: give the folder of a store, or a new name")

    def get(self, key: str, *, results_only: bool = False) -> xr.Dataset | None:
        """Return an entry, or None if there is none that can be read.

        Parameters
        ----------
        key : str
            Its key.
        results_only : bool
            Whether to leave working variables on disk.

        Returns
        -------
        xarray.Dataset or None
            An unreadable entry is logged as a warning.
        """
        path = self.file(key)
        if not path.is_file():
            return None
        try:
            return _read(path, key, results_only=results_only)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            log.warning("store entry %s cannot be read (%s); it is computed again", path, error)
            return None

    def put(self, key: str, data: xr.Dataset, *, step: str = "", parameters: str = "{}") -> xr.Dataset:
        """Write an entry and return it as it will be read.

        Parameters
        ----------
        key : str
            Its key.
        data : xarray.Dataset
            The result.
        step, parameters : str
            What made it, for :meth:`ls`.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        attrs = {"key": key, "step": step, "parameters": parameters, "written": datetime.now(UTC).isoformat()}
        entry = data.drop_encoding().assign_attrs({PREFIX + name: value for name, value in attrs.items()})
        checked: dict[Hashable, Any] = {
            str(name): {"fletcher32": True}
            for name, variable in entry.variables.items()
            if variable.ndim and variable.size and variable.dtype.kind in "biuf"
        }
        try:
            save(entry, self.file(key), encoding=checked)
        except OSError as error:
            raise StoreError(f"store {self.path} cannot be written ({error}): free space or name another") from error
        except (TypeError, ValueError, NotImplementedError) as error:
            raise StoreError(
                f"the result of {step or 'a step'} cannot be kept in a file ({error}): let it return numbers, times or "
                "text, or run without a store"
            ) from error
        return _read(self.file(key), key, results_only=False)

    def ls(self) -> list["Entry"]:
        """List the entries that can be read, oldest first.

        Returns
        -------
        list of Entry
        """
        found = []
        for path in self._files():
            with contextlib.suppress(OSError, RuntimeError, ValueError, KeyError):
                found.append(_entry(path))
        return sorted(found, key=lambda entry: (entry.written, entry.key))

    def verify(self) -> list[Path]:
        """Read every entry in full and return the files of those that are damaged.

        Returns
        -------
        list of pathlib.Path
        """
        damaged = []
        for path in self._files():
            try:
                _read(path, path.stem, results_only=False)
            except (OSError, RuntimeError, ValueError, KeyError):
                damaged.append(path)
        return damaged

    def prune(self, *, older_than: timedelta | None = None, keep: frozenset[str] | None = None) -> int:
        """Remove entries and return the number of bytes freed; damaged entries and abandoned temporary files go always.

        Parameters
        ----------
        older_than : datetime.timedelta, optional
            Remove what was written longer ago than this.
        keep : frozenset of str, optional
            Remove what has none of these keys.

        Returns
        -------
        int
            Bytes.
        """
        damaged = set(self.verify())
        now = datetime.now(UTC)
        gone = set(damaged)
        for path in self._files() - damaged:
            entry = _entry(path)
            old = older_than is not None and now - entry.written > older_than
            if old or (keep is not None and entry.key not in keep):
                gone.add(path)
        for path in self.path.glob(f"??/.*{SUFFIX}"):
            if now.timestamp() - path.stat().st_mtime > 24 * 3600:
                gone.add(path)
        freed = sum(path.stat().st_size for path in gone)
        for path in gone:
            path.unlink(missing_ok=True)
        return freed

    @property
    def nbytes(self) -> int:
        """Size of all entries on disk in bytes."""
        return sum(path.stat().st_size for path in self._files())

    def file(self, key: str) -> Path:
        """Where the entry of a key is kept."""
        return self.path / key[:2] / f"{key}{SUFFIX}"

    def _files(self) -> set[Path]:
        return {path for path in self.path.glob(f"??/*{SUFFIX}") if not path.name.startswith(".")}


@dataclass(frozen=True)
class Entry:
    """What a store knows of one result."""

    key: str
    step: str
    parameters: str
    written: datetime
    nbytes: int
    variables: tuple[str, ...]


def _read(path: Path, key: str, *, results_only: bool) -> xr.Dataset:
    with _opened(path) as entry:
        if entry.attrs[f"{PREFIX}key"] != key:
            raise ValueError(f"it holds the result of another key, {entry.attrs[f'{PREFIX}key']}")
        if results_only:
            entry = entry.drop_vars([name for name, data in entry.data_vars.items() if ROLE not in data.attrs])
        loaded = entry.load()
    return loaded.drop_encoding().drop_attrs(deep=False).assign_attrs(_own(loaded.attrs))


def _own(attrs: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in attrs.items() if not str(name).startswith(PREFIX)}


def _entry(path: Path) -> Entry:
    with _opened(path) as data:
        attrs = {name: data.attrs[PREFIX + name] for name in ("key", "step", "parameters", "written")}
        names = tuple(map(str, data.data_vars))
    written = datetime.fromisoformat(attrs.pop("written"))
    return Entry(**attrs, written=written, nbytes=path.stat().st_size, variables=names)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[xr.Dataset]:
    with xr.open_dataset(path, engine="netcdf4", cache=False) as data:
        yield data
