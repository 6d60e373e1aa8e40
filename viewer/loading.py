"""Loading: one project, from its own files or from ViRelAy's."""

from collections.abc import Callable, Sequence
from pathlib import Path

from relfunc.files.contents import read_contents
from relfunc.files.netcdf import attributions_files, unread_analysis, unread_attributions

from .project.project import YAML, Project, measured_files
from .virelay.projects import open_virelay


def open_project(path: str | Path | Sequence[Path], *, before: Callable[[str], None] = lambda group: None) -> Project:
    """Open attributions and, if the analysis has run, the ``analysis.nc`` beside them, in a time independent of ``n``.

    Parameters
    ----------
    path : str, pathlib.Path or sequence of them
        A folder with ``attributions.nc`` or with shards, one such file, the shards' manifest, a pattern of their names,
        the shards themselves, or the YAML file of a project of ViRelAy.
    before : callable
        Called with the name of a category's group in ``analysis.nc`` before it is read.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    relfunc.errors.SchemaError
        If a file is truncated, is not netCDF-4, or breaks the contract.
    """
    first = Path(path) if isinstance(path, str | Path) else Path(path[0])
    if first.suffix in YAML:
        return open_virelay(first)
    folder = first if first.is_dir() else first.parent
    attributions = unread_attributions(path)
    analysis = folder / "analysis.nc"
    try:
        tree = unread_analysis(analysis, before=before) if analysis.exists() else None
        contents = None if tree is None else read_contents(analysis, tree.children)
    except BaseException:
        attributions.close()
        raise
    files = measured_files([*attributions_files(path), folder / "attributions.nc", analysis])
    return Project(folder.resolve().name, folder, attributions, tree, files=files, contents=contents)
