"""Models of timm whose operations are their own, random weights: forward, gradient, and an account of all relevance."""

import warnings

import pytest
import torch

import relfunc as rf

from ..kinds import GRADIENT, by_autograd, ones

pytestmark = pytest.mark.slow  # of two samples: see test_blocks.py for autograd's batch norm of one

MODELS = {
    "test_vit": "class token, positions",
    "test_maxvit": "windows, grids, relative positions, conv stem",
    "crossvit_tiny_240": "two streams of tokens",
    "davit_tiny": "attention over channels",
    "levit_128s": "biases of attention that are kept",
    "xcit_nano_12_p8_224": "cross covariance, class attention",
    "halonet26t": "windows with halo, unfold",
    "efficientvit_b0": "linear attention",
    "pvt_v2_b0": "keys and values by a strided convolution",
    "convit_tiny": "gated positions, exported",
    "cait_xxs24_224": "talking heads, class attention",
    "swinv2_tiny_window8_256": "cosine attention, shifted windows",
}


@pytest.mark.parametrize("name", MODELS)
def test_model_of_timm(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, when it is imported
        timm = pytest.importorskip("timm", reason="one of relfunc's extra 'packages'")
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=5).eval().double().requires_grad_(False)
    x = torch.randn(2, *model.default_cfg["input_size"], dtype=torch.float64)
    f = rf.lrp(model, GRADIENT, example_inputs=x)
    expected, (gradient,) = by_autograd(model, x)
    y, found = rf.gradient(f)(x, ones)
    assert (y - expected).abs().max() <= 1e-9 * expected.abs().max()
    assert (found - gradient).abs().max() <= 1e-9 * gradient.abs().max()
    total = rf.audit(model, rf.composites.attnlrp(), x, 1, example_inputs=x).loc["total"]
    parts = total[["passed", "bias", "stabilizer", "tables", "dropped"]]
    assert torch.isfinite(torch.tensor(parts.astype(float).to_numpy())).all()
    assert abs(parts.sum() - total["relevance"]) <= 1e-8 * max(abs(total["relevance"]), parts.abs().max())
