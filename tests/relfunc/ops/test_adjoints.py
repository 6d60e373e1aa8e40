"""Adjoints written out equal the derivative; relevance in memory used again equals relevance in fresh memory."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch.utils import _pytree as pytree

import relfunc as rf
from relfunc.graph.calls import Call, Slot
from relfunc.graph.normalization import centred
from relfunc.ops.adjoints import ADJOINTS

from ..reference import cnn, images, resnet18

X = Slot(0)
CALLS = {
    "reshape": Call(torch.reshape, (X, (2, -1)), {}, (0,)),
    "flatten": Call(torch.flatten, (X, 1), {}, (0,)),
    "unflatten": Call(torch.unflatten, (X, 1, (3, 2)), {}, (0,)),
    "squeeze": Call(torch.squeeze, (X,), {}, (0,)),
    "unsqueeze": Call(torch.unsqueeze, (X, 0), {}, (0,)),
    "contiguous": Call(torch.Tensor.contiguous, (X,), {}, (0,)),
    "clone": Call(torch.clone, (X,), {"memory_format": torch.contiguous_format}, (0,)),
    "view": Call(torch.Tensor.view, (X, 2, -1), {}, (0,)),
    "permute": Call(torch.permute, (X, (2, 0, -1, 1)), {}, (0,)),
    "permute, one by one": Call(torch.Tensor.permute, (X, 3, 1, 0, 2), {}, (0,)),
    "transpose": Call(torch.transpose, (X, 1, -1), {}, (0,)),
    "swapaxes": Call(torch.swapaxes, (X, 0, 2), {}, (0,)),
    "cat": Call(torch.cat, ([X, Slot(1)], 1), {}, (0, 1)),
    "cat, a constant first": Call(torch.cat, ([Slot(1), X], -1), {}, (0,)),
    "chunk": Call(torch.chunk, (X, 3, 1), {}, (0,)),
    "unbind": Call(torch.unbind, (X, -1), {}, (0,)),
    "split": Call(torch.Tensor.split, (X, 4), {"dim": 1}, (0,)),
    "getitem, basic": Call(operator.getitem, (X, (slice(None), 2, ..., slice(None, None, 2))), {}, (0,)),
    "slice": Call(torch.ops.aten.slice.Tensor, (X, -3, 1, 2**63 - 1, 2), {}, (0,)),
    "slice, of all": Call(torch.ops.aten.slice.Tensor, (X, 1, 0, 2**63 - 1), {}, (0,)),
    "select": Call(torch.select, (X, -2, -1), {}, (0,)),
    "expand": Call(torch.Tensor.expand, (X, 3, -1, 6, 5, 4), {}, (0,)),
    "expand_as": Call(torch.Tensor.expand_as, (X, Slot(1)), {}, (0,)),
    "broadcast_to": Call(torch.broadcast_to, (X, (3, 1, 2, 6, 5, 4)), {}, (0,)),
    "sum": Call(torch.sum, (X,), {}, (0,)),
    "sum over dims": Call(torch.sum, (X, (1, -1)), {}, (0,)),
    "mean, kept": Call(torch.mean, (X, -2, True), {}, (0,)),
    "mean": Call(torch.mean, (X,), {"dim": (2, 3)}, (0,)),
    "centred": Call(centred, (X, (-1, 1)), {}, (0,)),
    "centred, of the batch": Call(centred, (X, "batch"), {}, (0,)),
    "centred, of space": Call(centred, (X, "spatial"), {}, (0,)),
    "max_pool2d": Call(F.max_pool2d, (X, 3, 2, 1), {"ceil_mode": True}, (0,)),
    "max_pool2d, uneven": Call(F.max_pool2d, (X, (2, 1)), {"dilation": (1, 2), "return_indices": False}, (0,)),
    "avg_pool2d": Call(F.avg_pool2d, (X, (3, 2), None, 1, True, False), {}, (0,)),
    "adaptive_avg_pool2d": Call(F.adaptive_avg_pool2d, (X, (3, None)), {}, (0,)),
    "relu": Call(F.relu, (X,), {}, (0,)),
}


@pytest.fixture(scope="module")
def values():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 6, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))


def test_every_adjoint_is_in_the_table_below():
    assert {call.name for call in CALLS.values()} | {"t"} >= set(ADJOINTS)


@pytest.mark.parametrize("name", CALLS)
def test_adjoint_equals_the_derivative(name, values):
    call = CALLS[name]
    data = [values[slot] for slot in call.data]

    def of_data(*data):
        filled = list(values)
        for slot, value in zip(call.data, data, strict=True):
            filled[slot] = value
        return call(*filled)

    output, vjp = torch.func.vjp(of_data, *data)
    cotangent = pytree.tree_map(torch.randn_like, output)
    assert call.adjoint is not None
    expected = vjp(cotangent)
    torch.testing.assert_close(call.transpose(cotangent, *values), expected)
    batch = pytree.tree_map(lambda c: torch.stack([c, 2 * c]), cotangent)
    batched = torch.func.vmap(lambda c: call.transpose(c, *values))(batch)
    torch.testing.assert_close(tuple(part[1] for part in batched), tuple(2 * part for part in expected))


def test_an_empty_tensor_that_torch_joins_to_any_gets_nothing():
    values = torch.empty(0), torch.rand(2, 3)
    nothing, all_of_it = Call(torch.cat, ([X, Slot(1)], -2), {}, (0, 1)).transpose(torch.ones(2, 3), *values)
    assert nothing.shape == (0,)
    assert torch.equal(all_of_it, torch.ones(2, 3))


@pytest.mark.parametrize(
    "call",
    [
        Call(operator.getitem, (X, torch.tensor([0, 0])), {}, (0,)),
        Call(torch.sum, (X,), {"dtype": torch.float64}, (0,)),
        Call(torch.flip, (X, (1,)), {}, (0,)),
        Call(torch.add, (X, Slot(1)), {"alpha": 2}, (0, 1)),
    ],
    ids=["repeated index", "dtype", "no adjoint", "both arguments"],
)
def test_what_an_adjoint_does_not_cover_is_differentiated(call, values):
    assert call.adjoint is None
    output = call(*values)
    grads = call.transpose(torch.ones_like(output), *values)
    leaves = [values[slot].clone().requires_grad_() for slot in call.data]
    torch.testing.assert_close(grads, torch.autograd.grad(call(*leaves, *values[len(leaves) :]).sum(), leaves))


@pytest.mark.slow
@pytest.mark.parametrize("make", [cnn, resnet18])
@pytest.mark.parametrize(
    "composite",
    [
        rf.composites.epsilon_gamma_box(-2.0, 2.5),
        rf.composites.epsilon_alpha2_beta1_flat(),
        rf.composites.epsilon_plus(),
        rf.composites.excitation_backprop(),
    ],
    ids=lambda c: c.name,
)
def test_memory_used_again_changes_no_relevance(make, composite):
    model, x = make(), images()
    f = rf.lrp(model, composite)
    seed = torch.randn(2, 10, dtype=torch.float64)
    before = x.clone(), seed.clone()
    output, relevance = rf.gradient(f)(x, seed)
    names = list(rf.plan(model, composite).index)
    _, kept = rf.relevance_at(f, names)(x, seed)
    assert torch.equal(x, before[0])
    assert torch.equal(seed, before[1])
    y, vjp = torch.func.vjp(f, x)
    torch.testing.assert_close(vjp(seed)[0], relevance, rtol=1e-12, atol=1e-15)
    assert torch.equal(y, output)
    for name in names[::4]:
        alone = rf.relevance_at(f, [name])(x, seed)[1][name]
        torch.testing.assert_close(alone, kept[name], rtol=0, atol=0)
