"""AttnLRP by modified gradients, as the papers write it, without code of relfunc: the limit of vanishing epsilon.

Arras et al. 2025 and Achtibat et al. 2024: relevance is the input times the gradient of a model in which
non-linearities are linear with the factor f(x) / x, statistics of norms are constant, and gradients of products are
divided among the factors: halved of gated units and of values, quartered of queries and keys. The models are small
transformers of the four usual kinds; each has two forwards, one as anybody would write it and one with these changes.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Scaled(torch.autograd.Function):
    """The identity, with a gradient that is a fraction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fraction: float) -> Tensor:
        ctx.fraction = fraction
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.fraction, None


def fraction(x: Tensor, part: float, modified: bool) -> Tensor:
    return _Scaled.apply(x, part) if modified else x


def activation(f: Any, x: Tensor, modified: bool) -> Tensor:
    return x * (f(x) / x).detach() if modified else f(x)


@dataclass(frozen=True)
class Kind:
    """What a transformer is made of.

    Parameters
    ----------
    causal : bool
        Whether a token sees those before it alone.
    norm : str
        ``"layer"`` or ``"rms"``.
    before : bool
        Whether norms stand before the layers of a block, or behind the sums.
    gated : bool
        Whether the hidden layer is a gated unit.
    rotary : bool
        Whether positions rotate queries and keys; they are added otherwise.
    groups : int
        Heads of queries that share one of keys.
    bias : bool
        Whether linear layers and norms have biases.
    image : bool
        Whether tokens are the patches of an image, behind a class token.
    """

    causal: bool = False
    norm: str = "layer"
    before: bool = True
    gated: bool = False
    rotary: bool = False
    groups: int = 1
    bias: bool = True
    image: bool = False
    f: Any = F.gelu


VIT = Kind(image=True)
BERT = Kind(before=False)
GPT2 = Kind(causal=True, f=lambda x: F.gelu(x, approximate="tanh"))
LLAMA = Kind(causal=True, norm="rms", gated=True, rotary=True, groups=2, bias=False, f=F.silu)


class Norm(nn.Module):
    def __init__(self, width: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if kind.bias and kind.norm == "layer" else None

    def forward(self, x: Tensor, modified: bool) -> Tensor:
        if not modified and self.kind.norm == "layer":
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)
        if not modified:
            return F.rms_norm(x, self.weight.shape, self.weight, 1e-6)
        if self.kind.norm == "rms":
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6).detach() * self.weight
        deviation = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5).detach()
        y = (x - x.mean(-1, keepdim=True)) / deviation * self.weight
        return y if self.bias is None else y + self.bias


def rotated(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    frequency = 1e4 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * torch.cat([frequency, frequency])
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * angle.cos() + turned * angle.sin()


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, kind: Kind) -> None:
        super().__init__()
        self.kind, self.heads = kind, heads
        size = width // heads
        self.q = nn.Linear(width, width, bias=kind.bias)
        self.k = nn.Linear(width, width // kind.groups, bias=kind.bias)
        self.v = nn.Linear(width, size * heads // kind.groups, bias=kind.bias)
        self.out = nn.Linear(width, width, bias=kind.bias)
        self.fused = False

    def forward(self, x: Tensor, modified: bool) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, x.shape[-1] // self.heads)) for layer in (self.q, self.k, self.v))
        q, k, v = (a.transpose(1, 2) for a in (q, k, v))
        if self.kind.rotary:
            q, k = rotated(q), rotated(k)
        q, k, v = (fraction(a, part, modified) for a, part in ((q, 1 / 4), (k, 1 / 4), (v, 1 / 2)))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.kind.causal, enable_gqa=self.kind.groups > 1)
        else:
            k, v = (a.repeat_interleave(self.kind.groups, 1) for a in (k, v))
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            if self.kind.causal:
                hidden = torch.ones((x.shape[1], x.shape[1]), dtype=torch.bool).triu(1)
                scores = scores.masked_fill(hidden, -torch.inf)
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class Hidden(nn.Module):
    def __init__(self, width: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.up = nn.Linear(width, 2 * width, bias=kind.bias)
        self.gate = nn.Linear(width, 2 * width, bias=kind.bias) if kind.gated else None
        self.down = nn.Linear(2 * width, width, bias=kind.bias)

    def forward(self, x: Tensor, modified: bool) -> Tensor:
        if self.gate is None:
            return self.down(activation(self.kind.f, self.up(x), modified))
        product = activation(self.kind.f, self.gate(x), modified) * self.up(x)
        return self.down(fraction(product, 1 / 2, modified))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.norms = nn.ModuleList(Norm(width, kind) for _ in range(2))
        self.parts = nn.ModuleList([Attention(width, heads, kind), Hidden(width, kind)])

    def forward(self, x: Tensor, modified: bool) -> Tensor:
        for norm, part in zip(self.norms, self.parts, strict=True):
            x = x + part(norm(x, modified), modified) if self.kind.before else norm(x + part(x, modified), modified)
        return x


class Transformer(nn.Module):
    """A transformer on embedded tokens ``(sample, token, feature)``, or on images."""

    def __init__(self, kind: Kind, width: int = 8, heads: int = 4, tokens: int = 5, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.kind, self.modified = kind, False
        self.patches = nn.Conv2d(3, width, 4, 4) if kind.image else None
        self.first = nn.Parameter(torch.randn(1, 1, width)) if kind.image else None
        self.positions = None if kind.rotary else nn.Parameter(torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, kind) for _ in range(2))
        self.norm = Norm(width, kind)
        self.head = nn.Linear(width, 3, bias=kind.bias)
        for parameter in self.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.patches is not None and self.first is not None:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        if self.positions is not None:
            x = x + self.positions
        for block in self.blocks:
            x = block(x, self.modified)
        x = self.norm(x, self.modified)
        return self.head(x[:, -1] if self.kind.causal else x[:, 0])

    def example(self, samples: int = 2) -> Tensor:
        shape = (samples, 3, 8, 8) if self.kind.image else (samples, 5, 8)
        return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def efficient(model: Transformer, x: Tensor, target: int) -> Tensor:
    """Input times the gradient of the modified model."""
    x = x.clone().requires_grad_()
    model.modified = True
    try:
        output = model(x)[:, target].sum()
    finally:
        model.modified = False
    (gradient,) = torch.autograd.grad(output, x)
    return x.detach() * gradient
