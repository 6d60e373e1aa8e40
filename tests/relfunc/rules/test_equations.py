"""Products by an equation share as other products do: gates and chains are seen, and what sums is a matrix product."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..kinds import net, normal
from .test_attention import close
from .test_spellings_of_attention import ATTNLRP

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")

SIZES = {"b": 2, "i": 3, "j": 4}
PRODUCTS = {
    "bi,bi->bi": "bi bi",
    "b,bi->bi": "b bi",
    "i,bi->bi": "i bi",
    "ij,bi->bij": "ij bi",
    "jb,bi->jib": "jb bi",
    "b,i->bi": "b i",
    "b,i->ib": "b i",
    "b,i,j->ibj": "b i j",
    "...i,...i->...i": "bi bi",
    "...i,i->...i": "bi i",
    "...,...i->...i": "b bi",
    "...i,...j->...ij": "bi bj",
}


def factors(x, axes):
    shapes = [tuple(SIZES[a] for a in part) for part in axes.split()]
    parts = x.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def given(axes):
    return normal(sum(math.prod(SIZES[a] for a in part) for part in axes.split()))


@pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])
@pytest.mark.parametrize("equation", PRODUCTS)
def test_an_equation_that_sums_nothing_leaves_all_to_the_signals(equation, via):
    axes = PRODUCTS[equation]
    x = given(axes)

    def product(s, x):
        gate, *signals = factors(x, axes)
        return torch.einsum(equation, torch.sigmoid(gate), *signals)

    model = net(product)
    gate, *signals = factors(
        rf.gradient(rf.lrp(rf.capture(model, via=via, example_inputs=x), ATTNLRP))(x, lambda y: y)[1], axes
    )
    gradients = factors(x * torch.autograd.functional.jacobian(lambda x: product(None, x).sum(), x), axes)[1:]
    assert (gate == 0).all()
    for found, expected in zip(signals, gradients, strict=True):
        close(found, expected / len(signals))


def test_a_product_by_an_equation_is_a_link_of_a_chain():
    model = net(lambda s, x: x[:, 0] * torch.einsum("b,b->b", x[:, 1], x[:, 2]))
    found = rf.gradient(rf.lrp(model, ATTNLRP))(torch.tensor([[2.0, 3.0, 4.0]]).double(), lambda y: y)[1]
    torch.testing.assert_close(found, torch.full((1, 3), 8.0).double(), rtol=1e-12, atol=0)


NO_PRODUCTS = {"bi,bi->b": "bi bi", "bi,bi,bi->b": "bi bi bi", "bij,bi->bj": "bij bi", "bi,bj->ij": "bi bj"}


@pytest.mark.parametrize("equation", NO_PRODUCTS)
def test_an_equation_that_sums_is_a_matrix_product(equation):
    axes = NO_PRODUCTS[equation]
    x = given(axes)
    model = net(lambda s, x: torch.einsum(equation, *factors(x, axes)))
    assert "matrix_product" in rf.plan(model, ATTNLRP, example_inputs=x)["type"].tolist()
    found = rf.gradient(rf.lrp(model, ATTNLRP, example_inputs=x))(x, lambda y: y)[1]
    gradient = torch.autograd.functional.jacobian(lambda x: model(x).sum(), x)
    close(found, x * gradient / len(axes.split()), 1e-6)


@pytest.mark.parametrize(
    ("function", "share"),
    [
        (lambda a, b: a / (1 + torch.exp(-b)), 1),
        (lambda a, b: a / (1 + b.relu()), 1),
        (lambda a, b: a / (0.5 + torch.exp(-b)), 0.5),
        (lambda a, b: a / (1 + torch.tanh(b)), 0.5),
    ],
    ids=["a sigmoid", "more than one", "less than one at times", "less than one"],
)
def test_a_quotient_by_more_than_one_is_gated(function, share):
    x = normal(5, 2)
    f = rf.lrp(net(lambda s, x: function(x[:, 0], x[:, 1])), ATTNLRP)
    found = rf.gradient(f)(x, lambda y: y)[1]
    close(found[:, 0], share * function(x[:, 0], x[:, 1]))
    assert bool((found[:, 1] == 0).all()) == (share == 1)


def convolved(x, bias):
    return F.conv2d(x[:1, :18].view(1, 2, 3, 3), x[:, 18:].reshape(-1, 2, 2, 2), bias)


@pytest.mark.parametrize(
    ("function", "bias", "width"),
    [
        (lambda x, bias: F.linear(x[:, :4], x[:, 4:], bias), (3,), 8),
        (convolved, (3,), 26),
    ],
    ids=["linear", "convolution"],
)
def test_a_bias_of_a_layer_whose_weights_are_computed_is_booked_as_one(function, bias, width):
    x, model = normal(3, width), net(lambda s, x: function(x, s.bias))
    model.bias = nn.Parameter(normal(*bias, seed=4))
    total = rf.audit(model, ATTNLRP, x, lambda y: y, example_inputs=x).loc["total"]
    without = function(x, None)
    close(torch.tensor(total["passed"]), without.sum(), 1e-6)
    close(torch.tensor(total["bias"]), function(x, model.bias.detach()).sum() - without.sum(), 1e-6)
    assert abs(total["dropped"]) < 1e-8


@pytest.mark.parametrize("dim", [-1, 1])
def test_cosine_similarity_is_the_product_of_normalized_values(dim):
    x = normal(2, 3, 4)
    direct = net(lambda s, x: F.cosine_similarity(x, x.flip(1).cos(), dim))
    written = net(lambda s, x: (F.normalize(x, dim=dim) * F.normalize(x.flip(1).cos(), dim=dim)).sum(dim))
    found, expected = (rf.gradient(rf.lrp(m, ATTNLRP, example_inputs=x))(x, lambda y: y)[1] for m in (direct, written))
    close(found, expected)


def test_a_constant_that_is_compared_gets_nothing():
    model, x = net(lambda s, x: F.cosine_similarity(x, s.other, -1)), normal(2, 4)
    model.other = nn.Parameter(normal(4, seed=3))
    total = rf.audit(model, ATTNLRP, x, lambda y: y, example_inputs=x).loc["total"]
    close(torch.tensor(total["passed"]), model(x).sum().detach(), 1e-6)
