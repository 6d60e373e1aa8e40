"""A mutation test of the check: a capture broken on purpose is caught by the first call, which names the module."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import relfunc as rf
from relfunc.errors import RelfuncError
from relfunc.graph.checked import Checked
from relfunc.ops.table import name_of

from ..conformance import GRADIENT
from ..reference import filled


class Merge(nn.Module):
    """A difference and a product, where operands and branches can be exchanged."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a - b, a * b], 1)


class Gate(nn.Module):
    """Two branches of the same shape."""

    def forward(self, a: Tensor) -> Tensor:
        return torch.where(a > 0, a.sin(), a.cos())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.2))
        self.second = nn.Linear(4, 4)
        self.gate = Gate()
        self.merge = Merge()
        self.mix = nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Softmax(1), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        return self.head(self.mix(self.merge(a, self.gate(self.second(a)))))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(4, dtype=x.dtype)


@dataclass(frozen=True, eq=False)
class Mutation:
    """How a capture is broken, and the first module whose value is then another."""

    mutate: Callable[[fx.Graph], Any]
    module: str
    exported: str = ""  # where export, which keeps no trace of what is gone, sees it first


def calls(graph: fx.Graph, name: str) -> list[fx.Node]:
    """Every call of an operation, whatever its spelling."""
    found = [n for n in graph.nodes if n.op in {"call_function", "call_method"} and _name(n) == name]
    assert found, f"no call of {name} to break among {[_name(n) for n in graph.nodes]}"
    return found


def _name(node: fx.Node) -> str:
    return str(node.target).rstrip("_") if isinstance(node.target, str) else name_of(node.target)


def drop(name: str, at: int = 0) -> Callable[[fx.Graph], None]:
    """Let the readers of an operation read its first argument."""

    def mutate(graph: fx.Graph) -> None:
        node = calls(graph, name)[at]
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.erase_node(node)

    return mutate


def become(name: str, function: Callable[..., Any]) -> Callable[[fx.Graph], None]:
    """Put another operation in the place of one."""

    def mutate(graph: fx.Graph) -> None:
        node = calls(graph, name)[0]
        with graph.inserting_before(node):
            other = graph.call_function(function, tuple(node.all_input_nodes[:1]))
        other.meta = dict(node.meta)
        node.replace_all_uses_with(other)
        graph.erase_node(node)

    return mutate


def with_arguments(name: str, change: Callable[..., tuple[Any, ...]]) -> Callable[[fx.Graph], None]:
    """Give an operation other positional arguments."""

    def mutate(graph: fx.Graph) -> None:
        node = calls(graph, name)[0]
        node.args, node.kwargs = change(*node.args, **node.kwargs), {}

    return mutate


def other_path(old: str, new: str) -> Callable[[fx.Graph], None]:
    """Read another parameter of the model."""

    def mutate(graph: fx.Graph) -> None:
        nodes = [node for node in graph.find_nodes(op="get_attr") if node.target == old]
        assert nodes, f"{old} is not read"
        for node in nodes:
            node.target = new

    return mutate


def as_zeros(path: str) -> Callable[[fx.Graph], None]:
    """Read zeros instead of a parameter."""

    def mutate(graph: fx.Graph) -> None:
        nodes = [node for node in graph.find_nodes(op="get_attr") if node.target == path]
        assert nodes, f"{path} is not read"
        for node in nodes:
            with graph.inserting_after(node):
                stale = graph.call_function(torch.zeros_like, (node,))
            node.replace_all_uses_with(stale, lambda user, stale=stale: user is not stale)

    return mutate


def _first_data(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


MUTATIONS = {
    "an activation is dropped": Mutation(drop("relu"), "head.1", "head.2"),
    "an activation is another": Mutation(become("relu", torch.tanh), "head.1"),
    "a default argument is another": Mutation(with_arguments("leaky_relu", lambda x, *_, **__: (x, 0.01)), "first.2"),
    "a dimension is another": Mutation(with_arguments("softmax", lambda x, *_, **__: (x, 2)), "mix.1"),
    "a linear layer is dropped": Mutation(drop("linear"), "first.0", "first.1"),
    "operands are swapped": Mutation(with_arguments("sub", lambda a, b: (b, a)), "merge"),
    "branches are swapped": Mutation(with_arguments("where", lambda c, a, b: (c, b, a)), "gate"),
    "a branch is lost": Mutation(drop("cos"), "gate"),
    "parts are joined in another order": Mutation(
        with_arguments("cat", lambda ts, d: (list(reversed(ts)), d)), "merge"
    ),
    "an operand is read twice": Mutation(with_arguments("mul", lambda a, b: (a, a)), "merge"),
    "another layer's weight": Mutation(other_path("second.weight", "first.0.weight"), "second"),
    "another layer's bias": Mutation(other_path("second.bias", "first.0.bias"), "second"),
    "another statistic": Mutation(other_path("first.1.running_mean", "first.1.running_var"), "first.1"),
    "a weight is read as zeros": Mutation(as_zeros("head.0.weight"), "head.0"),
    "a bias is read as zeros": Mutation(as_zeros("head.2.bias"), "head.2"),
    "the input is read late": Mutation(
        lambda graph: calls(graph, "linear")[1].replace_input_with(
            _first_data(calls(graph, "linear")[1]), graph.find_nodes(op="placeholder")[0]
        ),
        "second",
    ),
}
VIA = ("trace", "export")


def _x() -> Tensor:
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def _broken(mutation: Mutation, via: str) -> nn.Module:
    captured = rf.capture(filled(Net(), seed=2), via=via, example_inputs=(_x(),) if via == "export" else None)
    mutation.mutate(captured.graph)
    captured.graph.lint()
    # what was compared when it was captured is compared again
    return rf.Captured(replace(captured._origin, checked=Checked()))


EXPORTED = {"operands are swapped", "a weight is read as zeros", "the input is read late"}
WAYS = [
    pytest.param(name, via, marks=[pytest.mark.slow] * (via == "export" and name not in EXPORTED))
    for name in MUTATIONS
    for via in VIA
]


@pytest.mark.parametrize(("name", "via"), WAYS)
def test_a_broken_capture_is_caught_by_the_first_call_which_names_the_module(name, via):
    mutation = MUTATIONS[name]
    f = rf.lrp(_broken(mutation, via), GRADIENT)
    first = mutation.exported if via == "export" and mutation.exported else mutation.module
    with pytest.raises(RelfuncError, match=rf"'{re.escape(first)}'"):
        f(_x())


@pytest.mark.parametrize("name", ["operands are swapped", "a weight is read as zeros"])
def test_every_way_to_call_is_checked_and_each_time_until_it_is_right(name):
    f = rf.lrp(_broken(MUTATIONS[name], "trace"), GRADIENT)
    for _ in range(2):
        with pytest.raises(RelfuncError):
            rf.gradient(f)(_x(), 0)
    with pytest.raises(RelfuncError):
        rf.input_x_gradient(f)(_x(), 0)


@pytest.mark.parametrize("via", VIA)
def test_what_is_not_broken_passes(via):
    model = filled(Net(), seed=2)
    captured = rf.capture(model, via=via, example_inputs=(_x(),) if via == "export" else None)
    torch.testing.assert_close(rf.lrp(captured, GRADIENT)(_x()), model(_x()))


def test_a_dropped_hook_is_caught():
    model = filled(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), seed=2)
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    captured = rf.capture(model)
    drop("mul")(captured.graph)
    with pytest.raises(RelfuncError, match=r"'0'"):
        rf.lrp(captured, GRADIENT)(_x())


def test_a_hook_added_behind_the_capture_is_caught():
    model = filled(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), seed=2)
    f = rf.lrp(rf.capture(model), GRADIENT)
    model[2].register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(RelfuncError, match=r"'2'"):
        f(_x())


def test_weights_loaded_behind_a_frozen_constant_are_caught():
    model = filled(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), seed=2)
    captured = rf.capture(model)
    (node,) = [n for n in captured.graph.find_nodes(op="get_attr") if n.target == "2.weight"]
    constant = model[2].weight.detach().clone()
    with captured.graph.inserting_before(node):
        node.replace_all_uses_with(captured.graph.call_function(lambda: constant))
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    with pytest.raises(RelfuncError, match=r"'2'"):
        rf.lrp(captured, GRADIENT)(_x())


def test_noise_is_refused_or_caught():
    model = nn.Sequential(nn.Linear(4, 4), Noise(), nn.Linear(4, 2)).double().eval()
    with pytest.raises(RelfuncError, match=r"'1'|randn"):
        rf.lrp(rf.capture(model), GRADIENT)(_x())


def test_another_structure_of_input_is_checked_again():
    """A branch on the shape of the input that the capture does not have: right for one size, another for the next."""

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.dtype == torch.float64 else x * 3

    model = nn.Sequential(Branching()).eval()
    try:
        f = rf.lrp(rf.capture(model, example_inputs=(_x(),)), GRADIENT)
        torch.testing.assert_close(f(_x()), _x() * 2)
        single = f(_x().float())
    except RelfuncError:
        return
    torch.testing.assert_close(single, _x().float() * 3)
