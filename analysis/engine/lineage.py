"""Nodes: results that may not have been computed yet, each known by the steps and nodes it comes from."""

import dataclasses
import inspect
import json
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from relfunc.keys import blocks
from relfunc.schema import ATTRIBUTION, SAMPLE

from ..errors import DataError, PlanError
from ..plan.tree import Chain, Each, Place, Plan, Step, name_of
from ..roles import ROLE, ROLES, is_per_sample, is_transient, merged
from . import keys
from .store import Store

log = logging.getLogger(__name__)

Apply = Callable[[xr.Dataset], xr.Dataset]


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """The result of some steps on the results of other nodes.

    Parameters
    ----------
    key : str or None
        Under which a store knows the result.
    steps : tuple of Step
        None for a source, and several only if each takes one sample at a time.
    inputs : tuple of Node
        What the first step is given.
    results_only : bool
        Whether those after it see only its results, as they do behind a branch.
    memory : dict
        The result, once it is there.
    """

    key: str | None
    steps: tuple[Step, ...] = ()
    inputs: tuple["Node", ...] = ()
    results_only: bool = False
    memory: dict[str, xr.Dataset] = dataclasses.field(default_factory=dict)

    def __sizeof__(self) -> int:
        """Bytes in memory, by which Dask decides whether a node is worth sending."""
        return object.__sizeof__(self) + sum(values.nbytes for values in self.memory.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Keyed(Step):
    """A step with the key of its code and parameters, which takes milliseconds to find."""

    key: str = ""


class Category(NamedTuple):
    """The name of a category's group; its data, or its results; and the key of its data, if they were read."""

    name: str
    data: xr.Dataset
    key: str | None = None


def keyed(plan: Plan) -> Plan:
    """Return a plan whose steps know their keys, for one run: code that is edited later is another's."""
    match plan:
        case Step():
            return Keyed(plan.function, plan.params, keys.of_call(plan.function, _bound(plan)))
        case Chain(plans) | Each(plans):
            return type(plan)(tuple(map(keyed, plans)))
        case Place(_, inside):
            return keyed(inside)


def source_node(source: Category, store: Store | None) -> tuple[Node, ...]:
    """Check a category's data; what of it is larger than a block stays where it is until a step asks for it."""
    for values in source.data.variables.values():
        if values.nbytes <= blocks.BYTES:
            values.load()
    key = source.key
    if key is None:
        _check_finite(source.data, source.name)
        key = keys.of_source(source.data) if store else None
    return (Node(key, memory={"": source.data}),)


def computed(name: str, end: tuple[Node, ...], store: Store | None) -> Category:
    """Return the results of a category, given its last nodes."""
    return Category(name, gathered(end, store), end[0].key)


def expanded(plan: Plan, state: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the nodes after a plan, given those before it; nothing is computed."""
    match plan:
        case Step():
            return (*state, _node((plan,), state))
        case Chain(plans):
            for one_by_one, group in groupby(plans, _is_per_sample):
                if one_by_one:
                    state = (*state, _node(tuple(step for step in group if isinstance(step, Step)), state))
                    continue
                for inner in group:
                    state = expanded(inner, state)
            return state
        case Each(plans):
            return joined(state, [expanded(inner, state) for inner in plans])
        case Place(_, inside):
            return expanded(inside, state)


def joined(state: tuple[Node, ...], ends: Iterable[tuple[Node, ...]]) -> tuple[Node, ...]:
    """Return the nodes after branches that began with the same nodes."""
    branches = [node for end in ends for node in end[len(state) :]]
    return (*state, *(dataclasses.replace(node, results_only=True) for node in branches))


def results(node: Node, store: Store | None) -> xr.Dataset:
    """Return what of a node belongs into the tree; working variables are neither read nor, if possible, computed."""
    if not node.steps or _is_transient(node):
        return xr.Dataset()
    if not node.memory and store and node.key:
        known = store.get(node.key, results_only=True)
        return known if known is not None else _only_results(_computed(node, store))
    return _only_results(value(node, store))


def value(node: Node, store: Store | None) -> xr.Dataset:
    """Return the result of a node: from memory, from the store, or computed."""
    if node.memory:
        return node.memory[""]
    known = store.get(node.key) if store and node.key and not _is_transient(node) else None
    if known is None:
        return _computed(node, store)
    return node.memory.setdefault("", known)


def gathered(end: tuple[Node, ...], store: Store | None) -> xr.Dataset:
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


def qualified(step: Step) -> str:
    """Name of a step's function with its module."""
    module, name = getattr(step.function, "__module__", ""), getattr(step.function, "__qualname__", None)
    return f"{module}.{name or name_of(step.function)}"


def _check_finite(source: xr.Dataset, category: str) -> None:
    attribution = source[ATTRIBUTION].variable
    if not np.issubdtype(attribution.dtype, np.floating):
        return
    wrong: list[Any] = []
    for part in blocks.cut(attribution.shape, attribution.dtype.itemsize):
        values = attribution[part].values
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):
                continue
        finite = np.isfinite(values).all(tuple(range(1, values.ndim)))
        wrong += source[SAMPLE].values[part][~finite].tolist()
    if wrong:
        raise DataError(
            f"category '{category}': the attribution of sample {wrong[0]!r} holds NaN or infinity"
            f"{f', and of {len(wrong) - 1} more' if len(wrong) > 1 else ''}: attribute it anew or drop it"
        )


def _node(steps: tuple[Step, ...], state: tuple[Node, ...]) -> Node:
    """Return the node of steps; its key is that of the last, and tells which nodes it sees only the results of."""
    inputs = tuple(f"{node.key}{' results' * node.results_only}" for node in state)
    for step in steps:
        if not isinstance(step, Keyed):
            return Node(None, steps, state)
        inputs = (*inputs, keys.of_result(step.key, inputs))
    return Node(inputs[-1], steps, state)


def _is_per_sample(plan: Plan) -> bool:
    return isinstance(plan, Step) and is_per_sample(plan.function)


def _is_transient(node: Node) -> bool:
    return all(is_transient(step.function) for step in node.steps)


def _computed(node: Node, store: Store | None) -> xr.Dataset:
    """Compute the result of a node and keep it."""
    last = node.steps[-1]
    began = time.perf_counter()
    data = folded(node.inputs, store)
    blockwise = _is_per_sample(last)
    computed = _by_blocks(data, node.steps) if blockwise else _described(_called(last, data), last, node.key)
    if store and node.key and not _is_transient(node):
        computed = store.put(node.key, computed, step=qualified(last), parameters=_parameters(last))
    log.info("%s: %.1f s", ", ".join(map(str, node.steps)), time.perf_counter() - began)
    return node.memory.setdefault("", computed)


def folded(nodes: Iterable[Node], store: Store | None) -> xr.Dataset:
    """Return the dataset that a step after some nodes is given."""
    data = xr.Dataset()
    for node in nodes:
        data = merged(data, results(node, store) if node.results_only else value(node, store))
    return data


def _called(step: Step, data: xr.Dataset) -> xr.Dataset:
    """Apply a step to arrays that it cannot write to, or to a copy if it does; its results are as files hold them."""
    try:
        computed = step.function(_read_only(data), **step.given())
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        log.warning("%s writes to what it is given (%s): it gets a copy", name_of(step.function), error)
        computed = step.function(data.copy(deep=True), **step.given())
    if not isinstance(computed, xr.Dataset):
        raise PlanError(f"{name_of(step.function)} returned a {type(computed).__name__}, not a Dataset")
    half = {
        name: values.astype(np.float32) for name, values in computed.variables.items() if values.dtype == np.float16
    }
    computed = computed.assign({str(name): values for name, values in half.items()})
    for variable in (computed, *computed.variables.values()):
        variable.attrs = {name: _attr(value) for name, value in variable.attrs.items()}
    return computed


def _read_only(data: xr.Dataset) -> xr.Dataset:
    """Return the same data in arrays that cannot be written to: others read them, too."""
    safe = data.copy()
    for variable in safe.variables.values():
        if isinstance(variable._data, np.ndarray):
            view = variable._data.view()
            view.flags.writeable = False
            variable.data = view
    return safe


def _attr(value: Any) -> Any:
    """Return an attribute as files can have it."""
    if isinstance(value, bool | np.bool):
        return int(value)
    kept = isinstance(value, str | int | float | np.number | np.ndarray | list | tuple)
    return value if kept else "" if value is None else str(value)


def _by_blocks(data: xr.Dataset, steps: tuple[Step, ...]) -> xr.Dataset:
    """Apply steps that take one sample at a time to blocks of samples, of which only the last result is kept."""
    n = data.sizes[SAMPLE]
    row = sum(variable.nbytes for variable in data.data_vars.values() if SAMPLE in variable.dims) // n
    whole: dict[Hashable, xr.Variable] = {}
    for part in blocks.cut((n,), row):
        block, made = data.isel({SAMPLE: part}), xr.Dataset()
        for step in steps:
            computed = _called(step, merged(block, made))
            made = merged(made, computed)
        for name, values in made.variables.items():
            if values.dims[:1] != (SAMPLE,):
                raise PlanError(f"{steps[-1]}: '{name}' has dimensions {values.dims}: 'sample' must be the first")
            if name not in whole:
                shape = (n, *values.shape[1:])
                whole[name] = xr.Variable(values.dims, np.empty(shape, values.dtype), values.attrs)
            whole[name][part] = values
    return xr.Dataset(whole)


def _only_results(data: xr.Dataset) -> xr.Dataset:
    return data[[name for name, values in data.data_vars.items() if values.attrs.get(ROLE) in ROLES]]


def _described(computed: xr.Dataset, step: Step, key: str | None) -> xr.Dataset:
    """Write on every result what made it."""
    attrs = {"step": qualified(step), "parameters": _parameters(step), **({"key": key} if key else {})}
    found = _only_results(computed)
    return computed.assign({name: values.assign_attrs(attrs) for name, values in found.data_vars.items()})


def _bound(step: Step) -> dict[str, Any]:
    """All parameters of a step, defaults included."""
    bound = inspect.signature(step.function).bind(None, **dict(step.params))
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def _parameters(step: Step) -> str:
    return json.dumps(_bound(step), default=str, sort_keys=True)
