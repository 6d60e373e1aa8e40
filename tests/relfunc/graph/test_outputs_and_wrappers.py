"""Outputs of any structure, models in wrappers, and what a forward makes or holds beside parameters."""

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import relfunc as rf
from relfunc.errors import CaptureError

from ..kinds import GRADIENT, assert_is_the_model, by_autograd, mlp, net, normal, ones
from ..reference import filled

Pair = namedtuple("Pair", ["first", "second"])

# --- outputs ----------------------------------------------------------------------------------------

OUTPUTS = {
    "twice": lambda s, x: (lambda y: (y, y))(s.a(x)),
    "twice, once converted": lambda s, x: (lambda y: (y, y.double()))(s.a(x)),
    "twice, once viewed": lambda s, x: (lambda y: (y, y.view(-1)))(s.a(x)),
    "twice, nested": lambda s, x: (lambda y: {"a": y, "b": [y, (y * 2, y)]})(s.a(x)),
    "input as it is": lambda s, x: (s.a(x), x),
    "input through no-ops": lambda s, x: (F.dropout(x, training=False), s.a(x)),
    "integer part": lambda s, x: (s.a(x), s.a(x).argmax(1)),
    "size": lambda s, x: {"y": s.a(x), "batch": x.shape[0]},
    "None": lambda s, x: (s.a(x), None),
    "number": lambda s, x: {"y": s.a(x), "temperature": 2.0, "name": "head"},
    "mask": lambda s, x: (s.a(x), s.a(x) > 0),
    "constant": lambda s, x: (s.a(x), s.a.weight.sum()),
    "parameter": lambda s, x: [s.a(x), s.a.bias],
    "intermediate": lambda s, x: (lambda h: (h.relu(), h))(s.a(x)),
    "chunks": lambda s, x: s.a(x).chunk(2, 1),
    "unbound": lambda s, x: s.a(x).unbind(1),
    "scalar": lambda s, x: s.a(x).sum(),
    "in place behind": lambda s, x: (lambda h: (h, h.relu_()))(s.a(x)),
    "named": lambda s, x: Pair(s.a(x), -s.a(x)),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_of_any_structure(case):
    model = net(OUTPUTS[case], a=nn.Linear(4, 3))
    f = rf.lrp(model, GRADIENT)
    expected, (gradient,) = by_autograd(model, normal())
    output, relevance = rf.gradient(f)(normal(), ones)
    assert_same(output, expected)
    torch.testing.assert_close(relevance, gradient, rtol=1e-9, atol=1e-12)
    assert_same(f(normal()), expected)


def assert_same(found, expected):
    assert pytree.tree_structure(found) == pytree.tree_structure(expected)
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
        if isinstance(b, Tensor):
            torch.testing.assert_close(a.detach(), b, rtol=1e-10, atol=1e-12)
        else:
            assert (type(a), a) == (type(b), b)


# --- wrappers ---------------------------------------------------------------------------------------


def with_sync_batch_norm():
    layers = [nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Flatten(1), nn.Linear(64, 2)]
    return filled(nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(*layers)), seed=1)


WRAPPED = {
    "data parallel": lambda: (nn.DataParallel(mlp()).eval(), (3, 4)),
    "data parallel twice": lambda: (nn.DataParallel(nn.DataParallel(mlp())).eval(), (3, 4)),
    "data parallel child": lambda: (nn.Sequential(nn.DataParallel(mlp()), nn.Tanh()).eval(), (3, 4)),
    "compiled": lambda: (torch.compile(mlp(), backend="eager"), (3, 4)),
    "compiled child": lambda: (nn.Sequential(torch.compile(mlp(), backend="eager"), nn.Tanh()).eval(), (3, 4)),
    "compiled, parallel": lambda: (torch.compile(nn.DataParallel(mlp()).eval(), backend="eager"), (3, 4)),
    "compiled in place": lambda: (compiled_in_place(mlp()), (3, 4)),
    "compiled leaf": lambda: (nn.Sequential(compiled_in_place(nn.Linear(4, 2).double()), nn.ReLU()).eval(), (3, 4)),
    "synchronised batch norm": lambda: (with_sync_batch_norm(), (2, 3, 6, 6)),
    "nested synchronised": lambda: (nn.DataParallel(with_sync_batch_norm()).eval(), (2, 3, 6, 6)),
    "captured": lambda: (rf.capture(mlp()), (3, 4)),
}


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("case", WRAPPED)
def test_wrapped_models_are_what_they_wrap(case):
    model, shape = WRAPPED[case]()
    assert_is_the_model(model, normal(*shape))


SCRIPTED = {
    "scripted": lambda: torch.jit.script(mlp()),
    "scripted child": lambda: nn.Sequential(torch.jit.script(mlp()), nn.Tanh()).eval(),
    "in data parallel": lambda: nn.DataParallel(torch.jit.script(mlp())).eval(),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize("case", SCRIPTED)
def test_scripted_models_are_refused_with_the_way_out(case, example):
    options = {"example_inputs": (normal(),)} if example else {}
    with pytest.raises(CaptureError, match=r"is scripted.*pass the module it was scripted from") as caught:
        rf.lrp(SCRIPTED[case](), GRADIENT, **options)
    assert "example_inputs" not in str(caught.value)


def test_inference_mode_gives_the_same():
    model, f = mlp(), rf.lrp(mlp(), GRADIENT)
    expected = by_autograd(model, normal())
    with torch.inference_mode():
        output, relevance = rf.gradient(f)(normal(), ones)
        fresh = rf.gradient(rf.lrp(mlp(), GRADIENT))(normal(), ones)
        plain = f(normal())
    torch.testing.assert_close((output, (relevance,)), expected)
    torch.testing.assert_close(fresh, (output, relevance))
    torch.testing.assert_close(plain, output)


# --- constants that a forward makes ----------------------------------------------------------------------------

CONSTANTS = {
    "tensor": lambda s, x: s.a(x * torch.tensor([1.0, 2.0, 3.0, 4.0])),
    "tensor of a list of numbers": lambda s, x: s.a(x) + torch.tensor([[1, 2, 3]]),
    "tensor, typed": lambda s, x: s.a(x) * torch.tensor([1, 2, 3], dtype=x.dtype),
    "tensor on the device": lambda s, x: s.a(x) * torch.tensor(2.0, device=x.device),
    "as_tensor": lambda s, x: s.a(x) * torch.as_tensor([1.0, 0.0, 2.0]),
    "zeros": lambda s, x: torch.cat([s.a(x), torch.zeros(3, 2, dtype=x.dtype)], 1)[:2],
    "zeros_like": lambda s, x: torch.cat([s.a(x), torch.zeros_like(x)], 1),
    "ones_like": lambda s, x: s.a(x) + torch.ones_like(s.a(x)),
    "full_like": lambda s, x: s.a(x) * torch.full_like(s.a(x), 2.5),
    "new_zeros": lambda s, x: torch.cat([s.a(x), x.new_zeros(x.size(0), 2)], 1),
    "new_ones": lambda s, x: s.a(x) * x.new_ones(3),
    "new_full": lambda s, x: s.a(x) + x.new_full((3,), 2.0),
    "new_tensor": lambda s, x: s.a(x) * x.new_tensor([1.0, 2.0, 3.0]),
    "arange": lambda s, x: s.a(x) * torch.arange(3),
    "arange of a size": lambda s, x: s.a(x * torch.arange(x.shape[1])),
    "arange of the batch": lambda s, x: s.a(x) * torch.arange(x.shape[0])[:, None],
    "linspace": lambda s, x: s.a(x) + torch.linspace(0, 1, 3),
    "eye": lambda s, x: s.a(x) @ torch.eye(3, dtype=x.dtype),
    "triangle": lambda s, x: s.a(x) @ torch.ones(3, 3, dtype=x.dtype).tril(),
    "causal mask": lambda s, x: s.a(x)[:2].masked_fill(torch.ones(2, 3).triu(1).bool(), 0.0),
    "positions": lambda s, x: s.a(x + s.e(torch.arange(x.shape[1])).squeeze(-1)),
    "positions of the batch": lambda s, x: s.a(x) + s.e(torch.arange(x.shape[0])),
    "one_hot": lambda s, x: s.a(x) * F.one_hot(torch.tensor([0, 2, 1]), 3),
    "meshgrid": lambda s, x: s.a(x) + torch.meshgrid(torch.arange(1.0), torch.arange(3.0), indexing="ij")[1],
    "written to": lambda s, x: filled_in(torch.zeros(3, 3, dtype=x.dtype), s.a(x)),
    "written to, of a size": lambda s, x: filled_in(x.new_zeros(x.shape[0], 3), s.a(x)),
    "finfo": lambda s, x: s.a(x).clamp(min=torch.finfo(torch.float64).min),
    "parameter made in the forward": lambda s, x: F.linear(x, nn.Parameter(torch.ones(3, 4, dtype=torch.float64))),
    "module made in the forward": lambda s, x: nn.Tanh()(s.a(x)),
    "layer made in the forward": lambda s, x: nn.AvgPool1d(2)(s.a(x)),
    "scalar_tensor": lambda s, x: s.a(x) * torch.scalar_tensor(3.0),
    "of a list of the model": lambda s, x: s.a(x) * torch.tensor(s.run[1:] or [2.0]),
    "stack of constants": lambda s, x: s.a(x) * torch.stack([torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)]),
}


def filled_in(target, value):
    target[:, 1:] = value[:, 1:] * 2
    return target + value


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants_that_a_forward_makes(case):
    model = net(CONSTANTS[case], a=nn.Linear(4, 3), e=nn.Embedding(4, 1))
    assert_is_the_model(model)


class Holds(nn.Module):
    """Holds tensors that are neither parameters nor buffers."""

    def __init__(self):
        super().__init__()
        self.mean, self.a = torch.ones(4, dtype=torch.float64), nn.Linear(4, 5)
        self.scales = [torch.tensor(2.0), {"x": torch.tensor(3.0)}]
        self.a.extra = torch.full((5,), 0.5, dtype=torch.float64)

    def forward(self, x):
        return self.a(x - self.mean) * self.scales[0] + self.a.extra * self.scales[1]["x"]


def test_tensors_that_are_attributes_are_the_models():
    model = filled(Holds(), seed=1)
    f = rf.lrp(model, GRADIENT)
    assert_is_the_model(model)
    f(normal())
    model.mean = model.mean * 2  # read whenever f runs, as parameters are
    torch.testing.assert_close(f(normal()).detach(), model(normal()).detach())


def masked_scores(s, x):
    """A softmax of which nothing is left where all of a row is hidden."""
    return s.a(x.masked_fill(x < 0, -torch.inf).softmax(1))


@pytest.mark.parametrize("given", ["example", "first call"])
def test_samples_for_which_the_model_itself_returns_nan_are_named(given):
    model, x = net(masked_scores, a=nn.Linear(4, 3)), normal(5, 4).abs()
    x[1], x[3] = -1, -2
    f = None if given == "example" else rf.gradient(rf.lrp(model, GRADIENT))
    with pytest.warns(UserWarning, match=r"output of shape \(5, 3\) is NaN in samples 1, 3, where its relevance"):
        rf.capture(model, example_inputs=x) if f is None else f(x, 0)
    rf.gradient(rf.lrp(model, GRADIENT))(x[::2], 0)


def test_a_score_that_is_ruled_out_is_no_nan():
    model = net(
        lambda s, x: s.a(x).masked_fill(s.out, -torch.inf), a=nn.Linear(4, 3), out=torch.tensor([False, True, False])
    )
    rf.gradient(rf.lrp(model, GRADIENT))(normal(), 0)
