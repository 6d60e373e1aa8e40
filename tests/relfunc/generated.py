"""Made-up values that decide results, for the tests of keys: each from a seed, and each with one thing changed.

Whatever is drawn is a leaf: a number, a word, a choice. Changing the n-th of them and nothing else makes another value.
"""

import dataclasses
import enum
import functools
import random
import sys
import textwrap
from typing import Any

import numpy as np
import torch
from torch import nn


class Leaves:
    """Draws the leaves of a value; of one, what it would not have drawn."""

    def __init__(self, seed: int, changed: int | None = None) -> None:
        self._random, self._changed, self.count = random.Random(seed), changed, 0

    def number(self) -> int:
        drawn = self._random.randrange(1000)
        return drawn + 1000 if self._next() else drawn

    def word(self) -> str:
        drawn = "".join(self._random.choices("abcdeä∑", k=4))
        return drawn + "x" if self._next() else drawn

    def choose(self, count: int) -> int:
        """Draw what is no leaf: the shape of the value, which a change leaves alone."""
        return self._random.randrange(count)

    def _next(self) -> bool:
        self.count += 1
        return self.count - 1 == self._changed


def defined(text: str, name: str, **known: Any) -> Any:
    """Execute code as a prompt does: there is no file of it."""
    held = {"__name__": "__main__", "np": np, "functools": functools, "enum": enum, "dataclasses": dataclasses, **known}
    module = sys.modules["__main__"]
    before = dict(vars(module))
    exec(compile(textwrap.dedent(text), "<prompt>", "exec"), held)
    assert vars(module) == before
    return held[name]


def function(leaves: Leaves) -> Any:
    a, b, word = leaves.number(), leaves.number(), leaves.word()
    body = [
        f"def f(x, *, by={a}): return x * by + {b} + len({word!r})",
        f"LIMIT = {a}\ndef helper(x): return x + {b}\ndef f(x): return helper(x) - LIMIT + len({word!r})",
        f"class Base:\n    scale = {a}\nclass Settings(Base):\n    def m(self): return {b}, {word!r}\n"
        "def f(x): return Settings",
        f"class Kind(enum.Enum):\n    A = {a}\n    B = {word!r}\ndef f(x): return Kind.A, {b}",
        f"def wrap(g):\n    @functools.wraps(g)\n    def w(x): return g(x) + {a}\n    return w\n"
        f"@wrap\ndef f(x): return x + {b} + len({word!r})",
        f"@functools.lru_cache\ndef f(x): return x + {a} + {b}, {word!r}",
        f"@dataclasses.dataclass\nclass D:\n    a: int = {a}\n    def m(self): return {b}\n"
        f"def f(x): return D(), {word!r}",
        f"TABLE = {{'k': lambda x: x + {a}, {word!r}: {b}}}\ndef f(x): return TABLE",
        f"f = functools.partial(lambda x, y: (x, y, {word!r}), {a}, y={b})",
        f"def make(n):\n    return lambda x: (x, n, {word!r})\nf = make(({a}, {b}))",
        f"class C:\n    @property\n    def p(self): return {a}\n    @staticmethod\n    def s(): return {b}\n"
        f"    def m(self, x): return {word!r}\nf = C().m",
        f"@np.vectorize\ndef f(x): return (x, {a}, {b}, {word!r})",
    ]
    return defined(body[leaves.choose(len(body))], "f")


class Odd(nn.Module):
    """A module whose results depend on an attribute that is no parameter."""

    def __init__(self, slope: int, name: str) -> None:
        super().__init__()
        self.slope, self.name = slope, name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.slope


def model(leaves: Leaves) -> nn.Module:
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        for tensor in linear.parameters():
            tensor.copy_(torch.tensor([float(leaves.number()) for _ in range(tensor.numel())]).reshape(tensor.shape))
    return nn.Sequential(linear, nn.LeakyReLU(leaves.number()), Odd(leaves.number(), leaves.word())).eval()


def value(leaves: Leaves, depth: int = 0) -> Any:
    plain = [
        leaves.number,
        leaves.word,
        lambda: leaves.number() / 7,
        lambda: np.array([leaves.number(), 2]),
        lambda: torch.tensor([leaves.number(), 2.0]),
        lambda: function(leaves),
        lambda: model(leaves),
        lambda: np.random.default_rng(leaves.number()),
    ]
    nested = [
        lambda: [value(leaves, depth + 1) for _ in range(2)],
        lambda: {leaves.word(): value(leaves, depth + 1), 1: value(leaves, depth + 1)},
        lambda: (value(leaves, depth + 1), leaves.number()),
        lambda: {leaves.number(), leaves.word(), None},
    ]
    known = plain if depth > 2 else [*plain, *nested]
    return known[leaves.choose(len(known))]()
