"""The canonical form knows meaning, not spelling: linear layers, batch norms, gates, and what lies between rules."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relfunc as rf

from ..kinds import assert_is_the_model, by_autograd, net, normal, ones

SIGNED = 0.1


def stabilised(z: Tensor, epsilon: float = SIGNED) -> Tensor:
    return z + epsilon * torch.where(z < 0, -1, 1).to(z)


class Epsilon(torch.autograd.Function):
    """A linear layer whose derivative is the epsilon rule, by the formula."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        y = F.linear(x, weight, bias)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx, relevance):
        x, weight, y = ctx.saved_tensors
        return x * ((relevance / stabilised(y)) @ weight), None, None


# --- linear layers ----------------------------------------------------------------------------------

LINEAR = {
    "operator": lambda s, x: x @ s.w + s.b,
    "bias first": lambda s, x: s.b + x @ s.w,
    "method": lambda s, x: x.matmul(s.w).add(s.b),
    "matmul": lambda s, x: torch.matmul(x, s.w) + s.b,
    "mm": lambda s, x: torch.mm(x, s.w) + s.b,
    "method mm": lambda s, x: x.mm(s.w) + s.b,
    "addmm": lambda s, x: torch.addmm(s.b, x, s.w),
    "method addmm": lambda s, x: s.b.addmm(x, s.w),
    "einsum": lambda s, x: torch.einsum("bi,io->bo", x, s.w) + s.b,
    "einsum, constant first": lambda s, x: torch.einsum("io,bi->bo", s.w, x) + s.b,
    "einsum with an ellipsis": lambda s, x: torch.einsum("...i,io->...o", x, s.w) + s.b,
    "einsum with spaces": lambda s, x: torch.einsum("b i, i o -> b o", x, s.w) + s.b,
    "F.linear": lambda s, x: F.linear(x, s.w.t(), s.b),
    "F.linear, T": lambda s, x: F.linear(x, s.w.T, s.b),
    "F.linear, mT": lambda s, x: F.linear(x, s.w.mT, bias=s.b),
    "F.linear, transpose": lambda s, x: F.linear(x, weight=s.w.transpose(0, 1), bias=s.b),
    "F.linear and a sum": lambda s, x: F.linear(x, s.w.permute(1, 0)) + s.b,
    "torch's own": lambda s, x: torch._C._nn.linear(x, s.w.t(), s.b),
    "in place": lambda s, x: (x @ s.w).add_(s.b),
    "augmented": lambda s, x: augmented(x @ s.w, s.b),
    "linear behind a view": lambda s, x: (x.view(3, 1, 4) @ s.w + s.b).view(3, 5),
    "added zero": lambda s, x: x @ (s.w + 0) + s.b,
    "scaled weight": lambda s, x: x @ (s.w * 2 / 2) + s.b,
    "stacked weight": lambda s, x: x @ torch.cat([s.w[:, :2], s.w[:, 2:]], 1) + s.b,
    "aten": lambda s, x: torch.ops.aten.addmm.default(s.b, x, s.w),
}


def augmented(h, b):
    h += b
    return h


@pytest.mark.parametrize("case", LINEAR)
def test_linear_layers_by_hand(case):
    model = net(LINEAR[case], w=nn.Parameter(torch.empty(4, 5)), b=nn.Parameter(torch.empty(5)))
    composite = rf.composites.by_type({"linear": rf.rules.epsilon(SIGNED), "move": rf.rules.gradient()})
    expected = by_autograd(lambda x: Epsilon.apply(x, model.w.t(), model.b), normal())
    output, relevance = rf.gradient(rf.lrp(model, composite, example_inputs=normal()))(normal(), ones)
    torch.testing.assert_close((output, (relevance,)), expected, rtol=1e-9, atol=1e-12)


# --- scales and shifts --------------------------------------------------------------------------------


def axes(a):
    return a[:, None, None]


NORMS = {
    "None": lambda s, c: c * s.w[None, :, None, None] + s.b[None, :, None, None],
    "view": lambda s, c: c * s.w.view(1, -1, 1, 1) + s.b.view(1, -1, 1, 1),
    "view of other shapes": lambda s, c: c * s.w.view(-1, 1, 1) + s.b.view(1, -1, 1, 1),
    "reshape": lambda s, c: c.mul(s.w.reshape(1, 4, 1, 1)).add(s.b.reshape(1, 4, 1, 1)),
    "unsqueeze": lambda s, c: c * s.w.unsqueeze(-1).unsqueeze(-1) + s.b.unsqueeze(1).unsqueeze(2),
    "(C, 1, 1)": lambda s, c: c * axes(s.w) + axes(s.b),
    "constant first": lambda s, c: axes(s.b) + axes(s.w) * c,
    "in place": lambda s, c: c.mul_(axes(s.w)).add_(axes(s.b)),
    "divided": lambda s, c: c / axes(1 / s.w) + axes(s.b),
    "subtracted": lambda s, c: (c - axes(-s.b / s.w)) * axes(s.w),
    "subtracted and divided": lambda s, c: (c - axes(-s.b / s.w)) / axes(1 / s.w),
    "subtracted behind": lambda s, c: c * axes(s.w) - axes(-s.b),
    "subtracted from": lambda s, c: axes(s.b) - c * axes(-s.w),
    "shift before scale": lambda s, c: (c + axes(s.b / s.w)) * axes(s.w),
    "mean and standard deviation": lambda s, c: (c - axes(s.m)) / axes((s.v + 1e-5).sqrt()) * axes(s.w) + axes(s.b),
    "rsqrt": lambda s, c: (c - axes(s.m)) * axes((s.v + 1e-5).rsqrt() * s.w) + axes(s.b),
    "addcmul": lambda s, c: torch.addcmul(axes(s.b), c, axes(s.w)),
    "rsub": lambda s, c: torch.rsub(-c * axes(s.w), axes(s.b)),
    "torch functions": lambda s, c: torch.add(torch.mul(c, axes(s.w)), axes(s.b)),
    "three steps": lambda s, c: (c * axes(s.w) * 2 + axes(s.b)) * 0.5,
    "scale by a number": lambda s, c: (c + axes(s.b)) * 2.0,
    "shift by a number": lambda s, c: c * axes(s.w) + 0.5,
    "F.batch_norm": lambda s, c: F.batch_norm(c, s.m, s.v, s.w, s.b),
    "torch.batch_norm": lambda s, c: torch.batch_norm(c, s.w, s.b, s.m, s.v, False, 0.1, 1e-5, False),
    "tensor of one number": lambda s, c: c * s.w[:1].view(1, 1, 1, 1) + s.b[:1].view(1, 1, 1, 1),
}


@pytest.mark.parametrize("rule", [rf.rules.epsilon(SIGNED), rf.rules.zplus(), rf.rules.gamma(0.5)], ids=str)
@pytest.mark.parametrize("case", NORMS)
def test_a_scale_and_shift_is_merged_into_the_convolution(case, rule):
    parts = {name: nn.Parameter(torch.empty(4)) for name in ("w", "b", "m", "v")}
    model = net(lambda s, x: NORMS[case](s, s.c(x)), c=nn.Conv2d(3, 4, 3, bias=case != "three steps"), **parts)
    with torch.no_grad():
        model.v.abs_().add_(0.5)
    x = normal(2, 3, 8, 8)
    # what the operations behind the convolution multiply each channel by, and add to it
    with torch.no_grad():
        zero, one = torch.zeros(1, 4, 6, 6).double(), torch.ones(1, 4, 6, 6).double()
        shift = NORMS[case](model, zero.clone())[0, :, 0, 0]
        scale = NORMS[case](model, one.clone())[0, :, 0, 0] - shift
        merged = nn.Conv2d(3, 4, 3).double().eval()
        merged.weight.copy_(model.c.weight * scale[:, None, None, None])
        bias = torch.zeros(4).double() if model.c.bias is None else model.c.bias
        merged.bias.copy_(bias * scale + shift)
    composite = rf.composites.by_type({"convolution": rule})
    expected = rf.gradient(rf.lrp(merged, composite))(x, ones)
    torch.testing.assert_close(rf.gradient(rf.lrp(model, composite))(x, ones), expected, rtol=1e-9, atol=1e-11)


AFFINE = {
    "per token behind a linear layer": (lambda s, x: s.a(x) * s.w.view(1, -1, 1) + s.w.view(1, -1, 1), (2, 5, 4)),
    "per feature behind a linear layer": (lambda s, x: s.a(x) * s.f + s.f, (2, 5, 4)),
    "per feature and token": (lambda s, x: s.a(x) * s.w[:, None] + s.f, (2, 5, 4)),
    "before a linear layer": (lambda s, x: s.a(x * s.g + s.g), (2, 5, 4)),
    "per token before a linear layer": (lambda s, x: s.a(x * s.w[:, None] + s.w[:, None]), (2, 5, 4)),
    "one number": (lambda s, x: s.a(x * s.g[:1] + s.g[:1]), (2, 5, 4)),
    "one number of no axis": (lambda s, x: s.a(x * s.g[0] + s.g[1]), (2, 4)),
    "per sample": (lambda s, x: s.a(x) * s.g[:2, None] + s.g[:2, None], (2, 4)),
    "per sample before": (lambda s, x: s.a(x * s.g[:2, None] + s.g[:2, None]), (2, 4)),
    "shape grows": (lambda s, x: s.a(x) * s.w.view(5, 1, 1) + s.w.view(5, 1, 1), (2, 4)),
    "shape grows by the shift": (lambda s, x: s.a(x) * 2.0 + s.w.view(5, 1, 1), (2, 4)),
    "read between": (lambda s, x: (lambda h: h + (h * s.f + s.f))(s.a(x)), (2, 4)),
    "scale read twice": (lambda s, x: (lambda h: h + h * s.f)(s.a(x) * s.f), (2, 4)),
    "batch of other sizes": (lambda s, x: s.a(x).flatten(0, 1) * s.f + s.f, (2, 5, 4)),
}


@pytest.mark.parametrize("case", AFFINE)
def test_a_scale_and_shift_of_any_shape_keeps_the_model(case):
    function, shape = AFFINE[case]
    parts = {name: nn.Parameter(torch.empty(n)) for name, n in (("w", 5), ("f", 6), ("g", 4))}
    assert_is_the_model(net(function, a=nn.Linear(4, 6), one=nn.Linear(4, 1), **parts), normal(*shape))


CONV_AFFINE = {
    "before a grouped convolution": (lambda s, x: s.c(x * s.w[:1].view(1, 1, 1, 1) + s.w[1:2].view(1, 1, 1, 1)), 3),
    "channels before a grouped one": (lambda s, x: s.c(x * axes(s.w) + axes(s.w)), 3),
    "before a padded one": (lambda s, x: s.padded(x * axes(s.w) + axes(s.w)), 1),
    "before a transposed one": (lambda s, x: s.up(x * axes(s.w) + axes(s.w)), 1),
    "behind a transposed one": (lambda s, x: s.up(x) * axes(s.w) + axes(s.w), 1),
    "behind a grouped one": (lambda s, x: s.c(x) * axes(s.w) + axes(s.w), 3),
    "image by image": (lambda s, x: s.c(x) * s.p + s.p, 1),
    "column by column": (lambda s, x: s.c(x) * s.p[0] + s.p[1], 1),
    "before, column by column": (lambda s, x: s.c(x * s.q[0] + s.q[1]), 1),
    "between two": (lambda s, x: s.up(s.c(x) * axes(s.w) + axes(s.w)), 1),
    "between two, read twice": (lambda s, x: (lambda h: s.up(h) + s.up(h * 2.0))(s.c(x) * axes(s.w) + 0.5), 1),
}


@pytest.mark.parametrize("case", CONV_AFFINE)
def test_a_scale_and_shift_beside_a_convolution_keeps_the_model(case):
    function, groups = CONV_AFFINE[case]
    layers = {"c": nn.Conv2d(3, 3, 3, groups=groups), "up": nn.ConvTranspose2d(3, 3, 2, groups=groups)}
    layers |= {"padded": nn.Conv2d(3, 2, 3, padding=1), "w": nn.Parameter(torch.empty(3))}
    layers |= {"p": nn.Parameter(torch.empty(4, 4)), "q": nn.Parameter(torch.empty(6, 6))}
    assert_is_the_model(net(function, **layers), normal(2, 3, 6, 6))


# --- gates ------------------------------------------------------------------------------------------

GATES = {
    "sigmoid": lambda s, t: t.sigmoid(),
    "complement": lambda s, t: 1 - t.sigmoid(),
    "complement, other spelling": lambda s, t: -t.sigmoid() + 1,
    "rsub": lambda s, t: torch.rsub(t.sigmoid(), 1),
    "complement of the complement": lambda s, t: 1 - (1 - t.sigmoid()),
    "hard sigmoid": lambda s, t: F.relu6(t + 3) / 6,
    "hard sigmoid by a factor": lambda s, t: (t + 3).clamp(0, 6) * (1 / 6),
    "hard sigmoid by hardtanh": lambda s, t: F.hardtanh(t / 6 + 0.5, 0.0, 1.0),
    "product": lambda s, t: t.sigmoid() * t.sigmoid(),
    "product of three": lambda s, t: t.sigmoid() * (1 - t.sigmoid()) * F.hardsigmoid(t),
    "torch.square": lambda s, t: torch.square(t.sigmoid()),
    "scaled down": lambda s, t: 0.5 * t.sigmoid(),
    "mean of two": lambda s, t: (t.sigmoid() + (2 * t).sigmoid()) / 2,
    "weighted mean": lambda s, t: 0.3 * t.sigmoid() + 0.7 * t.neg().sigmoid(),
    "tanh": lambda s, t: (t.tanh() + 1) / 2,
    "tanh by a factor": lambda s, t: 0.5 * (1 + torch.tanh(t)),
    "tanh, scaled first": lambda s, t: 0.5 * t.tanh() + 0.5,
    "clamped": lambda s, t: t.clamp(0, 1),
    "clipped by keywords": lambda s, t: torch.clip(t, min=0.0, max=1.0),
    "clamped in two steps": lambda s, t: t.clamp(min=0).clamp(max=1),
    "relu and clamp": lambda s, t: t.relu().clamp(max=1.0),
    "hardtanh": lambda s, t: F.hardtanh(t, 0, 1),
    "lerp of gates": lambda s, t: torch.lerp(t.sigmoid(), (2 * t).sigmoid(), 0.3),
    "moved": lambda s, t: t.sigmoid().view(3, 1, 3).transpose(1, 2).flatten(1),
    "moved by an index": lambda s, t: t.sigmoid()[:, [2, 0, 1]],
    "chunk": lambda s, t: torch.cat([t, t], 1).sigmoid().chunk(2, 1)[1],
    "concatenated": lambda s, t: torch.cat([t[:, :1].sigmoid(), 1 - t[:, 1:].sigmoid()], 1),
    "stacked": lambda s, t: torch.stack([t.sigmoid(), t.sigmoid()])[1],
    "greatest": lambda s, t: torch.maximum(t.sigmoid(), (2 * t).sigmoid()),
    "pooled": lambda s, t: F.max_pool1d(t.sigmoid(), 1),
    "averaged": lambda s, t: t.sigmoid().mean(1, keepdim=True),
    "expanded": lambda s, t: t[:, :1].sigmoid().expand(3, 3),
    "flipped": lambda s, t: t.sigmoid().flip(0),
    "padded": lambda s, t: F.pad(t[:, :2].sigmoid(), [1, 0]),
    "in place": lambda s, t: (t * 1.0).sigmoid_(),
    "special": lambda s, t: torch.special.expit(t),
    "sine": lambda s, t: (t.sin() + 1) / 2,
    "to another type": lambda s, t: t.sigmoid().to(t.dtype),
    "double": lambda s, t: torch.sigmoid(t).double(),
    "where": lambda s, t: torch.where(t > 0, t.sigmoid(), 0.5),
    "masked": lambda s, t: t.sigmoid().masked_fill(t > 9, 0.0),
}
FIRST = {"gate first": lambda gate, n: gate * n, "signal first": lambda gate, n: n * gate}


@pytest.mark.parametrize("order", FIRST)
@pytest.mark.parametrize("case", GATES)
def test_what_lies_between_0_and_1_gates(case, order):
    layers = {"z": nn.Linear(4, 3, bias=False), "n": nn.Linear(4, 3, bias=False)}
    model = net(lambda s, x: FIRST[order](GATES[case](s, s.z(x)), s.n(x)), **layers)
    x = normal()
    _, found = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus(epsilon=1e-12)))(x, 0)
    signal = x * model.n.weight[0] / model.n(x)[:, :1]
    torch.testing.assert_close(found, signal.detach(), rtol=1e-6, atol=1e-8)


NO_GATES = {
    "tanh": lambda s, t: t.tanh(),
    "twice": lambda s, t: 2 * t.sigmoid(),
    "shifted": lambda s, t: t.sigmoid() + 1,
    "negative": lambda s, t: -t.sigmoid(),
    "sum of two": lambda s, t: t.sigmoid() + t.sigmoid(),
    "relu": lambda s, t: t.relu(),
    "clamped below": lambda s, t: t.clamp(min=0),
    "clamped to 2": lambda s, t: t.clamp(0, 2),
    "divided": lambda s, t: t.sigmoid() / 0.5,
    "subtracted": lambda s, t: t.sigmoid() - 0.5,
    "difference": lambda s, t: t.sigmoid() - (2 * t).sigmoid(),
    "sum over an axis": lambda s, t: t.sigmoid().sum(1, keepdim=True),
    "scaled by a parameter": lambda s, t: t.sigmoid() * s.z.weight[0, 0],
    "plain": lambda s, t: t,
    "lerp beyond": lambda s, t: torch.lerp(t.sigmoid(), (2 * t).sigmoid(), 2.0),
    "complement of tanh": lambda s, t: 1 - t.tanh(),
    "padded with 2": lambda s, t: F.pad(t[:, :2].sigmoid(), [0, 1], value=2.0),
    "concatenated with the signal": lambda s, t: torch.cat([t[:, :1].sigmoid(), t[:, 1:]], 1),
    "masked with 3": lambda s, t: t.sigmoid().masked_fill(t > 0, 3.0),
    "hard sigmoid, too wide": lambda s, t: F.relu6(t + 3) / 3,
}


@pytest.mark.parametrize("case", NO_GATES)
def test_what_exceeds_0_to_1_gates_nothing(case):
    layers = {"z": nn.Linear(4, 3, bias=False), "n": nn.Linear(4, 3, bias=False)}
    model = net(lambda s, x: NO_GATES[case](s, s.z(x)) * s.n(x), **layers)
    at = rf.relevance_at(rf.lrp(model, rf.composites.epsilon_plus(epsilon=1e-12)), ["n"])
    _, found = at(normal(), ones)
    torch.testing.assert_close(found["n"], torch.full((3, 3), 0.5).double(), rtol=1e-9, atol=1e-9)


# --- gradients between other rules, whose output may share or own its memory --------------------------------

BETWEEN = {
    "mean": (lambda h: h.mean(1, keepdim=True), 1),
    "mean of a relu": (lambda h: h.relu().mean(1, keepdim=True), 1),
    "sum": (lambda h: h.sum(1, keepdim=True), 1),
    "sum without the axis": (lambda h: h.sum(1)[:, None], 1),
    "mean over samples": (lambda h: h.mean(0, keepdim=True), 5),
    "expand": (lambda h: h[:, :1].expand(3, 4), 4),
    "broadcast_to": (lambda h: torch.broadcast_to(h[:, :1], (3, 4)), 4),
    "repeat": (lambda h: h.repeat(1, 2), 10),
    "expand and view": (lambda h: h[:, :, None].expand(3, 5, 2).reshape(3, 10), 10),
    "sum and expand": (lambda h: h.sum(1, keepdim=True).expand(3, 4), 4),
    "mean, squeezed": (lambda h: h.mean(1).unsqueeze(1), 1),
    "greatest": (lambda h: h.amax(1, keepdim=True), 1),
    "values of max": (lambda h: h.max(1, keepdim=True).values, 1),
    "pooled": (lambda h: F.adaptive_avg_pool1d(h[:, None], 1)[:, 0], 1),
    "pooled by windows": (lambda h: F.avg_pool1d(h[:, None], 2)[:, 0], 2),
    "cumsum": (lambda h: h.cumsum(1), 5),
    "softmax": (lambda h: h.softmax(1), 5),
    "layer norm": (lambda h: F.layer_norm(h, (5,)), 5),
    "norm": (lambda h: h.norm(dim=1, keepdim=True), 1),
    "variance": (lambda h: h.var(1, keepdim=True), 1),
    "logsumexp": (lambda h: h.logsumexp(1, keepdim=True), 1),
    "product": (lambda h: h * h.mean(1, keepdim=True), 5),
    "difference to the mean": (lambda h: h - h.mean(1, keepdim=True), 5),
    "normalised": (lambda h: F.normalize(h), 5),
    "concatenated with itself": (lambda h: torch.cat([h, h], 1), 10),
    "sum of itself": (lambda h: h + h, 5),
    "flip": (lambda h: h.flip(1), 5),
    "gather": (lambda h: h.gather(1, torch.tensor([[0, 0, 4]] * 3)), 3),
    "set in place": (lambda h: zeroed(h * 2), 5),
}


def zeroed(h):
    h[:, 0] = 0
    return h


@pytest.mark.parametrize("case", BETWEEN)
def test_gradients_between_other_rules(case):
    function, width = BETWEEN[case]
    model = net(lambda s, x: s.b(function(s.a(x))), a=nn.Linear(4, 5), b=nn.Linear(width, 2))
    layers = rf.composites.by_type({"linear": rf.rules.epsilon(SIGNED)})
    composite = rf.composites.mixed(layers, rf.composites.by_type({"*": rf.rules.gradient()}))
    a, b = model.a, model.b

    def by_hand(x):
        return Epsilon.apply(function(Epsilon.apply(x, a.weight, a.bias)), b.weight, b.bias)

    expected = by_autograd(by_hand, normal())
    explain = rf.gradient(rf.lrp(model, composite))
    for _ in range(2):
        output, relevance = explain(normal(), ones)
        torch.testing.assert_close((output, (relevance,)), expected, rtol=1e-9, atol=1e-12)
