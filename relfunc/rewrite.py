"""Rewrite: a forward graph and a rule for each operation become one graph that also computes relevance.

The result is an ordinary program: the model's operations, then the seed (the relevance of the output), then one
:class:`relfunc.propagate.Propagate` per operation in reverse. It holds no autograd function and no state, so vmap,
compile and further differentiation act on it as on any other code; each value is dropped after its last use.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from .calls import Call, Slot
from .facts import Facts, dead_below_zero
from .lifetimes import overwrite_unread, reads_shapes_only, shape_of
from .memory import plus
from .propagate import Propagate, needs_output
from .tables import AnyRule, Elementary, Rule, simplify


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled graph and the names of its arguments.

    Parameters
    ----------
    forward : torch.fx.GraphModule
        ``forward(*inputs, *parameters)`` returns the output.
    run : torch.fx.GraphModule
        ``run(*inputs, *parameters, seed)`` returns the output and a tuple of relevances.
    inputs : tuple of str
        The model's inputs.
    parameters : tuple of str
        Attribute paths of the model's parameters and buffers.
    nodes : tuple of str
        The nodes whose relevance is returned: the inputs first.
    returned : Any
        What the model returns, with a :class:`relfunc.calls.Slot` for each tensor.
    """

    forward: fx.GraphModule
    run: fx.GraphModule
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    nodes: tuple[str, ...]
    returned: Any

    def arrange(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Put one tensor for each of the model's outputs in the structure that the model returns."""
        return pytree.tree_map_only(Slot, lambda slot: tensors[slot.index], self.returned)


def rewrite(graph: fx.Graph, known: Facts, rules: Mapping[fx.Node, AnyRule], at: Sequence[str] = ()) -> Program:
    """Write the program that computes a model's output and its relevance.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.
    rules : mapping
        A rule for every data node that is a call.
    at : sequence of str
        Further nodes whose relevance the program returns, after the inputs'.

    Returns
    -------
    Program
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    paths = tuple(dict.fromkeys(node.target for node in graph.find_nodes(op="get_attr")))
    (returned,) = graph.output_node().args
    outputs = list(dict.fromkeys(n for n in pytree.tree_leaves(returned) if isinstance(n, fx.Node)))

    forward, copies = lifted(graph, paths)
    forward.output(fx.map_arg(returned, copies.__getitem__))

    joint, copies = lifted(graph, paths, ("_seed",))
    result = fx.map_arg(returned, copies.__getitem__)
    seed = joint.find_nodes(op="placeholder")[-1]
    cotangents = joint.call_function(seed_relevance, (seed, result, [copies[n] for n in outputs]))
    names = [*(node.name for node in inputs), *at]
    relevances = _Backward(joint, copies, known, rules, dead_below_zero(graph, known, rules), names)
    for i, node in enumerate(outputs):
        relevances.add(node, joint.call_function(operator.getitem, (cotangents, i)))
    for node in reversed(graph.nodes):
        if node.op == "call_function" and node in known.data:
            relevances.through(node)
    by_name = {node.name: node for node in known.data}
    wanted = tuple(relevances.of(by_name[name]) for name in names)
    joint.output((result, wanted))
    structure = _map_nodes(lambda node: Slot(outputs.index(node)), returned)
    return Program(compiled(forward), compiled(joint), tuple(n.name for n in inputs), paths, tuple(names), structure)


def lifted(
    graph: fx.Graph, paths: Sequence[str], further: Sequence[str] = ()
) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """Copy a graph without its output, with its parameters as placeholders behind the inputs."""
    copy = fx.Graph()
    copies = {node: copy.placeholder(node.name) for node in graph.nodes if node.op == "placeholder"}
    identifiers = [re.sub(r"\W", "_", path) for path in paths]
    parameters = {
        path: copy.placeholder(f"p{i}_{name}") for i, (path, name) in enumerate(zip(paths, identifiers, strict=True))
    }
    for name in further:
        copy.placeholder(name)
    for node in graph.nodes:
        if node.op == "get_attr":
            copies[node] = parameters[node.target]
        elif node.op == "call_function":
            copies[node] = copy.node_copy(node, copies.__getitem__)
            copies[node].meta = dict(node.meta)
    return copy, copies


def compiled(graph: fx.Graph) -> fx.GraphModule:
    """Turn a finished graph without attributes into a function."""
    graph.eliminate_dead_code()
    overwrite_unread(graph)
    graph.lint()
    return fx.GraphModule(torch.nn.Module(), graph)


def seed_relevance(seed: Callable[[Any], Any], result: Any, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Relevance of each output tensor, as the seed says; the seed returns the structure that the model returned."""
    given = seed(result)
    if isinstance(given, torch.Tensor) and len(outputs) == 1:
        return [given]
    leaves = pytree.tree_leaves(given, is_leaf=lambda leaf: leaf is None)
    return [torch.zeros_like(y) if leaf is None else leaf for leaf, y in zip(leaves, outputs, strict=True)]


def accumulate(a: Any, b: Any, owned: bool) -> Any:
    """Sum the relevance that two readers send to one value, in the memory of ``a`` if it is owned."""
    return pytree.tree_map(plus if owned else torch.add, a, b)


class _Backward:
    """The relevance emitted so far, by node of the forward graph."""

    def __init__(
        self,
        joint: fx.Graph,
        copies: Mapping[fx.Node, fx.Node],
        known: Facts,
        rules: Mapping[fx.Node, AnyRule],
        dead: Mapping[fx.Node, fx.Node],
        wanted: Collection[str],
    ) -> None:
        self._joint, self._copies, self._known, self._rules, self._dead = joint, copies, known, rules, dead
        self._wanted = wanted
        self._relevance: dict[fx.Node, fx.Node] = {}
        self._shapes: dict[fx.Node, fx.Node] = {}
        self._owned: set[fx.Node] = set()  # relevance in memory that no other value uses

    def add(self, node: fx.Node, relevance: fx.Node) -> None:
        """Send relevance to a node."""
        if node in self._relevance:
            before = self._relevance[node]
            relevance = self._joint.call_function(accumulate, (before, relevance, before in self._owned))
            self._owned.add(relevance)
        self._relevance[node] = relevance

    def of(self, node: fx.Node) -> fx.Node:
        """All relevance of a node; zeros if none arrives."""
        if node not in self._relevance:
            self._relevance[node] = self._joint.call_function(torch.zeros_like, (self._copies[node],))
        return self._relevance[node]

    def through(self, node: fx.Node) -> None:
        """Send a node's relevance on to what it was computed from."""
        if node not in self._relevance:
            return
        relevance, rule = self._relevance[node], self._rules[node]
        owned = relevance in self._owned and node.name not in self._wanted
        step, values = propagation(node, self._known, rule, node in self._dead, owned)
        output = self._dead.get(node, node) if needs_output(step.rule) else None
        reads = self._shape if reads_shapes_only(step.rule, step.call) else self._copies.__getitem__
        args = (relevance, None if output is None else self._copies[output], *map(reads, values))
        sent = self._joint.call_function(step, args)
        for i, slot in enumerate(step.call.data):
            if slot in step.receivers:
                part = self._joint.call_function(operator.getitem, (sent, i))
                if isinstance(rule, Rule) or (isinstance(rule, Elementary) and owned and len(step.call.data) == 1):
                    self._owned.add(part)
                self.add(values[slot], part)

    def _shape(self, node: fx.Node) -> fx.Node:
        """Return what has the shape of a node's value, and lets go of the value."""
        if node not in self._shapes:
            with self._joint.inserting_after(self._copies[node]):
                self._shapes[node] = self._joint.call_function(shape_of, (self._copies[node],))
        return self._shapes[node]


def propagation(
    node: fx.Node, known: Facts, rule: AnyRule, dead: bool, owned: bool = False
) -> tuple[Propagate, list[fx.Node]]:
    """Return what a node's rule does to relevance, simplified by the facts, and the values its slots stand for."""
    values: list[fx.Node] = []

    def slot(value: fx.Node) -> Slot:
        values.append(value)
        return Slot(len(values) - 1)

    args, kwargs = _map_nodes(slot, (node.args, dict(node.kwargs)))
    data = tuple(i for i, value in enumerate(values) if value in known.data)
    target: Any = node.target
    call = Call(target, args, kwargs, data)
    receivers = data
    if isinstance(rule, Elementary) and rule.name == "signal":
        receivers = tuple(i for i in data if values[i] not in known.gates) or data
    if isinstance(rule, Rule):
        rule = simplify(rule, nonnegative=values[data[0]] in known.nonnegative, dead_below_zero=dead)
    return Propagate(rule, call, receivers, dead, node.name, owned), values


def _map_nodes(function: Callable[[fx.Node], Any], structure: Any) -> Any:
    """Replace every node in nested arguments, slices included."""
    if isinstance(structure, fx.Node):
        return function(structure)
    if isinstance(structure, tuple | list):
        mapped = [_map_nodes(function, item) for item in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*mapped)
        return mapped if isinstance(structure, list) else tuple(mapped)
    if isinstance(structure, dict):
        return {key: _map_nodes(function, item) for key, item in structure.items()}
    if isinstance(structure, slice):
        return slice(*(_map_nodes(function, item) for item in (structure.start, structure.stop, structure.step)))
    return structure
