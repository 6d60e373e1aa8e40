"""Passes: canonical forms of a user's own, graph to graph, that :func:`relfunc.capture` runs.

A pass is a function from a :class:`torch.fx.Graph` to one with the same inputs and outputs. It runs after the captured
graph was made functional and before anything of relfunc's is recognised or folded, so that whatever it makes (a linear
layer, a batch norm, a function with a row of the user's) is treated as if the model had been written so. In the graph
that it gets

- nodes are ``placeholder``, ``get_attr`` (a parameter or buffer, by its path), ``call_function`` and ``output``;
- no call writes to its arguments, none draws random numbers, dropout is gone, and batch norms are there, unfolded;
- functions are the model's own spellings, or ATen's if it was exported: :func:`relfunc.ops.name_of` gives one name to
  all of them;
- ``node.meta["op"]`` is the row of a call or None; ``"path"``, ``"module"`` and ``"around"`` tell which module made it,
  and which are around that; ``"line"`` tells where.

The graph is the pass's own, to change or to copy. What it returns is tidied: dead nodes go, operations in place become
functional, and rows are looked up. A node that takes the place of another by ``old.replace_all_uses_with(new,
propagate_meta=True)`` is known by its module and line; one without such facts belongs to the model itself. The result
is compared with the model, to within rounding, and is pickled, saved and keyed like anything that is captured.

Examples
--------
A model writes an activation as products and a sigmoid, through which the rule of products would divide relevance. A
pass gives it a name, and the table a row:

>>> import torch, relfunc as rf
>>> class Net(torch.nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.hidden, self.out = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
...     def forward(self, x):
...         x = self.hidden(x)
...         return self.out(x * torch.sigmoid(1.702 * x))
>>> def quick_gelu(x):
...     return x * torch.sigmoid(1.702 * x)
>>> def is_call(node, name):
...     return isinstance(node, torch.fx.Node) and node.op == "call_function" and rf.ops.name_of(node.target) == name
>>> def find_quick_gelu(graph):
...     for node in graph.nodes:
...         match node.args:
...             case x, gate if is_call(node, "mul") and is_call(gate, "sigmoid") and is_call(gate.args[0], "mul"):
...                 if set(gate.args[0].args) == {x, 1.702}:
...                     with graph.inserting_before(node):
...                         new = graph.call_function(quick_gelu, (x,))
...                     node.replace_all_uses_with(new, propagate_meta=True)
...     return graph
>>> ops = {**rf.ops.OPS, quick_gelu: rf.ops.Op("activation")}
>>> captured = rf.capture(Net().eval(), ops=ops, passes=(find_quick_gelu,))
>>> print(captured)
Net(x), captured by trace, then find_quick_gelu
linear                  linear            hidden                  ...
quick_gelu              quick_gelu                                ...
linear_1                linear            out                     ...
>>> rf.plan(captured, rf.composites.epsilon_plus())["rule"].tolist()
['epsilon(epsilon=1e-06)', 'pass()', 'epsilon(epsilon=1e-06)']
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from ..errors import CaptureError, RelfuncError
from ..ops.table import Ops
from .arguments import Arguments
from .canonize import functional
from .graphs import calls, copied, shape_of_constant

Pass: TypeAlias = Callable[[fx.Graph], fx.Graph]


def passed(function: Pass, graph: fx.Graph, model: nn.Module, arguments: Arguments, ops: Ops) -> fx.Graph:
    """Run a pass, and see that what it returns is a graph of the model.

    Parameters
    ----------
    function : callable
        The pass.
    graph : torch.fx.Graph
        Functional. It is not changed.
    model : torch.nn.Module
        What ``get_attr`` nodes are paths of.
    arguments : Arguments
        What the model is called with.
    ops : mapping
        The operations.

    Returns
    -------
    torch.fx.Graph
        Functional.

    Raises
    ------
    CaptureError
        If the pass fails, or returns no such graph; the message names it.
    """
    name = name_of_pass(function)
    try:
        made = function(copied(graph))
    except Exception as error:
        raise CaptureError(f"the pass {name} failed: {type(error).__name__}: {error}") from error
    wrong = _wrong(made, graph, model)
    if wrong:
        raise CaptureError(f"the pass {name} {wrong}")
    _describe(made, name, model)
    try:
        result = functional(made, ops)
    except RelfuncError as error:
        raise CaptureError(f"the pass {name} returned a graph in which {error}") from error
    _find_shapes(result, model, arguments)
    result.output_node().meta["returns"] = graph.output_node().meta.get("returns")
    return result


def name_of_pass(function: Any) -> str:
    """Return what messages call a pass."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _wrong(made: Any, given: fx.Graph, model: nn.Module) -> str:
    """Say why what a pass returned is no graph of the model; nothing if it is one."""
    if not isinstance(made, fx.Graph):
        what = "None" if made is None else f"an object of class {type(made).__name__}"
        return f"returned {what}: return the torch.fx.Graph, also where it was changed in place"
    if not made.find_nodes(op="output"):
        return "returned a graph without an output: call graph.output(...), or keep the node that was there"
    foreign = next((node for node in made.nodes if node.op not in _FUNCTIONAL), None)
    if foreign is not None:
        return f"made a node of the kind {foreign.op} ('{foreign.name}'): make it by graph.call_function"
    try:
        made.lint()
    except Exception as error:  # torch raises RuntimeError, and others for what is deeply wrong
        return f"returned a graph whose nodes do not fit together: {error}"
    inputs, wanted = ([node.target for node in g.find_nodes(op="placeholder")] for g in (made, given))
    if inputs != wanted:
        return f"changed the inputs from {wanted} to {inputs}: keep them, also those that are not read"
    for node in made.find_nodes(op="get_attr"):
        try:
            found = operator.attrgetter(str(node.target))(model)
        except AttributeError:
            found = None
        if not isinstance(found, Tensor):
            return f"reads '{node.target}', which is no parameter or buffer of {type(model).__name__}"
    return ""


_FUNCTIONAL = {"placeholder", "get_attr", "call_function", "output"}


def _describe(graph: fx.Graph, name: str, model: nn.Module) -> None:
    """Say of new nodes where they come from; of several that a module is said to return the last is meant."""
    returned: set[Any] = set()
    for node in reversed(graph.nodes):
        for key, value in {"path": "", "module": type(model), "around": (), "line": f"pass {name}"}.items():
            node.meta.setdefault(key, value)
        if "returned" in node.meta:
            node.meta["returned"] = tuple(key for key in node.meta["returned"] if key not in returned)
            returned.update(node.meta["returned"])


def _find_shapes(graph: fx.Graph, model: nn.Module, arguments: Arguments) -> None:
    """Find shapes anew, as far as examples and parameters tell them: a pass may have changed what is computed."""
    for node in graph.find_nodes(op="placeholder"):
        example = arguments.examples.get(str(node.target))
        node.meta["val"] = None if example is None else _without_values(example)
    for node in graph.find_nodes(op="get_attr"):
        node.meta["val"] = _without_values(operator.attrgetter(str(node.target))(model))
    for node in calls(graph):
        node.meta.pop("val", None)
        if all(operand.meta.get("val") is not None for operand in node.all_input_nodes):
            shape_of_constant(node)


def _without_values(tensor: Tensor) -> Tensor | None:
    return tensor.detach().to("meta") if tensor.layout is torch.strided and not tensor.is_quantized else None
