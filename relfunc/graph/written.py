"""Functions that capture writes into a graph beside the model's own: constants, checks of an example's, and writes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import has_side_effect

from ..errors import CaptureError
from ..ops.table import known_as
from .memory import is_transformed


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that the forward makes itself, as a function without arguments.

    Parameters
    ----------
    value : Tensor
        The tensor.
    """

    value: Tensor
    __name__ = "constant"

    def __call__(self) -> Tensor:
        """Return the tensor."""
        return self.value


@known_as("as_captured")
def as_captured(value: Any, captured: Any) -> None:
    """Check that a size on which the model's control flow depends is what it was for the example.

    Parameters
    ----------
    value, captured : bool, int, float or tuple
        What it is, and what it was.

    Raises
    ------
    CaptureError
        If they differ.
    """
    if value != captured:
        raise CaptureError(
            f"the control flow of the model depends on a size that was {captured} for its example_inputs, and is "
            f"{value} now: capture it with an example of this shape"
        )


has_side_effect(as_captured)


# --- in the place of what writes to its argument ------------------------------------------------------


@known_as("written")
def written(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return ``x`` with ``value`` at ``index``."""
    copy = _copy(x, value)
    copy[index] = value
    return copy


@known_as("written")
def written_through(x: Tensor, value: Tensor, view: str, args: Any, options: Any, part: int | None = None) -> Tensor:
    """Return ``x`` with a value in the place of one of its views.

    Parameters
    ----------
    x : Tensor
        Any.
    value : Tensor
        Of the shape of the view.
    view : str
        The name of a method that returns a view, or several.
    args, options : tuple, dict
        Of that method.
    part : int, optional
        Which of several.

    Returns
    -------
    Tensor
    """
    copy = _copy(x, value)
    views = getattr(Tensor, view)(copy, *args, **options)
    (views if part is None else views[part]).copy_(value)
    return copy


def _copy(x: Tensor, value: Any) -> Tensor:
    """Copy a tensor; where only the value is one for each sample of a vmap, for each of them."""
    if not isinstance(value, Tensor) or not is_transformed():
        return x.clone()
    each = torch.zeros_like(value, dtype=torch.bool).any()
    return torch.where(each, x, x)


@known_as("copied_onto")
def copied_onto(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Return ``source`` in the shape and type of ``x``, as ``x.copy_(source)`` does."""
    return source.expand_as(x).to(x.dtype)
