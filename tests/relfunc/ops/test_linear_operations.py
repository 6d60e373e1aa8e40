"""Sums, means, pooling, interpolation and products with constants equal the dense oracle, input by input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf
from relfunc.rules import Clipping, NormScaled, Plain
from relfunc.rules.propagate import PropagateError

from .. import oracle
from ..oracle import assert_close

STABILIZERS = {
    "plain": (Plain(0.5), oracle.plain(0.5)),
    "clipping": (Clipping(0.5), oracle.clipping(0.5)),
    "norm": (NormScaled(0.5), oracle.norm_scaled(0.5)),
}
CONSTANT = torch.tensor(np.random.default_rng(7).normal(size=(3, 4)))


def image_operation(function):
    return function, ((2, 2, 4, 4),)


LINEAR_OPERATIONS = {
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 2), ((2, 2, 4),)),
    "avg_pool2d": image_operation(lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2), ((1, 2, 2, 2, 2),)),
    "adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x, 3), ((2, 2, 4),)),
    "adaptive_avg_pool2d": image_operation(lambda x: F.adaptive_avg_pool2d(x, (3, 1))),
    "adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, 1), ((1, 2, 2, 2, 2),)),
    "module": (nn.AvgPool2d(2), ((2, 2, 4, 4),)),
    "sum": image_operation(lambda x: x.sum((2, 3))),
    "torch.sum": image_operation(lambda x: torch.sum(x, dim=1, keepdim=True)),
    "mean": image_operation(lambda x: x.mean(-1)),
    "add": (lambda x, y: x + y, ((2, 3), (2, 3))),
    "torch.add, alpha": (lambda x, y: torch.add(x, y, alpha=-0.5), ((2, 3), (2, 3))),
    "add, broadcast": (lambda x, y: x + y, ((2, 3, 4), (3, 1))),
    "add, constant": (lambda x: x + 0.75, ((2, 3),)),
    "add, itself": (lambda x: x + x, ((2, 3),)),
    "sub": (lambda x, y: x - y, ((2, 3), (2, 3))),
    "rsub": (lambda x: 1.5 - x, ((2, 3),)),
    "neg": (lambda x: -x, ((2, 3),)),
    "cat": (lambda x, y: torch.cat([x, y], 1), ((2, 3), (2, 2))),
    "cat, one twice": (lambda x, y: torch.cat([x, y, x], dim=-1), ((2, 3), (2, 2))),
    "stack": (lambda x, y: torch.stack((x, y), dim=-1), ((2, 3), (2, 3))),
    "interpolate nearest": image_operation(lambda x: F.interpolate(x, scale_factor=2)),
    "interpolate bilinear": image_operation(lambda x: F.interpolate(x, size=(3, 5), mode="bilinear")),
    "upsample": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), ((1, 2, 2, 3),)),
    "einsum": (lambda x, C: torch.einsum("oi,bi->bo", C, x), ((2, 4),)),
    "einsum, data first": (lambda x, C: torch.einsum("bi,oi->bo", x, C), ((2, 4),)),
    "matmul": (lambda x, C: torch.matmul(x, C), ((2, 3),)),
    "@": (lambda x, C: C @ x, ((2, 4, 3),)),
    "mm": (lambda x, C: torch.mm(x, C), ((2, 3),)),
    "bmm": (lambda x, C: torch.bmm(x, C.expand(2, 3, 4)), ((2, 2, 3),)),
}
WITH_CONSTANT = ("einsum", "einsum, data first", "matmul", "@", "mm", "bmm")


class OfOne(nn.Module):
    """A function of one tensor as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class OfTwo(OfOne):
    """A function of two tensors as a model."""

    def forward(self, x, y):
        return self.function(x, y)


class OfOneAndConstant(OfOne):
    """A function of one tensor and a buffer as a model."""

    def __init__(self, function):
        super().__init__(function)
        self.constant = nn.Buffer(CONSTANT)

    def forward(self, x):
        return self.function(x, self.constant)


def linear_operation(name):
    """A model, its inputs, and the relevance of its output."""
    function, shapes = LINEAR_OPERATIONS[name]
    rng = np.random.default_rng(len(name))
    xs = tuple(torch.tensor(rng.normal(size=shape)) for shape in shapes)
    model = (OfOneAndConstant if name in WITH_CONSTANT else OfOne if len(xs) == 1 else OfTwo)(function).eval()
    return model, xs, torch.tensor(rng.normal(size=tuple(model(*xs).shape)))


@pytest.mark.parametrize("stabilizer", ["plain", "clipping", "norm"])
@pytest.mark.parametrize("name", LINEAR_OPERATIONS)
def test_linear_operation_under_norm_equals_the_dense_oracle(name, stabilizer):
    model, xs, R = linear_operation(name)
    keep, formula = STABILIZERS[stabilizer]
    composite = rf.composites.by_type({"*": rf.rules.norm(stabilizer=keep)})
    _, relevances = rf.gradient(rf.lrp(model, composite))(xs, R)
    for actual, expected in zip(relevances, oracle.norm(model, xs, R, formula), strict=True):
        assert actual.shape == expected.shape
        assert_close(actual.numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rf.rules.zplus(), rf.rules.gamma(), rf.rules.epsilon(zero_params="bias")])
def test_rule_of_weights_over_an_operation_without_any_is_an_error(rule):
    model, xs, R = linear_operation("add")
    with pytest.raises(PropagateError, match=r"needs an operation with weights: give 'add' the rule norm\(\)"):
        rf.gradient(rf.lrp(model, rf.composites.by_type({"*": rule})))(xs, R)


def test_pass_over_a_scaling_that_broadcasts_sums_relevance():
    model = OfOneAndConstant(lambda x, C: x * C).eval()
    x, R = torch.rand(3, 1, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    _, relevance = rf.gradient(rf.lrp(model, rf.composites.by_type({"*": rf.rules.pass_()})))(x, R)
    torch.testing.assert_close(relevance, R.sum(1, keepdim=True))


# --- max pooling ------------------------------------------------------------------------------------

POOLINGS = {"windows": (2, 2, 0), "overlap": (3, 2, 1), "stride 1": (2, 1, 0), "gaps": (1, 2, 0)}


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("name", POOLINGS)
def test_max_pooling_equals_the_dense_oracle(name, functional):
    sizes = POOLINGS[name]
    model = OfOne(lambda x: torch.max_pool2d(x, *sizes)) if functional else nn.MaxPool2d(*sizes)
    rng = np.random.default_rng(4)
    x = torch.tensor(rng.normal(size=(2, 2, 5, 4)))
    R = torch.tensor(rng.normal(size=tuple(model(x).shape)))
    wanted = {
        rf.rules.gradient(): oracle.winner_takes_all(x.numpy(), R.numpy(), *sizes),
        rf.rules.proportional(stabilizer=0.1): oracle.proportional(x.numpy(), R.numpy(), *sizes, st=oracle.plain(0.1)),
    }
    for rule, expected in wanted.items():
        composite = rf.composites.by_type({"max_pool": rule})
        assert_close(rf.gradient(rf.lrp(model.eval(), composite))(x, R)[1].numpy(), expected)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.max_pool1d(x, 2), (2, 3, 5)),
        (lambda x: F.max_pool2d(x, 3, 2, 1, 1, True), (1, 2, 6, 5)),
        (lambda x: torch.max_pool2d(x, 3, 2, 1, 1, True), (1, 2, 6, 5)),
        (lambda x: F.max_pool3d(x, (1, 2, 2)), (1, 2, 2, 4, 4)),
        (lambda x: F.adaptive_max_pool1d(x, 2), (2, 3, 5)),
        (lambda x: F.adaptive_max_pool2d(x, (2, 1)), (1, 2, 4, 3)),
        (lambda x: F.adaptive_max_pool3d(x, 1), (1, 2, 2, 2, 3)),
    ],
)
def test_proportional_max_pooling_conserves_relevance_window_by_window(function, shape):
    x = 0.1 + torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    composite = rf.composites.by_type({"max_pool": rf.rules.proportional(stabilizer=0)})
    f = rf.lrp(OfOne(function).eval(), composite)
    y = function(x)
    for i in range(y.numel()):
        one = torch.zeros(y.numel(), dtype=torch.float64)
        one[i] = 1
        _, relevance = rf.gradient(f)(x, one.view_as(y))
        seen = relevance != 0
        torch.testing.assert_close(relevance.sum(), one.sum())
        torch.testing.assert_close(relevance[seen], x[seen] / x[seen].sum())
        assert x[seen].max() == y.flatten()[i]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(x, 2, dilation=2),
        lambda x: torch.max_pool2d(x, 2, 2, 0, 2),
        lambda x: x.amax((2, 3)),
        lambda x: F.avg_pool2d(x, 2),
    ],
)
def test_proportional_over_what_has_no_average_is_an_error(function):
    f = rf.lrp(OfOne(function).eval(), rf.composites.by_type({"*": rf.rules.proportional()}))
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(PropagateError, match="proportional"):
        rf.gradient(f)(x, torch.ones_like(function(x)))


def test_own_rule_that_returns_too_few_relevances_is_an_error():
    def one(call, values, output, relevance):
        return relevance

    model, xs, R = linear_operation("add")
    with pytest.raises(PropagateError, match="the rule one returned 1 relevances for 'add', which has 2 inputs"):
        rf.gradient(rf.lrp(model, rf.composites.by_type({"*": one})))(xs, R)
