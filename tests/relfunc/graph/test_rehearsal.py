"""What a forward caches on its first call is there before stand-ins come, and nothing of the model is written to."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf
from relfunc.errors import CaptureError

from ..conformance import GRADIENT
from ..kinds import net, normal


class Tables:
    """A cache that no copy of modules reaches."""

    def __init__(self) -> None:
        self.by_size: dict[Any, Tensor] = {}


def fresh():
    """Return a cache of functools' own, as a decorated method has it."""

    @lru_cache(maxsize=4)
    def distances(size: int) -> Tensor:
        places = torch.arange(size)
        return (places[:, None] - places).abs()

    return distances


def by_lru_cache(s, x):
    return torch.tanh(x @ s.table(x.shape[1]).to(x.dtype))


def by_object(s, x):
    size = x.shape[1]
    if size not in s.tables.by_size:
        s.tables.by_size[size] = torch.linspace(0, 1, size, dtype=x.dtype)
    return torch.tanh(x * s.tables.by_size[size])


def by_attribute(s, x):
    if s.kept is None or s.kept.shape[0] != x.shape[1]:
        s.kept = torch.arange(x.shape[1], dtype=x.dtype) * 0.1
    return torch.tanh(x * s.kept)


def by_parameters(s, x):
    if "row" not in s.tables.by_size:
        s.tables.by_size["row"] = s.rows.weight[torch.arange(x.shape[1])].sum(1)
    return torch.tanh(x * s.tables.by_size["row"])


def of_its_type(s, x):
    if "two" not in s.tables.by_size:
        s.tables.by_size["two"] = x.new_ones(()) * 2
    return torch.tanh(x * s.tables.by_size["two"])


CACHES = {
    "lru_cache": by_lru_cache,
    "an object": by_object,
    "an attribute": by_attribute,
    "of rows": by_parameters,
    "of its type": of_its_type,
}


def caching(name):
    model = net(CACHES[name], rows=nn.Embedding(9, 4))
    model.__dict__.update(table=fresh(), tables=Tables(), kept=None)
    return model


WAYS = [
    *((name, "trace") for name in CACHES),
    # torch exports no model that writes to its attributes
    *(pytest.param(name, "export", marks=pytest.mark.slow) for name in CACHES if name != "an attribute"),
]


@pytest.mark.parametrize(("name", "via"), WAYS)
def test_a_model_that_never_ran_is_captured_at_once(name, via):
    model, x = caching(name), normal(2, 5)
    captured = rf.capture(model, via=via, example_inputs=x)
    leaf = x.clone().requires_grad_()
    expected = caching(name)(leaf)
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    y, found = rf.gradient(rf.lrp(captured, GRADIENT))(x, torch.ones_like)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(found, gradient)
    assert model.kept is None
    assert type(model(x)) is Tensor  # no stand-in is left in its caches


def test_without_an_example_the_error_says_to_give_one():
    model, x = caching("of its type"), normal(2, 5)
    with pytest.raises(CaptureError, match="empty that, and give example_inputs"):
        rf.lrp(model, GRADIENT)(x)


@pytest.mark.parametrize("write", ["augmented", "in place"])
def test_buffers_are_not_written_to_before_that_is_refused(write):
    def forward(s, x):
        if write == "augmented":
            s.count += 1
        else:
            s.count.add_(1)
        return s.a(x) * s.count

    model = net(forward, a=nn.Linear(4, 3), count=torch.ones(()).double())
    with pytest.raises(rf.errors.RelfuncError, match="count"):
        rf.capture(model, example_inputs=normal(2, 4))
    assert model.count == 1


def test_a_model_that_does_not_run_on_its_example_says_so():
    model = net(lambda s, x: s.a(x), a=nn.Linear(4, 3))
    with pytest.raises(CaptureError, match="Net does not run on its example_inputs: RuntimeError: mat1"):
        rf.capture(model, example_inputs=normal(2, 5))
