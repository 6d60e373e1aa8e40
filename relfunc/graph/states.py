"""State spaces: what of a recurrent state is a parameter of it, as the graph shows.

A recurrent state decays and is written to, ``h = exp(rate) * h + write``, step after step, and is read by a
contraction. What the decay is computed from (Δ and A of a selective state space), what is computed from the value that
is written and multiplies it (B), and what a state is contracted with (C) say how the state is kept, written and read:
they are its parameters, and carry no signal of their own. That holds for a recurrence that is written out step by step;
in a scan by chunks, the parts that such a product has are not told apart by the graph.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from torch import fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling, words
from ..ops.table import Op
from .detached import adds_axes
from .graphs import within


def state_parameters(graph: fx.Graph, data: Collection[fx.Node], known: Mapping[fx.Node, Op]) -> frozenset[fx.Node]:
    """Find the parameters of recurrent states.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    data : collection of torch.fx.Node
        What carries relevance.
    known : mapping
        The operation of each.

    Returns
    -------
    frozenset of torch.fx.Node
    """
    found = _States(graph, set(data), known)
    return frozenset(node for part in (found.rates(), found.writers(), found.readers()) for node in part)


class _States:
    """Recurrent states, each with its decay and with what is written to it."""

    def __init__(self, graph: fx.Graph, data: set[fx.Node], known: Mapping[fx.Node, Op]) -> None:
        self._data, self._known = data, known
        self._order = {node: i for i, node in enumerate(graph.nodes)}
        self.steps: dict[fx.Node, tuple[fx.Node, fx.Node]] = {}
        begun: dict[fx.Node, tuple[fx.Node, fx.Node]] = {}
        for node in graph.nodes:
            for decay, before, write in self._step(node):
                states = self._sources(before)
                if states.isdisjoint(begun) and not _is_zero(before):
                    begun[node] = (decay, write)
                    continue
                self.steps |= {state: begun[state] for state in states & begun.keys()}
                self.steps[node] = begun[node] = (decay, write)

    def rates(self) -> Iterator[fx.Node]:
        """Yield what decays are computed from, behind sums and constants; of what holds more than that, their part."""
        pending, seen = [decay.args[0] for decay, _ in self.steps.values()], set()
        parts: dict[fx.Node, set[fx.Node]] = {}
        while pending or parts:
            if not pending:
                entered = [whole for whole in parts if self._parts(whole) <= seen]
                if not entered:
                    yield from (part for found in parts.values() for part in found)
                    return
                pending = [whole for whole in entered if parts.pop(whole)]
            node = pending.pop()
            if not isinstance(node, fx.Node) or node not in self._data or node in seen:
                continue
            seen.add(node)
            op = self._known.get(node)
            if op is not None and node in self._parts(node.all_input_nodes[0]):
                parts.setdefault(node.all_input_nodes[0], set()).add(node)
            elif op is not None and (op.kind in {"move", "scaling"} or spelling(node.target) in _SUMS):
                pending.extend(node.all_input_nodes)
            else:
                yield node

    def _parts(self, whole: fx.Node) -> set[fx.Node]:
        """Return the readers of a value that take a part of it."""
        return {
            user
            for user in whole.users
            if user in self._data
            and (name := spelling(user.target)) in _PARTS
            and not (name == "getitem" and adds_axes(user.args[1]))
        }

    def writers(self) -> Iterator[fx.Node]:
        """Yield the factors of what is written that are computed from another factor, and not that from them."""
        for product in dict.fromkeys(self._moved(write) for _, write in self.steps.values()):
            factors = list(self._factors(product))
            for factor in factors:
                others = [self._moved(other) for other in factors if other is not factor]
                if any(self._uses(factor, of) and not self._uses(of, self._moved(factor)) for of in others):
                    yield factor

    def readers(self) -> Iterator[fx.Node]:
        """Yield what a state is contracted with."""
        pending, seen = list(self.steps), set(self.steps)
        while pending:
            state = pending.pop()
            for user in state.users:
                op = self._known.get(user)
                if op is None or user in seen:
                    continue
                if op.kind == "move":
                    seen.add(user)
                    pending.append(user)
                elif op.kind == "product" and (op.matrix or _is_summed(user)):
                    yield from (a for a in within(pytree.tree_leaves(user.args), self._data) if a not in seen)

    def _step(self, node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node, fx.Node]]:
        if spelling(node.target) != "add" or node not in self._data or len(node.args) != 2 or node.kwargs:
            return
        for kept, write in (node.args, node.args[::-1]):
            if not isinstance(kept, fx.Node) or not isinstance(write, fx.Node) or write not in self._data:
                continue
            if spelling(kept.target) != "mul" or len(kept.args) != 2 or kept not in self._data:
                continue
            for decay, before in (kept.args, kept.args[::-1]):
                source = self._moved(decay) if isinstance(decay, fx.Node) else None
                if source in self._data and spelling(source.target) in _DECAYS and isinstance(before, fx.Node):
                    yield source, before, write

    def _moved(self, node: fx.Node) -> fx.Node:
        """Return what a value is, or is a part of, before it was moved."""
        while (op := self._known.get(node)) is not None and (op.kind == "move" or spelling(node.target) in _CASTS):
            operands = within(pytree.tree_leaves(node.args), self._data)
            if len(operands) != 1:
                break
            (node,) = operands
        return node

    def _sources(self, node: fx.Node) -> set[fx.Node]:
        return {self._moved(node)} if node in self._data else set()

    def _factors(self, node: fx.Node) -> Iterator[fx.Node]:
        source = self._moved(node)
        operands = within(source.args, self._data) if spelling(source.target) == "mul" else []
        if not operands:
            yield node
        for operand in operands:
            yield from self._factors(operand)

    def _uses(self, node: fx.Node, of: fx.Node) -> bool:
        """Whether a value is computed from another."""
        pending, seen = [node], {node}
        while pending:
            for a in pending.pop().all_input_nodes:
                if a is of:
                    return True
                if a in self._data and a not in seen and self._order[a] > self._order[of]:
                    seen.add(a)
                    pending.append(a)
        return False


def _is_zero(node: fx.Node) -> bool:
    return spelling(node.target) in _ZEROS


def _is_summed(node: fx.Node) -> bool:
    return any(spelling(user.target) == "sum" for user in node.users)


_PARTS: Final = words("chunk split split_with_sizes tensor_split unbind getitem narrow select slice index_select")
_DECAYS: Final = words("exp exp2")
_SUMS: Final = words("add sub rsub neg cumsum sum")
_CASTS: Final = words("to _to_copy float double half bfloat16 type")
_ZEROS: Final = words("zeros zeros_like new_zeros")
