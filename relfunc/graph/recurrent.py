"""Recurrent networks: written out as their cells, one for each step, layer and direction.

A cell is linear layers, a sum, gates and products, whose rules are known. How many steps there are must be known when
the graph is made canonical, from the model's example inputs; a packed sequence has another number in each sample,
and is not written out.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import fx

from ..ops.table import name_of
from .written import as_captured

State: TypeAlias = tuple[Any, ...]
Cell: TypeAlias = Callable[[Any, Any, State, Sequence[Any]], State]


def _lstm_cell(call: Any, x: Any, state: State, weights: Sequence[Any]) -> State:
    hidden, memory = state
    inlet, forget, new, outlet = _parts(call, _summed(call, *_both(call, x, hidden, weights)), 4)
    kept = call(operator.mul, call(torch.sigmoid, forget), memory)
    added = call(operator.mul, call(torch.sigmoid, inlet), call(torch.tanh, new))
    memory = call(operator.add, kept, added)
    hidden = call(operator.mul, call(torch.sigmoid, outlet), call(torch.tanh, memory))
    return (hidden if len(weights) < 5 else call(F.linear, hidden, weights[4])), memory


def _gru_cell(call: Any, x: Any, state: State, weights: Sequence[Any]) -> State:
    (hidden,) = state
    of_x, of_hidden = (_parts(call, part, 3) for part in _both(call, x, hidden, weights))
    reset, update = (call(torch.sigmoid, _summed(call, a, b)) for a, b in zip(of_x[:2], of_hidden[:2], strict=True))
    new = call(torch.tanh, _summed(call, of_x[2], call(operator.mul, reset, of_hidden[2])))
    fresh = call(operator.mul, call(operator.sub, 1, update), new)
    return (call(operator.add, fresh, call(operator.mul, update, hidden)),)


def _simple_cell(activation: Any) -> Cell:
    def cell(call: Any, x: Any, state: State, weights: Sequence[Any]) -> State:
        return (call(activation, _summed(call, *_both(call, x, state[0], weights))),)

    return cell


def _both(call: Any, x: Any, hidden: Any, weights: Sequence[Any]) -> tuple[fx.Node, fx.Node]:
    """Write the linear layers of the input and of the state."""
    of_x, of_hidden, *biases = weights[:4]
    for_x, for_hidden = biases or (None, None)
    return call(F.linear, x, of_x, for_x), call(F.linear, hidden, of_hidden, for_hidden)


def _summed(call: Any, a: Any, b: Any) -> fx.Node:
    return call(operator.add, a, b)


def _parts(call: Any, a: Any, n: int) -> list[fx.Node]:
    parts = call(torch.chunk, a, n, -1)
    return [call(operator.getitem, parts, i) for i in range(n)]


# --- definitions --------------------------------------------------------------------------------------


def _one_cell(cell: Cell, states: int) -> Any:
    def write(call: Any, given: dict[str, Any]) -> Any:
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        state = (given["hx"],) if states == 1 else tuple(call(operator.getitem, given["hx"], i) for i in range(2))
        weights = [given[name] for name in names if given.get(name) is not None]
        state = cell(call, given["input"], state, weights)
        return state[0] if states == 1 else state

    return write


def _network(cell: Cell, states: int) -> Any:
    def write(call: Any, given: dict[str, Any]) -> tuple[fx.Node, ...] | None:
        x, hx, params = given["input"], given["hx"], given["params"]
        shape = x.args[1] if name_of(x.target) == "of_shape" else getattr(x.meta.get("val"), "shape", ())
        axis = 1 if given["batch_first"] and len(shape) == 3 else 0
        if not isinstance(params, tuple | list) or len(shape) < 2 or not isinstance(shape[axis], int):
            return None
        call(as_captured, call(torch.Tensor.size, x, axis), shape[axis])
        directions, layers = 1 + bool(given["bidirectional"]), given["num_layers"]
        each = len(params) // (layers * directions)
        initial = (hx,) if states == 1 else tuple(hx if isinstance(hx, tuple | list) else _items(call, hx))
        steps = [call(torch.select, x, axis, t) for t in range(shape[axis])]
        last: list[State] = []
        for layer in range(layers):
            found: list[list[Any]] = []
            for direction in range(directions):
                i = layer * directions + direction
                state = tuple(call(torch.select, a, 0, i) for a in initial)
                weights = list(params[i * each : (i + 1) * each])
                if not given["has_biases"]:
                    weights[2:2] = [None, None]
                outputs = []
                for step in steps[:: -1 if direction else 1]:
                    state = cell(call, step, state, weights)
                    outputs.append(state[0])
                found.append(outputs[:: -1 if direction else 1])
                last.append(state)
            steps = (
                found[0] if directions == 1 else [call(torch.cat, list(pair), -1) for pair in zip(*found, strict=True)]
            )
        finals = tuple(call(torch.stack, list(parts), 0) for parts in zip(*last, strict=True))
        return call(torch.stack, steps, axis), *finals

    return write


def _items(call: Any, a: Any) -> list[fx.Node]:
    return [call(operator.getitem, a, i) for i in range(2)]


_CELL: Final = "input hx w_ih w_hh b_ih b_hh"
_NETWORK: Final = "input hx params has_biases num_layers dropout train bidirectional batch_first"
_CELLS: Final[dict[str, tuple[Cell, int]]] = {
    "lstm": (_lstm_cell, 2),
    "gru": (_gru_cell, 1),
    "rnn_tanh": (_simple_cell(torch.tanh), 1),
    "rnn_relu": (_simple_cell(F.relu), 1),
}

RECURRENT: Final[dict[str, tuple[Any, Any]]] = {
    **{f"{name}_cell": (_CELL, _one_cell(*cell)) for name, cell in _CELLS.items()},
    **{name: (_NETWORK, _network(*cell)) for name, cell in _CELLS.items()},
}
"""By canonical name: the names of the arguments, and what writes the definition."""
