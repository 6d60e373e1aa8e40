"""What the tables by kind share: a model written as one function, and the comparison with autograd."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import relfunc as rf

from .reference import filled

GRADIENT = rf.composites.by_type({"*": rf.rules.gradient()})
"""Every operation's own derivative: the relevance must be autograd's gradient."""


class Net(nn.Module):
    """A model whose forward is a function, with modules, parameters and buffers by name."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = [function]
        for name, part in parts.items():
            if type(part) is Tensor:
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.run[0](self, x)


def net(function: Callable[..., Any], **parts: Any) -> nn.Module:
    return filled(Net(function, **parts), seed=3)


def mlp(width: int = 4) -> nn.Module:
    return filled(nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, 2)), seed=6)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*(shape or (3, 4)), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ones(y: Any) -> Any:
    return pytree.tree_map(lambda a: torch.ones_like(a) if isinstance(a, Tensor) else None, y)


def by_autograd(model: Callable[..., Any], *xs: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
    """Output, and the gradient of the sum of all that is floating in it."""
    leaves = [x.detach().clone().requires_grad_() for x in xs]
    with torch.enable_grad():
        y = model(*leaves)
        total = sum(a.sum() for a in pytree.tree_leaves(y) if isinstance(a, Tensor) and a.is_floating_point())
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    zeros = tuple(torch.zeros_like(x) if g is None else g for x, g in zip(xs, gradients, strict=True))
    return pytree.tree_map(lambda a: a.detach() if isinstance(a, Tensor) else a, y), zeros


def assert_is_the_model(model: nn.Module, x: Tensor | None = None, **options: Any) -> None:
    """Output and relevance are those of autograd, on the first call and on the next."""
    x = normal() if x is None else x
    explain = rf.gradient(rf.lrp(model, GRADIENT, **options))
    for given in (x, 0.5 * x):
        expected, (gradient,) = by_autograd(model, given)
        output, relevance = explain(given, ones)
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(relevance, gradient, rtol=1e-9, atol=1e-12)
