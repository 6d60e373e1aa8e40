"""Samples: what sources yield, some of one shape together, and readers and joiners of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..schema import FEATURE, TOKEN
from .arguments import MASK


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one shape that were read together.

    Parameters
    ----------
    ids : list of int or str
        Their identifiers, unique in the source.
    x : Tensor
        The model's inputs, ``(sample, ...)``.
    label : numpy.ndarray or None
        Index of each one's class, ``(sample,)``; bool ``(sample, class)``, if it may have several; None if unknown.
    kept : numpy.ndarray or None
        The inputs as they were before they were normalized, of the shape of ``x``, where the source knows them.
    variables : mapping
        What else is to be kept of each, ``(sample,)``.
    argument : str or None
        The name under which the model takes ``x``; None if that is all it takes.
    others : mapping
        The model's other arguments by name, ``(sample, ...)``.
    """

    ids: Sequence[int | str]
    x: Tensor
    label: np.ndarray | None = None
    kept: np.ndarray | None = None
    variables: Mapping[str, np.ndarray] = field(default_factory=dict)
    argument: str | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: slice) -> "Samples":
        label, kept = (None if values is None else values[at] for values in (self.label, self.kept))
        variables = {name: values[at] for name, values in self.variables.items()}
        others = {name: values[at] for name, values in self.others.items()}
        return Samples(self.ids[at], self.x[at], label, kept, variables, self.argument, others)

    @property
    def are_ids(self) -> bool:
        """Whether the inputs are the ids of tokens."""
        return not self.x.is_floating_point()

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the dimensions behind ``sample``, if they are tokens."""
        is_text = self.are_ids or (self.argument is not None and self.x.ndim == 3)
        return (TOKEN, FEATURE) if is_text else None

    @property
    def shape(self) -> tuple[int, ...]:
        """What all samples have in common: the shape of an input, without the length of a text."""
        return tuple(self.x.shape[1 if self.dims is None else 2 :])

    @property
    def inputs(self) -> Tensor | dict[str, Tensor]:
        """What the model is called with: one tensor, or its arguments by name."""
        return self.x if self.argument is None else {self.argument: self.x, **self.others}

    @property
    def arguments(self) -> list[str]:
        """Names of the model's arguments, if they have names."""
        return sorted([*([] if self.argument is None else [self.argument]), *self.others])

    @property
    def mask(self) -> np.ndarray:
        """What is a token, and not padding, ``(sample, token)``."""
        given = self.others.get(MASK)
        if given is None or given.shape != self.x.shape[:2]:
            return np.ones(self.x.shape[:2], bool)
        return (given != 0).cpu().numpy()

    def singly(self) -> list["Samples"]:
        """Return the samples one by one."""
        return [self[i : i + 1] for i in range(len(self))]


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read, and why."""

    id: int | str
    reason: str
    error: Exception | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return 1

    def singly(self) -> list["Unreadable"]:
        """Return it."""
        return [self]

    @property
    def ids(self) -> Sequence[int | str]:
        """Its identifier, as samples have theirs."""
        return [self.id]


class Reader:
    """Takes as many samples as are asked for from those that come, some at a time.

    Parameters
    ----------
    samples : iterator of Samples or Unreadable
        As :meth:`Source.samples` yields them.
    """

    def __init__(self, samples: Iterator[Samples | Unreadable]) -> None:
        self._samples = samples
        self._rest: Samples | None = None

    def take(self, count: int) -> Iterator[Samples | Unreadable]:
        """Yield the next ``count`` samples, or what is left of them."""
        while count > 0:
            part = next(self._samples, None) if self._rest is None else self._rest
            self._rest = None
            if part is None:
                return
            if isinstance(part, Samples) and len(part) > count:
                part, self._rest = part[:count], part[count:]
            count -= len(part)
            yield part


def together(parts: Sequence[Samples]) -> Samples:
    """Join samples of one shape.

    Raises
    ------
    DataError
        If some have labels and others have none.
    """
    if len(parts) == 1:
        return parts[0]
    labels = [part.label for part in parts if part.label is not None]
    kept = [part.kept for part in parts if part.kept is not None]
    if labels and len(labels) < len(parts):
        unlabelled = next(part.ids[0] for part in parts if part.label is None)
        raise DataError(f"sample '{unlabelled}' has no label, and others have: label all samples, or none")
    return Samples(
        [name for part in parts for name in part.ids],
        torch.cat([part.x for part in parts]),
        np.concatenate(labels) if labels else None,
        np.concatenate(kept) if len(kept) == len(parts) else None,
        {name: np.concatenate([part.variables[name] for part in parts]) for name in parts[0].variables},
        parts[0].argument,
        {name: torch.cat([part.others[name] for part in parts]) for name in parts[0].others},
    )


def by_length(parts: Sequence[Samples]) -> list[list[int]]:
    """Return positions of samples that can be joined: texts of one length, and all that are no texts."""
    found: dict[tuple[int, ...], list[int]] = {}
    for i, part in enumerate(parts):
        sizes = (tuple(value.shape[1:]) for value in (part.x, *part.others.values()))
        found.setdefault(tuple(size for shape in sizes for size in shape), []).append(i)
    return list(found.values())
