"""Functions that tracing writes into a graph beside the model's own: constants, and checks of what was an example's."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx.node import has_side_effect

from ..errors import CaptureError
from ..ops.table import known_as


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
