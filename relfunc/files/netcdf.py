"""Reading and writing the netCDF-4 files of :mod:`relfunc.schema`: what exists under its final name is whole."""

import contextlib
import glob
import os
import secrets
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from ..errors import SchemaError
from ..groups import open_tree
from ..schema import SAMPLE, check_attributions, check_category, check_layout
from .contents import contents, write_contents
from .kinds import held_dataset
from .stack import stacked
from .trees import write_tree


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success flush it to disk and rename it, on failure remove it.

    Parameters
    ----------
    path : str or pathlib.Path
        The final name. Its folder is made if it does not exist.

    Yields
    ------
    pathlib.Path
        An existing, empty file of the same suffix in the same folder, to be written.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(data: xr.Dataset | xr.DataTree, path: str | Path, *, encoding: Mapping[Hashable, Any] | None = None) -> None:
    r"""Write a dataset or tree as netCDF-4, either completely or not at all.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataTree
        What to write.
    path : str or pathlib.Path
        The file's name; an existing file is replaced in one step.
    encoding : mapping, optional
        Storage options of a dataset's variables, as xarray's ``to_netcdf`` takes them.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If netCDF holds no such values: bools and None as attributes, say, or numbers of 16 bits.

    Notes
    -----
    Letters that netCDF cannot keep in text, which are zeros and halves of pairs, are written as Python writes them,
    as ``\x00``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(xr.Dataset({"a": ("x", [1, 2])}), f"{folder}/a.nc")
    ...     xr.load_dataset(f"{folder}/a.nc")["a"].values
    array([1, 2])
    """
    with replacing(path) as temporary:
        try:
            if isinstance(data, xr.DataTree):
                write_tree(data, temporary)
                held = contents(data)
                if held is not None:
                    write_contents(temporary, held)
            else:
                held = held_dataset(data)
                held.to_netcdf(temporary, engine="netcdf4", encoding={**_as_characters(held), **(encoding or {})})
        except RuntimeError as error:  # netCDF's, which has no other for a disk that is full
            raise OSError(f"cannot write {path}: {error}; is the disk full?") from error


def _as_characters(data: xr.Dataset) -> dict[Hashable, dict[str, str]]:
    """Store text as characters: netCDF-C crashes where a file with strings is open twice and closed once.

    See https://github.com/pydata/xarray/issues/8289.
    """
    return {name: {"dtype": "S1"} for name, variable in data.variables.items() if variable.dtype.kind in "UOT"}


def open_attributions(path: str | Path | Sequence[str | Path]) -> xr.Dataset:
    """Open attributions lazily, from one file or many, and check them.

    Parameters
    ----------
    path : str, pathlib.Path, or sequence of them
        An ``attributions.nc``; a folder with a file of that name, or with the shards of
        :func:`relfunc.attribute_dataset`; their manifest; a pattern such as ``"run/attributions-*.nc"``; or the files.

    Returns
    -------
    xarray.Dataset
        As :mod:`relfunc.schema` describes; close it, or use it in a ``with`` statement.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SchemaError
        If a file is truncated, not netCDF-4, or breaks the contract, or if the files do not belong together.
    """
    return _attributions(path, xr.open_dataset, check_attributions)


def unread_attributions(path: str | Path | Sequence[str | Path]) -> xr.Dataset:
    """Open attributions as :func:`open_attributions` does, but read neither identifiers nor labels.

    That takes as long for a million samples as for ten. ``sample`` is a coordinate without an index, and whether
    identifiers are unique and labels name a class is not known.

    Parameters
    ----------
    path : str, pathlib.Path, or sequence of them
        As :func:`open_attributions` takes it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SchemaError
        If a file is truncated or not netCDF-4, lacks a variable or dimension, or if the files do not belong together.
    """
    return _attributions(path, partial(xr.open_dataset, **_UNREAD), check_layout)


def _attributions(
    path: str | Path | Sequence[str | Path],
    reader: Callable[..., xr.Dataset],
    check: Callable[[xr.Dataset, str], xr.Dataset],
) -> xr.Dataset:
    paths = attributions_files(path)
    if len(paths) == 1:
        return _opened(paths[0], "attributions.nc", reader, check)
    with contextlib.ExitStack() as stack:
        parts = []
        for file in paths:
            with _naming(file):
                parts.append(stack.enter_context(contextlib.closing(reader(file, engine="netcdf4"))))
        filled = [i for i, part in enumerate(parts) if part.sizes.get(SAMPLE)]
        if not filled:
            raise SchemaError(f"{paths[0]} and {len(paths) - 1} more hold no samples: all were skipped")
        together = stacked([parts[i] for i in filled], [paths[i] for i in filled])
        check(together, f"{paths[0]} and {len(paths) - 1} more")
        stack.pop_all()
        return together


def attributions_files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that :func:`open_attributions` opens."""
    if not isinstance(path, str | Path):
        paths = [Path(one) for one in path]
    elif any(character in str(path) for character in "*?["):
        paths = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (Path.glob refuses absolute ones)
    else:
        path = Path(path).parent if Path(path).suffix == ".json" else Path(path)
        shards = sorted(path.glob("attributions-*.nc")) if path.is_dir() else []
        paths = shards or [path]
    if not paths:
        raise FileNotFoundError(f"no files {path}: give an attributions.nc, a folder, or the files")
    return paths


def open_analysis(path: str | Path) -> xr.DataTree:
    """Open an analysis file lazily: each category is read, and checked, when it is asked for.

    Parameters
    ----------
    path : str or pathlib.Path
        An ``analysis.nc``, or a folder with a file of that name.

    Returns
    -------
    xarray.DataTree
        As :mod:`relfunc.schema` describes; close it, or use it in a ``with`` statement.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SchemaError
        If it is truncated, not netCDF-4, or has no category. A category that breaks the contract raises it when it is
        asked for.
    """
    return _analysis(path)


def unread_analysis(path: str | Path, *, before: Callable[[str], None] = lambda name: None) -> xr.DataTree:
    """Open an analysis file as :func:`open_analysis` does, but without reading coordinates: they have no index.

    Parameters
    ----------
    path : str or pathlib.Path
        As :func:`open_analysis` takes it.
    before : callable
        Called with the name of a category's group before it is read.
    """
    return _analysis(path, create_default_indexes=False, before=before)


def _analysis(path: str | Path, **options: Any) -> xr.DataTree:
    path = _file(path, "analysis.nc")
    with _naming(path):
        tree = open_tree(path, check=partial(check_category, source=str(path)), **options)
    with _closed_on_error(tree):
        if not tree.children:
            raise SchemaError(f"{path}: no categories: is this an analysis file?")
    return tree


def _opened(path: str | Path, name: str, reader: Callable[..., Any], check: Callable[[Any, str], Any]) -> Any:
    path = _file(path, name)
    with _naming(path):
        data = reader(path, engine="netcdf4")
    with _closed_on_error(data):
        return check(data, str(path))


def _file(path: str | Path, name: str) -> Path:
    path = Path(path)
    if path.is_dir():
        path = path / name
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give an {name} or a folder that holds one")
    return path


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn netCDF's errors into one that names the file."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise SchemaError(f"{path} cannot be read ({error}): {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    """Say what may be wrong with a file that cannot be read; HDF5 has one error for most of it."""
    if not os.access(path, os.R_OK):
        return "you may not read it"
    if is_locked(path):
        return "another program holds it open to write; wait for it, or close the file there"
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return "the file system refuses it"
    return "it is truncated or not netCDF-4; make it again"


def is_locked(path: Path) -> bool:
    """Whether another program keeps a file from being read, as HDF5 does while it writes, as far as is known."""
    try:
        import fcntl
    except ImportError:  # not on Windows, which refuses to open such a file
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


@contextlib.contextmanager
def _closed_on_error(data: xr.Dataset | xr.DataTree) -> Iterator[None]:
    try:
        yield
    except BaseException:
        data.close()
        raise


_UNREAD: dict[str, Any] = {"create_default_indexes": False}
