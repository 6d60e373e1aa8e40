"""Locking: one process at a time writes to a folder."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RunError

log = logging.getLogger("relfunc")

LOCK = ".lock"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from a run's folder, whose temporary files they would take for a killed run's.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run. Where the file system has no locks, as some of NFS and Lustre, a warning says so, and nothing is
        kept from it.

    Raises
    ------
    RunError
        If another process is at work there.
    """
    path = folder / LOCK
    lock = FileLock(path, timeout=0, is_singleton=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it takes a file's existence for a lock where it must
            lock.acquire()
    except Timeout as error:
        raise RunError(f"another process writes to {folder}: wait for it, or give another folder") from error
    except (OSError, NotImplementedError) as error:
        if not os.access(folder, os.W_OK):
            raise
        log.warning("%s cannot be locked (%s): let no other process write to it", folder, error)
        path.unlink(missing_ok=True)
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            path.unlink()
        lock.release()
