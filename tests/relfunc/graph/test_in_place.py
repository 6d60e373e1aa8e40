"""Writes in place: whatever names of one memory are written to and read, the graph is the model."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf
from relfunc.errors import CanonizeError, SharedMemoryError

from ..conformance import GRADIENT


class Function(nn.Module):
    """A function of an input and a layer."""

    def __init__(self, function: Any, layer: nn.Module) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x):
        return self.function(x, self.layer)


VIEWS = (
    "h[:, 1:3]",
    "h[0:1]",
    "h[..., 2]",
    "h[None]",
    "h.transpose(0, 1)",
    "h.mT",
    "h.view(-1)",
    "h.unsqueeze(0)",
    "h.squeeze(0)",
    "h.chunk(2, 0)[1]",
    "h.split(1, 0)[0]",
    "h.unbind(0)[1]",
    "h.select(0, 1)",
    "h.narrow(0, 1, 1)",
    "h.diagonal()",
    "h.permute(*range(h.ndim)[::-1])",
    "h.movedim(0, -1)",
    "h.clone()",
    "h * 2",
    "h[[0, 1]]",
)
WRITES = (
    "h.add_(1)",
    "h += 1.5",
    "h.relu_()",
    "h.mul_(v0.mean())",
    "h.zero_()",
    "h.fill_(0.3)",
    "h.fill_(v0.mean())",
    "h.copy_(h * 2)",
    "h[0] = 0.5",
    "h[..., -1] = v0.sum()",
    "h.masked_fill_(h > 0, 0.2)",
    "h.gt_(0.1)",
    "h.unsqueeze_(0)",
    "h.transpose_(0, -1)",
    "h.squeeze_()",
    "h.index_add_(0, torch.tensor([0]), h[:1] * 1)",
)
UNSURE = ("h.flatten()", "h.reshape(-1)", "h.contiguous()", "h.expand_as(h)", "h.detach()", "h.unfold(0, 2, 1)")


def program(seed: int, views: tuple[str, ...]) -> str:
    """Write a forward that takes views of tensors and writes to them at random, and returns all of them."""
    draw = random.Random(seed)
    lines, n = ["v0 = x * 1.25 - 0.1"], 1
    for _ in range(draw.randint(3, 9)):
        lines.append(f"h = v{draw.randrange(n)}")
        if draw.random() < 0.5:
            lines.append(f"v{n} = {draw.choice(views)}")
            n += 1
        else:
            lines.append(draw.choice(WRITES))
    return "\n    ".join(["def forward(self, x):", *lines, f"return [{', '.join(f'v{i} * 1' for i in range(n))}]"])


def made(seed: int, views: tuple[str, ...]) -> tuple[nn.Module, Tensor, Any] | None:
    """Return a model, its input and its output; None for a program that torch itself refuses."""
    names: dict[str, Any] = {"torch": torch}
    exec(program(seed, views), names)
    model = type("Program", (nn.Module,), {"forward": names["forward"]})().eval()
    x = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    try:
        with torch.no_grad():
            return model, x, model(x.clone())
    except (RuntimeError, IndexError, ValueError):
        return None


@pytest.mark.parametrize("seeds", [range(i, i + 20) for i in range(0, 80, 20)], ids=str)
def test_programs_of_views_and_writes_are_the_model(seeds):
    programs = [found for seed in seeds if (found := made(seed, VIEWS)) is not None]
    assert len(programs) > 10
    for model, x, expected in programs:
        found = rf.capture(model, example_inputs=x, check=False)(x)
        assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("seeds", [range(100, 130)], ids=str)
def test_programs_with_unsure_views_are_the_model_or_refused(seeds):
    refused = 0
    for model, x, expected in filter(None, (made(seed, VIEWS + 3 * UNSURE) for seed in seeds)):
        try:
            found = rf.capture(model, example_inputs=x, check=False)(x)
        except SharedMemoryError:
            refused += 1
        else:
            assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(found, expected, strict=True))
    assert refused


def mask_of_regions(x, linear):
    mask = x.new_zeros((4, 6))
    for i, (rows, columns) in enumerate([((0, 2), (0, 3)), ((2, None), (3, None))]):
        mask[slice(*rows), slice(*columns)] = i + 1
    mask = mask.view(2, 2, 6).transpose(0, 1).reshape(4, 6)
    return linear(x + mask)


def part_of_a_bias(x, linear):
    bias = linear.bias.clone()
    bias[1:3].zero_()
    return torch.nn.functional.linear(x, linear.weight, bias)


def masked_by_hand(x, linear):
    mask = torch.zeros(6, dtype=x.dtype)
    y = x + mask
    mask[0] = 1.0
    return linear(y * mask)


def constant_with_values(x, linear):
    memory = torch.zeros(4, 6, dtype=x.dtype)
    memory[0] = x[:, 0].mean()
    memory[1] = 1.0
    return linear(x + memory * 2)


def token_by_token(x, linear):
    out = torch.zeros_like(x)
    for i, part in enumerate(x.unbind(1)):
        out[:, i] = part * (i + 1)
    out[:, 0].add_(out[:, 1])
    return linear(out)


WRITTEN = (mask_of_regions, part_of_a_bias, masked_by_hand, constant_with_values, token_by_token)


@pytest.mark.parametrize("function", WRITTEN, ids=lambda function: function.__name__)
def test_what_models_write_has_the_gradient_of_autograd(function):
    torch.manual_seed(0)
    model = Function(function, nn.Linear(6, 3)).eval().double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    y, relevance = rf.gradient(rf.lrp(model, GRADIENT, example_inputs=x))(x, lambda y: torch.ones_like(y))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(relevance, gradient, rtol=1e-12, atol=1e-14)


def test_writes_under_vmap_are_one_for_each_sample():
    model = Function(token_by_token, nn.Linear(6, 3)).eval().double()
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    captured = rf.capture(model, example_inputs=x[0])
    found = torch.func.vmap(captured)(x)
    torch.testing.assert_close(found, torch.stack([model(a) for a in x]), rtol=1e-12, atol=1e-14)


def test_what_is_a_view_by_strides_alone_is_exported():
    def forward(x, linear):
        h = linear(x)
        h.flatten(1)[:, 0] = 1.0
        return h

    model = Function(forward, nn.Linear(6, 3)).eval().double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    with pytest.raises(SharedMemoryError, match=r"writes to a view of 'linear', which is read later: clone"):
        rf.capture(model, example_inputs=x)
    y, _ = rf.gradient(rf.lrp(model, GRADIENT, example_inputs=x))(x, lambda y: torch.ones_like(y))
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-14)


def test_view_of_a_constant_that_is_written_to_is_refused():
    def forward(x, linear):
        memory = torch.zeros(2, 6, dtype=x.dtype)
        memory[0].add_(x[0, 0])
        return linear(x.sum(1) + memory)

    model = Function(forward, nn.Linear(6, 3)).eval().double()
    with pytest.raises(CanonizeError, match="which is read later"):
        rf.capture(model, example_inputs=torch.randn(2, 4, 6, dtype=torch.float64))


def test_what_is_written_keeps_its_type():
    def forward(x, linear):
        h = linear(x).float()
        h += x[..., :3]
        return h

    model = Function(forward, nn.Linear(6, 3)).eval().double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    assert rf.capture(model, example_inputs=x)(x).dtype is torch.float32
