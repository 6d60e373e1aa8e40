"""Relevance under torch's transforms: gradients, vmap, Jacobians, compilation, and derivatives of relevance."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.autograd import gradcheck

import relfunc as rf

from ..reference import cnn, images, resnet18

FLAT = rf.composites.epsilon_plus_flat()
SMOOTH = {
    "epsilon": rf.composites.epsilon_plus(epsilon=1e-12),
    "gamma": rf.composites.by_type({"linear": rf.rules.gamma(), "activation": rf.rules.pass_()}),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def mlp(activation=nn.ReLU):
    return nn.Sequential(nn.Linear(4, 6), activation(), nn.Linear(6, 3)).double().eval()


def samples(*shape):
    return torch.randn(shape, dtype=torch.float64)


def test_transforms_equal_the_plain_loop():
    model, x = mlp(), samples(5, 4)
    f = rf.lrp(model, FLAT)
    loop = torch.stack([rf.gradient(f)(x, c)[1] for c in range(3)])
    one = torch.stack([rf.gradient(f)(x[i : i + 1], 1)[1][0] for i in range(5)])
    seeds = torch.eye(3, dtype=torch.float64)[:, None].expand(3, 5, 3)
    y, vjp = torch.func.vjp(f, x)
    leaf = x.clone().requires_grad_()
    (batched,) = torch.autograd.grad(f(leaf), leaf, seeds, is_grads_batched=True)
    found = {
        "vmap over classes": (torch.vmap(vjp)(seeds)[0], loop),
        "is_grads_batched": (batched, loop),
        "grad": (torch.func.grad(lambda x: f(x)[:, 1].sum())(x), loop[1]),
        "vmap of the seed": (torch.vmap(lambda s: rf.gradient(f)(x, s)[1])(seeds), loop),
        "jacrev": (torch.func.jacrev(lambda x: f(x).sum(0))(x), loop),
        "vmap over samples": (torch.vmap(lambda x: rf.gradient(f)(x[None], 1)[1][0])(x), one),
        "vmap of grad": (torch.vmap(torch.func.grad(lambda x: f(x[None])[0, 1]))(x), one),
        "vmap of jacrev": (torch.vmap(torch.func.jacrev(lambda x: f(x[None])[0]))(x)[:, 1], one),
    }
    for name, (actual, expected) in found.items():
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")
    torch.testing.assert_close(y, model(x))


def test_transforms_of_a_convolutional_network_equal_the_plain_loop():
    f, x = rf.lrp(cnn(), rf.composites.epsilon_gamma_box(-2, 2.5)), images()
    loop = torch.stack([rf.gradient(f)(x, c)[1] for c in range(10)])
    torch.testing.assert_close(torch.func.jacrev(lambda x: f(x).sum(0))(x), loop, rtol=1e-10, atol=1e-12)
    by_sample = torch.vmap(lambda x: rf.gradient(f)(x[None], 1)[1][0])(x)
    torch.testing.assert_close(by_sample, loop[1], rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_in_one_graph_equals_the_plain_loop(backend):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    f, x = rf.lrp(model.double().eval(), rf.composites.epsilon_gamma_box(-2, 2.5)), images()[:, :, :8, :8]
    torch.compiler.reset()
    compiled = torch.compile(lambda x: rf.gradient(f)(x, 1), fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), rf.gradient(f)(x, 1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model", [cnn, resnet18])
def test_compiled_vjp_of_a_convolutional_network_equals_the_plain_loop(model):
    f, x = rf.lrp(model(), rf.composites.epsilon_gamma_box(-2, 2.5)), images()

    def relevance(x):
        output, vjp = torch.func.vjp(f, x)
        return vjp(output)

    torch.compiler.reset()
    compiled = torch.compile(relevance, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), relevance(x), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("composite", SMOOTH)
@pytest.mark.parametrize("target", [1, None], ids=["constant cotangent", "identity cotangent"])
def test_second_order_equals_finite_differences(composite, target):
    model, x = mlp(nn.Softplus), samples(2, 4).requires_grad_()
    f = rf.lrp(model, SMOOTH[composite])
    assert gradcheck(lambda x: rf.gradient(f, create_graph=True)(x, target)[1], x)

    def by_autograd(x):
        cotangent = model(x) if target is None else F.one_hot(torch.tensor([1, 1]), 3).double()
        return torch.autograd.grad(f(x), x, cotangent, create_graph=True)[0]

    assert gradcheck(by_autograd, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_runs_the_model_in_half_and_relevance_in_single_precision(dtype):
    """Half precision's eight or eleven bits would add up to percents of relevance lost, layer after layer."""
    model = torchvision.models.resnet18(weights=None).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    explain = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus()))
    x = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", dtype):
        output, relevance = explain(x, lambda y: y)
    assert (output.dtype, relevance.dtype) == (dtype, torch.float32)
    assert relevance.sum().item() == pytest.approx(output.float().sum().item(), rel=1e-3)
