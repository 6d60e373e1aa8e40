"""Every rule, from its row alone: a new row is tested here once :mod:`tests.relfunc.oracle_rules` has its formula."""

import copy
import inspect
import pickle
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, fx

import relfunc as rf
from relfunc import rules
from relfunc.composites.toml import from_toml, to_toml
from relfunc.graph.affine import scale_shift
from relfunc.graph.canonize import canonize
from relfunc.graph.facts import facts
from relfunc.ops.table import OPS, Kind
from relfunc.relevance.rewrite import propagation
from relfunc.rules import RULES, Clipping, Elementary, NormScaled, Rule, row_of
from relfunc.rules.propagate import Propagate
from relfunc.rules.step import RuleRow

from ..examples import EXAMPLES
from ..graph.test_facts import values_of
from ..oracle import assert_close
from ..oracle_rules import ORACLE, Given

REQUIRED = {"low": -3.0, "high": 2.5}
"""Arguments without a default."""

STABILIZERS = [0.3, Clipping(0.2), NormScaled(0.1, dim=(-1,), clip=True)]

ROWS = [pytest.param(row, id=row.name) for row in RULES.values()]


def made(row: RuleRow, **options):
    assert row.make is not None
    needed = {name: value for name, value in REQUIRED.items() if name in inspect.signature(row.make).parameters}
    return row.make(**needed, **options)


def stabilizer_of(row: RuleRow) -> str:
    """Name of the argument by which a rule is stabilized; empty if it is not."""
    names = inspect.signature(row.make).parameters
    return next((name for name in ("stabilizer", "epsilon") if name in names), "")


def variants(row: RuleRow):
    stabilizer = stabilizer_of(row)
    return [made(row), *(made(row, **{stabilizer: one}) for one in STABILIZERS if stabilizer)]


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_rules_are_values(row):
    for rule in variants(row):
        twins = [pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule), row.make(**dict(rule.options))]
        assert twins == [rule] * 3
        assert {hash(twin) for twin in twins} == {hash(rule)}
        assert str(rule) == f"{row.name}({', '.join(f'{key}={value}' for key, value in rule.options)})"
    assert len(set(variants(row))) == len(variants(row))


def test_all_rules_differ():
    assert len({made(row) for row in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("row", ROWS)
def test_rules_go_through_toml(row):
    composite = rf.composites.by_type({str(i): rule for i, rule in enumerate(variants(row))})
    assert from_toml(to_toml(composite)) == composite


@pytest.mark.parametrize("row", ROWS)
def test_a_rule_of_the_users_with_the_name_of_ours_is_not_written_as_ours(row):
    mine = rf.composites.by_type({"*": Rule(row.name, ())})
    with pytest.raises(rf.composites.CompositeError, match="TOML cannot hold"):
        to_toml(mine)


# --- rows, and lists that must agree with them --------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_the_public_function_makes_what_the_row_is_of(row):
    assert getattr(rules, row.make.__name__) is row.make
    assert row.make.__name__ in rules.__all__
    assert "Examples\n" in row.make.__doc__
    rule = made(row)
    assert rule.name == row.name == row.make.__name__.rstrip("_")
    assert replace(row_of(rule), name=row.name, make=row.make, base=row.base) == row


def test_every_public_function_that_makes_a_rule_has_a_row():
    functions = [getattr(rules, name) for name in rules.__all__ if inspect.isfunction(getattr(rules, name))]
    makers = {f.__name__ for f in functions if f.__annotations__.get("return") in {Rule, Elementary}}
    assert makers - {"simplify"} == {row.make.__name__ for row in RULES.values()}


@pytest.mark.parametrize("row", ROWS)
def test_a_rule_is_meant_for_kinds_of_operations(row):
    meant_for = [kind for kind in get_args(Kind) if row.suits(made(row), kind)]
    said = row.meant_for if isinstance(row.meant_for, str) else row.meant_for(made(row))
    assert meant_for
    assert sorted(meant_for) == sorted(said.split())


def test_base_composites_give_every_operation_with_a_rule_one():
    """An affine operation gets its rule from the composite's own rows."""
    types = {op.type for op in [*OPS.values(), *(o.alone for o in OPS.values() if o.alone)]} | set(get_args(Kind))
    based = [type_ for row in RULES.values() for type_ in row.base.split("|") if row.base]
    assert len(set(based)) == len(based)
    assert set(based) <= types
    carrying = {name: op for name, op in OPS.items() if op.kind not in {"static", "affine", "composed"}}
    without = {name for name, op in carrying.items() if not {op.type, op.kind} & set(based)}
    assert without == {name for name, op in carrying.items() if op.refused}


def test_what_is_no_rule_is_an_error():
    with pytest.raises(rules.RuleError, match="is no rule"):
        row_of(Elementary("passes"))
    with pytest.raises(rules.RuleError, match="is no rule"):
        row_of("epsilon")


# --- one operation, taken out of a model --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a canonical graph, with its values."""

    name: str
    graph: fx.Graph
    node: fx.Node
    values: dict[str, Tensor]

    def step(self, rule) -> tuple[Propagate, tuple[Tensor, ...], Tensor]:
        """Return the step of a rule, what it reads, and the output."""
        step, nodes = propagation(self.node, facts(self.graph), rule, dead=False)
        return step, tuple(self.values[n.name] for n in nodes), self.values[self.node.name]


@cache
def operation(name: str) -> Operation:
    model, x = EXAMPLES[name].model(name), EXAMPLES[name].input() - 0.45
    graph = canonize(rf.capture(model).graph)
    of = {scale_shift: "batch_norm"}
    found = [n for n in graph.nodes if n.op == "call_function" and n.meta["op"] is not None]
    node = next(n for n in reversed(found) if of.get(n.target, n.meta["op"].name) == name)
    return Operation(name, graph, node, values_of(model, graph, x))


def operations(row: RuleRow) -> list[Operation]:
    """One operation of each type that the base composites give the rule, or of each kind that it is meant for."""
    if row.base:
        wanted = [lambda op, t=t: t in {op.type, op.kind} and op.kind != "static" for t in row.base.split("|")]
    else:
        said = row.meant_for if isinstance(row.meant_for, str) else row.meant_for(made(row))
        wanted = [lambda op, kind=kind: op.kind == kind for kind in said.split()]
    names = sorted((name for name in OPS if name in EXAMPLES), key=lambda name: not name.endswith("2d"))
    return [operation(next(n for n in names if want(OPS[n]))) for want in wanted if any(map(want, OPS.values()))]


CASES = [pytest.param(row, one, id=f"{row.name}-{one.name}") for row in RULES.values() for one in operations(row)]


def relevance_like(z, seed=0):
    return torch.randn(z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def propagated(step, R, z, values):
    """Propagate with no more than the rule says that it reads: the rest is not a number."""
    seen = values if "values" in step.reads else tuple(torch.full_like(v, torch.nan) for v in values)
    return step(R.clone(), z if "output" in step.reads else None, *seen)


@pytest.mark.parametrize(("row", "one"), CASES)
def test_rule_equals_its_formula_and_reads_no_more_than_its_row_says(row, one):
    for rule in variants(row)[:3]:  # of one number each: those of several are in test_rules
        step, values, z = one.step(rule)
        R = relevance_like(z)
        options = dict(rule.options)
        expected = ORACLE[row.name](given(step, values, R), **options)
        for found, wanted in zip(propagated(step, R, z, values), expected, strict=True):
            assert_close(found.numpy().ravel(), np.asarray(wanted).ravel())


def given(step, values, R):
    data = step.call.data

    def f(*xs):
        filled = list(values)
        for slot, x in zip(data, xs, strict=True):
            filled[slot] = x
        return step.call(*filled)

    xs = tuple(values[slot] for slot in data)
    if not step.call.transposed:
        return Given(f, xs, R, arguments=step.call.args[1:])
    parameters = values[1:]
    return Given(f, xs, R, lambda x, W, b: step.call.target(x, W, b, **step.call.kwargs), *parameters)


@pytest.mark.parametrize(("row", "one"), CASES)
def test_only_receivers_get_relevance(row, one):
    step, values, z = one.step(made(row))
    found = step(relevance_like(z), z, *values)
    assert set(step.receivers) <= set(step.call.data)
    for slot, part in zip(step.call.data, found, strict=True):
        assert part.shape == values[slot].shape
        assert part.any() == (slot in step.receivers)


@pytest.mark.parametrize(("row", "one"), CASES)
def test_relevance_vanishes_where_its_row_says_so(row, one):
    rule = made(row)
    step, values, _ = one.step(rule)
    said = row.vanishes(rule, step.call.op)
    changed = tuple(v * (v > 0) if i in step.call.data else v for i, v in enumerate(values))
    z = step.call(*changed)
    R = relevance_like(z) * (z != 0 if said == "kept" else 1)
    for slot, part in zip(step.call.data, step(R, z, *changed), strict=True):
        assert said == "unknown" or (part[changed[slot] == 0] == 0).all()


@pytest.mark.parametrize(("row", "one"), CASES)
def test_relevance_passes_unchanged_where_its_row_says_so(row, one):
    step, values, z = one.step(made(row))
    R = relevance_like(z)
    if row.unchanged:
        assert all(torch.equal(part, R) for part in step(R, z, *values))


@pytest.mark.parametrize(("row", "one"), CASES)
def test_memory_is_its_own_where_its_row_says_so(row, one):
    step, values, z = one.step(made(row))
    R = relevance_like(z)
    found = step(R, z, *values)
    if row.memory == "own":
        memory = [a.untyped_storage().data_ptr() for a in (*found, R, z, *values)]
        assert len(set(memory[: len(found)])) == len(found)
        assert set(memory[: len(found)]).isdisjoint(memory[len(found) :])
    before = R.clone()
    again = replace(step, owned=True)(R, z, *values)
    torch.testing.assert_close(again, found, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(step(before, z, *values), found, rtol=0, atol=0)


@pytest.mark.parametrize(("row", "one"), CASES)
def test_a_rectified_output_and_a_simplified_rule_give_the_same(row, one):
    rule = made(row)
    step, values, z = one.step(rule)
    R = relevance_like(z) * (z > 0)
    simple = replace(step, rule=row.simplify(rule, nonnegative=False, dead=True), rectified=True)
    torch.testing.assert_close(simple(R, z.relu(), *values), step(R, z, *values), rtol=1e-10, atol=1e-12)


# --- accounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "one"), CASES)
def test_plan_and_audit_account_for_it(row, one):
    model, x = EXAMPLES[one.name].model(one.name), EXAMPLES[one.name].input() - 0.45
    stabilizer = stabilizer_of(row)
    rule = made(row, **{stabilizer: 0.3}) if stabilizer else made(row)

    def composite(operation):
        return rule if operation.node == one.node.name else rules.gradient()

    plan = rf.plan(model, composite)
    if row.constant:  # it carries no relevance, so that it is no operation of the plan
        assert one.node.name not in plan.index
        return
    assert plan.loc[one.node.name, "rule"] == str(rule)
    assert plan.loc[one.node.name, "forwards"] >= 0
    account = rf.audit(model, composite, x, lambda y: (torch.zeros_like(y[0]), relevance_like(y[1]))).loc[one.node.name]
    parts = account[["passed", "bias", "stabilizer", "softmax", "tables", "dropped"]]
    assert parts.sum() == pytest.approx(account["relevance"], abs=1e-9)
    step, values, z = one.step(rule)
    expected = ORACLE[row.name](given(step, values, relevance_like(z)), **dict(rule.options))
    assert account["passed"] == pytest.approx(sum(float(np.sum(part)) for part in expected), abs=1e-9)
    if stabilizer:
        assert account["dropped"] == pytest.approx(0, abs=1e-9)
        assert abs(account["stabilizer"]) > 1e-3
    else:
        assert account["stabilizer"] == account["bias"] == 0
