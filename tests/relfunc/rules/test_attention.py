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
