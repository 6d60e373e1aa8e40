"""Running a plan: per category, every step once, from the store where it is known."""

import inspect
import json
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import joblib
import numpy as np
import xarray as xr
from tqdm import tqdm

from relfunc import schema

from . import keys
from .errors import DataError, PlanError
from .plan import Chain, Each, Plan, Step, name_of, to_toml
from .steps import CLUSTERING, EMBEDDING, ROLE, ROLES, SCORE, SPECTRUM, is_transient, merged
from .store import Store

log = logging.getLogger(__name__)

GROUPS = {EMBEDDING: schema.EMBEDDING_GROUP, CLUSTERING: schema.CLUSTER_GROUP, SCORE: schema.SCORE_GROUP}
WHOLE = "all"


def run(
    plan: Plan,
    data: xr.Dataset,
    *,
    by: str | None = schema.LABEL,
    categories: Sequence[str] | None = None,
    store: Store | None = None,
    workers: int = 1,
    progress: bool = True,
) -> xr.DataTree:
    """Run a plan on every category of a dataset.

    Parameters
    ----------
    plan : Step, Chain or Each
        What to compute.
    data : xarray.Dataset
        With ``attribution(sample, …)``, and the variables the plan and ``by`` name. May be opened lazily: one
        category at a time is read, and ``input`` never.
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
    progress : bool
        Whether to show a progress bar, where standard error is a terminal.

    Returns
    -------
    xarray.DataTree
        As :mod:`relfunc.schema` describes, one node per category that has samples; ``/`` in a name becomes ``∕``.
        Every result has the step, its parameters and, with a store, its key in its attributes. The root's attributes
        name the plan, ``by`` and the categories left out for want of samples.

    Raises
    ------
    DataError
        If a variable or category is missing, or an attribution is not finite.
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
    members = _chosen(_members(data, by), categories, by)
    empty = [name for name, index in members.items() if not index.size]
    if empty:
        log.info("no samples in %s: left out", _listed(empty))
    present = {name: index for name, index in members.items() if index.size}
    if not present:
        raise DataError("run: no category has any samples")
    source = data.drop_vars(schema.INPUT, errors="ignore").drop_attrs()
    jobs = (joblib.delayed(_category)(plan, source.isel(sample=index), name, store) for name, index in present.items())
    results = cast(Iterator[xr.Dataset], joblib.Parallel(n_jobs=workers, return_as="generator")(jobs))
    bar = tqdm(results, "categories", total=len(present), disable=None if progress else True)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=_attrs(plan, by, empty))}
    for (name, index), found in zip(present.items(), bar, strict=True):
        nodes |= _layout(name.replace("/", "∕"), index, data[schema.SAMPLE][index], found)
    return xr.DataTree.from_dict(nodes)


@dataclass(frozen=True, eq=False)
class _Node:
    """A result that may not have been computed yet: a step and the nodes whose results it is given."""

    key: str | None
    step: Step | None
    inputs: tuple["_Node", ...] = ()
    results_only: bool = False
    memory: dict[str, xr.Dataset] = field(default_factory=dict)


def _category(plan: Plan, source: xr.Dataset, name: str, store: Store | None) -> xr.Dataset:
    """Run a plan on one category and return its results."""
    source = source.load()
    _check_finite(source, name)
    root = _Node(keys.of_source(source) if store else None, None, memory={"": source})
    end = _expanded(plan, (root,), store is not None)
    found: dict[Hashable, xr.DataArray] = {}
    for node in end[1:]:
        for variable, values in _results(node, store).data_vars.items():
            if variable in found:
                both = f"{found[variable].attrs['step']} and {values.attrs['step']}"
                raise PlanError(f"run: two steps make '{variable}', {both}: give one of them another name=")
            found[variable] = values
    if not found:
        raise PlanError("run: the plan yields no embedding, clustering or score: add a step that does")
    return xr.Dataset(found)


def _expanded(plan: Plan, state: tuple[_Node, ...], keyed: bool) -> tuple[_Node, ...]:
    """Nodes after a plan, given those before it; nothing is computed."""
    match plan:
        case Step():
            key = keys.of_step(plan.function, _bound(plan), tuple(str(node.key) for node in state)) if keyed else None
            return (*state, _Node(key, plan, state))
        case Chain(plans):
            for inner in plans:
                state = _expanded(inner, state, keyed)
            return state
        case Each(plans):
            ends = [_expanded(inner, state, keyed)[len(state) :] for inner in plans]
            branches = [_Node(node.key, node.step, node.inputs, True, node.memory) for end in ends for node in end]
            return (*state, *branches)


def _results(node: _Node, store: Store | None) -> xr.Dataset:
    """Return what of a node belongs into the tree; working variables are neither read nor, if possible, computed."""
    if node.step is None or is_transient(node.step.function):
        return xr.Dataset()
    if not node.memory and store and node.key:
        known = store.get(node.key, results_only=True)
        if known is not None:
            return known
        return _only_results(_computed(node, node.step, store))
    return _only_results(_value(node, store))


def _value(node: _Node, store: Store | None) -> xr.Dataset:
    """Return the result of a node: from memory, from the store, or computed."""
    if not node.memory and node.step is not None:
        known = store.get(node.key) if store and node.key and not is_transient(node.step.function) else None
        if known is None:
            return _computed(node, node.step, store)
        node.memory[""] = known
    return node.memory[""]


def _computed(node: _Node, plan: Step, store: Store | None) -> xr.Dataset:
    """Compute the result of a node and keep it."""
    computed = plan.function(_folded(node.inputs, store), **dict(plan.params))
    if not isinstance(computed, xr.Dataset):
        raise PlanError(f"{name_of(plan.function)} returned a {type(computed).__name__}, not a Dataset")
    computed = _described(computed, plan, node.key)
    if store and node.key and not is_transient(plan.function):
        computed = store.put(node.key, computed, step=_qualified(plan), parameters=_parameters(plan))
    node.memory[""] = computed
    return computed


def _folded(nodes: Iterable[_Node], store: Store | None) -> xr.Dataset:
    data = xr.Dataset()
    for node in nodes:
        value = _results(node, store) if node.results_only else _value(node, store)
        data = merged(data, value)
    return data


def _only_results(data: xr.Dataset) -> xr.Dataset:
    return data[[name for name, values in data.data_vars.items() if values.attrs.get(ROLE) in ROLES]]


def _described(computed: xr.Dataset, plan: Step, key: str | None) -> xr.Dataset:
    """Write on every result what made it."""
    attrs = {"step": _qualified(plan), "parameters": _parameters(plan), **({"key": key} if key else {})}
    results = _only_results(computed)
    return computed.assign({name: values.assign_attrs(attrs) for name, values in results.data_vars.items()})


def _bound(plan: Step) -> dict[str, Any]:
    """All parameters of a step, defaults included."""
    bound = inspect.signature(plan.function).bind(None, **dict(plan.params))
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def _parameters(plan: Step) -> str:
    return json.dumps(_bound(plan), default=str, sort_keys=True)


def _qualified(plan: Step) -> str:
    module, name = getattr(plan.function, "__module__", ""), getattr(plan.function, "__qualname__", None)
    return f"{module}.{name or name_of(plan.function)}"


def _check_finite(source: xr.Dataset, category: str) -> None:
    attribution = source[schema.ATTRIBUTION]
    if not np.issubdtype(attribution.dtype, np.floating):
        return
    finite = np.isfinite(attribution.values).all(tuple(range(1, attribution.ndim)))
    if not finite.all():
        wrong = source[schema.SAMPLE].values[~finite].tolist()
        raise DataError(
            f"category '{category}': the attribution of sample {wrong[0]!r} holds NaN or infinity"
            f"{f', and of {len(wrong) - 1} more' if len(wrong) > 1 else ''}: attribute it anew or drop it"
        )


def _members(data: xr.Dataset, by: str | None) -> dict[str, np.ndarray]:
    """Positions of the samples of every category."""
    if by is None:
        return {WHOLE: np.arange(data.sizes[schema.SAMPLE])}
    if by not in data.variables:
        raise DataError(f"run: by={by!r} is none of the dataset's variables, {_listed(data.variables)}")
    values = data[by]
    if values.dims == (schema.SAMPLE, schema.CLASS):
        table = values.transpose(schema.SAMPLE, schema.CLASS).values
        if by == schema.PREDICTION:
            table = np.arange(table.shape[1]) == table.argmax(1)[:, None]
        return {name: np.flatnonzero(column) for name, column in zip(_classes(data), table.T, strict=True)}
    if values.dims != (schema.SAMPLE,):
        raise DataError(f"run: by={by!r} has dimensions {values.dims}, not ('sample',) or ('sample', 'class')")
    if by == schema.LABEL and schema.CLASS in data.sizes:
        names = _classes(data)
        return {name: np.flatnonzero(values.values == label) for label, name in enumerate(names)}
    return {str(value): np.flatnonzero(values.values == value) for value in np.unique(values.values)}


def _classes(data: xr.Dataset) -> list[str]:
    names = [str(name) for name in data[schema.CLASS].values]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"run: more than one class is called {_listed(sorted(twice))}: give them different names")
    return names


def _chosen(members: dict[str, np.ndarray], categories: Sequence[str] | None, by: str | None) -> dict[str, np.ndarray]:
    if categories is None:
        return members
    unknown = [name for name in categories if name not in members]
    if unknown:
        raise DataError(f"run: no category {_listed(unknown)} by {by!r}; there are {_listed(members)}")
    return {name: members[name] for name in categories}


def _layout(name: str, index: np.ndarray, sample: xr.DataArray, found: xr.Dataset) -> dict[str, xr.Dataset]:
    """Datasets of a category's nodes, as the schema has them."""
    coords: dict[Hashable, Any] = {schema.SAMPLE: sample.values}
    spectrum = {name: values.variable for name, values in _having(found, SPECTRUM)}
    if schema.EIGEN in found.sizes:
        coords[schema.EIGEN] = np.arange(found.sizes[schema.EIGEN])
    if schema.COMPONENT in found.sizes:
        coords[schema.COMPONENT] = np.arange(found.sizes[schema.COMPONENT])
    top = xr.Dataset({schema.INDEX: (schema.SAMPLE, index), **spectrum}, coords)
    nodes = {f"/{name}": top}
    for role, group in GROUPS.items():
        variables = {name: values.variable for name, values in _having(found, role)}
        nodes[f"/{name}/{group}"] = xr.Dataset(variables, _score_coords(found) if role == SCORE else None)
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
