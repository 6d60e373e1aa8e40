"""Running a plan on a Dask cluster: categories, and branches of the plan, are tasks."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from ..plan.tree import Chain, Each, Plan
from .lineage import Category, Node, computed, expanded, results, source_node
from .store import Store


def on_cluster(plan: Plan, parts: Iterator[Category], store: Store | None, client: Any) -> Iterator[Category]:
    """Compute the categories and their branches as tasks of a Dask cluster; yield categories as they are done."""
    from dask import config
    from distributed import as_completed

    store = Store(store.path.resolve()) if store else None
    # what is sent goes with its task: were it kept by a worker, it would be lost with it
    with config.set({"distributed.admin.large-graph-warning-threshold": sys.maxsize}):
        tasks = []
        for part in parts:
            state = client.submit(source_node, part, store, pure=False)
            end = _submitted(plan, state, store, client)
            tasks.append(client.submit(computed, part.name, end, store, pure=False))
    try:
        for task in as_completed(tasks):
            yield task.result()
    finally:
        client.cancel(tasks)


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
    end = expanded(plan, state)
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
