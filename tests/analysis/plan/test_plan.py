"""Plans: values that print, compare, hash and round trip through TOML."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis import PlanError, chain, each, plan, spray, step


def unfindable(data: xr.Dataset) -> xr.Dataset:
    return data


def parametrised(data: xr.Dataset, *, value: object = None, other: object = 1) -> xr.Dataset:
    return data


PLANS = {
    "step": step(analysis.pca, n_components=3),
    "chain": chain(step(analysis.absolute), step(analysis.flatten)),
    "each": each(step(analysis.pca), step(analysis.tsne, seed=3)),
    "nested": chain(
        each(
            chain(
                step(analysis.absolute), step(analysis.flatten), each(step(analysis.pca), step(analysis.pca, name="b"))
            ),
            chain(step(analysis.flatten), step(analysis.pca, name="c")),
        ),
        step(analysis.kmeans, embedding="b", clusters=range(2, 6)),
    ),
    "spray": spray(seed=3),
    "spray by log n": spray(n_neighbors=None, tsne=False),
}


@pytest.mark.parametrize("name", PLANS)
def test_toml_round_trip(name: str) -> None:
    read = plan.from_toml(plan.to_toml(PLANS[name]))
    assert read == chain(PLANS[name])
    assert hash(read) == hash(chain(PLANS[name]))
    assert str(read) == str(chain(PLANS[name]))


@given(
    st.recursive(
        st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    )
)
def test_every_value_toml_has_round_trips(value: object) -> None:
    plan_ = step(parametrised, value=value)
    read = plan.from_toml(plan.to_toml(plan_))
    assert read == chain(plan_)
    assert repr(read) == repr(chain(plan_))


def test_plans_are_equal_by_value_however_written() -> None:
    assert step(analysis.kmeans, clusters=[2, 3], seed=1) == step(
        analysis.kmeans, seed=np.int64(1), clusters=range(2, 4)
    )
    assert step(analysis.kmeans) != step(analysis.kmeans, seed=1)
    assert chain(step(analysis.absolute), chain(step(analysis.flatten))) == chain(
        step(analysis.absolute), step(analysis.flatten)
    )
    assert step(analysis.neighbor_graph, n_neighbors=None) == step(analysis.neighbor_graph)
    assert step(parametrised, other=None) != step(parametrised)


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2026-01-01T00:00:00.000000001", "ns"),
        np.datetime64("NaT", "ns"),
        np.datetime64("2026-01-01", "D"),
        np.timedelta64(3, "ns"),
        np.timedelta64(3, "s"),
    ],
)
def test_times_arrive_as_they_were_given(value: np.generic) -> None:
    for plan_, pick in ((step(parametrised, value=value), None), (step(parametrised, value=[value]), 0)):
        given = plan_.given()["value"]
        found = given if pick is None else given[pick]
        assert (type(found), found.dtype, str(found)) == (type(value), value.dtype, str(value))


@pytest.mark.parametrize(
    ("a", "b"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ((1, 2), (True, 2)), ((1, object), (True, object))]
)
@pytest.mark.parametrize("beside", [None, object()], ids=["", "beside what has no key"])
def test_values_of_other_types_are_other_plans(a: object, b: object, beside: object) -> None:
    def of(value: object) -> object:
        return plan.Step(parametrised, (("other", (beside, value)), ("value", value)))

    assert of(a) == of(a)
    assert of(a) != of(b)


def test_tree() -> None:
    assert str(PLANS["nested"]) == (
        "chain\n"
        "├─ each\n"
        "│  ├─ chain\n"
        "│  │  ├─ absolute()\n"
        "│  │  ├─ flatten()\n"
        "│  │  └─ each\n"
        "│  │     ├─ pca()\n"
        "│  │     └─ pca(name='b')\n"
        "│  └─ chain\n"
        "│     ├─ flatten()\n"
        "│     └─ pca(name='c')\n"
        "└─ kmeans(clusters=(2, 3, 4, 5), embedding='b')"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step(analysis.kmeans, n_clusters=3), "unexpected keyword.*'n_clusters'.*its parameters are clusters"),
        (lambda: step(None), "is not a function"),
        (lambda: chain(), "no plans were given"),
        (lambda: each(analysis.pca), "is not a plan: wrap the function"),
        (lambda: plan.to_toml(step(lambda data: data)), "cannot be imported"),
        (lambda: plan.to_toml(step(parametrised, value=object())), "TOML has no such value"),
        (lambda: plan.to_toml(step(parametrised, other=None)), "TOML has no such value"),
        (lambda: plan.from_toml("step = "), "is not TOML"),
        (lambda: plan.from_toml("step = 'analysis.nothing'"), "no function 'analysis.nothing'"),
        (lambda: plan.from_toml("step = 'nowhere.at.all'"), "no function 'nowhere.at.all'"),
        (lambda: plan.from_toml("step = 'pca'"), "no function 'pca'"),
        (lambda: plan.from_toml("step = 'analysis.plan'"), "is not a function"),
        (lambda: plan.from_toml("step = 'analysis.pca'\nn = 3"), "its parameters are n_components"),
        (lambda: plan.from_toml("steps = []"), "a plan's table holds 'step'"),
        (lambda: plan.from_toml("chain = []"), "no plans were given"),
    ],
)
def test_errors_say_what_to_do(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(PlanError, match=message):
        make()


def test_a_plan_cannot_be_changed() -> None:
    frozen = spray()
    with pytest.raises(AttributeError):
        frozen.plans = ()  # pyright: ignore[reportAttributeAccessIssue]
