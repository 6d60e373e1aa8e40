"""Writing a report: a page, and beside it the evidence that it shows."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import xarray as xr
from tqdm import tqdm

from relfunc.files.netcdf import replacing, save

from ..errors import DataError
from ..evidence.known import Metadata
from .evidence import evidence
from .page import page


def write_report(
    tree: xr.DataTree,
    data: xr.Dataset,
    out: str | Path,
    *,
    split: str | None = None,
    metadata: Metadata = None,
    files: Sequence[Path] = (),
    run: str | Path | None = None,
    options: Sequence[str] = (),
    level: float = 0.05,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write what an analysis found as one HTML file, for those who were not there.

    It says what was analysed; of every category in words whether samples of it stand apart by more than chance; of each
    such finding where its relevance lies, what its inputs show and who they are, with examples; where the model fails;
    which samples are copies; what could not be judged; how to compute it again; and what it cannot say. The file needs
    no other and no network, is light or dark as its reader wants, and prints.

    Beside it stands a netCDF file of the same name with all of its numbers: the groups ``ranking``, ``findings``,
    ``slices`` and ``duplicates`` are what the functions of these names return. Each number of the page says in its
    attribute ``data-source`` from which variable it is, and each table and figure in a footnote.

    Parameters
    ----------
    tree : xarray.DataTree
        As :func:`analysis.run` returns it, with the scores that :func:`analysis.ranking` needs.
    data : xarray.Dataset
        The attributions it is of; may be opened lazily.
    out : str or pathlib.Path
        The page's file, such as ``report.html``.
    split : str, optional
        A variable over ``sample``, such as which of them trained the model, across which copies are leaks.
    metadata : xarray.Dataset or sequence of str, optional
        As :func:`analysis.findings` takes them.
    files : sequence of pathlib.Path
        Files that were analysed, of which the report gives digests.
    run : str or pathlib.Path, optional
        Their folder, as the commands have it that make the report again.
    options : sequence of str
        What else the command has that makes the report again.
    level : float
        As :func:`analysis.ranking` and :func:`analysis.findings` take it.
    seed : int
        Of the draw of examples, and as :func:`analysis.findings` takes it.
    progress : bool
        Whether to show on a terminal what is being computed.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    DataError
        If the tree has no scores or is not of these data, or the evidence would replace one of the files.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from analysis import run, spray
    >>> heat = np.random.default_rng(0).uniform(0, 1, size=(60, 6, 6))
    >>> heat[:15, 0, 3:] += 9
    >>> data = xr.Dataset({"attribution": (("sample", "y", "x"), heat)}, {"sample": range(60)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(run(spray(tsne=False), data, by=None), data, f"{folder}/report.html")
    ...     "15 of 60 samples stand apart" in page.read_text(), page.with_suffix(".nc").exists()
    (True, True)
    """
    out = Path(out)
    if out.suffix.lower() not in {".html", ".htm"}:
        raise DataError(f"report: {out} is no name of a page: end it in .html")
    beside = out.with_suffix(".nc")
    if any(file.exists() and beside.exists() and beside.samefile(file) for file in files):
        raise DataError(f"report: {beside}, which holds its numbers, is one of the files analysed: give another name")
    with _steps(progress) as step:
        found = evidence(tree, data, split=split, metadata=metadata, files=files, level=level, seed=seed, step=step)
        step("page")
        save(found, beside)
        where = str(run or out.parent)
        words = ["relfunc", "report", where, "--out", str(out), *options, *(("--split", split) if split else ())]
        with xr.open_datatree(beside, engine="netcdf4") as held:  # so that the page shows what the file says
            text = page(held.load(), data, file=beside.name, run=shlex.quote(where), command=shlex.join(words))
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return out


@contextmanager
def _steps(progress: bool) -> Iterator[Callable[[str], None]]:
    with tqdm(total=5, leave=False, disable=not (progress and sys.stderr.isatty())) as bar:

        def step(name: str) -> None:
            bar.set_description(f"report: {name}")
            bar.update()

        yield step
