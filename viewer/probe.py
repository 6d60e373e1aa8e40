"""Whether files can be opened at all, tried in a process of its own.

HDF5 never returns from some damaged files, and crashes on others, which would take all visitors with it.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PATIENCE: Final = 10.0
"""Seconds that opening may take, besides :data:`EACH` for every file."""
EACH: Final = 0.5
WALK: Final = """
import sys
def walk(group):
    for variable in group.variables.values():
        variable.shape, variable.dtype, variable.dimensions, variable.ncattrs(), variable.chunking()
    for inside in group.groups.values():
        walk(inside)
def visit(name, held):
    dict(held.attrs), getattr(held, "shape", None)
for path in sys.argv[1:]:
    if path.endswith(".nc"):
        import netCDF4
        with netCDF4.Dataset(path) as file:
            walk(file)
    else:
        import h5py
        with h5py.File(path) as file:
            file.visititems(visit)
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
    if not files:
        return None
    command = [sys.executable, "-c", WALK, *map(str, files)]
    try:
        ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE + EACH * len(files))
    except subprocess.TimeoutExpired as error:
        said = f"it could not be opened within {error.timeout:.0f} s"
    else:
        if ended.returncode >= 0:
            return None
        said = "the library that reads it crashed"
    return f"{', '.join(str(file) for file in files[:3])}: {said}: a file is damaged; make it again"
