"""Relevance of transformers under torch's transforms, on threads, one sample at a time, and in half precision."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

import relfunc as rf

from ..efficient import BERT, GPT2, LLAMA, VIT, Attention, Transformer

KINDS = {"vit": VIT, "bert": BERT, "gpt2": GPT2, "llama": LLAMA}
ATTNLRP = rf.composites.attnlrp()
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def transformer(name, fused=True):
    model = Transformer(KINDS[name])
    for part in model.modules():
        if isinstance(part, Attention):
            part.fused = fused
    return model, model.example()


def explained(model, x, composite=ATTNLRP):
    return rf.lrp(model, composite, example_inputs=x)


@pytest.mark.parametrize("name", ["vit", "llama"])
def test_transforms_equal_the_plain_loop(name):
    model, x = transformer(name)
    f = explained(model, x)
    loop = torch.stack([rf.gradient(f)(x, c)[1] for c in range(3)])
    one = torch.cat([rf.gradient(f)(x[i : i + 1], 1)[1] for i in range(len(x))])
    seeds = torch.eye(3, dtype=torch.float64)[:, None].expand(3, len(x), 3)
    _, vjp = torch.func.vjp(f, x)
    found = {
        "one sample at a time": (one, loop[1]),
        "vmap over classes": (torch.vmap(vjp)(seeds)[0], loop),
        "vmap of the seed": (torch.vmap(lambda s: rf.gradient(f)(x, s)[1])(seeds), loop),
        "per class": (rf.per_class(f)(x)[1], loop),
        "jacrev": (torch.func.jacrev(lambda x: f(x).sum(0))(x), loop),
        "vmap over samples": (torch.vmap(lambda x: rf.gradient(f)(x[None], 1)[1][0])(x), one),
        "vmap of grad": (torch.vmap(torch.func.grad(lambda x: f(x[None])[0, 1]))(x), one),
    }
    for way, (actual, expected) in found.items():
        torch.testing.assert_close(actual, expected, **CLOSE, msg=lambda m, way=way: f"{way}: {m}")
    with ThreadPoolExecutor(3) as pool:
        for c, relevance in enumerate(pool.map(lambda c: rf.gradient(f)(x, c)[1], range(3))):
            torch.testing.assert_close(relevance, loop[c], **CLOSE)


class Small(nn.Module):
    """One head and one norm, small enough for finite differences."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(3, 3) for _ in range(4))
        self.norm = nn.LayerNorm(3)
        self.double().eval()

    def forward(self, x):
        h = self.norm(x)
        h = x + (self.q(h) @ self.k(h).mT).softmax(-1) @ self.v(h)
        return self.out(torch.nn.functional.silu(self.q(h)) * self.k(h))[:, 0]


@pytest.mark.parametrize("name", ["small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vit", "gpt2"))])
def test_compiled_in_one_graph_equals_the_plain_loop(name):
    model, x = (Small(), torch.ones(2, 2, 3).double()) if name == "small" else transformer(name)
    f = explained(model, x)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: rf.gradient(f)(x, 1), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), rf.gradient(f)(x, 1), **CLOSE)


@pytest.mark.parametrize("composite", [ATTNLRP, rf.composites.attnlrp(0.25), rf.composites.cp_lrp()], ids=str)
def test_second_order_equals_finite_differences(composite):
    x = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    f = explained(Small(), x.detach(), composite)
    assert gradcheck(lambda x: rf.gradient(f, create_graph=True)(x, 1)[1], x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["vit", "llama", *(pytest.param(n, marks=pytest.mark.slow) for n in ("bert", "gpt2"))])
def test_half_precision_is_finite_at_zeros_and_near_double_precision(name, dtype):
    model, x = transformer(name)
    composite = rf.composites.attnlrp(epsilon=0.1, stabilizer=0.1)
    x = x.to(dtype)
    x[:, 1] = 0
    x[:, 2, ::2] = -0.0
    rounded = model.to(dtype)
    output, relevance = rf.gradient(explained(rounded, x, composite))(x, 1)
    assert relevance.dtype == torch.float32
    assert output.dtype == dtype
    assert relevance.isfinite().all()
    exact = rf.gradient(explained(rounded.double(), x.double(), composite))(x.double(), 1)[1]
    off = (relevance - exact).norm() / exact.norm()
    assert off < 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (rf.composites.attnlrp, torch.float16),
        (rf.composites.epsilon_plus, torch.bfloat16),
        pytest.param(rf.composites.cp_lrp, torch.float16, marks=pytest.mark.slow),
        pytest.param(rf.composites.attnlrp, torch.float32, marks=pytest.mark.slow),
    ],
)
def test_an_input_of_zeros_is_finite_with_the_least_stabilizer(make, dtype):
    """Where every product, norm and sum is zero, and the stabilizer alone is divided by."""
    model = Transformer(replace(LLAMA, bias=False)).to(dtype)
    x = torch.zeros(2, 5, 8, dtype=dtype)
    x[1, 3] = torch.tensor([1e-8, -1e-8, 0.0, -0.0] * 2)
    relevance = rf.gradient(explained(model, x, make()))(x, 1)[1]
    assert relevance.isfinite().all()
