"""Softmax is its Taylor expansion along its own axis, however it is written and whatever is masked."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..kinds import net, normal, ones
from .test_attention import close
from .test_spellings_of_attention import ATTNLRP, BASE, relevance

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "dtype"])
def test_softmax_is_its_expansion_along_its_own_axis(name, dim):
    functions = {
        "softmax": lambda x: torch.softmax(x, dim),
        "log_softmax": lambda x: F.log_softmax(x, dim=dim),
        "softmin": lambda x: F.softmin(-x, dim),
        "dtype": lambda x: x.softmax(dim, dtype=torch.float64),
    }
    x, R = normal(2, 3, 4), normal(2, 3, 4, seed=5)
    found = relevance(net(lambda s, x: functions[name](x)), x, seed=lambda y: R)
    close(found, x * (R - x.softmax(dim) * R.sum(dim, keepdim=True)), 1e-6)  # what softmin negates has an epsilon


def shifted(x, dim):
    return x - x.amax(dim, keepdim=True)


def quotient(e, dim):
    return e / e.sum(dim, keepdim=True)


SOFTMAXES = {
    "quotient": lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True),
    "of one exponential": lambda x, dim: quotient(x.exp(), dim),
    "by the maximum": lambda x, dim: quotient(torch.exp(x - x.max(dim, keepdim=True)[0]), dim),
    "by values that are detached": lambda x, dim: quotient((x - x.max(dim, True).values.detach()).exp(), dim),
    "by the mean": lambda x, dim: quotient((x - x.mean(dim, keepdim=True)).exp(), dim),
    "by the maximum of all": lambda x, dim: quotient((x - x.max()).exp(), dim),
    "axis put back": lambda x, dim: (lambda e: e / e.sum(dim).unsqueeze(dim))((x - x.amax(dim).unsqueeze(dim)).exp()),
    "times the reciprocal": lambda x, dim: (lambda e: e * e.sum(dim, True).reciprocal())(shifted(x, dim).exp()),
    "times one over": lambda x, dim: (lambda e: (1 / e.sum(dim, keepdim=True)) * e)(shifted(x, dim).exp()),
    "times a power": lambda x, dim: (lambda e: e * e.sum((dim,), True) ** -1)(shifted(x, dim).exp()),
    "in place": lambda x, dim: (lambda e: e.div_(e.sum(dim, keepdim=True)))(shifted(x, dim).exp_()),
    "by logarithms": lambda x, dim: torch.exp(x - x.exp().sum(dim, keepdim=True).log()),
    "by logsumexp": lambda x, dim: torch.exp(x - torch.logsumexp(x, dim, keepdim=True)),
    "by logarithms, shifted": lambda x, dim: (lambda z: (z - z.exp().sum(dim, True).log()).exp())(shifted(x, dim)),
    "by F.normalize": lambda x, dim: F.normalize(shifted(x, dim).exp(), p=1, dim=dim),
    "by a sum that is at least a number": lambda x, dim: (lambda e: e / e.sum(dim, True).clamp(min=1e-9))(x.exp()),
    "by the maximum and logarithms": lambda x, dim: (
        lambda m: (x - (m + (x - m).exp().sum(dim, keepdim=True).log())).exp()
    )(x.amax(dim, keepdim=True)),
}


@pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("case", SOFTMAXES)
def test_a_softmax_is_one_however_it_is_written(case, dim, via):
    x, R, function = normal(2, 3, 4), normal(2, 3, 4, seed=5), SOFTMAXES[case]
    model = net(lambda s, x: function(x, dim))
    f = rf.lrp(rf.capture(model, via=via, example_inputs=x), ATTNLRP)
    output, found = rf.gradient(f)(x, R)
    torch.testing.assert_close(output, x.softmax(dim), rtol=1e-12, atol=1e-12)
    close(found, x * (R - x.softmax(dim) * R.sum(dim, keepdim=True)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (lambda e: e / (e.sum(1, keepdim=True) + 0.1))(x.exp()),
        lambda x: (lambda e: e / (1 + e.sum(1, keepdim=True)))(x.exp()),
        lambda x: quotient(x.exp(), (1, 2)),
        lambda x: x.exp() / x.exp().sum(),
        lambda x: (lambda e: e / e.sum(1, keepdim=True).clamp(min=4.0))(x.exp()),
        lambda x: (lambda e: e / (1 + e.sum(1)[:, None, :]).clamp(min=4.0))(x.exp()),
    ],
    ids=["a number is added", "attention to nothing", "two axes", "all axes", "at least", "an axis by an index"],
)
def test_a_softmax_that_torch_does_not_have_is_its_expansion(function):
    x, R = normal(2, 3, 4), normal(2, 3, 4, seed=5)
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(24, 24)
    expected = x * ((R / function(x)).flatten() @ jacobian).view_as(x)
    close(relevance(net(lambda s, x: function(x)), x, seed=lambda y: R), expected)


NO_SOFTMAXES = {
    "of other exponentials": lambda s, x: x.exp() / (x * 2).exp().sum(1, keepdim=True),
    "of one part": lambda s, x: x.exp() / x[:, :2].exp().sum(1, keepdim=True),
    "over an axis that is not kept": lambda s, x: x[0].exp() / x[0].exp().sum(0),
    "by the logarithm of another sum": lambda s, x: x - (x * 2).exp().sum(1, keepdim=True).log(),
    "by a shift that is no constant": lambda s, x: quotient((x - x.amax(0, keepdim=True)).exp(), 1),
    "less than the sum": lambda s, x: (lambda e: e / (e.sum(1, keepdim=True) - 0.1))(x.exp()),
    "by a mask that is computed": lambda s, x: (lambda e: e / e.sum(1, keepdim=True))(x.exp() * x),
    "by the norm of two": lambda s, x: F.normalize(x.exp(), p=2, dim=1),
    "by a power": lambda s, x: x.exp() * x.exp().sum(1, keepdim=True) ** -2,
}


@pytest.mark.parametrize("case", NO_SOFTMAXES)
def test_what_is_no_softmax_of_the_scores_is_not_taken_for_one(case):
    model, x = net(NO_SOFTMAXES[case]), normal()
    given = rf.plan(model, ATTNLRP)
    if case == "by a shift that is no constant":  # a softmax of what is left of the scores
        assert given["type"].tolist() == ["max_pool", "sum", "softmax"]
    elif case != "over an axis that is not kept":
        assert "softmax" not in given["type"].tolist()
    torch.testing.assert_close(rf.gradient(rf.lrp(model, ATTNLRP))(x, ones)[0], model(x), rtol=1e-12, atol=1e-12)


KEPT = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]])
MASKED = {
    "times a buffer": lambda s, x: quotient(x.exp() * s.mask, -1),
    "times truth values": lambda s, x: quotient((s.mask > 0) * shifted(x, -1).exp(), -1),
    "times truth values, as numbers": lambda s, x: quotient((s.mask > 0).to(x.dtype) * x.exp(), -1),
    "filled with zeros": lambda s, x: quotient(shifted(x, -1).exp().masked_fill(s.mask == 0, 0.0), -1),
    "where": lambda s, x: quotient(torch.where(s.mask > 0, x.exp(), 0.0), -1),
    "where not": lambda s, x: quotient(torch.where(s.mask == 0, 0.0, x.exp()), -1),
    "and a number": lambda s, x: (lambda e: e / (e.sum(-1, keepdim=True) + 1e-12))(x.exp() * s.mask),
    "normalized": lambda s, x: F.normalize(x.exp() * (s.mask > 0), p=1.0, dim=-1),
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_exponentials_are_the_softmax_of_masked_scores(case):
    x, R = normal(3, 4), normal(3, 4, seed=5) * KEPT
    y = x.masked_fill(KEPT == 0, -torch.inf).softmax(-1)
    model = net(MASKED[case])
    model.register_buffer("mask", KEPT.double())
    close(relevance(model, x, seed=lambda y: R), KEPT * x * (R - y * R.sum(-1, keepdim=True)), 1e-9)
    table = rf.audit(model, ATTNLRP, x, lambda y: R).loc["total"]
    assert abs(table["dropped"]) <= 1e-12 * R.abs().sum()


def test_values_that_are_weighed_before_the_sum_divides_them_are_those_of_attention():
    x = normal(2, 4, 4)
    first = net(lambda s, x: (lambda e: (e @ s.v(x)) / e.sum(-1, keepdim=True))((x @ x.mT).exp()), v=nn.Linear(4, 3))
    then = net(lambda s, x: (x @ x.mT).softmax(-1) @ s.v(x), v=nn.Linear(4, 3))
    close(relevance(first, x), relevance(then, x))
    other = net(lambda s, x: (lambda e: (e @ s.v(x)) / e.sum(-2, keepdim=True).mT)((x @ x.mT).exp()), v=nn.Linear(4, 3))
    assert "softmax" not in rf.plan(other, ATTNLRP, example_inputs=x)["type"].tolist()


BIASES = {
    "alibi": -torch.tensor([0.5, 0.25]).double()[:, None, None] * (torch.arange(4)[:, None] - torch.arange(4)).abs(),
    "relative positions": normal(7, 2, seed=8)[torch.arange(4)[:, None] - torch.arange(4) + 3].permute(2, 0, 1),
    "window": torch.zeros(4, 4).masked_fill(torch.ones(4, 4).tril(-2).bool(), -torch.inf).double(),
}


@pytest.mark.parametrize("case", BIASES)
def test_what_is_added_to_scores_takes_its_share(case):
    x, R, bias = normal(2, 2, 4, 4), normal(2, 2, 4, 4, seed=5), BIASES[case]
    z, y = x + bias, (x + bias).softmax(-1)
    seen = z.isfinite()
    of_scores = torch.where(seen, z, 0) * (R - y * (R * seen).sum(-1, keepdim=True))
    model = net(lambda s, x: (x + s.bias).softmax(-1), bias=bias)
    model.bias = bias
    found = relevance(model, x, seed=lambda y: R * seen)
    close(found, torch.where(seen, x / z, 0) * of_scores, 1e-6)
    close(relevance(model, x, BASE, seed=lambda y: R * seen), of_scores)


@pytest.mark.filterwarnings("ignore:the model's own output .* is NaN in sample 1")
def test_masked_scores_get_no_relevance_and_nothing_is_not_a_number():
    mask = torch.tensor([[0, -torch.inf, 0], [-torch.inf] * 3, [0, 0, 0]], dtype=torch.float64)
    R = normal(3, 3, seed=5)
    for function in (
        lambda s, x: (x + s.mask).softmax(-1),
        lambda s, x: x.masked_fill(s.mask < 0, -torch.inf).softmax(-1),
        lambda s, x: torch.where(s.mask < 0, torch.finfo(x.dtype).min, x).softmax(-1),
        lambda s, x: (x + s.mask.clamp(min=torch.finfo(x.dtype).min)).softmax(-1),
        lambda s, x: quotient((x + s.mask).exp(), -1),
    ):
        model = net(function)
        model.register_buffer("mask", mask)
        found = relevance(model, normal(3, 3), seed=lambda y: R)
        assert found.isfinite().all()
        assert (found[mask < 0] == 0).all()
        assert (found[mask == 0] != 0).all()


def test_the_least_number_of_half_precision_masks_whatever_is_added_to_it():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])

    def weights(s, x):
        return (x @ x.mT + (mask == 0).to(x.dtype) * torch.finfo(x.dtype).min).softmax(-1) @ x

    x = normal(3, 4)
    for composite in (BASE, ATTNLRP, rf.composites.epsilon_plus()):
        expected = relevance(net(weights), x, composite)
        found = relevance(net(weights), x.half(), composite)
        assert found.dtype is torch.float32
        close(found.double(), expected, 0.02)
