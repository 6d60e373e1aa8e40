"""Interventions: what hooks on the modules would give, without a hook."""

import pickle

import pytest
import torch
import torchvision
from torch import nn

import relfunc as rf
from relfunc.ops.table import Op
from relfunc.relevance.interventions import parameters_behind

from ..graph.test_untouched import assert_same, state
from ..reference import MODELS, filled, images

PLACES = [
    ("cnn", "2"),
    ("cnn", "9"),
    ("cnn", "11"),
    ("resnet18", "maxpool"),
    ("resnet18", "layer1"),
    ("resnet18", "layer2.0"),
    ("resnet18", "fc"),
]
COMPOSITE = rf.composites.epsilon_plus()


def hooked(model, path, function, x):
    """Oracle: the output and the gradient of class 3 with a hook that changes what the module returns."""
    handle = model.get_submodule(path).register_forward_hook(lambda module, args, output: function(output))
    x = x.clone().requires_grad_()
    try:
        y = model(x)
        return y.detach(), torch.autograd.grad(y[:, 3].sum(), x)[0]
    finally:
        handle.remove()


def scaled(value):
    return value * 0.5 + 0.1


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_a_function_at_a_node_is_a_hook_on_the_module(name, path):
    model, x = MODELS[name](), images()
    expected, slope = hooked(model, path, scaled, x)
    changed = rf.intervene(model, {path: scaled})
    torch.testing.assert_close(changed(x).detach(), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(rf.gradient(changed)(x, 3)[1], slope, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(changed(x), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_no_function_changes_nothing(name):
    model, x = MODELS[name](), images()
    same = rf.intervene(model, {})
    torch.testing.assert_close(same(x), model(x), rtol=1e-12, atol=1e-12)
    expected = rf.gradient(rf.lrp(model, COMPOSITE))(x, 3)[1]
    torch.testing.assert_close(rf.gradient(rf.lrp(same, COMPOSITE))(x, 3)[1], expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_activations_are_what_the_module_returns(name, path):
    model, x, seen = MODELS[name](), images(), []
    expected, _ = hooked(model, path, lambda value: seen.append(value.detach()) or value, x)
    output, values = rf.activations(model, [path])(x)
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-12, check_stride=False)
    torch.testing.assert_close(values[path].detach(), seen[0], rtol=1e-9, atol=1e-12)


def test_the_models_argument_is_a_node():
    model, x = MODELS["cnn"](), images()
    torch.testing.assert_close(rf.intervene(model, {"input": scaled})(x), model(scaled(x)), rtol=1e-9, atol=1e-12)
    assert torch.equal(rf.activations(model, ["input"])(x)[1]["input"], x)


def test_of_two_interventions_the_later_one_acts_first():
    model, x = MODELS["cnn"](), images()
    both = rf.intervene(rf.intervene(model, {"2": scaled}), {"2": torch.neg})
    torch.testing.assert_close(both(x), rf.intervene(model, {"2": lambda v: scaled(-v)})(x), rtol=1e-9, atol=1e-12)


def test_two_nodes_at_once():
    model, x = MODELS["cnn"](), images()
    both = rf.intervene(model, {"2": scaled, "12": torch.neg})
    one_by_one = rf.intervene(rf.intervene(model, {"2": scaled}), {"12": torch.neg})
    torch.testing.assert_close(both(x), one_by_one(x), rtol=0, atol=0)


class Branching(nn.Module):
    """Control flow on sizes, which only torch.export captures."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.first(x).relu()
        return self.second(h if h.shape[1] > 3 else -h)


def test_exported_models_too():
    model = filled(Branching(), seed=1)
    x = torch.rand(3, 4, dtype=torch.float64)
    changed = rf.intervene(model, {"first": scaled}, example_inputs=(x[:1],))
    torch.testing.assert_close(changed(x), model.second(scaled(model.first(x)).relu()))


def test_the_model_is_left_untouched():
    model = MODELS["resnet18"]()
    before = state(model)
    changed = rf.intervene(model, {"layer2": scaled})
    rf.gradient(rf.lrp(rf.intervene(model, {"layer2": torch.relu}), COMPOSITE))(images(), 3)
    rf.activations(model, ["layer2"])(images())
    rf.gradient(changed)(images(), 3)
    assert_same(before, state(model))


def test_parameters_are_the_models_and_can_be_others():
    model, x = MODELS["cnn"](), images()
    changed = rf.intervene(model, {"2": scaled})
    assert [id(p) for p in changed.parameters()] == [id(p) for p in model.parameters()]
    other = {name: p.detach() * 1.1 for name, p in model.named_parameters()}
    found = torch.func.functional_call(changed, other, (x,))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    torch.testing.assert_close(found, changed(x))


def test_interventions_pickle():
    changed, x = rf.intervene(MODELS["cnn"](), {"2": scaled}), images()
    again = pickle.loads(pickle.dumps(changed))
    assert torch.equal(again(x), changed(x))
    explain = pickle.loads(
        pickle.dumps(rf.gradient(rf.lrp(rf.intervene(MODELS["cnn"](), {"2": torch.relu}), COMPOSITE)))
    )
    assert explain(x, 3)[1].shape == x.shape


@pytest.mark.parametrize(("name", "close"), [("layer22", "layer2"), ("conv2d_99", "conv2d")])
def test_a_node_that_does_not_exist_gets_a_suggestion(name, close):
    with pytest.raises(rf.errors.RelfuncError, match=f"no operation or module '{name}': did you mean '{close}"):
        rf.intervene(MODELS["resnet18"](), {name: scaled})


def test_relevance_of_a_function_that_no_table_has_is_refused():
    with pytest.raises(rf.errors.RelfuncError, match=r"no rule for 'scaled' .*pass ops="):
        rf.lrp(rf.intervene(MODELS["cnn"](), {"2": scaled}), COMPOSITE)


def halved(value):
    return value / 2


halved.op = Op("scaling", type="scaling")


def test_a_function_can_say_itself_which_operation_it_is():
    model, x = MODELS["cnn"](), images()
    table = rf.plan(rf.intervene(model, {"2": halved}), COMPOSITE)
    assert table.loc["halved", ["type", "rule"]].tolist() == ["scaling", "pass()"]
    ops = {**rf.ops.OPS, scaled: Op("scaling", type="scaling")}
    assert rf.plan(rf.intervene(model, {"2": scaled}), COMPOSITE, ops=ops).loc["scaled", "rule"] == "pass()"
    assert rf.gradient(rf.lrp(rf.intervene(model, {"2": halved}), COMPOSITE))(x, 3)[1].isfinite().all()


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.inside, self.beside, self.behind = (nn.Linear(3, 3) for _ in range(4))

    def forward(self, x):
        h = self.before(x)
        return self.behind(self.inside(h).relu() + self.beside(h))


@pytest.mark.parametrize(
    ("model", "node", "expected"),
    [
        (Skipping(), "before", ["inside", "beside", "behind"]),
        (Skipping(), "inside", ["behind"]),
        (Skipping(), "behind", []),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), "1", ["2", "3"]),
        (torchvision.models.resnet18(num_classes=2), "layer4.1.relu", ["fc"]),
    ],
)
def test_parameters_behind_a_node(model, node, expected):
    names = [f"{module}.{kind}" for module in expected for kind in ("weight", "bias")]
    assert parameters_behind(model.eval(), node) == names
