"""Running a plan: per category, every step once, from the store where it is known."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from relfunc import schema
from relfunc.files.netcdf import save
from relfunc.files.stack import as_slice
from relfunc.text import group_names

from ..errors import DataError, PlanError, listed
from ..plan.toml import to_toml
from ..plan.tree import Plan, without_places
from .category import members_of
from .distributed import on_cluster
from .keys import Digest
from .layout import laid_out
from .lineage import Category, computed, expanded, keyed, source_node
from .store import Store
from .whole import recalled

log = logging.getLogger(__name__)


def run(
    plan: Plan,
    data: xr.Dataset,
    *,
    by: str | None = schema.LABEL,
    categories: Sequence[str] | None = None,
    store: Store | None = None,
    workers: int = 1,
    client: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Run a plan on every category of a dataset.

    Parameters
    ----------
    plan : Step, Chain, Each or Place
        What to compute.
    data : xarray.Dataset
        With ``attribution(sample, …)``, and the variables the plan and ``by`` name. May be opened lazily: one
        category at a time is read, block by block where the plan's first steps take one sample at a time, and
        ``input`` never.
    by : str or None
        "label" or "prediction" (the class of the largest output), or another variable over ``sample`` whose values
        are categories, or over ``sample, class`` with a true value for each of a sample's categories; None for one
        category, "all".
    categories : sequence of str, optional
        Only these.
    store : Store, optional
        Where results are looked up and kept. Those of a run that was made before are read at once, and a category of
        the tree is laid out when it is asked for.
    workers : int
        How many categories are computed at the same time, each in a process of its own.
    client : distributed.Client, optional
        Of a Dask cluster that computes the categories instead, and branches of the plan side by side; what is lost
        with a worker is computed again by another. Workers must see the store's folder, and the files of lazily
        opened data; data in memory are sent to them.
    out : str or pathlib.Path, optional
        An ``analysis.nc`` to write the tree to, too.
    progress : bool
        Whether to show a progress bar of the categories, where standard error is a terminal.

    Returns
    -------
    xarray.DataTree
        As :mod:`relfunc.schema` describes, one node per category that has samples. Its attribute ``category`` is its
        name, and so is the node's, unless files cannot have groups of that name: :func:`relfunc.schema.categories`.
        Every result has the step, its parameters and, with a store, its key in its attributes. The root's attributes
        name the plan, ``by`` and the categories left out for want of samples.

    Raises
    ------
    DataError
        If a variable or category is missing, a sample's category is none (NaN, or a label that names no class), or an
        attribution is not finite.
    PlanError
        If the plan yields no results, or two branches yield the same.

    Examples
    --------
    >>> from analysis import chain, flatten, pca, step
    >>> data = xr.Dataset({"attribution": (("sample", "x"), np.eye(4))}, {"sample": list("abcd")})
    >>> tree = run(chain(step(flatten), step(pca)), data, by=None)
    >>> dict(tree["all/embedding/pca"].sizes)
    {'sample': 4, 'component': 2}
    """
    if not isinstance(plan, Plan):
        raise PlanError(f"run: {plan!r} is not a plan: make one with analysis.step, chain, each or spray")
    if schema.ATTRIBUTION not in data:
        raise DataError(f"run: the dataset has no variable '{schema.ATTRIBUTION}', only {listed(data.data_vars)}")
    if schema.SAMPLE not in data.coords:
        data = data.assign_coords({schema.SAMPLE: np.arange(data.sizes[schema.SAMPLE])})
    members = members_of(data, by)
    named = list(zip(group_names(name for name, _ in members), members, strict=True))
    _check_known(categories, [name for name, _ in members], by)
    if categories is not None:
        named = [one for name in dict.fromkeys(categories) for one in named if one[1][0] == name]
    present: dict[str, tuple[str, np.ndarray]] = {}
    empty: list[str] = []
    for key, (name, index) in named:
        if index.size:
            present[key] = name, index
        else:
            empty.append(name)
    if empty:
        log.info("no samples in %s: left out", listed(empty))
    if not present:
        raise DataError("run: no category has any samples")
    source = _without_attrs(data.drop_vars(schema.INPUT, errors="ignore"))
    steps = keyed(without_places(plan)) if store else without_places(plan)
    indices = [index for _, index in present.values()]
    whole = recalled(steps, source, indices, store) if store and len(present) > 1 else None
    parts = (Category(key, source.isel({schema.SAMPLE: as_slice(index)})) for key, (_, index) in present.items())
    found: dict[str, Category] = {}
    known: dict[str, Digest] = {}
    with tqdm(desc="categories", total=len(present), disable=None if progress else True) as bar:
        todo = whole.missing(parts, known) if whole else parts
        done = (
            on_cluster(steps, todo, store, client) if client is not None else _side_by_side(steps, todo, store, workers)
        )
        for one in done:
            found[one.name] = one
            bar.update(len(found) + len(known) - bar.n)
        bar.update(len(found) + len(known) - bar.n)

    def results(key: str) -> xr.Dataset:
        return whole.results(known[key]) if whole and key in known else found[key].data

    root = xr.Dataset(attrs=_attrs(plan, by, empty))
    tree = laid_out(root, present, data[schema.SAMPLE].values, results, later=known)
    if whole:
        whole.keep(found.values(), known.values())
    if out is not None:
        save(tree, out)
    return tree


def _side_by_side(plan: Plan, parts: Iterator[Category], store: Store | None, workers: int) -> Iterator[Category]:
    """Compute the categories on this machine."""
    jobs = (joblib.delayed(_category)(plan, part, store) for part in parts)
    return cast(Iterator[Category], joblib.Parallel(n_jobs=workers, return_as="generator")(jobs))


def _category(plan: Plan, part: Category, store: Store | None) -> Category:
    """Run a plan on one category and return its results."""
    return computed(part.name, expanded(plan, source_node(part, store)), store)


def _without_attrs(data: xr.Dataset) -> xr.Dataset:
    """Drop the attributes of a dataset and of its variables; xarray's ``drop_attrs`` copies their values, too.

    Half precision becomes single: it has no place in netCDF, and sums of it overflow.
    """
    half = {name: values.astype(np.float32) for name, values in data.variables.items() if values.dtype == np.float16}
    bare = data.assign({str(name): values for name, values in half.items()}).drop_attrs(deep=False)
    for variable in bare.variables.values():
        variable.attrs = {}
    return bare


def _check_known(categories: Sequence[str] | None, names: Sequence[str], by: str | None) -> None:
    unknown = [name for name in categories or () if name not in names]
    if unknown:
        raise DataError(f"run: no category {listed(unknown)} by {by!r}; there are {listed(names)}")


def _attrs(plan: Plan, by: str | None, empty: list[str]) -> dict[str, Any]:
    try:
        written = to_toml(plan)
    except PlanError:
        written = str(plan)
    return {"plan": written, "by": by or "", "without_samples": ", ".join(empty)}
