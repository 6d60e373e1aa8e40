"""Rewrite: a forward graph and a rule for each operation become one graph that also computes relevance.

The result is an ordinary program: the model's operations, then the seed (the relevance of the output), then one
:class:`relfunc.rules.propagate.Propagate` per operation in reverse. It holds no autograd function and no state, so
vmap, compile and further differentiation act on it as on any other code; each value is dropped after its last use.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..errors import CaptureError, TargetError
from ..graph.calls import Call, Slot, is_smooth, zeros_like
from ..graph.facts import Facts
from ..graph.functions import compiled, lifted
from ..graph.graphs import mapped
from ..graph.lifetimes import shape_of
from ..graph.memory import plus
from ..graph.recomputed import recompute
from ..graph.returned import Returned, in_class, leaves
from ..graph.tokens import Moved, looked_up
from ..ops.table import Op
from ..rules import row_of
from ..rules.dead import dead_below_zero
from ..rules.propagate import Propagate
from ..rules.tables import AnyRule


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled graph and the names of its arguments.

    Parameters
    ----------
    forward : torch.fx.GraphModule
        ``forward(*inputs, *parameters)`` returns a tuple of the distinct tensors of the output.
    run : torch.fx.GraphModule
        ``run(*inputs, *parameters, seed)`` returns the output and a tuple of relevances.
    inputs : tuple of str
        The model's inputs.
    parameters : tuple of str
        Attribute paths of the model's parameters and buffers.
    nodes : tuple of str
        The nodes whose relevance is returned: the inputs first.
    returned : Any
        What the model returns, with a :class:`relfunc.graph.calls.Slot` for each tensor.
    returns : Returned, optional
        The classes in which the model returns it.
    tokens : tuple of str
        Integer inputs that have relevance.
    """

    forward: fx.GraphModule
    run: fx.GraphModule
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    nodes: tuple[str, ...]
    returned: Any
    returns: Returned | None = None
    tokens: tuple[str, ...] = ()

    def arrange(self, tensors: Sequence[Any]) -> Any:
        """Put the tensors of the model's distinct outputs in the structure that the model returns."""
        slots = {place.index for place in pytree.tree_leaves(self.returned) if isinstance(place, Slot)}
        if len(tensors) != len(slots) > 1:
            raise CaptureError(
                "the model returns several lists of tensors, of which it does not say how long they are: give "
                "example_inputs, or let it return the tensors one by one"
            )
        outputs = tensors if len(tensors) == len(slots) else [tuple(tensors)]
        arranged = pytree.tree_map_only(Slot, lambda slot: outputs[slot.index], self.returned)
        return arranged if self.returns is None else self.returns(arranged)


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
    forward.output(tuple(copies[node] for node in outputs))

    joint, copies = lifted(graph, paths, ("_seed",))
    result = in_class(joint, graph, mapped(copies.__getitem__, returned))
    seed = joint.find_nodes(op="placeholder")[-1]
    structure = mapped(lambda node: Slot(outputs.index(node)), returned)
    cotangents = joint.call_function(Seeding(structure), (seed, result, *(copies[node] for node in outputs)))
    names = [*(node.name for node in inputs), *at]
    relevances = _Backward(joint, copies, known, rules, dead_below_zero(graph, known, rules), names)
    for i, node in enumerate(outputs):
        relevances.add(node, joint.call_function(operator.getitem, (cotangents, i)))
    for node in reversed(graph.nodes):
        if known.is_operation(node):
            relevances.through(node)
        elif node in known.tokens.lookups or (node in known.tokens.moved and node.op == "call_function"):
            relevances.to_tokens(node)
    by_name = {node.name: node for node in known.data}
    wanted = (*map(relevances.of_input, inputs), *(relevances.of(by_name[name]) for name in at))
    joint.output((result, wanted))
    joint.eliminate_dead_code()
    recompute(joint, cotangents, {copies[node]: op for node, op in known.ops.items()})
    returns = graph.output_node().meta.get("returns")
    tokens = tuple(node.name for node in inputs if node in known.tokens.moved)
    return Program(
        compiled(forward),
        compiled(joint),
        tuple(n.name for n in inputs),
        paths,
        tuple(names),
        structure,
        returns,
        tokens,
    )


@dataclass(frozen=True, eq=False)
class Seeding:
    """Relevance of each distinct output: ``(seed, result, *outputs) -> relevances``.

    Parameters
    ----------
    returned : Any
        What the model returns, with a :class:`relfunc.graph.calls.Slot` for each output; what it returns twice has the
        same slot twice, and gets the sum of both.
    """

    returned: Any
    __name__ = "seeding"

    def __call__(self, seed: Callable[[Any], Any], result: Any, *outputs: Any) -> list[Any]:
        """Ask the seed, which returns the structure that the model returned, with None for no relevance."""
        given, wanted = leaves(seed(result)), leaves(result)
        if len(given) != len(wanted):
            raise TargetError(
                f"the target has {len(given)} parts, and the model returned {len(wanted)}: give relevance of the same "
                "structure, with None for a part that has none"
            )
        left = iter(given)
        relevances: list[Any] = [None] * len(outputs)
        for place in pytree.tree_leaves(self.returned):
            if not isinstance(place, Slot):
                next(left)
                continue
            parts, spec = pytree.tree_flatten(outputs[place.index])
            arriving = [
                zeros_like(y) if a is None or not is_smooth(y) else a for y, a in zip(parts, left, strict=False)
            ]
            one, before = pytree.tree_unflatten(arriving, spec), relevances[place.index]
            relevances[place.index] = one if before is None else pytree.tree_map(torch.add, before, one)
        return relevances


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
            self._relevance[node] = self._joint.call_function(zeros_like, (self._copies[node],))
        return self._relevance[node]

    def of_input(self, node: fx.Node) -> fx.Node | None:
        """All relevance of an input; None for what has none, such as a mask."""
        if node in self._known.data or node in self._relevance:
            return self.of(node)
        if node not in self._known.tokens.moved:
            return None
        return self._joint.call_function(no_relevance, (self._copies[node],))

    def to_tokens(self, node: fx.Node) -> None:
        """Send the relevance of what a table returned, or of tokens that were moved, on to tokens."""
        if node not in self._relevance:
            return
        tokens, relevance = self._known.tokens, self._relevance[node]
        if node in tokens.lookups:
            index = tokens.lookups[node]
            sent = self._joint.call_function(looked_up, (relevance, self._copies[index]))
            self.add(index, self._joint.call_function(operator.getitem, (sent, 0)))
            return
        call, values = call_of(node, tokens.moved)
        sent = self._joint.call_function(Moved(call), (relevance, *map(self._copies.__getitem__, values)))
        for i, slot in enumerate(call.data):
            self.add(values[slot], self._joint.call_function(operator.getitem, (sent, i)))

    def through(self, node: fx.Node) -> None:
        """Send a node's relevance on to what it was computed from."""
        if node not in self._relevance:
            return
        relevance = self._relevance[node]
        owned = relevance in self._owned and node.name not in self._wanted
        step, values = propagation(node, self._known, self._rules[node], node in self._dead, owned)
        output = self._dead.get(node, node) if "output" in step.reads else None
        reads = self._copies.__getitem__ if "values" in step.reads else self._shape
        args = (relevance, None if output is None else self._copies[output], *map(reads, values))
        sent = self._joint.call_function(step, args)
        memory, alone = step.row.memory, len(step.call.data) == 1
        for i, slot in enumerate(step.call.data):
            if slot in step.receivers:
                part = self._joint.call_function(operator.getitem, (sent, i))
                if memory == "own" or (memory == "shared" and owned and alone):
                    self._owned.add(part)
                self.add(values[slot], part)

    def _shape(self, node: fx.Node) -> fx.Node:
        """Return what has the shape of a node's value, and lets go of the value."""
        if node not in self._shapes:
            with self._joint.inserting_after(self._copies[node]):
                self._shapes[node] = self._joint.call_function(shape_of, (self._copies[node],))
        return self._shapes[node]


def call_of(node: fx.Node, data: Collection[fx.Node], op: Op | None = None) -> tuple[Call, list[fx.Node]]:
    """Return a node as a call of the values that vary, and these; its data slots are those of some nodes."""
    values: list[fx.Node] = []

    def slot(value: fx.Node) -> Slot:
        values.append(value)
        return Slot(len(values) - 1)

    args, kwargs = mapped(slot, (node.args, dict(node.kwargs)))
    target: Any = node.target
    return Call(target, args, kwargs, tuple(i for i, value in enumerate(values) if value in data), op), values


def no_relevance(tokens: Tensor) -> Tensor:
    """Return zeros for tokens whose table nothing read on the way to the output."""
    return torch.zeros(tokens.shape, device=tokens.device)


def propagation(
    node: fx.Node, known: Facts, rule: AnyRule, dead: bool, owned: bool = False
) -> tuple[Propagate, list[fx.Node]]:
    """Return what a node's rule does to relevance, simplified by the facts, and the values its slots stand for."""
    call, values = call_of(node, known.data, known.ops.get(node))
    data = call.data
    row = row_of(rule)
    receivers = row.receives(data, frozenset(i for i in data if known.is_gate(node, values[i])))
    factors = tuple(known.factors.get(values[i], 1) for i in data)
    simple = row.simplify(rule, values[data[0]] in known.nonnegative, dead)
    return Propagate(simple, call, receivers, dead, node.name, owned, factors), values
