"""Whether files can be opened at all, tried in a process of its own.

HDF5 never returns from some damaged files, and crashes on others, which would take all visitors with it. An analysis
that has contents is tried for a moment; its groups that are not reached in that time are to be tried before each is
read.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ANALYSIS: Final = "analysis.nc"
PATIENCE: Final = 10.0
"""Seconds that opening may take, besides :data:`EACH` for every file."""
EACH: Final = 0.5
MOMENT: Final = 0.2
"""Seconds for which the groups of an analysis with contents are tried."""
WALK: Final = """
import json, sys, time
import h5py
def walk(group):
    for variable in group.variables.values():
        variable.shape, variable.dtype, variable.dimensions, variable.ncattrs(), variable.chunking()
    for inside in group.groups.values():
        walk(inside)
def look(held):
    h5py.h5a.iterate(held, lambda name: None)
    getattr(held, "shape", None), getattr(held, "dtype", None)
def groups(file, only, until):
    look(file.id)
    for name in [only] if only else sorted(file, key=lambda name: name != "contents"):
        held = file[name].id
        look(held)
        if isinstance(held, h5py.h5g.GroupID):
            if time.monotonic() > until:
                break
            try:
                h5py.h5o.visit(held, lambda inside: look(h5py.h5o.open(held, inside)))
            except (OSError, RuntimeError, ValueError, KeyError, TypeError):
                pass  # does no harm to who reads it, and says so then
            yield name
tried, (analysis, moment, only, *paths) = [], sys.argv[1:]
for path in paths:
    if path.endswith(".nc") and not path.endswith(analysis):
        import netCDF4
        with netCDF4.Dataset(path) as file:
            walk(file)
    else:
        with h5py.File(path) as file:
            briefly = path.endswith(analysis) and "contents" in file
            tried += groups(file, only, time.monotonic() + (float(moment) if briefly else 1e9))
print(json.dumps(tried))
"""


def damage(files: Sequence[Path]) -> str | None:
    """Say that netCDF-4 or HDF5 files cannot be opened without harm, if so; what fails with an error does no harm.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Existing files.

    Examples
    --------
    >>> damage([])
    """
    return walked(files)[0]


def walked(files: Sequence[Path], group: str = "") -> tuple[str | None, frozenset[str]]:
    """Say of files what :func:`damage` does, and which of their groups were tried.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Existing files.
    group : str
        The only group to try in each, if any.
    """
    if not files:
        return None, frozenset()
    command = [sys.executable, "-c", WALK, ANALYSIS, str(MOMENT), group, *map(str, files)]
    try:
        ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE + EACH * len(files))
    except subprocess.TimeoutExpired as error:
        said = f"it could not be opened within {error.timeout:.0f} s"
    else:
        if ended.returncode >= 0:
            return None, frozenset(json.loads(ended.stdout) if ended.returncode == 0 else ())
        said = "the library that reads it crashed"
    return f"{', '.join(str(file) for file in files[:3])}: {said}: a file is damaged; make it again", frozenset()
