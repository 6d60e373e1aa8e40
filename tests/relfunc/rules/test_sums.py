"""Sums of several values: shares by magnitudes or positive parts equal the dense oracle, and stay bounded."""

import numpy as np
import pytest
import torch
from torch import nn

import relfunc as rf
from relfunc.rules import Clipping, PropagateError

from ..efficient import GPT2, Transformer
from ..kinds import net, normal, ones
from ..oracle import assert_close
from ..oracle_rules import ORACLE, Given

SUMS = {
    "two": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "difference the other way": lambda a, b: torch.rsub(a, b),
    "weighted": lambda a, b: torch.add(a, b, alpha=-0.5),
    "broadcast": lambda a, b: a + b[:1],
    "with itself": lambda a, b: b + b,
    "of one value": lambda a, b: (a + b).mean(1),
}
pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")

STABILIZERS = [1e-6, 0.3, Clipping(0.2)]


@pytest.mark.parametrize("by", ["magnitude", "positive"])
@pytest.mark.parametrize("case", SUMS)
def test_residual_equals_its_formula(case, by):
    for stabilizer in STABILIZERS:
        rule = rf.rules.residual(by, stabilizer=stabilizer)
        composite = rf.composites.by_type({"sum": rule, "move": rf.rules.gradient()})
        xs = (normal(3, 4), normal(3, 4, seed=2))
        R = normal(*SUMS[case](*xs).shape, seed=5)
        model = net(lambda s, x: SUMS[case](x[0], x[1]))
        found = rf.gradient(rf.lrp(model, composite))(torch.stack(xs), R)[1]
        if case == "with itself":
            given = Given(lambda a, b: a + b, (xs[1], xs[1]), R)
            expected = [np.zeros(12), sum(ORACLE["residual"](given, by, stabilizer))]
        elif case == "broadcast":
            expected = ORACLE["residual"](Given(lambda a, b: a + b, (xs[0], xs[1][:1]), R), by, stabilizer)
            expected[1] = np.concatenate([expected[1], np.zeros(8)])
        elif case == "of one value":
            mean = ORACLE["norm"](Given(lambda a: a.mean(1), (xs[0] + xs[1],), R), stabilizer)[0]
            at = Given(lambda a, b: a + b, xs, torch.tensor(mean).reshape(3, 4))
            expected = ORACLE["residual"](at, by, stabilizer)
        else:
            expected = ORACLE["residual"](Given(SUMS[case], xs, R), by, stabilizer)
        assert_close(found.numpy().ravel(), np.concatenate(expected))


def test_shares_stay_between_0_and_1_where_values_cancel():
    model = net(lambda s, x: x[:, :1] + x[:, 1:])
    x = torch.tensor([[3.0, -3.0], [2.0, -1.999], [0.0, 0.0], [-1.0, -2.0]]).double()
    by_value, by_magnitude, by_positive = (
        rf.gradient(rf.lrp(model, rf.composites.attnlrp(residual=by)))(x, ones)[1]
        for by in (None, "magnitude", "positive")
    )
    assert by_value.abs().max() > 1000
    wanted = torch.tensor([[0.5, 0.5], [2 / 3.999, 1.999 / 3.999], [0, 0], [1 / 3, 2 / 3]]).double()
    torch.testing.assert_close(by_magnitude, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        by_positive, torch.tensor([[1.0, 0], [1, 0], [0, 0], [0, 0]]).double(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("by", ["magnitude", "positive"])
@pytest.mark.parametrize("make", [rf.composites.attnlrp, rf.composites.cp_lrp])
def test_a_transformer_accounts_for_all_relevance(make, by):
    composite = make(residual=by)
    assert rf.toml.from_toml(rf.toml.to_toml(composite)) == composite
    assert f"residual(by={by}" in str(composite)
    model = Transformer(GPT2)
    x = model.example()
    table = rf.audit(model, composite, x, 1, example_inputs=x)
    assert table["rule"].str.startswith("residual").sum() > 4
    assert table["dropped"].abs().max() < 1e-9


def test_what_is_not_named_or_no_sum_is_an_error():
    with pytest.raises(rf.rules.RuleError, match="give 'magnitude' or 'positive'"):
        rf.rules.residual("sign")
    ops = {**rf.ops.OPS, torch.logaddexp: rf.ops.Op("combination", type="sum")}
    model = net(lambda s, x: torch.logaddexp(x, s.a(x)), a=nn.Linear(4, 4))
    explain = rf.gradient(rf.lrp(model, rf.composites.attnlrp(residual="magnitude"), ops=ops))
    with pytest.raises(PropagateError, match=r"element by element, not 'logaddexp': give norm\(\)"):
        explain(normal(), ones)
