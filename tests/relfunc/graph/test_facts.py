"""What the graph claims of its values holds for the values, and what it claims of relevance for relevance."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import fx, nn

import relfunc as rf
from relfunc.composites.assignment import assign
from relfunc.graph.canonize import canonize
from relfunc.graph.captured import parameter
from relfunc.graph.facts import facts
from relfunc.relevance import rewrite as rewriting
from relfunc.rules.dead import dead_below_zero

from ..kinds import net, normal
from ..reference import cnn, filled

MODELS = {
    "cnn": cnn,
    "resnet18": lambda: torchvision.models.resnet18(),
    "shufflenet_v2_x0_5": lambda: torchvision.models.shufflenet_v2_x0_5(),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(),
    "regnet_y_400mf": lambda: torchvision.models.regnet_y_400mf(),
    "squeezenet1_1": lambda: torchvision.models.squeezenet1_1(),
    "densenet121": lambda: torchvision.models.densenet121(),
}
COMPOSITES = {
    "epsilon_gamma_box": rf.composites.epsilon_gamma_box(-3, 3),
    "epsilon_plus_flat": rf.composites.epsilon_plus_flat(),
    "guided_backprop": rf.composites.guided_backprop(),
}


def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2


class Values(fx.Interpreter):
    """Runs a graph and keeps every value by its node's name."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.values: dict[str, object] = {}

    def run_node(self, n: fx.Node) -> object:
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


def values_of(model: nn.Module, graph: fx.Graph, x: torch.Tensor) -> dict[str, object]:
    interpreter = Values(model, graph)
    with torch.no_grad():
        interpreter.run(x)
    return interpreter.values


def tensors(value):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", MODELS)
def test_no_value_claimed_nonnegative_is_negative_and_no_gate_exceeds_one(name):
    model = filled(MODELS[name](), seed=7)
    graph = canonize(rf.capture(model).graph)
    known = facts(graph)
    values = values_of(model, graph, images())
    assert known.nonnegative
    for node in known.nonnegative:
        assert all((t >= 0).all() for t in tensors(values[node.name])), node.name
    for node in known.gates:
        assert all(((t >= 0) & (t <= 1)).all() for t in tensors(values[node.name])), node.name


@pytest.mark.parametrize(
    ("name", "composite"),
    [
        pytest.param(name, composite, marks=[pytest.mark.slow] * (name == "densenet121"))
        for name in ("cnn", "resnet18", "densenet121", "mobilenet_v3_small")
        for composite in COMPOSITES
    ],
)
def test_relevance_is_zero_where_claimed_and_simplified_rules_equal_full_tables(name, composite, monkeypatch):
    model = filled(MODELS[name](), seed=7)
    graph = canonize(rf.capture(model).graph)
    known = facts(graph)
    rules = assign(graph, known, COMPOSITES[composite])
    dead = dead_below_zero(graph, known, rules)
    assert bool(dead) == (composite != "guided_backprop")
    names = sorted(node.name for node in dead)
    x = images()

    def run(program):
        with torch.no_grad():
            parameters = [parameter(model, path) for path in program.parameters]
            return program.run(x, *parameters, lambda y: torch.ones_like(y))[1]

    simple = run(rewriting.rewrite(graph, known, rules))
    monkeypatch.setattr(rewriting, "dead_below_zero", lambda *_: {})
    full = run(rewriting.rewrite(graph, replace(known, nonnegative=frozenset()), rules, names))
    scale = full[0].abs().max()
    assert (simple[0] - full[0]).abs().max() <= 1e-9 * scale
    values = values_of(model, graph, x)
    for node, relevance in zip(names, full[1:], strict=True):
        assert (relevance[values[node] <= 0] == 0).all(), node


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def claims(function):
    model = Function(function).eval()
    graph = canonize(rf.capture(model).graph)
    known = facts(graph)
    (returned,) = graph.output_node().args
    x = torch.linspace(-4, 4, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)
    return returned in known.nonnegative, values_of(model, graph, x)[returned.name]


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        F.relu6,
        torch.sigmoid,
        F.softplus,
        lambda x: x.clamp(min=0),
        lambda x: torch.clamp(x, 0, 3),
        lambda x: F.hardtanh(x, 0, 6),
        lambda x: F.hardswish(F.relu(x)),
        lambda x: F.hardtanh(F.relu(x)),
        lambda x: x.relu() + x.relu(),
        lambda x: x.relu() + 1,
        lambda x: x.relu() * 2,
        lambda x: x.relu() / 2,
        lambda x: torch.cat([x.relu(), x.sigmoid()], 1),
        lambda x: F.pad(x.relu(), [1, 1]),
        lambda x: F.max_pool2d(x.relu(), 3, padding=1),
        lambda x: F.interpolate(x.relu(), scale_factor=2.0, mode="bilinear"),
        lambda x: x.relu().flatten(1).mean(1),
    ],
)
def test_what_is_proved(function):
    claimed, value = claims(function)
    assert claimed
    assert (value >= 0).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.relu() - x.sigmoid(),
        lambda x: torch.add(x.relu(), x.relu().flip(0), alpha=-1),
        lambda x: x.relu() + (-1),
        lambda x: x.relu() * -2,
        lambda x: x.relu() / -2,
        lambda x: -x.relu(),
        lambda x: x.clamp(min=-1),
        lambda x: F.hardtanh(x),
        lambda x: torch.clamp(x.relu(), max=-1),
        lambda x: torch.cat([x.relu(), x], 1),
        lambda x: F.pad(x.relu(), [1, 1], value=-1),
        lambda x: F.pad(x.relu(), [1, 1], "constant", -1),
        lambda x: F.interpolate(x.relu(), scale_factor=2.0, mode="bicubic"),
        lambda x: F.logsigmoid(x.relu()),
        lambda x: F.leaky_relu(x),
    ],
)
def test_what_is_not_so_is_not_claimed(function):
    claimed, value = claims(function)
    assert not claimed
    assert (value < 0).any()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda h: h.relu(), id="the output"),
        pytest.param(lambda h: h.relu() + 1, id="a shift"),
        pytest.param(lambda h: F.pad(h.relu(), [1, 1]), id="padding"),
        pytest.param(lambda h: h.relu() * h.sigmoid(), id="a product"),
        pytest.param(lambda h: h.relu() + h, id="another reader"),
    ],
)
def test_relevance_below_zero_is_not_claimed_to_vanish_before(head):
    graph = canonize(rf.capture(Function(lambda x: head(x * 2)).eval()).graph)
    known = facts(graph)
    rules = assign(graph, known, rf.composites.mixed(rf.composites.by_type({"relu": rf.rules.pass_()}), *_base()))
    assert not dead_below_zero(graph, known, rules)


def _base():
    return (
        rf.composites.by_type({"activation|scaling": rf.rules.pass_(), "product": rf.rules.signal()}),
        rf.composites.by_type({"*": rf.rules.gradient()}),
    )


class Scattered(nn.Module):
    """Adds to a ReLU's values before the next layer reads them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.first(x).relu()
        places = (torch.arange(3), torch.tensor([0, 1, 2]))
        return self.second(h.index_put(places, torch.ones(3, dtype=x.dtype), accumulate=True))


def test_relevance_is_not_claimed_to_vanish_where_other_values_were_added(monkeypatch):
    """A rule's branch for negative outputs was dropped although relevance arrived there."""
    model = filled(Scattered(), seed=2)
    composite = rf.composites.mixed(rf.composites.by_type({"linear": rf.rules.gamma()}), *_base())
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = rf.gradient(rf.lrp(model, composite))(x, 0)[1]
    monkeypatch.setattr(rewriting, "dead_below_zero", lambda *_: {})
    expected = rf.gradient(rf.lrp(model, composite))(x, 0)[1]
    assert (model.first(x) < 0).any()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


BUFFER = torch.tensor([[-2.0, 0.5, -1.0, 3.0]] * 3).double()
PLACES = torch.tensor([0, 2, 2])


def total_of(x, make):
    part = torch.relu(x[:3, :3]) + 0.1
    return x[:3, :3] * (part / make(part))


CLAIMS = {
    "the lesser of a constant": (lambda s, x: torch.min(torch.relu(x), s.buffer), False),
    "the greater of a constant": (lambda s, x: torch.max(torch.relu(x), s.buffer), True),
    "added to places of a constant": (lambda s, x: s.buffer.index_add(0, PLACES, torch.relu(x)), False),
    "added to places": (lambda s, x: torch.relu(x).index_add(0, PLACES, torch.relu(-x)), True),
    "added to places of zeros": (lambda s, x: torch.zeros_like(x).index_add(0, PLACES, torch.relu(x)), True),
    "subtracted at places": (lambda s, x: torch.relu(x).index_add(0, PLACES, torch.relu(-x), alpha=-1), False),
    "scattered onto a constant": (
        lambda s, x: s.buffer.scatter_add(0, torch.zeros(3, 4, dtype=torch.int64), torch.relu(x)),
        False,
    ),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_constants_are_not_taken_for_positive(case):
    function, nonnegative = CLAIMS[case]
    model = net(function)
    model.register_buffer("buffer", BUFFER)
    graph = canonize(rf.capture(model, example_inputs=normal(3, 4)).graph)
    known, last = facts(graph), graph.output_node().all_input_nodes[0]
    assert (last in known.nonnegative) == nonnegative
    assert not nonnegative or (model(normal(3, 4)) >= 0).all()


@pytest.mark.parametrize(
    ("make", "is_gate"),
    [
        (lambda e: e.sum(1, keepdim=True), True),
        (lambda e: e.sum(0), True),
        (lambda e: e.sum(1).unsqueeze(1), True),
        (lambda e: e.sum(), True),
        (lambda e: e.sum(1), False),
        (lambda e: e.sum(1).unsqueeze(0), False),
        (lambda e: e.sum(0).unsqueeze(1), False),
    ],
    ids=["kept", "the first axis", "put back", "all", "another axis", "put before", "put behind"],
)
def test_a_part_of_the_sum_along_another_axis_is_no_gate(make, is_gate):
    model = net(lambda s, x: total_of(x, make))
    graph = canonize(rf.capture(model, example_inputs=normal(3, 4)).graph)
    (quotient,) = (node for node in graph.nodes if "div" in node.name)
    assert (quotient in facts(graph).gates) == is_gate
