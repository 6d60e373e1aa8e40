"""Capture: however a model is written, it is the same graph of functions, and the model's own parameters."""

import math
import threading
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import relfunc as rf
from relfunc import capture
from relfunc.errors import CaptureError
from relfunc.ops.table import name_of
from relfunc.relevance.function import Relevance

from ..reference import cnn, filled, images

COMPOSITE = rf.composites.epsilon_gamma_box(-3, 3)
Pair = namedtuple("Pair", ["first", "second"])


class Net(nn.Module):
    """Two convolutions with a residual sum between them; ``forward`` is spelled by the function it is given."""

    def __init__(self, function):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 3, padding=1)
        self.b = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.relu_in_place = nn.ReLU(inplace=True)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def net(function) -> nn.Module:
    return filled(Net(function), seed=4)


def x(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 8, 8)), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def explained(model, inputs, **options):
    return rf.gradient(rf.lrp(model, COMPOSITE, **options))(inputs, lambda y: torch.ones_like(y))


def residual(s, x):
    h = s.a(x)
    h += x
    return s.b(F.relu(h))


SPELLINGS = {
    "modules": lambda s, x: s.b(s.relu(s.a(x) + x)),
    "in-place module": lambda s, x: s.b(s.relu_in_place(s.a(x) + x)),
    "functions": lambda s, x: F.conv2d(F.relu(F.conv2d(x, s.a.weight, s.a.bias, padding=1) + x), s.b.weight, s.b.bias),
    "torch functions": lambda s, x: torch.conv2d(
        torch.relu(torch.add(torch.conv2d(x, s.a.weight, s.a.bias, 1, 1), x)), s.b.weight, s.b.bias
    ),
    "methods": lambda s, x: s.b(s.a(x).add(x).relu()),
    "in-place methods": lambda s, x: s.b(s.a(x).add_(x).relu_()),
    "in-place function": lambda s, x: s.b(F.relu(s.a(x) + x, inplace=True)),
    "keyword arguments": lambda s, x: s.b(input=s.relu(input=s.a(input=x) + x)),
    "keyword arguments of functions": lambda s, x: s.b(
        F.relu(input=F.conv2d(input=x, weight=s.a.weight, bias=s.a.bias, padding=1) + x)
    ),
    "augmented assignment": residual,
    "alpha": lambda s, x: s.b(torch.add(s.a(x), 0.5 * x, alpha=2).relu()),
    "sum of a stack": lambda s, x: s.b(torch.stack([s.a(x), x]).sum(0).relu()),
    "no-op dropout": lambda s, x: s.b(F.dropout(s.a(x) + x, training=s.training).relu()),
    "stochastic depth": lambda s, x: s.b(
        (torchvision.ops.stochastic_depth(s.a(x), 0.5, "row", training=s.training) + x).relu()
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_makes_no_difference(spelling):
    expected = explained(net(SPELLINGS["modules"]), x())
    found = explained(net(SPELLINGS[spelling]), x())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_reused_layer_equals_copies_of_it():
    def twice(s, x):
        return s.b(s.relu(s.a(s.relu(s.a(x)))))

    reused = net(twice)
    first, second = filled(nn.Conv2d(3, 3, 3, padding=1), 0), filled(nn.Conv2d(3, 3, 3, padding=1), 0)
    for copy in (first, second):
        copy.load_state_dict(reused.a.state_dict())
    unrolled = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), reused.b).eval()
    torch.testing.assert_close(explained(reused, x()), explained(unrolled, x()), rtol=1e-10, atol=1e-12)


def test_tied_weights():
    model = filled(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), seed=2)
    untied = explained(model, x(2, 4))
    model[2].weight = model[0].weight
    y, _ = explained(model, x(2, 4))
    assert not torch.allclose(y, untied[0])
    torch.testing.assert_close(y, model(x(2, 4)).detach())


@pytest.mark.parametrize("parametrize", [weight_norm, spectral_norm])
def test_parametrised_weights_are_computed_when_they_are_read(parametrize):
    model = filled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), seed=2)
    model = parametrize_first(model, parametrize)
    f = rf.lrp(model, COMPOSITE)
    plain = filled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), seed=2)
    for _ in range(2):
        with torch.no_grad():
            plain[0].weight.copy_(model[0].weight)
        expected = explained(plain, x())
        found = rf.gradient(f)(x(), lambda y: torch.ones_like(y))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        with torch.no_grad():
            next(p for name, p in model[0].named_parameters() if "original" in name).mul_(3).add_(0.1)


def parametrize_first(model: nn.Module, parametrize) -> nn.Module:
    model.train()
    parametrize(model[0])
    return model.eval()


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, u, v, scale: float = 2.0, use_bias: bool = False, mask=None):
        h = self.a(u) + self.b(v) * scale
        if mask is not None:
            h = h * mask
        return h


def test_several_inputs_and_default_arguments():
    model = filled(TwoInputs(), seed=1)
    y, (ru, rv) = explained(model, (x(2, 3), x(2, 2)))
    torch.testing.assert_close(y, model(x(2, 3), x(2, 2)).detach())
    assert (ru.shape, rv.shape) == ((2, 3), (2, 2))
    torch.testing.assert_close(ru.sum() + rv.sum(), torch.tensor(8.0, dtype=torch.float64), rtol=1e-3, atol=0)


class Sum(nn.Module):
    def forward(self, u, v):
        return u + v


def test_sum_gives_each_input_its_own_relevance():
    u, v = torch.tensor([[1.0, 2.0]]), torch.tensor([[30.0, 40.0]])
    f = rf.lrp(Sum().eval(), rf.composites.by_type({"sum": rf.rules.norm()}))
    _, relevances = rf.gradient(f)((u, v))
    torch.testing.assert_close(relevances, (u, v))


@dataclass
class Box:
    value: Tensor


OUTPUTS = {
    "tuple": lambda s, x: (s.a(x), s.b(x)),
    "list": lambda s, x: [s.a(x), s.b(x)],
    "dict": lambda s, x: {"first": s.a(x), "second": s.b(x)},
    "named tuple": lambda s, x: Pair(s.a(x), s.b(x)),
    "nested": lambda s, x: {"pair": (s.a(x), [s.b(x)])},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_nested_outputs(name):
    model = net(OUTPUTS[name])

    def ones(y):
        return torch.utils._pytree.tree_map(torch.ones_like, y)

    y, relevance = rf.gradient(rf.lrp(model, COMPOSITE))(x(), ones)
    expected = model(x())
    assert type(y) is type(expected)
    torch.testing.assert_close(y, expected)
    assert torch.isfinite(relevance).all()


def test_dataclass_output_is_refused_with_the_way_out():
    with pytest.raises(CaptureError, match=r"object of class Box: return a tensor, tuple.*dataclasses.asdict"):
        capture(net(lambda s, x: Box(s.a(x))))


def test_writing_to_part_of_a_tensor_is_followed():
    def write(s, x):
        h = s.a(x)
        h[:, 0] = x[:, 1] * 2
        return h

    model, gradient = net(write), rf.composites.by_type({"*": rf.rules.gradient()})
    leaf = x().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf).sum(), leaf)
    y, found = rf.gradient(rf.lrp(model, gradient))(x(), lambda y: torch.ones_like(y))
    torch.testing.assert_close((y, found), (model(x()).detach(), expected), rtol=1e-12, atol=1e-14)


def test_nodes_name_the_module_and_the_line():
    (node,) = [n for n in capture(net(lambda s, x: s.b(x))).graph.nodes if n.op == "call_function"]
    assert (node.meta["path"], node.meta["module"]) == ("b", nn.Conv2d)
    assert node.meta["line"].startswith("test_capture.py:")


@pytest.mark.parametrize("name", ["seed", "input", "self_", "p0_a_weight", "x-y"])
def test_names_of_inputs_and_layers_are_free(name):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Linear(2, 2))
            self.add_module("a", nn.Linear(2, 2))

        def forward(self, seed):
            return self.a(self._modules[name](seed))

    model = filled(Named(), seed=1)
    torch.testing.assert_close(explained(model, x(3, 2))[0], model(x(3, 2)).detach())


# --- export -----------------------------------------------------------------------------------------


def exported(model, *example) -> Relevance:
    return rf.lrp(rf.capture(model, via="export", example_inputs=example), COMPOSITE)


class Mixed(nn.Module):
    """The operations whose names differ most between tracing and export."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.norm = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        h = F.max_pool2d(self.stem(x), 2)
        h += F.silu(self.depthwise(h))
        h = self.norm(F.hardswish(self.up(h))) * self.gate(h)
        left, right = torch.split(h, 4, dim=1)
        h = torch.cat([right, left, F.interpolate(h, scale_factor=1.0)], 1)
        h = F.dropout(F.avg_pool2d(h.permute(0, 1, 3, 2), 2), training=self.training)
        return self.head(h.mean((2, 3)).view(x.size(0), -1)[:, :16])


MODELS = {
    "cnn": (cnn, (3, 32, 32)),
    "mixed": (lambda: filled(Mixed(), seed=3), (3, 12, 12)),
    "resnet18": (lambda: filled(torchvision.models.resnet18(num_classes=10), seed=13), (3, 32, 32)),
    "mobilenet_v2": (lambda: filled(torchvision.models.mobilenet_v2(num_classes=10), seed=13), (3, 32, 32)),
}


@pytest.mark.parametrize(
    "name", ["cnn", "mixed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "mobilenet_v2"))]
)
def test_export_equals_tracing_at_any_batch_size(name):
    make, shape = MODELS[name]
    model = make()
    f = exported(model, x(1, *shape))
    for batch in (1, 3):
        inputs = x(batch, *shape)
        found = rf.gradient(f)(inputs, lambda y: torch.ones_like(y))
        torch.testing.assert_close(found, explained(model, inputs), rtol=1e-9, atol=1e-12)


class Conv2dSame(nn.Conv2d):
    """Padding computed from the image's size, as in TensorFlow and many EfficientNets."""

    def forward(self, x):
        pads = [
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(x.size()[-2:], self.stride, self.kernel_size, strict=True)
        ]
        if any(pads):
            x = F.pad(x, [pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2])
        return super().forward(x)


def test_control_flow_on_sizes_follows_an_example_and_checks_that_it_holds():
    model = filled(nn.Sequential(Conv2dSame(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 2, 3)), seed=1)
    with pytest.raises(CaptureError, match="example_inputs"):
        rf.lrp(model, COMPOSITE)
    f = rf.lrp(model, COMPOSITE, example_inputs=(x()[:1],))
    for inputs in (x(), x(5, 3, 8, 8)):
        torch.testing.assert_close(f(inputs), model(inputs).detach())
    with pytest.raises(CaptureError, match=r"depends on a size .*capture it with an example of this shape"):
        f(x(2, 3, 9, 9))


def test_exported_model_refuses_another_image_size():
    model = filled(nn.Sequential(Conv2dSame(3, 4, 3, stride=2), nn.ReLU()), seed=1)
    f = rf.lrp(rf.capture(model, via="export", example_inputs=(x(),)), COMPOSITE)
    with pytest.raises(CaptureError, match=r"exported for inputs of shape \(None, 3, 8, 8\).*got \(2, 3, 9, 9\)"):
        f(x(2, 3, 9, 9))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_control_flow_on_values_is_refused():
    with pytest.raises(CaptureError, match="can be neither traced nor exported"):
        rf.lrp(Branching().eval(), COMPOSITE, example_inputs=(x(),))


# --- threads ----------------------------------------------------------------------------------------


def test_other_threads_run_models_while_one_is_traced():
    models = [cnn() for _ in range(2)]
    inputs = images()
    expected = [model(inputs) for model in models]
    stop, wrong = threading.Event(), []

    def run(model, y):
        while not stop.is_set():
            try:
                if not torch.equal(model(inputs), y):
                    wrong.append("values")
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(models, expected, strict=True)]
    for thread in threads:
        thread.start()
    names = [[name_of(n.target) for n in capture(models[0]).graph.nodes if n.op == "call_function"] for _ in range(20)]
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(found == names[0] for found in names)


def test_several_threads_trace_at_once():
    model, found = cnn(), []
    threads = [threading.Thread(target=lambda: found.append(len(capture(model).graph.nodes))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [len(capture(model).graph.nodes)] * 4


def test_a_captured_model_takes_what_capture_takes_or_says_why_not():
    model, x = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).eval(), torch.ones(1, 3)
    captured = capture(model)
    assert capture(captured)._origin is captured._origin
    own = {**rf.ops.OPS, "tanh": rf.ops.Op("static")}
    composite = rf.composites.by_type({"linear": rf.rules.epsilon(), "activation": rf.rules.pass_()})
    with pytest.raises(CaptureError, match="already, by trace"):
        capture(captured, via="export", example_inputs=x)
    for again in (capture(captured, ops=own), capture(model, ops=own)):
        assert rf.plan(again, composite)["rule"].tolist() == ["epsilon(epsilon=1e-06)"]
    for unchecked in (capture(captured, check=False), rf.intervene(capture(captured, check=False), {"1": torch.neg})):
        model.register_forward_hook(lambda module, x, y: y + 1)
        unchecked(x)
    with pytest.raises(CaptureError, match="what was captured is not the model"):
        capture(captured, example_inputs=x)
