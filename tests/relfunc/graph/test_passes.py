"""A user's own canonical forms: what they make is recognised, what they break is named."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import relfunc as rf
from relfunc.errors import CaptureError
from relfunc.keys.identity import identity

from ..own_passes import (
    ByHand,
    Layer,
    Norm,
    Normalized,
    Squashed,
    find_batch_norm,
    find_linear,
    find_quick_gelu,
    is_call,
    negate,
    negate_twice,
    quick_gelu,
    rectify_in_place,
    untouched,
    written_anew,
)
from ..reference import filled

COMPOSITE = rf.composites.epsilon_plus(epsilon=1e-3)
GRADIENT = rf.composites.by_type({"*": rf.rules.gradient()})


OPS = {**rf.ops.OPS, quick_gelu: rf.ops.Op("activation")}
CASES: dict[str, tuple[type[nn.Module], type[nn.Module], tuple[Any, ...], tuple[int, ...]]] = {
    "a linear layer": (ByHand, Layer, (find_linear,), (2, 3)),
    "a batch norm": (Normalized, Norm, (find_batch_norm,), (2, 2, 6, 5)),
    "in place": (Layer, Layer, (rectify_in_place,), (2, 3)),
    "another graph": (Layer, Layer, (written_anew,), (2, 3)),
    "nothing": (Norm, Norm, (untouched,), (2, 2, 6, 5)),
    "one after the other": (ByHand, Layer, (untouched, find_linear, rectify_in_place, written_anew), (2, 3)),
}


WAYS = [
    *((name, "trace") for name in CASES),
    ("a linear layer", "export"),
    *(pytest.param(name, "export", marks=pytest.mark.slow) for name in CASES if name != "a linear layer"),
]


def made(kind: type[nn.Module]) -> nn.Module:
    return filled(kind(), seed=7)


def values(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.4


@pytest.mark.parametrize(("name", "via"), WAYS)
def test_what_a_pass_makes_is_recognised(name, via):
    written, meant, passes, shape = CASES[name]
    x = values(shape)
    captured = rf.capture(made(written), via=via, example_inputs=x, passes=passes)
    expected, found = (rf.lrp(model, COMPOSITE) for model in (made(meant), captured))
    rules = [rf.plan(f, COMPOSITE)["rule"].tolist() for f in (made(meant), captured)]
    assert [r for r in rules[1] if r != "gradient()"] == rules[0]
    torch.testing.assert_close(rf.gradient(found)(x, seed), rf.gradient(expected)(x, seed), rtol=1e-9, atol=1e-12)


def seed(y: Tensor) -> Tensor:
    return torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)


def test_without_the_pass_the_operations_are_others():
    tables = [rf.plan(made(kind), GRADIENT)["operation"].tolist() for kind in (ByHand, Layer)]
    assert tables[0] != tables[1]


def test_a_batch_norm_by_an_einsum_needs_no_pass():
    x = values((2, 2, 6, 5))
    found, expected = (rf.gradient(rf.lrp(made(kind), COMPOSITE))(x, seed) for kind in (Normalized, Norm))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("via", ["trace", "export"])
def test_an_activation_gets_its_row(via):
    model, x = made(Squashed), values((2, 3))
    captured = rf.capture(model, via=via, example_inputs=x, ops=OPS, passes=(find_quick_gelu,))
    y, found = rf.gradient(rf.lrp(captured, COMPOSITE))(x, seed)
    hidden = model.hidden(x)
    at_hidden = (seed(y) / stabilized(y)) @ model.out.weight * quick_gelu(hidden)
    expected = (at_hidden / stabilized(hidden)) @ model.hidden.weight * x
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)
    assert rf.plan(captured, COMPOSITE).loc["quick_gelu", "matched"].startswith("type activation")


def stabilized(z: Tensor) -> Tensor:
    return z + 1e-3 * (2 * (z >= 0).to(z.dtype) - 1)


@pytest.mark.parametrize(("name", "via"), WAYS)
def test_shapes_are_those_of_what_is_computed_now(name, via):
    written, _, passes, shape = CASES[name]
    x = values(shape)
    graph = rf.capture(made(written), via=via, example_inputs=x, passes=passes).graph
    run = fx.Interpreter(fx.GraphModule(made(written), graph))
    run.run(x)
    calls = graph.find_nodes(op="call_function", target=F.linear) + [n for n in graph.nodes if is_call(n, "relu")]
    ran = {node.name: node for node in run.module.graph.nodes}
    assert calls
    shapes = fx.passes.shape_prop.ShapeProp(run.module)
    shapes.propagate(x)
    for node in calls:
        assert node.meta["val"].shape == ran[node.name].meta["tensor_meta"].shape


def test_nodes_are_known_by_what_they_replace_or_by_the_pass():
    captured = rf.capture(made(Normalized), passes=(find_batch_norm,))
    (norm,) = [node for node in captured.graph.nodes if is_call(node, "batch_norm")]
    assert norm.meta["line"].startswith("own_passes.py:")
    (linear,) = [n for n in rf.capture(made(ByHand), passes=(find_linear,)).graph.nodes if is_call(n, "linear")]
    assert (linear.meta["path"], linear.meta["module"], linear.meta["line"]) == ("", ByHand, "pass find_linear")


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.out = nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(x))


def clamp_relu(graph: fx.Graph) -> fx.Graph:
    """Keeps the old node, behind which the new one stands."""
    (node,) = [node for node in graph.nodes if is_call(node, "relu")]
    with graph.inserting_after(node):
        new = graph.call_function(torch.clamp, (node, 0))
    node.replace_all_uses_with(new, lambda user: user is not new, propagate_meta=True)
    return graph


def test_a_module_is_known_by_the_last_node_that_took_its_place():
    captured = rf.capture(made(Named), passes=(clamp_relu,))
    x = values((2, 3))
    _, found = rf.activations(captured, ["act", "clamp"])(x)
    assert torch.equal(found["act"], found["clamp"])
    assert torch.equal(rf.intervene(captured, {"act": torch.zeros_like})(x), made(Named).out(torch.zeros_like(x)))


# --- a captured model carries its passes --------------------------------------------------------------------


def test_a_captured_model_carries_its_passes(tmp_path):
    x = values((2, 3))
    captured = rf.capture(made(ByHand), passes=(find_linear, untouched))
    captured.save(tmp_path / "model")
    expected = rf.gradient(rf.lrp(made(Layer), COMPOSITE))(x, 1)[1]
    forms = [captured, pickle.loads(pickle.dumps(captured)), rf.Captured.load(tmp_path / "model"), rf.capture(captured)]
    for form in forms:
        torch.testing.assert_close(rf.gradient(rf.lrp(form, COMPOSITE))(x, 1)[1], expected, rtol=1e-9, atol=1e-12)
        assert "linear" in rf.plan(form, COMPOSITE).index
    assert str(forms[1]).splitlines()[0] == "ByHand(x), captured by trace, then find_linear, untouched"


def test_a_captured_model_takes_further_passes():
    captured = rf.capture(made(ByHand))
    further = rf.capture(captured, passes=(find_linear,))
    assert "linear" in str(further)
    assert "linear" not in str(captured)


@pytest.mark.parametrize("of", [lambda f: f, lambda f: rf.gradient(rf.lrp(f, GRADIENT))], ids=["model", "lrp"])
def test_a_pass_counts_in_the_identity_of_a_run(of):
    def known(*passes: Any) -> dict[str, str]:
        return identity(of(rf.capture(made(Layer), passes=passes)))

    assert known() == known(untouched) == known(written_anew)
    assert known(negate_twice) == known(negate_twice, untouched)
    assert known(negate_twice) != known()
    assert identity(of(rf.capture(made(ByHand), passes=(find_linear,)))) != identity(of(rf.capture(made(ByHand))))


def test_the_code_of_a_function_that_a_pass_puts_in_counts():
    def known(by: float) -> dict[str, str]:
        def scaled(x: Tensor) -> Tensor:
            return x * by / by

        def put(graph: fx.Graph) -> fx.Graph:
            output = graph.output_node()
            with graph.inserting_before(output):
                output.args = (graph.call_function(scaled, (output.args[0],)),)
            return graph

        return identity(rf.capture(made(Layer), passes=(put,)))

    assert known(2.0) == known(2.0)
    assert known(2.0) != known(4.0)


# --- negative controls --------------------------------------------------------------------------------------


def of_output(change: Callable[[fx.Graph, fx.Node], Any]) -> Callable[[fx.Graph], fx.Graph]:
    """A pass that does something before the output."""

    def broken(graph: fx.Graph) -> fx.Graph:
        output = graph.output_node()
        with graph.inserting_before(output):
            change(graph, output)
        return graph

    return broken


def returned(function: Callable[..., Any], *args: Any) -> Callable[[fx.Graph], fx.Graph]:
    return of_output(lambda g, o: o.update_arg(0, g.call_function(function, (o.args[0], *args))))


def raises(graph: fx.Graph) -> fx.Graph:
    raise KeyError("conv")


def forgets_to_return(graph: fx.Graph) -> None:
    rectify_in_place(graph)


def read_elsewhere(graph: fx.Graph) -> fx.Graph:
    other = fx.Graph().placeholder("x")
    graph.output_node().update_arg(0, other)
    return graph


def drops_an_input(graph: fx.Graph) -> fx.Graph:
    copy = fx.Graph()
    copy.output(copy.get_attr("weight"))
    return copy


BROKEN: dict[str, tuple[Any, str]] = {
    "changes the function": (negate, "the pass negate changes what the model computes: its output is off by 2"),
    "changes it a little": (returned(torch.mul, 1.001), "the pass broken changes .* its output is off by 0.001"),
    "changes the type": (
        returned(Tensor.float),
        "the pass broken changes .* is torch.float32 instead of torch.float64",
    ),
    "changes the shape": (returned(torch.flatten), r"the pass broken changes .* has shape \(8,\) instead of \(2, 4\)"),
    "changes the structure": (
        of_output(lambda g, o: o.update_arg(0, (o.args[0], o.args[0]))),
        "the pass broken changes .* has 2 parts instead of 1",
    ),
    "does not run": (returned(torch.mul, "a"), "what the pass broken returned does not run: TypeError"),
    "raises": (raises, "the pass raises failed: KeyError: 'conv'"),
    "a partial that raises": (partial(raises), "the pass raises failed: KeyError: 'conv'"),
    "returns None": (forgets_to_return, "the pass forgets_to_return returned None: return the torch.fx.Graph"),
    "returns a module": (lambda g: fx.symbolic_trace(nn.ReLU()), "<lambda> returned an object of class ReLU: return"),
    "drops the output": (of_output(lambda g, o: g.erase_node(o)), "the pass broken returned a graph without an output"),
    "calls a module": (of_output(lambda g, o: g.call_module("out")), "kind call_module .*: make it by graph.call_f"),
    "calls a method": (of_output(lambda g, o: g.call_method("neg", o.args)), "kind call_method"),
    "reads another graph": (read_elsewhere, "the pass read_elsewhere returned a graph whose nodes do not fit together"),
    "drops an input": (drops_an_input, r"the pass drops_an_input changed the inputs from \['x'\] to \[\]"),
    "reads what is not there": (
        of_output(lambda g, o: g.get_attr("scale")),
        "the pass broken reads 'scale', which is no parameter or buffer of Layer",
    ),
    "draws random numbers": (returned(torch.rand_like), "the pass broken returned a graph in which 'rand_like'"),
}


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr")
@pytest.mark.parametrize("name", BROKEN)
def test_a_pass_that_is_wrong_is_named(name):
    broken, message = BROKEN[name]
    with pytest.raises(CaptureError, match=message):
        rf.capture(made(Layer), example_inputs=values((2, 3)), passes=(rectify_in_place, broken, untouched))


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith("changes")])
@pytest.mark.parametrize("of", [lambda f: f, partial(rf.lrp, composite=COMPOSITE)], ids=["model", "lrp"])
def test_what_a_pass_changes_is_seen_on_the_first_call(name, of):
    broken, message = BROKEN[name]
    f = of(rf.capture(made(Layer), passes=(untouched, broken, untouched)))
    with pytest.raises(CaptureError, match=message):
        f(values((2, 3)))


def test_a_pass_that_is_right_for_one_size_is_caught_at_the_next():
    def divide(graph: fx.Graph) -> fx.Graph:
        for node in graph.find_nodes(op="call_function", target=F.adaptive_avg_pool2d):
            with graph.inserting_after(node):
                summed = graph.call_function(torch.sum, (node.args[0], (2, 3), True))
            with graph.inserting_after(summed):
                node.replace_all_uses_with(graph.call_function(torch.div, (summed, 16)), propagate_meta=True)
            graph.erase_node(node)
        return graph

    captured = rf.capture(nn.Sequential(nn.AdaptiveAvgPool2d(1)).eval(), passes=(divide,))
    captured(torch.rand(1, 2, 4, 4))
    with pytest.raises(CaptureError, match="the pass divide changes"):
        captured(torch.rand(1, 2, 9, 9))


def test_what_does_not_run_is_named_unless_the_input_is_wrong():
    captured = rf.capture(made(Layer), passes=(BROKEN["does not run"][0], untouched))
    with pytest.raises(CaptureError, match="what the pass broken returned does not run"):
        captured(values((2, 3)))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        captured(values((2, 5)))


def test_a_pickled_model_names_the_pass():
    captured = pickle.loads(pickle.dumps(rf.capture(made(Layer), passes=(untouched, negate))))
    with pytest.raises(CaptureError, match="the pass negate changes"):
        captured(values((2, 3)))


def test_a_further_pass_is_compared_anew():
    captured = rf.capture(made(Layer))
    captured(values((2, 3)))
    with pytest.raises(CaptureError, match="the pass negate changes"):
        rf.capture(captured, passes=(negate,))(values((2, 3)))


def test_the_model_is_not_blamed_on_a_pass():
    class Noisy(Layer):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            type(self).calls += 1
            return super().forward(x) + self.calls

    with pytest.raises(CaptureError, match="what was captured is not the model"):
        rf.capture(made(Noisy), example_inputs=values((2, 3)), passes=(untouched,))


def test_without_the_check_a_pass_may_change_what_is_computed():
    x = values((2, 3))
    assert torch.equal(rf.capture(made(Layer), passes=(negate,), check=False)(x), -made(Layer)(x))


def test_a_pass_gets_a_graph_of_its_own():
    captured = rf.capture(made(ByHand))
    before = str(captured.graph)
    rf.capture(captured, passes=(find_linear, written_anew))
    assert str(captured.graph) == before


@pytest.mark.parametrize("passes", [untouched, [None], "ab"])
def test_passes_are_a_sequence_of_functions(passes):
    with pytest.raises(TypeError, match="passes=\\(my_pass,\\)"):
        rf.capture(made(Layer), passes=passes)


def test_passes_come_before_interventions_and_before_saving(tmp_path):
    captured = rf.capture(made(Layer))
    with pytest.raises(CaptureError, match="passes run before interventions"):
        rf.capture(rf.intervene(captured, {"relu": torch.neg}), passes=(untouched,))
    captured.save(tmp_path / "model")
    with pytest.raises(CaptureError, match="before it is saved"):
        rf.capture(rf.Captured.load(tmp_path / "model"), passes=(untouched,))
    changed = rf.intervene(rf.capture(made(ByHand), passes=(find_linear,)), {"linear": torch.zeros_like})
    assert not changed(values((2, 3))).any()
