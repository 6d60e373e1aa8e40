"""Calls: one operation of a graph as a function of the values that vary, and its transposed Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .adjoints import adjoint_of
from .ops import name_of
from .transposes import TRANSPOSES


@dataclass(frozen=True)
class Slot:
    """The place of a tensor (or size) in the arguments of a call."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """One operation of the graph: a function and its arguments, with slots for the values that vary.

    Parameters
    ----------
    target : callable
        The function.
    args, kwargs : tuple, dict
        Its arguments, with a :class:`Slot` for every value of the graph.
    data : tuple of int
        Slots that carry relevance.

    Attributes
    ----------
    name : str
        Canonical name of the function.
    adjoint : callable or None
        Its transposed Jacobian, if that is written out.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    data: tuple[int, ...]
    name: str = field(init=False)

    adjoint: Callable[..., Any] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", name_of(self.target))
        first = _slots(self.args[:1])
        adjoint = adjoint_of(self.name, self.args, self.kwargs) if set(self.data) <= set(first) else None
        object.__setattr__(self, "adjoint", adjoint)

    @property
    def is_combination(self) -> bool:
        """Whether a table reads it as a linear operation without parameters."""
        return self.name not in TRANSPOSES

    def __call__(self, *values: Any) -> Any:
        """Run the operation."""
        args, kwargs = _filled((self.args, self.kwargs), values)
        return self.target(*args, **kwargs)

    def transpose(self, cotangent: Any, *values: Any) -> tuple[Any, ...]:
        """Multiply by the transposed Jacobian at ``values``; one result for each data slot."""
        if self.name in {"add", "iadd", "radd"} and not self.kwargs:
            return tuple(sum_to(cotangent, values[slot].shape) for slot in self.data)
        if self.adjoint is not None:
            args, kwargs = _filled((self.args, self.kwargs), values)
            grads = self.adjoint(cotangent, *args, **kwargs)
            slots = _slots(self.args[:1])
            return (
                tuple(grads[slots.index(slot)] for slot in self.data)
                if isinstance(self.args[0], tuple | list)
                else (grads,)
            )

        def of_data(*data: Any) -> Any:
            filled = list(values)
            for slot, value in zip(self.data, data, strict=True):
                filled[slot] = value
            return self(*filled)

        return torch.func.vjp(of_data, *(values[slot] for slot in self.data))[1](cotangent)


def _slots(structure: Any) -> list[int]:
    """Return the indices of the slots in nested sequences, in order."""
    if isinstance(structure, Slot):
        return [structure.index]
    return [i for item in structure for i in _slots(item)] if isinstance(structure, tuple | list) else []


def _filled(structure: Any, values: tuple[Any, ...]) -> Any:
    """Put values in the slots of nested arguments; pytree does not look into slices."""
    if isinstance(structure, Slot):
        return values[structure.index]
    if isinstance(structure, tuple | list):
        return type(structure)([_filled(item, values) for item in structure])
    if isinstance(structure, dict):
        return {key: _filled(item, values) for key, item in structure.items()}
    if isinstance(structure, slice):
        return slice(*(_filled(bound, values) for bound in (structure.start, structure.stop, structure.step)))
    return structure


def sum_to(a: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting by summing."""
    a = a.sum(tuple(range(a.ndim - len(shape)))) if a.ndim > len(shape) else a
    stretched = tuple(d for d, size in enumerate(shape) if size == 1 and a.shape[d] != 1)
    return a.sum(stretched, keepdim=True) if stretched else a
