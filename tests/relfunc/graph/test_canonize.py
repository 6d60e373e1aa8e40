"""One form for every operation: in-place, dropout and batch norm leave a graph with the same outputs and relevance."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

import relfunc as rf
from relfunc.graph.canonize import CanonizeError, canonize
from relfunc.ops.table import name_of

from ..reference import filled

ZBOX_GAMMA = rf.composites.epsilon_gamma_box(-3, 3)


class Function(nn.Module):
    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def operations(model):
    return [name_of(n.target) for n in canonize(rf.capture(model).graph).nodes if n.op == "call_function"]


def relevance(model, x, composite=ZBOX_GAMMA):
    return rf.gradient(rf.lrp(model, composite))(x, torch.ones_like(model(x)))


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


BN = nn.BatchNorm2d
FOLDS = {
    "behind a convolution": (lambda: [nn.Conv2d(3, 4, 3), BN(4)], (3, 8, 8)),
    "behind a grouped convolution": (lambda: [nn.Conv2d(3, 6, 3, groups=3), BN(6)], (3, 8, 8)),
    "behind a transposed convolution": (lambda: [nn.ConvTranspose2d(3, 4, 3, stride=2), BN(4)], (3, 8, 8)),
    "behind a grouped transposed convolution": (lambda: [nn.ConvTranspose2d(4, 6, 3, groups=2), BN(6)], (4, 8, 8)),
    "without affine parameters": (lambda: [nn.Conv2d(3, 4, 3, bias=False), BN(4, affine=False)], (3, 8, 8)),
    "behind a linear layer": (lambda: [nn.Linear(5, 4), nn.BatchNorm1d(4)], (5,)),
    "before a linear layer": (lambda: [nn.BatchNorm1d(5), nn.Linear(5, 4)], (5,)),
    "before an unpadded convolution": (lambda: [BN(4), nn.Conv2d(4, 6, 3, groups=2)], (4, 8, 8)),
    "one-dimensional": (lambda: [nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)], (3, 8)),
    "three-dimensional": (lambda: [nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)], (2, 4, 4, 4)),
    "frozen": (lambda: [nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4)], (3, 8, 8)),
    "of different eps": (lambda: [nn.Conv2d(3, 4, 3), BN(4, eps=0.5)], (3, 8, 8)),
}


@pytest.mark.parametrize("case", FOLDS)
def test_batch_norm_is_folded(case):
    make, shape = FOLDS[case]
    model = filled(nn.Sequential(*make()), seed=1)
    x = normal(2, *shape)
    assert "scale_shift" not in operations(model)
    assert "batch_norm" not in operations(model)
    y, _ = relevance(model, x)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(lambda: [BN(3), nn.Conv2d(3, 4, 3, padding=1)], (3, 8, 8), id="before a padded convolution"),
        pytest.param(lambda: [nn.Conv2d(3, 4, 3), BN(4, track_running_stats=False)], (3, 8, 8), id="no statistics"),
        pytest.param(lambda: [nn.Conv2d(3, 4, 3), nn.ReLU(), BN(4)], (3, 8, 8), id="across a ReLU"),
    ],
)
def test_batch_norm_stays_where_folding_would_change_the_model(make, shape):
    model = filled(nn.Sequential(*make()), seed=1)
    x = normal(4, *shape)
    assert {"scale_shift", "batch_normalized"} & set(operations(model))
    y, r = relevance(model, x)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-10, atol=1e-12)
    assert torch.isfinite(r).all()


def test_folded_batch_norm_gives_the_relevance_of_the_merged_layer():
    model = filled(nn.Sequential(nn.Conv2d(3, 4, 3), BN(4), nn.ReLU(), nn.Conv2d(4, 2, 3)), seed=2)
    merged = nn.utils.fuse_conv_bn_eval(model[0], model[1])
    x = normal(2, 3, 8, 8)
    expected = relevance(nn.Sequential(merged, *model[2:]).eval(), x)[1]
    torch.testing.assert_close(relevance(model, x)[1], expected, rtol=1e-10, atol=1e-12)


def test_frozen_batch_norm_gives_the_relevance_of_batch_norm():
    model = filled(nn.Sequential(nn.Conv2d(3, 4, 3), BN(4), nn.ReLU(), nn.Conv2d(4, 2, 3)), seed=2)
    frozen = FrozenBatchNorm2d(4).double()
    frozen.load_state_dict(model[1].state_dict())
    x = normal(2, 3, 8, 8)
    expected = relevance(model, x)[1]
    found = relevance(nn.Sequential(model[0], frozen, *model[2:]).eval(), x)[1]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_functional_relu_between_convolution_and_batch_norm_is_no_bridge():
    model = filled(Function(lambda x, c, b: b(F.relu(c(x))), nn.Conv2d(3, 4, 3), BN(4)), seed=1)
    x = normal(2, 3, 8, 8)
    torch.testing.assert_close(relevance(model, x)[0], model(x).detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x, c, b: b(h := c(x)) + h, id="the convolution has another reader"),
        pytest.param(lambda x, c, b: (n := b(c(x))) + n.relu(), id="the batch norm has several readers"),
        pytest.param(lambda x, c, b: b(c(x)) + b(x[:, :, 1:-1, 1:-1]), id="the batch norm is reused"),
    ],
)
def test_batch_norm_with_other_readers(function):
    model = filled(Function(function, nn.Conv2d(4, 4, 3), BN(4)), seed=1)
    x = normal(2, 4, 8, 8)
    torch.testing.assert_close(relevance(model, x)[0], model(x).detach(), rtol=1e-10, atol=1e-12)


def test_batch_norm_of_a_linear_layer_of_sequences_is_refused():
    model = filled(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(3)), seed=1)
    with pytest.raises(CanonizeError, match=r"met shape \(2, 3, 5\)"):
        relevance(model, normal(2, 3, 5))


IN_PLACE = {
    "relu_": lambda x, c: c(x).relu_() * 2,
    "F.relu(inplace=True)": lambda x, c: F.relu(c(x), inplace=True) * 2,
    "F.relu(x, True)": lambda x, c: (F.relu(h := c(x), True), h)[1] * 2,
    "F.leaky_relu by position": lambda x, c: (F.leaky_relu(h := c(x), 0.1, True), h)[1] * 2,
    "read later by the old name": lambda x, c: ((h := c(x)).relu_(), h)[1] * 2,
    "add_": lambda x, c: c(x).add_(x[:, :, 1:-1, 1:-1]).relu(),
    "dropout": lambda x, c: F.dropout(c(x), 0.5, False, True) * 2,
    "view": lambda x, c: ((h := c(x)).view(-1).add_(1), h)[1],
    "part": lambda x, c: ((h := c(x))[:, :1].relu_(), h)[1],
    "chained": lambda x, c: ((h := c(x)).relu_().mul_(2), h)[1] + 1,
}


def augmented(x, c):
    h = kept = c(x)
    h += x[:, :, 1:-1, 1:-1]
    h *= 2
    return kept.relu()


def counted(x, c):
    size = old = x.shape[2]
    size += 1
    return c(x)[:, :, : old - 7] * size


@pytest.mark.parametrize("name", [*IN_PLACE, "augmented", "counted"])
def test_in_place_operations_give_the_model(name):
    function = {**IN_PLACE, "augmented": augmented, "counted": counted}[name]
    model = filled(Function(function, nn.Conv2d(4, 4, 3)), seed=1)
    x = normal(2, 4, 8, 8)
    before = x.clone()
    y, _ = relevance(model, x)
    assert torch.equal(x, before)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, c: ((v := (h := c(x)).flatten(1)), h.relu_(), v)[2], "writes to a view of 'flatten', which is read"),
        (
            lambda x, c: ((h := c(x)).flatten(1).relu_(), h)[1],
            "writes to a view of 'conv2d', which is read later: clone",
        ),
        (lambda x, c: c(x.mul_(2)), "writes to the model's own input 'x'"),
        (lambda x, c: (x.view(-1).mul_(2), c(x))[1], "writes to the model's own input 'x'"),
        (lambda x, c: (c.weight.mul_(2), c(x))[1], "writes to the model's own parameter"),
        (lambda x, c: torch.add(c(x), 1, out=torch.empty(1)), "writes to its argument out"),
        (lambda x, c: F.dropout(c(x), 0.5, True), "relevance would be random"),
        (lambda x, c: F.batch_norm(c(x), torch.zeros(4), torch.ones(4), training=True), "is in training mode"),
    ],
)
def test_writes_that_have_no_functional_form_are_refused(function, message):
    model = Function(function, nn.Conv2d(4, 4, 3)).eval()
    with pytest.raises(rf.errors.RelfuncError, match=message):
        rf.lrp(model, ZBOX_GAMMA)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, c: torch.addmm(c.bias, x, c.weight.t()),
        lambda x, c: torch.mm(x, c.weight.t()) * 1,
    ],
)
def test_matrix_products_with_a_weight_are_linear_layers(function):
    model = filled(Function(function, nn.Linear(5, 4)), seed=1)
    assert "linear" in operations(model)
    x = normal(2, 5)
    torch.testing.assert_close(relevance(model, x)[0], model(x).detach(), rtol=1e-12, atol=1e-14)


def test_max_pooling_with_indices_that_nobody_reads_is_max_pooling():
    class Indexed(nn.Module):
        def forward(self, x):
            return torch.nn.functional.max_pool2d(x, 2, return_indices=True)[0].flatten(1)

    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    plain = nn.Sequential(nn.MaxPool2d(2), nn.Flatten()).eval()
    composite = rf.composites.by_type({"max_pool|move": rf.rules.gradient()})
    found, expected = (rf.gradient(rf.lrp(m, composite))(x, 1) for m in (Indexed().eval(), plain))
    assert all(map(torch.equal, found, expected))
