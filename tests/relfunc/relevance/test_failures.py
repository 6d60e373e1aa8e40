"""What goes wrong, mostly in silence, where rules are attached by hooks: one test for each failure that was observed.

Where a network is needed that is free of such failures, it is written out by hand, or explained layer by layer.
"""

import copy
import gc
import operator
import pickle
import weakref
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.fusion import fuse_conv_bn_eval

import relfunc as rf

from ..reference import COTANGENTS, cnn, filled, images

EPSILON_PLUS = rf.composites.epsilon_plus(epsilon=1e-12, stabilizer=1e-12)
FLAT = rf.composites.epsilon_plus_flat()


def linear_rule(rule):
    """The rule for linear layers and sums, and all else passed."""
    return rf.composites.by_type({"linear|combination": rule, "activation": rf.rules.pass_()})


CONSERVING, ZPLUS = linear_rule(rf.rules.epsilon(0)), linear_rule(rf.rules.zplus())


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def explain(model, composite, x, target=None):
    return rf.gradient(rf.lrp(model, composite))(x, target)


def mlp(activation=nn.ReLU, **options):
    return nn.Sequential(nn.Linear(4, 6), activation(**options), nn.Linear(6, 3)).double().eval()


def samples(*shape):
    return torch.randn(shape, dtype=torch.float64)


class Model(nn.Module):
    """Layers, and a function of them and the input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.double().eval()

    def forward(self, x):
        return self._forward(self, x)


# --- batch norm -------------------------------------------------------------------------------------


def test_batch_norm_is_merged_in_evaluation_and_an_error_in_training():
    model, x, target = cnn(), images(), COTANGENTS["one_hot"]
    fused = nn.Sequential(fuse_conv_bn_eval(model[0], model[1]), *model[2:]).eval()
    torch.testing.assert_close(explain(model, FLAT, x, target), explain(fused, FLAT, x, target), rtol=1e-9, atol=1e-12)
    with pytest.raises(rf.errors.CaptureError, match="training mode"):
        rf.lrp(cnn().train(), FLAT)


def test_state_dict_after_attribution_is_that_of_the_unmerged_model():
    model, x = cnn(), images()
    y = model(x)
    keys = list(model.state_dict())
    explain(model, FLAT, x, COTANGENTS["one_hot"])
    reloaded = cnn()
    reloaded.load_state_dict(model.state_dict())
    assert list(model.state_dict()) == keys
    assert torch.equal(reloaded(x), y)


def test_model_changes_its_dtype_after_attribution():
    model = cnn().float()
    f = rf.lrp(model, FLAT)
    rf.gradient(f)(images().float(), COTANGENTS["one_hot"])
    model.double()
    _, relevance = rf.gradient(f)(images(), COTANGENTS["one_hot"])
    assert relevance.dtype == torch.float64
    torch.testing.assert_close(f(images()), model(images()))


def test_conv_relu_bn_is_not_merged():
    conv, bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    model = filled(Model(lambda m, x: m.bn(F.relu(m.conv(x))), conv=conv, bn=bn), seed=3)
    x = samples(2, 2, 5, 5)
    R = samples(2, 3, 3, 3)
    y, relevance = explain(model, EPSILON_PLUS, x, R)
    _, expected = explain(nn.Sequential(conv, nn.ReLU()).eval(), EPSILON_PLUS, x, R)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(relevance, expected)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4)),
        (nn.Conv2d(2, 4, 2, bias=False), nn.BatchNorm2d(4, affine=False)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.BatchNorm2d(6)),
        (nn.ConvTranspose2d(4, 2, 2, groups=2, bias=False), nn.BatchNorm2d(2)),
        (nn.BatchNorm2d(4), nn.Conv2d(4, 2, 2, groups=2)),
        (nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
    ],
    ids=["conv", "without affine", "grouped transposed", "grouped transposed, no bias", "before", "twice"],
)
def test_merged_batch_norm_is_one_affine_operation(layers):
    """Epsilon over conv and batch norm is epsilon over their product, whose matrix is the model's Jacobian."""
    model = filled(nn.Sequential(*layers), seed=5)
    first = layers[0] if not isinstance(layers[0], nn.BatchNorm2d) else layers[1]
    x = samples(1, first.in_channels, 3, 3)
    y = model(x).detach()
    R = torch.randn_like(y)
    y_lrp, relevance = explain(model, rf.composites.by_type({"affine": rf.rules.epsilon(0.1)}), x, R)
    _, vjp = torch.func.vjp(model, x)
    torch.testing.assert_close(y_lrp, y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(relevance, x * vjp(R / (y + 0.1 * y.sign()))[0], rtol=1e-10, atol=1e-12)


def test_batch_norm_without_statistics_normalises_by_the_batch():
    conv, bn = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3, track_running_stats=False)
    model = filled(nn.Sequential(conv, bn), seed=5)
    x, R = samples(4, 2, 3, 3), samples(4, 3, 2, 2)
    y, relevance = explain(model, EPSILON_PLUS, x, R)
    torch.testing.assert_close(y, model(x).detach(), rtol=1e-12, atol=1e-12)
    h = conv(x).detach()
    share = R / (h - h.mean((0, 2, 3), keepdim=True))
    centring = h * (share - share.mean((0, 2, 3), keepdim=True))  # the deviation is constant, the mean has its share
    torch.testing.assert_close(relevance, explain(nn.Sequential(conv).eval(), EPSILON_PLUS, x, centring)[1])


def test_densenet_is_explained_and_left_whole():
    """Its batch norms follow sums and come before ReLUs: nothing to merge them with."""
    model = filled(torchvision.models.DenseNet(4, (2, 2), 8, bn_size=2, num_classes=5), seed=7)
    x = images()
    y = model(x).detach()
    first, second = explain(model, FLAT, x, 1), explain(model, FLAT, x, 1)
    torch.testing.assert_close(first[0], y, rtol=1e-10, atol=1e-12)
    assert torch.equal(first[1], second[1])
    assert torch.isfinite(first[1]).all()
    assert torch.equal(model(x), y)


# --- the model stays the user's ---------------------------------------------------------------------


def test_optimizer_trains_on_after_attribution():
    model = mlp()
    model[2].weight = nn.Parameter(model[2].weight.detach())
    weight, optimizer = model[0].weight, torch.optim.SGD(model.parameters(), lr=0.1)
    x = samples(5, 4)
    model(x).sum().backward()
    grad = weight.grad.clone()
    explain(model, FLAT, x, 1)
    assert model[0].weight is weight
    assert torch.equal(weight.grad, grad)
    before = model(x)
    optimizer.step()
    assert not torch.equal(model(x), before)


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).double().eval()
    model[2].weight = model[0].weight
    untied = copy.deepcopy(model)
    untied[2].weight = nn.Parameter(model[0].weight.detach().clone())
    x = samples(3, 4)
    torch.testing.assert_close(explain(model, FLAT, x, 1), explain(untied, FLAT, x, 1))
    assert model[2].weight is model[0].weight


def test_relevance_is_differentiable_in_the_weight_held_before():
    model, x = mlp(), samples(2, 4)
    weight = model[0].weight
    f = rf.lrp(model, EPSILON_PLUS)
    _, relevance = rf.gradient(f, create_graph=True)(x, 1)
    (grad,) = torch.autograd.grad(relevance.square().sum(), weight)

    def objective(step):
        parameters = dict(model.named_parameters()) | {"0.weight": weight.detach() + step}
        _, vjp = torch.func.vjp(lambda x: torch.func.functional_call(f, parameters, (x,)), x)
        return vjp(F.one_hot(torch.tensor([1, 1]), 3).double())[0].square().sum().item()

    step = torch.zeros_like(weight)
    step[2, 1] = 1e-6
    assert (objective(step) - objective(-step)) / 2e-6 == pytest.approx(grad[2, 1].item(), rel=1e-5)


def test_nothing_is_kept_between_calls():
    model = mlp()
    explain_one = rf.gradient(rf.lrp(model, FLAT))
    x = samples(2, 4)
    kept = [weakref.ref(x), *(weakref.ref(result) for result in explain_one(x, 1))]
    del x
    gc.collect()
    assert [ref() for ref in kept] == [None, None, None]
    for _ in range(50):
        explain_one(samples(2, 4), 1)
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.mark.slow
def test_threads_share_a_model():
    """Each thread captures the model anew and explains a hundred times, amid plain forward passes."""
    model = cnn()
    x, target = images()[:, :, :16, :16], COTANGENTS["one_hot"]
    model = nn.Sequential(*model[:10], nn.Flatten(), nn.Linear(64, 10).double()).eval()
    composites = (FLAT, rf.composites.epsilon_gamma_box(-2, 2.5))
    y, expected = model(x).detach(), [explain(model, c, x, target)[1] for c in composites]

    def work(i):
        with torch.no_grad():
            explain_one = rf.gradient(rf.lrp(model, composites[i % 2]))
            return sum(
                not torch.allclose(explain_one(x, target)[1], expected[i % 2], rtol=1e-12, atol=1e-14)
                or not torch.allclose(model(x), y, rtol=1e-12, atol=1e-14)
                for _ in range(100)
            )

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0


# --- functions are operations -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [F.gelu, lambda x: F.silu(x), torch.tanh, torch.sigmoid, lambda x: x.sigmoid()])
def test_functional_activation_passes_relevance(function):
    head, tail = nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)
    model = Model(lambda m, x: m.tail(function(m.head(x))), head=head, tail=tail)
    y, relevance = explain(model, EPSILON_PLUS, samples(3, 4))
    torch.testing.assert_close(relevance.sum(1), y.sum(1))


@pytest.mark.parametrize("composite", ["guided_backprop", "deconvnet", "beta_smooth", "epsilon_plus_flat"])
@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        torch.relu,
        lambda x: x.relu(),
        lambda x: F.relu(x, inplace=True),
        torch.relu_,
        lambda x: F.relu_(x),
    ],
    ids=["F.relu", "torch.relu", "method", "inplace=True", "torch.relu_", "F.relu_"],
)
def test_every_form_of_relu_is_a_relu(function, composite):
    rule, model, x = getattr(rf.composites, composite)(), mlp(), samples(3, 4)
    functional = Model(lambda m, x: m.tail(function(m.head(x))), head=model[0], tail=model[2])
    torch.testing.assert_close(explain(functional, rule, x, 1), explain(model, rule, x, 1))


def test_beta_smooth_of_an_inplace_relu_reads_the_input():
    x, composite = samples(3, 4), rf.composites.beta_smooth()
    model = mlp(inplace=True)
    (head, _, tail), z = model, model[0](x)
    upper = torch.eye(3, dtype=torch.float64)[1] @ tail.weight
    expected = (torch.sigmoid(10 * z) * upper) @ head.weight
    torch.testing.assert_close(explain(model, composite, x, 1)[1], expected.detach())


@pytest.mark.parametrize(
    "add",
    [lambda x, y: x + y, torch.add, lambda x, y: y.add(x), lambda x, y: y.add_(x), lambda x, y: operator.iadd(y, x)],
    ids=["+", "torch.add", "add", "add_", "+="],
)
def test_functional_residual_add_conserves_relevance(add):
    """Eight blocks whose branches would each get all relevance give 2⁸ times too much."""

    def forward(model, x):
        for layer in model.layers:
            x = add(x, F.relu(layer(x)))
        return model.head(x)

    layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(8))
    model = Model(forward, layers=layers, head=nn.Linear(4, 2, bias=False))
    _, relevance = explain(model, CONSERVING, samples(3, 4), 1)
    torch.testing.assert_close(relevance.sum(1), torch.ones(3, dtype=torch.float64))


def test_resnet18_conserves_relevance():
    model = torchvision.models.resnet18(num_classes=5).double().eval()
    nn.init.zeros_(model.fc.bias)
    _, relevance = explain(model, rf.composites.epsilon_plus(), images(), 1)
    torch.testing.assert_close(relevance.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-3)


def test_reused_linear_equals_unrolled():
    layer, head = nn.Linear(4, 4), nn.Linear(4, 3)
    reused = Model(lambda m, x: m.head(m.layer(m.layer(x).relu()).relu()), layer=layer, head=head)
    unrolled = nn.Sequential(layer, nn.ReLU(), copy.deepcopy(layer), nn.ReLU(), head).eval()
    x = samples(3, 4)
    for composite in (EPSILON_PLUS, FLAT, ZPLUS):
        torch.testing.assert_close(explain(reused, composite, x, 1), explain(unrolled, composite, x, 1))


@pytest.mark.parametrize("composite", ["beta_smooth", "guided_backprop", "deconvnet"])
def test_reused_relu_equals_two_relus(composite):
    relu, layers = nn.ReLU(), (nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3))
    reused = nn.Sequential(layers[0], relu, layers[1], relu, layers[2]).double().eval()
    unrolled = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double().eval()
    x, rule = samples(3, 4), getattr(rf.composites, composite)()
    torch.testing.assert_close(explain(reused, rule, x, 1), explain(unrolled, rule, x, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.tail(input=m.relu(input=m.head(input=x))),
        lambda m, x: F.linear(bias=m.tail.bias, weight=m.tail.weight, input=m.head(input=x).relu()),
    ],
    ids=["module", "function"],
)
def test_kwargs_only_call_gets_its_rule(call):
    plain, x = mlp(), samples(3, 4)
    model = Model(call, head=plain[0], relu=plain[1], tail=plain[2])
    torch.testing.assert_close(explain(model, FLAT, x, 1), explain(plain, FLAT, x, 1))


class Sum(nn.Module):
    def forward(self, x, y):
        return x + y


def test_each_of_two_inputs_gets_its_own_relevance():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[30.0, 40.0]])
    _, relevances = explain(Sum().eval(), rf.composites.by_type({"sum": rf.rules.norm()}), (x, y))
    torch.testing.assert_close(relevances, (x, y))


def test_weight_norm_is_seen_by_the_rule():
    layer = parametrizations.weight_norm(nn.Linear(4, 6).double()).eval()
    plain = nn.Linear(4, 6).double()
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        plain.bias.copy_(layer.bias)
    tail, x = nn.Linear(6, 3).double(), samples(3, 4)
    expected = explain(nn.Sequential(plain, tail).eval(), ZPLUS, x, 1)
    torch.testing.assert_close(explain(nn.Sequential(layer, tail).eval(), ZPLUS, x, 1), expected)


def test_first_is_first_in_execution_order():
    fc1, fc2 = nn.Linear(4, 6), nn.Linear(6, 3)
    model = Model(lambda m, x: m.fc2(m.fc1(x).relu()), fc2=fc2, fc1=fc1)
    _, relevance = explain(model, FLAT, samples(3, 4), 1)
    torch.testing.assert_close(relevance, relevance[:, :1].expand(3, 4))
    assert list(dict(model.named_children())) == ["fc2", "fc1"]


# --- inputs and outputs -----------------------------------------------------------------------------

Pair = namedtuple("Pair", "logits features")


@pytest.mark.parametrize(
    "make",
    [lambda a, b: {"logits": a, "features": b}, Pair, lambda a, b: (a, b), lambda a, b: [a, {"b": b}]],
    ids=["dict", "namedtuple", "tuple", "nested"],
)
def test_structured_outputs_keep_their_structure(make):
    def forward(m, x):
        h = m.head(x).relu()
        return make(m.tail(h), h)

    plain, x = mlp(), samples(3, 4)
    f = rf.lrp(Model(forward, head=plain[0], tail=plain[2]), FLAT)
    hot = F.one_hot(torch.tensor([1, 1, 1]), 3).double()
    y, relevance = rf.gradient(f)(x, lambda y: make(hot, None))
    assert type(y) is type(make(1, 2))
    assert type(f(x)) is type(y)
    torch.testing.assert_close(relevance, rf.gradient(rf.lrp(plain, FLAT))(x, 1)[1])


def test_grad_mode_does_not_matter():
    f, x = rf.lrp(mlp(), FLAT), samples(3, 4)
    _, expected = rf.gradient(f)(x, 1)
    with torch.no_grad():
        assert torch.equal(rf.gradient(f)(x, 1)[1], expected)
    with torch.inference_mode():
        assert torch.equal(rf.gradient(f)(x.clone(), 1)[1], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "composite",
    [
        rf.composites.epsilon_gamma_box(-2, 2),
        rf.composites.epsilon_plus(),
        rf.composites.epsilon_plus_flat(),
        rf.composites.epsilon_alpha2_beta1(),
        rf.composites.excitation_backprop(),
    ],
    ids=lambda composite: composite.name,
)
def test_zero_outputs_give_finite_relevance(composite, dtype):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)).eval()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[4].weight[1] = 0
        for layer in (model[0], model[4]):
            layer.bias.zero_()
    f = rf.lrp(model.to(dtype), composite)
    x = images()[:, :, :8, :8].to(dtype)
    x[1] = 0
    for target in (0, 1):
        assert torch.isfinite(rf.gradient(f)(x, target)[1]).all()


def test_operation_without_a_rule_is_named():
    class Distances(nn.Module):
        def forward(self, x):
            return torch.cdist(x, x.cos())

    with pytest.raises(rf.errors.RelfuncError, match=r"no rule for .cdist.*give it one in the composite"):
        rf.lrp(Distances().eval(), EPSILON_PLUS)


def test_integrated_gradients_are_complete():
    model, x = mlp(nn.Tanh), samples(4, 4)
    y, attribution = rf.integrated_gradients(model, steps=20)(x, 1)
    expected = (y - model(torch.zeros_like(x)))[:, 1].detach()
    torch.testing.assert_close(attribution.sum(1), expected, rtol=0, atol=1e-5)


# --- composites are values --------------------------------------------------------------------------


@pytest.mark.parametrize("composite", [EPSILON_PLUS, FLAT, rf.composites.epsilon_gamma_box(-1, 1)])
def test_composites_are_pickled_copied_and_printed(composite):
    assert pickle.loads(pickle.dumps(composite)) == composite == copy.deepcopy(composite)
    assert all(str(row.rule) in str(composite) for row in composite.rows)
