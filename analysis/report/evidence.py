"""What a report shows, as a tree of datasets, each number of it once: what goes to a file beside the page."""

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import ATTRIBUTION, CLASS, INPUT, LABEL, SAMPLE, categories

from ..errors import DataError
from ..evidence.copies import duplicates
from ..evidence.failure import slices
from ..evidence.finding import FINDING, findings
from ..evidence.known import CORRECT, Metadata, cluster_of, tells_correct
from ..results import power
from ..results.rank import ranking
from ..results.table import CATEGORY
from ..results.words import is_judged

EXAMPLES: Final = 6
"""Samples that are shown of a cluster, and as many of the rest."""
MOST_FINDINGS: Final = 20
"""Of more clusters that stand apart, so many are described."""
UNJUDGED: Final = 3
"""Where nothing was compared with chance, so many clusters are described."""
PREVALENCES: Final = (0.05, 0.1, 0.2)
SIDE, EXAMPLE, SHARE, FILE, PACKAGE = "side", "example", "prevalence", "file", "package"
PACKAGES: Final = ("relfunc", "torch", "numpy", "scipy", "scikit-learn", "xarray")


def evidence(
    tree: xr.DataTree,
    data: xr.Dataset,
    *,
    split: str | None = None,
    metadata: Metadata = None,
    files: Sequence[Path] = (),
    level: float = 0.05,
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> xr.DataTree:
    """Compute what a report shows.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it, with the scores that :func:`analysis.ranking` needs.
    data : xarray.Dataset
        The attributions it is of; may be opened lazily.
    split : str, optional
        A variable over ``sample``, such as which of them trained the model, across which copies are leaks.
    metadata : xarray.Dataset or sequence of str, optional
        As :func:`analysis.findings` takes them.
    files : sequence of pathlib.Path
        Of which digests are kept.
    level : float
        As all of the functions below take it.
    seed : int
        Of the draw of examples, and as :func:`analysis.findings` takes it.
    step : callable
        Called with the name of what is computed next.

    Returns
    -------
    xarray.DataTree
        ``about``, how many there are of what; ``files``; ``packages``, the versions of this computation; ``ranking``,
        ``findings``, ``slices`` (if it is known what is correct) and ``duplicates``, as the functions of these names
        return them; ``examples``, the positions of samples of each finding and of the rest, drawn at random, −1 where
        there are no more; and ``power``, if it was measured. Its attributes are those of data and tree.

    Raises
    ------
    DataError
        If the tree has no scores, or is not of these data.
    """
    step("ranking")
    table = ranking(tree, level=level)
    nodes: dict[str, xr.Dataset] = {"about": _about(tree, data), "packages": _packages(), "ranking": table}
    if files:
        nodes["files"] = _files(files)
    step("findings")
    described = _described(table)
    nodes["findings"] = findings(tree, data, table=described, metadata=metadata, level=level, seed=seed)
    nodes["examples"] = _examples(tree, data, nodes["findings"], seed)
    step("slices")
    if tells_correct(data) or CORRECT in (data if metadata is None else metadata):
        nodes["slices"] = slices(tree, data, metadata=metadata, level=level)
    step("duplicates")
    copies = _copies(data, split, level)
    if copies is not None:
        nodes["duplicates"] = copies
    found = power.measured()
    if found is not None:
        values = power.power(table["n"].values[:, None], np.array(PREVALENCES), found)
        nodes["power"] = xr.Dataset({"found": ((CATEGORY, SHARE), values)}, {SHARE: list(PREVALENCES)})
    attrs = {**_held(data.attrs), **_held(tree.attrs), "split": split or ""}
    attrs["created"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **{f"/{name}": node for name, node in nodes.items()}})


def _described(table: xr.Dataset) -> xr.Dataset:
    """Return the rows of the ranking that are described: those beyond chance, where that is known."""
    named = table.isel({CATEGORY: table["cluster"].values >= 0})
    if not is_judged(table):
        return named.isel({CATEGORY: slice(UNJUDGED)})
    return named.isel({CATEGORY: np.flatnonzero(named["significant"].values)[:MOST_FINDINGS]})


def _about(tree: xr.DataTree, data: xr.Dataset) -> xr.Dataset:
    heat = data[ATTRIBUTION]
    counts: dict[str, Any] = {
        "samples": data.sizes[SAMPLE],
        "categories": len(categories(tree)),
        "classes": data.sizes.get(CLASS, 0),
        "skipped": len(json.loads(data.attrs.get("skipped") or "[]")),
    }
    dims = [str(dim) for dim in heat.dims if dim != SAMPLE]
    shape = xr.DataArray([heat.sizes[dim] for dim in dims], {"dimension": dims}, "dimension")
    return xr.Dataset({name: ((), value) for name, value in counts.items()} | {"shape": shape})


def _packages() -> xr.Dataset:
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return xr.Dataset({"version": (PACKAGE, list(versions.values()))}, {PACKAGE: list(versions)})


def _files(files: Sequence[Path]) -> xr.Dataset:
    held = [file.stat() for file in files]
    written = [datetime.fromtimestamp(one.st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC") for one in held]
    columns = {
        "bytes": (FILE, [one.st_size for one in held]),
        "written": (FILE, written),
        "sha256": (FILE, [_digest(file) for file in files]),
    }
    return xr.Dataset(columns, {FILE: [file.name for file in files]})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copies(data: xr.Dataset, split: str | None, level: float) -> xr.Dataset | None:
    """Look for copies of inputs, or of attributions where inputs were not kept or have one number only."""
    by = LABEL if LABEL in data and data[LABEL].dims == (SAMPLE,) else None
    if split is not None and (split not in data.variables or data[split].dims != (SAMPLE,)):
        there = [str(name) for name, values in data.data_vars.items() if values.dims == (SAMPLE,)]
        raise DataError(f"report: split='{split}' is no variable over 'sample' alone; there are {', '.join(there)}")
    for name in (INPUT, ATTRIBUTION):
        if name in data and data[name].ndim > 1 and data[name].dtype.kind in "fiub":
            return duplicates(data, variable=name, by=by, split=split, level=level)
    return None


def _examples(tree: xr.DataTree, data: xr.Dataset, found: xr.Dataset, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    position = np.full((found.sizes[FINDING], 2, EXAMPLES), -1)
    for number in range(found.sizes[FINDING]):
        one = found.isel({FINDING: number})
        row = str(one[CATEGORY].item()), str(one["clustering"].item()), int(one["cluster"])
        index, inside = cluster_of(tree, row, data, "report")
        for side, members in enumerate((index[inside], index[~inside])):
            drawn = _drawn(members, rng)
            position[number, side, : drawn.size] = drawn
    return xr.Dataset({"position": ((FINDING, SIDE, EXAMPLE), position)}, {SIDE: ["inside", "outside"]}, {"seed": seed})


def _drawn(members: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(rng.permutation(members)[:EXAMPLES])


def _held(attrs: dict[Any, Any]) -> dict[str, str]:
    return {str(name): value if isinstance(value, str) else str(value) for name, value in attrs.items()}
