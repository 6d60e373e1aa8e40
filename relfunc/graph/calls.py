"""Calls: one operation of a graph as a function of the values that vary, and its transposed Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..ops.adjoints import Adjoint, adjoint_of
from ..ops.spellings import spelling
from ..ops.table import Op, find, name_of
from .affine import scale_shift
from .grouped import grouped_linear
from .normalization import centred
from .transposes import TRANSPOSES, sum_to


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
    op : Op, optional
        Its row, where that is not :data:`relfunc.ops.OPS`'s.

    Attributes
    ----------
    name : str
        Name of the function, for people.
    spelling : str
        Canonical name of torch's function; empty for another.
    transposed : str
        Under which name :data:`relfunc.graph.transposes.TRANSPOSES` has it; empty for all but affine operations of
        ours.
    adjoint : Adjoint or None
        Its transposed Jacobian, if that is written out.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    data: tuple[int, ...]
    op: Op | None = None
    name: str = field(init=False)
    spelling: str = field(init=False)
    transposed: str = field(init=False)
    adjoint: Adjoint | None = field(init=False)

    def __post_init__(self) -> None:
        op = self.op or find(self.target)
        name = spelling(self.target) or ""
        own = next((f.__name__ for f in (scale_shift, grouped_linear) if self.target is f), "")
        affine = name or own
        known = name or ("centred" if self.target is centred else "")
        within = set(self.data) <= set(_slots(self.args[:1]))
        by_weights = within and op is not None and op.kind == "affine" and affine in TRANSPOSES
        derived = {
            "op": op,
            "name": name_of(self.target),
            "spelling": name,
            "transposed": affine if by_weights else "",
            "adjoint": adjoint_of(known, self.args, self.kwargs) if within else None,
        }
        for attribute, value in derived.items():
            object.__setattr__(self, attribute, value)

    def __call__(self, *values: Any) -> Any:
        """Run the operation."""
        args, kwargs = _filled((self.args, self.kwargs), values)
        return self.target(*args, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether an option, other than its input and parameters, is a value of the graph."""
        return any(isinstance(value, Slot) for value in self.kwargs.values())

    def closed(self, values: tuple[Any, ...]) -> "Call":
        """Return the call with the values of its options in their slots."""
        return replace(self, kwargs=_filled(self.kwargs, values))

    def transpose(self, cotangent: Any, *values: Any) -> tuple[Any, ...]:
        """Multiply by the transposed Jacobian at ``values``; one result for each data slot."""
        if self.spelling == "add" and not self.kwargs:
            return tuple(sum_to(cotangent, values[slot].shape) for slot in self.data)
        if self.adjoint is not None:
            args, kwargs = _filled((self.args, self.kwargs), values)
            grads = self.adjoint.apply(cotangent, *args, **kwargs)
            slots = _slots(self.args[:1])
            return (
                tuple(grads[slots.index(slot)] for slot in self.data)
                if isinstance(self.args[0], tuple | list)
                else (grads,)
            )
        return self._differentiated(cotangent, *values)

    def _differentiated(self, cotangent: Any, *values: Any) -> tuple[Any, ...]:
        """Multiply by the transposed Jacobian of what can be differentiated; zeros for what cannot."""
        leaves = {slot: pytree.tree_flatten(values[slot]) for slot in self.data}
        smooth = [(slot, i) for slot, (parts, _) in leaves.items() for i, a in enumerate(parts) if is_smooth(a)]

        def of_smooth(*given: Tensor) -> tuple[Tensor, ...]:
            filled = list(values)
            parts = {slot: list(flat) for slot, (flat, _) in leaves.items()}
            for (slot, i), a in zip(smooth, given, strict=True):
                parts[slot][i] = a
            for slot, flat in parts.items():
                filled[slot] = pytree.tree_unflatten(flat, leaves[slot][1])
            return tuple(a for a in pytree.tree_leaves(self(*filled)) if is_smooth(a))

        outputs, vjp = torch.func.vjp(of_smooth, *(leaves[slot][0][i] for slot, i in smooth))[:2]
        given = [c for c in pytree.tree_leaves(cotangent) if isinstance(c, Tensor)]
        arriving = given if len(given) == len(outputs) else [c for c in given if is_smooth(c)]
        arriving = [c if c.dtype == y.dtype else c.to(y.dtype) for c, y in zip(arriving, outputs, strict=True)]
        grads = dict(zip(smooth, vjp(tuple(arriving)), strict=True))
        return tuple(
            pytree.tree_unflatten(
                [grads[slot, i] if (slot, i) in grads else zeros_like(a) for i, a in enumerate(parts)], spec
            )
            for slot, (parts, spec) in leaves.items()
        )


def is_smooth(a: Any) -> bool:
    """Whether a value is a tensor that can be differentiated by."""
    return isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex())


def zeros_like(a: Any) -> Any:
    """Return no relevance, for tensors and what holds them; of anything else, itself."""
    return pytree.tree_map_only(Tensor, torch.zeros_like, a)


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
