"""Every operation under the rule that composites give it by its type equals the dense oracle."""

from dataclasses import replace

import numpy as np
import pytest

import relfunc as rf
from relfunc.graph.facts import facts
from relfunc.ops.table import OPS

from ..examples import EXAMPLES
from ..ops.test_every_operation import BECOMES
from ..oracle import assert_close
from ..oracle_rules import ORACLE
from .test_every_rule import given, operation, relevance_like

KINDS = {"combination", "product", "scaling", "activation", "other"}
RULES = {row.pattern: row.rule for row in rf.composites.attnlrp().base}
BY_TYPE = {pattern: rule for patterns, rule in RULES.items() for pattern in str(patterns).split("|")}
NAMES = [name for name, op in OPS.items() if name in EXAMPLES and op.kind in KINDS and not op.refused]
NAMES = [name for name in NAMES if name not in BECOMES and name != "grouped_mm"]  # affine once it is canonical


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_it_equals_the_oracle(name):
    one = operation(name)
    op = facts(one.graph).ops[one.node]
    rule = BY_TYPE.get(op.type) or BY_TYPE[op.kind]
    step, values, z = one.step(rule)
    R = relevance_like(z)
    at = given(step, values, R)
    if name == "log_softmax":  # the logarithm of a softmax, through which relevance passes
        at = replace(at, f=lambda x, f=at.f: f(x).exp())
    expected = ORACLE[rule.name](at, **dict(rule.options))
    for found, wanted in zip(step(R, z, *values), expected, strict=True):
        assert_close(found.numpy().ravel(), np.asarray(wanted).ravel())
