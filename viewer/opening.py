"""From what a user names to projects: a file, a folder, a pattern, or a folder that holds several of these."""

import glob
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import panel as pn

from relfunc.errors import RelfuncError

from .loading import open_project
from .project.probe import ANALYSIS, walked
from .project.project import UNREADABLE, YAML, Failure, Opened, Project, ProjectError
from .project.scores import ranking, score_names

Source = Path | tuple[Path, ...]
"""What one project is opened from: a path, or the shards of a run."""

DEEP: Final = 2
"""How many folders below the one that was named are looked into."""
SHARD: Final = "attributions-*.nc"

_opening = threading.Lock()


@dataclass(frozen=True)
class _Kept:
    """A project that is open, and what its files were like when it was opened."""

    stamp: tuple[tuple[Path, int, int], ...]
    project: Opened


def sources(paths: str | Path | Sequence[str | Path]) -> list[Source]:
    """Return what projects are opened from.

    Parameters
    ----------
    paths : str, pathlib.Path or sequence of them
        Each a project as :func:`viewer.project.project.open_project` opens it, a pattern that matches several, or a
        folder with projects in it, sorted by name. Shards of one folder that are named one by one are one project.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[Source, None] = {}
    shards: dict[Path, list[Path]] = {}
    for path in (each for named in listed for each in _matched(Path(named))):
        if path.match(SHARD) and path.is_file():
            shards.setdefault(path.parent, []).append(path)
            found[path.parent / SHARD] = None
        else:
            found |= dict.fromkeys((_within(path, DEEP) if path.is_dir() else []) or [path])
    return [
        tuple(shards[source.parent]) if isinstance(source, Path) and source.parent in shards else source
        for source in found
    ]


def opened(source: str | Source) -> Opened:
    """Open a project once for all sessions, anew when its files have changed; what cannot be opened says why."""
    where = Path(source) if isinstance(source, str) else source
    key = f"relfunc {where}"
    with _opening:
        kept, stamp = pn.state.cache.get(key), _stamp(where)
        if not isinstance(kept, _Kept) or kept.stamp != stamp:
            kept = pn.state.cache[key] = _Kept(stamp, _open(where))
        return kept.project


def _open(source: Source) -> Project | Failure:
    where = source if isinstance(source, Path) else source[0].parent
    reason, tried = walked([file for file, *_ in _stamp(source) if file.suffix in (".nc", ".h5")])
    if reason is not None:
        return Failure(where, reason)
    folder = where if where.is_dir() else where.parent

    def before(group: str) -> None:
        harm = None if group in tried else walked([folder / ANALYSIS], group)[0]
        if harm is not None:
            raise ProjectError(harm)

    try:
        project = open_project(source, before=before)
        if project.contents is None:
            for score in score_names(project):
                ranking(project, score)  # what the list of classes reads, so that damage to it is found here
    except (RelfuncError, *UNREADABLE) as error:
        return Failure(where, str(error))
    return project


def _stamp(source: Source) -> tuple[tuple[Path, int, int], ...]:
    folder = source[0].parent if isinstance(source, tuple) else source if source.is_dir() else source.parent
    named = [source] if isinstance(source, Path) else []
    files = [file for file in (*named, *sorted(folder.glob("*.nc")), *sorted(folder.glob("*.h5"))) if file.is_file()]
    return tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def _matched(path: Path) -> list[Path]:
    """Return the folders and descriptions that a pattern matches; any other path, or pattern of shards, as it is."""
    if not _is_pattern(path):
        return [path]
    found = [Path(each) for each in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (Path.glob refuses absolute ones)
    projects = [each for each in found if each.is_dir() or each.suffix in YAML or each.name == "attributions.nc"]
    return projects or [path]


def _within(folder: Path, deep: int) -> list[Source]:
    """Return the projects in a folder: itself, or those in it and in the folders below."""
    if _is_project(folder):
        return [folder]
    found: list[Source] = []
    for each in sorted(folder.iterdir()):
        if each.suffix in YAML and _describes(each):
            found.append(each)
        elif deep and each.is_dir() and not each.name.startswith("."):
            found += _within(each, deep - 1)
    return found


def _is_project(folder: Path) -> bool:
    return (folder / "attributions.nc").is_file() or any(folder.glob(SHARD))


def _describes(file: Path) -> bool:
    """Whether a YAML file begins with what ViRelAy's projects do; it is not parsed, which needs a library."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        return any(line.startswith("project:") for line in opened.readlines(1 << 16))


def _is_pattern(path: Path) -> bool:
    return any(character in str(path) for character in "*?[")
