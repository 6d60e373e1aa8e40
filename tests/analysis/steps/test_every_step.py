"""Every step of the public table, and that the table has every one."""

import doctest
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.cluster import MeanShift

import analysis
from analysis import plan, step
from analysis.plan.catalogue import STEPS
from analysis.roles import GRAPH, MADE, ROLE, ROLES, made_by

NEEDED: dict[str, dict[str, Any]] = {
    "select_channel": {"channel": 0},
    "resize": {"height": 2, "width": 2},
    "estimator": {"make": MeanShift, "bandwidth": 2.0},
}
"""Parameters without a default."""
ANSWERS = {"duplicates"}
"""What is asked of data, and is no step: its answer goes nowhere in a tree."""


def whole() -> xr.Dataset:
    """All variables that steps read, for twelve samples."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4)) + 5 * (np.arange(12) % 2)[:, None]
    data = xr.Dataset(
        {
            "attribution": (("sample", "channel", "y", "x"), rng.normal(size=(12, 3, 4, 4))),
            "prediction": (("sample", "class"), rng.random((12, 2))),
            "features": (("sample", "feature"), x),
            "spectral": (("sample", "eigen"), x, {"role": "embedding"}),
            "eigenvalue": (("eigen",), [0.0, 0.0, 0.5, 0.6], {"role": "eigenvalue"}),
            "kmeans-02": (("sample",), np.arange(12) % 2, {"role": "clustering"}),
        },
        {"sample": np.arange(12)},
    )
    return data.merge(analysis.neighbor_graph(data, n_neighbors=3))


every = pytest.mark.parametrize("function", STEPS, ids=plan.name_of)


@every
def test_toml_round_trip(function: Callable[..., xr.Dataset]) -> None:
    made = plan.chain(step(function, **NEEDED.get(plan.name_of(function), {})))
    written = plan.to_toml(made)
    assert f'step = "analysis.{plan.name_of(function)}"' in written
    assert plan.from_toml(written) == made


@every
def test_pickle(function: Callable[..., xr.Dataset]) -> None:
    made = step(function, **NEEDED.get(plan.name_of(function), {}))
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(pickle.loads(pickle.dumps(made))) == hash(made)


@every
def test_print(function: Callable[..., xr.Dataset]) -> None:
    given = NEEDED.get(plan.name_of(function), {})
    shown = ", ".join(f"{name}={given[name]!r}" for name in sorted(given))
    assert str(step(function, **given)) == f"{plan.name_of(function)}({shown})"


@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
@every
def test_it_makes_what_it_declares(function: Callable[..., xr.Dataset]) -> None:
    declared = made_by(function)
    assert declared
    assert set(declared) <= set(MADE)
    found = function(whole(), **NEEDED.get(plan.name_of(function), {}))
    made = {str(values.attrs[ROLE]) for values in found.data_vars.values() if ROLE in values.attrs}
    made |= {str(name) for name in found.data_vars if name in MADE and name not in ROLES}
    made |= {GRAPH} if {"source", "target", "weight"} <= set(found.data_vars) else set()
    assert made & set(declared)
    assert not made - set(declared) - {"eigenvalue", "score"}  # of the spectrum, and of how good an approximation is


@every
def test_its_doc_has_a_doctest_and_all_parameters(function: Callable[..., xr.Dataset]) -> None:
    doc = inspect.getdoc(function) or ""
    assert doctest.DocTestParser().get_examples(doc)
    section = doc.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    for name in inspect.signature(function).parameters:
        assert name in section


@every
def test_its_options_are_by_name_and_have_types(function: Callable[..., xr.Dataset]) -> None:
    data, *options = inspect.signature(function).parameters.values()
    assert data.name == "data"
    assert all(option.kind in (option.KEYWORD_ONLY, option.VAR_KEYWORD) for option in options)
    assert all(option.annotation is not option.empty for option in (data, *options))


def test_every_public_step_is_in_the_table() -> None:
    public = {name: getattr(analysis, name) for name in analysis.__all__}
    takes_data = {
        name
        for name, value in public.items()
        if inspect.isfunction(value)
        and value.__annotations__.get("return") is xr.Dataset
        and next(iter(inspect.signature(value).parameters)) == "data"
    }
    assert takes_data - ANSWERS == {plan.name_of(function) for function in STEPS}
    assert not any(made_by(public[name]) for name in ANSWERS)
    assert [plan.name_of(function) for function in STEPS] == sorted(map(plan.name_of, STEPS))
