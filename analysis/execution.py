"""Running a plan: per category, every step once, from the store where it is known."""

import dataclasses
import logging
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from relfunc import blocks, schema
from relfunc.stack import as_slice
from relfunc.storage import save
from relfunc.text import group_names

from . import keys
from .category import members_of
from .errors import DataError, PlanError
from .lineage import Node, expanded, results
from .plan import Chain, Each, Plan, to_toml
from .steps import CLUSTERING, EMBEDDING, ROLE, SCORE, SPECTRUM
from .store import Store

log = logging.getLogger(__name__)

GROUPS = {EMBEDDING: schema.EMBEDDING_GROUP, CLUSTERING: schema.CLUSTER_GROUP, SCORE: schema.SCORE_GROUP}


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
    plan : Step, Chain or Each
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
        Where results are looked up and kept.
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
        raise DataError(f"run: the dataset has no variable '{schema.ATTRIBUTION}', only {_listed(data.data_vars)}")
    if schema.SAMPLE not in data.coords:
        data = data.assign_coords({schema.SAMPLE: np.arange(data.sizes[schema.SAMPLE])})
    members = members_of(data, by)
    keyed = list(zip(group_names(name for name, _ in members), members, strict=True))
    _check_known(categories, [name for name, _ in members], by)
    if categories is not None:
        keyed = [one for name in dict.fromkeys(categories) for one in keyed if one[1][0] == name]
    present: dict[str, tuple[str, np.ndarray]] = {}
    empty: list[str] = []
    for key, (name, index) in keyed:
        if index.size:
            present[key] = name, index
        else:
            empty.append(name)
    if empty:
        log.info("no samples in %s: left out", _listed(empty))
    if not present:
        raise DataError("run: no category has any samples")
    source = _without_attrs(data.drop_vars(schema.INPUT, errors="ignore"))
    parts = ((key, source.isel({schema.SAMPLE: as_slice(index)})) for key, (_, index) in present.items())
    computed = _side_by_side(plan, parts, store, workers) if client is None else _on_cluster(plan, parts, store, client)
    found = dict(tqdm(computed, "categories", total=len(present), disable=None if progress else True))
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=_attrs(plan, by, empty))}
    for key, (name, index) in present.items():
        nodes |= _layout(key, name, index, data[schema.SAMPLE][index], found[key])
    tree = xr.DataTree.from_dict(nodes)
    if out is not None:
        save(tree, out)
    return tree


Named = tuple[str, xr.Dataset]


def _side_by_side(plan: Plan, parts: Iterator[Named], store: Store | None, workers: int) -> Iterator[Named]:
    """Compute the categories on this machine."""
    jobs = (joblib.delayed(_category)(plan, part, name, store) for name, part in parts)
    return cast(Iterator[Named], joblib.Parallel(n_jobs=workers, return_as="generator")(jobs))


def _on_cluster(plan: Plan, parts: Iterator[Named], store: Store | None, client: Any) -> Iterator[Named]:
    """Compute the categories and their branches as tasks of a Dask cluster; yield categories as they are done."""
    from dask import config
    from distributed import as_completed

    store = Store(store.path.resolve()) if store else None
    # what is sent goes with its task: were it kept by a worker, it would be lost with it
    with config.set({"distributed.admin.large-graph-warning-threshold": sys.maxsize}):
        tasks = {}
        for name, part in parts:
            state = client.submit(_source, part, name, store, pure=False)
            tasks[client.submit(_found, _submitted(plan, state, store, client), store, pure=False)] = name
    try:
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    finally:
        client.cancel(list(tasks))


def _submitted(plan: Plan, state: Any, store: Store | None, client: Any) -> Any:
    """Submit a plan on the future of the nodes before it; each branch is a task of its own."""
    for part in _segments(plan):
        if isinstance(part, Each):
            ends = [_submitted(inner, state, store, client) for inner in part.plans]
            branches = [client.submit(_branch, state, end, store, pure=False) for end in ends]
            state = client.submit(_rejoined, state, branches, pure=False)
        else:
            state = client.submit(_advanced, part, state, store, pure=False)
    return state


def _segments(plan: Plan) -> Iterator[Chain | Each]:
    """Cut a plan into branches and the steps before, between and behind them."""
    steps: list[Plan] = []
    for inner in plan.plans if isinstance(plan, Chain) else (plan,):
        if isinstance(inner, Each):
            yield from (Chain(tuple(steps)), inner) if steps else (inner,)
            steps = []
        else:
            steps.append(inner)
    if steps:
        yield Chain(tuple(steps))


def _advanced(plan: Plan, state: tuple[Node, ...], store: Store | None) -> tuple[Node, ...]:
    """Return the nodes after a plan, computed where that is needed to know their results."""
    end = expanded(plan, state, keyed=store is not None)
    for node in end[len(state) :]:
        results(node, store)
    return end


def _branch(state: tuple[Node, ...], end: tuple[Node, ...], store: Store | None) -> tuple[Node, ...]:
    """Return what leaves a branch, cut from what it was computed from."""
    return tuple(
        dataclasses.replace(node, inputs=(), results_only=True, memory={"": results(node, store)})
        for node in end[len(state) :]
    )


def _rejoined(state: tuple[Node, ...], branches: list[tuple[Node, ...]]) -> tuple[Node, ...]:
    return (*state, *(node for branch in branches for node in branch))


def _category(plan: Plan, source: xr.Dataset, name: str, store: Store | None) -> Named:
    """Run a plan on one category and return its results."""
    return name, _found(expanded(plan, _source(source, name, store), keyed=store is not None), store)


def _source(source: xr.Dataset, name: str, store: Store | None) -> tuple[Node, ...]:
    """Check a category's data; what of it is larger than a block stays where it is until a step asks for it."""
    small = [variable for variable, values in source.variables.items() if values.nbytes <= blocks.BYTES]
    source = source.assign(source[small].load().variables)
    _check_finite(source, name)
    return (Node(keys.of_source(source) if store else None, memory={"": source}),)


def _found(end: tuple[Node, ...], store: Store | None) -> xr.Dataset:
    """Put the results of all nodes together."""
    found: dict[Hashable, xr.DataArray] = {}
    for node in end[1:]:
        for variable, values in results(node, store).data_vars.items():
            if variable in found:
                both = f"{found[variable].attrs['step']} and {values.attrs['step']}"
                raise PlanError(f"run: two steps make '{variable}', {both}: give one of them another name=")
            found[variable] = values
    if not found:
        raise PlanError("run: the plan yields no embedding, clustering or score: add a step that does")
    return xr.Dataset(found)


def _check_finite(source: xr.Dataset, category: str) -> None:
    attribution = source[schema.ATTRIBUTION].variable
    if not np.issubdtype(attribution.dtype, np.floating):
        return
    wrong: list[Any] = []
    for part in blocks.cut(attribution.shape, attribution.dtype.itemsize):
        values = attribution[part].values
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):
                continue
        finite = np.isfinite(values).all(tuple(range(1, values.ndim)))
        wrong += source[schema.SAMPLE].values[part][~finite].tolist()
    if wrong:
        raise DataError(
            f"category '{category}': the attribution of sample {wrong[0]!r} holds NaN or infinity"
            f"{f', and of {len(wrong) - 1} more' if len(wrong) > 1 else ''}: attribute it anew or drop it"
        )


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
        raise DataError(f"run: no category {_listed(unknown)} by {by!r}; there are {_listed(names)}")


def _layout(key: str, name: str, index: np.ndarray, sample: xr.DataArray, found: xr.Dataset) -> dict[str, xr.Dataset]:
    """Datasets of a category's nodes, as the schema has them."""
    coords: dict[Hashable, Any] = {schema.SAMPLE: sample.values}
    spectrum = {name: values.variable for name, values in _having(found, SPECTRUM)}
    if schema.EIGEN in found.sizes:
        coords[schema.EIGEN] = np.arange(found.sizes[schema.EIGEN])
    if schema.COMPONENT in found.sizes:
        coords[schema.COMPONENT] = np.arange(found.sizes[schema.COMPONENT])
    top = xr.Dataset({schema.INDEX: (schema.SAMPLE, index), **spectrum}, coords, {schema.CATEGORY: name})
    nodes = {f"/{key}": top}
    for role, group in GROUPS.items():
        named = list(_having(found, role))
        keys = group_names(str(name) for name, _ in named)
        variables = {
            key: values.variable if key == name else values.assign_attrs({schema.NAME: str(name)}).variable
            for key, (name, values) in zip(keys, named, strict=True)
        }
        nodes[f"/{key}/{group}"] = xr.Dataset(variables, _score_coords(found) if role == SCORE else None)
    return nodes


def _having(found: xr.Dataset, role: str) -> Iterator[tuple[Hashable, xr.DataArray]]:
    return ((name, values) for name, values in found.data_vars.items() if values.attrs[ROLE] == role)


def _score_coords(found: xr.Dataset) -> Mapping[Hashable, Any]:
    scored = {dim for _, values in _having(found, SCORE) for dim in values.dims}
    return {name: found.coords[name].variable for name in found.coords if name in scored}


def _attrs(plan: Plan, by: str | None, empty: list[str]) -> dict[str, Any]:
    try:
        text = to_toml(plan)
    except PlanError:
        text = str(plan)
    return {"plan": text, "by": by or "", "without_samples": ", ".join(empty)}


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
