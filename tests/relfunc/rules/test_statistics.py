"""Statistics of a value that scale it get no relevance, however they are spelled: input times gradient without them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..kinds import net, normal
from .test_attention import close
from .test_spellings_of_attention import ATTNLRP

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")

EPS = 1e-5


def centred(x, over=-1):
    return x - x.mean(over, keepdim=True)


def first_last(x, function):
    """Channels last and back, as a norm of images over channels is written."""
    return function(x.unsqueeze(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).squeeze(-1)


def by_views(x, d, axis=-1):
    groups = x.reshape(x.shape[0], -1, 2, 3)
    return (groups * d(torch.rsqrt(groups.pow(2).mean(axis, keepdim=True) + EPS))).reshape(x.shape)


def group_norm(x, d):
    g = x.view(x.shape[0], 2, -1)
    mean, deviation = g.mean(-1, keepdim=True), g.var(-1, unbiased=False, keepdim=True)
    return ((g - mean) / d((deviation + EPS).sqrt())).view(x.shape)


def in_single(x, d):
    h = x.to(torch.float32)
    return (h * d(torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + EPS))).to(x.dtype)


SPELLINGS = {
    "mean of squares": lambda x, d: x * d(torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS)),
    "power of minus a half": lambda x, d: x * d((x.pow(2).mean(-1, keepdim=True) + EPS) ** -0.5),
    "reciprocal": lambda x, d: x * d(torch.reciprocal(x.square().mean(-1, keepdim=True).sqrt() + EPS)),
    "one over": lambda x, d: d(1 / (x.square().mean(-1, keepdim=True).sqrt() + EPS)) * x,
    "root, then quotient": lambda x, d: x / d(torch.sqrt(x.pow(2).mean(-1, keepdim=True))),
    "sum over number": lambda x, d: x / d(torch.sqrt(x.pow(2).sum(-1, keepdim=True) / x.shape[-1] + EPS)),
    "product of itself summed": lambda x, d: x / d(torch.einsum("bcl,bcl->bc", x, x).sqrt()[..., None]),
    "dot product of itself": lambda x, d: x / d(torch.linalg.vecdot(x, x).sqrt().unsqueeze(-1)),
    "norm": lambda x, d: x / d(x.norm(dim=-1, keepdim=True)),
    "norm and number": lambda x, d: x / d(x.norm(2, -1, True) * x.shape[-1] ** -0.5 + EPS),
    "norm, clamped": lambda x, d: x / d(x.norm(dim=-1, keepdim=True).clamp(min=EPS)),
    "norm, at least": lambda x, d: x / d(torch.maximum(x.norm(dim=-1, keepdim=True), torch.tensor(EPS).double())),
    "norm of all": lambda x, d: x / d(x.flatten(1).norm(dim=1)[:, None, None]),
    "norm of one": lambda x, d: F.normalize(x, p=1.0, dim=1) if d is identity else x / d(x.abs().sum(1, True)),
    "sum of magnitudes": lambda x, d: x / d(x.abs().sum(-1, keepdim=True)),
    "greatest magnitude": lambda x, d: x / d(x.abs().amax(-1, keepdim=True)),
    "greatest magnitude, by max": lambda x, d: x / d(x.abs().max(-1, keepdim=True)[0]),
    "spread": lambda x, d: (x - x.mean(-1, keepdim=True)) / d(x.amax(-1, True) - x.amin(-1, True)),
    "deviation": lambda x, d: centred(x) / d(x.std(-1, keepdim=True)),
    "deviation and number": lambda x, d: centred(x) / d(x.std(-1, keepdim=True) + EPS),
    "variance": lambda x, d: centred(x) / d((x.var(-1, keepdim=True, unbiased=True) + EPS).sqrt()),
    "variance by hand": lambda x, d: centred(x) * d((centred(x).pow(2).mean(-1, keepdim=True) + EPS).rsqrt()),
    "mean of squares less square of mean": lambda x, d: (
        centred(x) * d((x.pow(2).mean(-1, True) - x.mean(-1, True).pow(2) + EPS).rsqrt())
    ),
    "scaled deviation": lambda x, d: x * d(1.0 / (x.var((1, 2), keepdim=True) + EPS).sqrt()),
    "expanded": lambda x, d: x * d(x.square().mean(-1, keepdim=True).rsqrt().expand(-1, -1, 6)),
    "repeated": lambda x, d: x * d(x.square().mean(-1, keepdim=True).rsqrt().repeat(1, 1, 6)),
    "logarithm of sum": lambda x, d: x / d(torch.logsumexp(x, -1, keepdim=True)),
    "softplus of mean": lambda x, d: x * d(F.softplus(x.mean((1, 2), keepdim=True))),
    "in single precision": in_single,
    "by views": by_views,
    "by views, between": lambda x, d: by_views(x, d, 2),
    "groups by a view": group_norm,
    "channels last": lambda x, d: first_last(
        x, lambda y: centred(y) / d((y.var(-1, keepdim=True, unbiased=False) + EPS).sqrt())
    ),
    "of transposed values": lambda x, d: (
        x * d(x.transpose(1, 2).square().mean(1, keepdim=True).rsqrt()).transpose(1, 2)
    ),
    "of flattened values": lambda x, d: (lambda f: (f / d(f.std(1, keepdim=True))).view_as(x))(x.flatten(1)),
    "in place": lambda x, d: (x * 1).div_(d(x.norm(dim=-1, keepdim=True))),
    "times a number before": lambda x, d: (x * 3.0) * d(x.square().mean(-1, keepdim=True).rsqrt()),
    "scale and shift by statistics": lambda x, d: (
        lambda inverse: x * inverse + (0.5 - x.mean(-1, keepdim=True) * inverse)
    )(d((x.var(-1, keepdim=True, unbiased=False) + EPS).rsqrt())),
    "of the mean": lambda x, d: x + x.mean(-1, keepdim=True) / d(x.std(-1, keepdim=True)),
    "twice": lambda x, d: (lambda y: y / d(y.std(-1, keepdim=True)))(x / d(x.norm(dim=-1, keepdim=True))),
}


def identity(a):
    return a


@pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", SPELLINGS)
def test_a_statistic_is_constant_however_it_is_spelled(case, via):
    function, x = SPELLINGS[case], normal(2, 4, 6) + 0.5
    model = net(lambda s, x: s.z(function(s.a(x), identity)), a=nn.Linear(6, 6), z=nn.Linear(6, 3))
    R = normal(2, 4, 3, seed=7) * model(x)
    model.zero_grad()
    f = rf.lrp(rf.capture(model, via=via, example_inputs=x), ATTNLRP)
    _, found = rf.gradient(f)(x, R.detach())

    def constant(x):
        y = model.z(function(model.a(x), torch.Tensor.detach))
        return (y * (R / y).detach()).sum()

    expected = x * torch.autograd.functional.jacobian(constant, x)
    close(found, expected, 1e-5 if case == "in single precision" else 1e-6)
