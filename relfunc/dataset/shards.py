"""Shards: the files of a run over a dataset, and the manifest that says what the run is.

A shard under its final name is whole: it is written under a temporary name, flushed and renamed. Which shards there
are is what the folder says; the manifest is written at the start, and again when the run is complete.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from ..errors import RunError
from ..files.netcdf import replacing
from ..schema import SAMPLE

MANIFEST = "manifest.json"


def shard(folder: Path, number: int) -> Path:
    """Return the name of a shard."""
    return folder / f"attributions-{number:05d}.nc"


def remaining(folder: Path, count: int | None) -> Iterator[int]:
    """Numbers of the shards that are missing; without end, from the first that is, if the count is not known."""
    numbers = iter(range(count)) if count is not None else _naturals()
    return (number for number in numbers if not shard(folder, number).exists())


def _naturals() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def begin(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a new run, or read that of one to go on with.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run. Temporary files that a killed run left in it are removed.
    identity : mapping
        What determines the run's results, as JSON can hold it.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    RunError
        If the folder holds a run of another identity.
    """
    path = folder / MANIFEST
    if path.exists():
        try:
            manifest = json.loads(path.read_text())
            before = manifest["identity"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is no manifest of relfunc ({error}): give another folder") from error
        differing = [key for key in {**before, **identity} if before.get(key) != identity.get(key)]
        if differing:
            was = "; ".join(f"{key} was {before.get(key)!r}, is {identity.get(key)!r}" for key in differing)
            raise RunError(f"{folder} holds a run of other arguments ({was}): give another folder, or remove this one")
    else:
        if any(folder.glob("attributions-*.nc")):
            raise RunError(f"{folder} holds shards without a manifest: give another folder, or remove them")
        manifest = {"identity": dict(identity), "complete": False}
        write_manifest(folder, manifest)
    remove_leftovers(folder)
    return manifest


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    for leftover in (*folder.glob(".attributions-*"), *folder.glob(".manifest-*"), *folder.glob(".run-*")):
        leftover.unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, in one step."""
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1))


class Summary(NamedTuple):
    """What a shard holds: how many samples, which were skipped and why, and of a stream a digest of what came."""

    samples: int
    skipped: list[tuple[str, str]]
    content: str


def summary(path: Path) -> Summary:
    """Read what a shard holds."""
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
        skipped = [tuple(pair) for pair in json.loads(file.getncattr("skipped"))]
        return Summary(len(file.dimensions[SAMPLE]), skipped, str(file.getncattr("content")))
