"""Chains of products share equally among their factors, whatever stands among them and however they are associated."""

import itertools
import math

import pytest
import torch

import relfunc as rf

from ..kinds import net, normal, ones
from .test_spellings_of_attention import ATTNLRP, BASE, associated

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")


def statistic(a):
    return torch.rsqrt(a.square().mean(-1, keepdim=True))


FACTORS = {
    "repeated": ([lambda a, b: a, lambda a, b: a, lambda a, b: b], (2 / 3, 1 / 3)),
    "a square": ([lambda a, b: a.square(), lambda a, b: b], (2 / 3, 1 / 3)),
    "a power": ([lambda a, b: a**3, lambda a, b: b], (3 / 4, 1 / 4)),
    "a power and its base": ([lambda a, b: a.pow(2), lambda a, b: a, lambda a, b: b], (3 / 4, 1 / 4)),
    "powers": ([lambda a, b: torch.pow(a, 2.0), lambda a, b: a**3, lambda a, b: b * b], (5 / 7, 2 / 7)),
    "a root": ([lambda a, b: a.abs().sqrt(), lambda a, b: b], (1 / 2, 1 / 2)),
    "a gate": ([lambda a, b: a, lambda a, b: b, lambda a, b: torch.sigmoid(b)], (1 / 2, 1 / 2)),
    "a gate by hand": ([lambda a, b: a, lambda a, b: 1 / (1 + torch.exp(-b))], (1, 0)),
    "gates": ([lambda a, b: a, lambda a, b: torch.sigmoid(a), lambda a, b: torch.sigmoid(b)], (1, 0)),
    "a function of a factor": ([lambda a, b: a, lambda a, b: b, lambda a, b: torch.tanh(a)], (1 / 2, 1 / 2)),
    "a statistic": ([lambda a, b: a, lambda a, b: b, lambda a, b: statistic(a)], (1 / 2, 1 / 2)),
    "statistics": (
        [lambda a, b: a, lambda a, b: b, lambda a, b: statistic(a), lambda a, b: statistic(b)],
        (1 / 2, 1 / 2),
    ),
    "a statistic and a gate": (
        [lambda a, b: a, lambda a, b: b, lambda a, b: statistic(a), lambda a, b: torch.sigmoid(b)],
        (1 / 2, 1 / 2),
    ),
    "a statistic and a square": ([lambda a, b: a * a, lambda a, b: b, lambda a, b: statistic(b)], (2 / 3, 1 / 3)),
    "a unit with silu": ([lambda a, b: a, lambda a, b: torch.nn.functional.silu(b)], (1 / 2, 1 / 2)),
    "a statistic of what is no factor": ([lambda a, b: a, lambda a, b: statistic(b)], (1 / 2, 1 / 2)),
}


def orders(n):
    found = [tree for order in itertools.permutations(range(n)) for tree in associated(order)]
    return found if n < 4 else found[::7]


def multiplied(tree, factors, between):
    if not isinstance(tree, tuple):
        return factors[tree]
    a, b = (multiplied(part, factors, between) for part in tree)
    return between(a * b)


BETWEEN = {
    "plain": lambda y: y,
    "constants": lambda y: 2 * y / 3,
    "views": lambda y: y.unsqueeze(0).flatten(0, 1),
    "casts and copies": lambda y: y.to(torch.float64).contiguous().clone(),
    "transposed": lambda y: y.t().contiguous().mT,
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("case", FACTORS)
def test_shares_do_not_depend_on_how_a_product_is_associated(case, between):
    functions, shares = FACTORS[case]
    x = normal(2, 3, 4)
    for tree in orders(len(functions)) if between == "plain" else orders(len(functions))[:3]:

        def model(s, x, tree=tree):
            a, b = x[0], x[1]
            return multiplied(tree, [f(a, b) for f in functions], BETWEEN[between])

        for composite in (BASE, ATTNLRP):
            f = rf.lrp(net(model), composite)
            found = rf.gradient(f)(x, ones)[1].sum((1, 2)) / 12
            torch.testing.assert_close(found, torch.tensor(shares).double(), rtol=0, atol=1e-6 / 12)


def test_a_quotient_shares_among_all_factors_above_and_below():
    model = net(lambda s, x: (x[0] * x[1]) / (x[2] * x[2]))
    found = rf.gradient(rf.lrp(model, ATTNLRP))(normal(3, 3, 4), ones)[1].sum((1, 2)) / 12
    torch.testing.assert_close(found, torch.tensor([1 / 4, 1 / 4, 1 / 2]).double())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_broadcast_factors_sum_their_shares(order):
    shapes = [(2, 1, 4), (1, 3, 1), (2, 3, 4)]
    parts = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    sizes = [math.prod(shape) for shape in shapes]

    def product(s, x):
        a, b, c = (part.view(shape) for part, shape in zip(x.split(sizes), shapes, strict=True))
        return multiplied(((order[0], order[1]), order[2]), [a, b, c], BETWEEN["plain"])

    x = torch.cat([part.flatten() for part in parts])
    found = rf.gradient(rf.lrp(net(product), ATTNLRP, example_inputs=x))(x, ones)[1].split(sizes)
    for part, size in zip(found, sizes, strict=True):
        torch.testing.assert_close(part, torch.full_like(part, 24 / 3 / size), rtol=1e-12, atol=0)


def mean(x):
    return x.cos()


def square(x):
    return x.cos()


@pytest.mark.parametrize("function", [mean, square], ids=lambda f: f.__name__)
def test_a_function_of_the_users_is_no_statistic_and_no_power_by_its_name(function):
    def named(graph):
        for node in graph.nodes:
            if node.op == "call_function" and rf.ops.name_of(node.target) == "cos":
                node.target = function
        return graph

    ops = {**rf.ops.OPS, function: rf.ops.Op("activation")}
    captured = rf.capture(net(lambda s, x: x[:, :2] * x[:, 2:].cos()), ops=ops, passes=(named,))
    found = rf.gradient(rf.lrp(captured, ATTNLRP, ops=ops))(normal(), ones)[1]
    torch.testing.assert_close(found, torch.full_like(found, 0.5))
