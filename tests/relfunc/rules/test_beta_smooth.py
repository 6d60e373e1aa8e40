"""The recorded reference for beta-smooth on resnet18 is in error: it reads what in-place ReLUs left of their inputs."""

import copy

import numpy as np
import torch
from torch import nn

import relfunc as rf

from ..reference import COTANGENTS, DATA, images, resnet18


class SmoothRelu(nn.Module):
    """ReLU with a smooth derivative; ``overwritten`` reads what an in-place ReLU leaves of its last call."""

    def __init__(self, overwritten):
        super().__init__()
        self.overwritten = overwritten
        self.last = None

    def forward(self, x):
        self.last = x.detach().relu()
        return _Smooth.apply(x, self)


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, module):
        ctx.save_for_backward(x)
        ctx.module = module
        return x.relu()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.sigmoid(10 * (ctx.module.last if ctx.module.overwritten else x)) * grad, None


def with_smooth_relus(model, overwritten):
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, SmoothRelu(overwritten))
    return model


def test_beta_smooth_of_reused_inplace_relus_equals_autograd_not_the_recorded_error():
    model, x, target = resnet18(), images(), COTANGENTS["one_hot"]
    _, relevance = rf.gradient(rf.lrp(model, rf.composites.beta_smooth()))(x, target)
    _, expected = rf.gradient(with_smooth_relus(model, overwritten=False))(x, target)
    _, erroneous = rf.gradient(with_smooth_relus(model, overwritten=True))(x, target)
    with np.load(DATA / "resnet18.npz") as golden:
        recorded = torch.tensor(golden["beta_smooth/one_hot"])
    scale = expected.abs().max()
    assert (relevance - expected).abs().max() <= 1e-10 * scale
    assert (recorded - erroneous).abs().max() <= 1e-10 * scale
    assert (recorded - expected).abs().max() > 0.01 * scale
