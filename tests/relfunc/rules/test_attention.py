"""Attention: the rules of transformers equal an independent form, eager or fused, together or one sample at a time."""

from dataclasses import replace

import pytest
import torch

import relfunc as rf

from .. import efficient
from ..efficient import BERT, GPT2, LLAMA, VIT, Attention, Transformer

KINDS = {"vit": VIT, "bert": BERT, "gpt2": GPT2, "llama": LLAMA}
ATTNLRP = rf.composites.attnlrp(epsilon=0, stabilizer=0)


def relevance(model, x, composite=ATTNLRP):
    """Relevance of the output of class 1, of which there is as much as the output is."""
    return rf.gradient(rf.lrp(model, composite, example_inputs=x))(x, of_class_1)[1]


def of_class_1(y):
    return y * torch.tensor([0.0, 1.0, 0.0], dtype=y.dtype)


def close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("fused", [False, True], ids=["eager", "fused"])
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no biases"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "all"])
@pytest.mark.parametrize("name", KINDS)
def test_it_equals_the_efficient_form(name, causal, bias, fused):
    model = Transformer(replace(KINDS[name], causal=causal, bias=bias))
    x = model.example()
    expected = efficient.efficient(model, x, 1)
    for part in model.modules():
        if isinstance(part, Attention):
            part.fused = fused
    close(relevance(model, x), expected)
    close(torch.cat([relevance(model, one[None]) for one in x]), expected)


@pytest.mark.parametrize("name", KINDS)
def test_the_efficient_form_is_not_the_plain_gradient(name):
    model = Transformer(KINDS[name])
    x = model.example()
    plain = x * torch.autograd.functional.jacobian(lambda a: model(a)[:, 1].sum(), x)
    assert (efficient.efficient(model, x, 1) - plain).abs().max() > 0.01 * plain.abs().max()


class Biased(torch.nn.Module):
    """Attention whose scores have a bias that is computed from the input, by torch's module or by hand."""

    def __init__(self, way, padding, at_keys=False):
        super().__init__()
        torch.manual_seed(0)
        self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)
        self.bias, self.way, self.at_keys = torch.nn.Linear(6, 4), way, at_keys
        hidden = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]]).bool()
        self.register_buffer("padding", torch.zeros(2, 4).masked_fill(hidden, -torch.inf) if padding else None)
        self.double().eval()

    def forward(self, x):
        bias, a = self.bias(x), self.attention
        if self.way == "module" and self.at_keys:
            return a(x, x, x, key_padding_mask=bias.mean(1))[0]
        if self.way == "module":
            return a(x, x, x, attn_mask=bias.repeat_interleave(2, 0), key_padding_mask=self.padding)[0]
        q, k, v = torch.nn.functional.linear(x, a.in_proj_weight, a.in_proj_bias).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in (q, k, v))
        bias = bias.mean(1)[:, None, None] if self.at_keys else bias[:, None]
        scores = (q * 3**-0.5) @ k.mT + bias
        if self.padding is not None:
            scores = scores + self.padding[:, None, None]
        return a.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))


@pytest.mark.parametrize("case", [(False, False), (True, False), (False, True)], ids=["alone", "padded", "at keys"])
def test_a_bias_of_scores_that_is_computed_takes_relevance_in_torchs_module_as_by_hand(case):
    x = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    composite = rf.composites.attnlrp(epsilon=1e-12, stabilizer=1e-12)
    of_module, by_hand = (
        rf.gradient(rf.lrp(Biased(way, *case), composite, example_inputs=x))(x, lambda y: y)[1]
        for way in ("module", "by hand")
    )
    close(of_module, by_hand, 1e-8)
