"""A rehearsal: a copy of a model's modules runs once on the example before stand-ins do.

What a forward caches on its first call where no copy reaches, such as a table by size behind
:func:`functools.lru_cache`, is a tensor then, and no stand-in of a capture, which would outlive it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CaptureError, RelfuncError
from .arguments import Arguments
from .module_tree import ModuleTree, kept


class Tensors:
    """What the copies of a model's modules are given, where they are to run on tensors."""

    def attribute(self, path: str, tensor: Tensor | Callable[[], Tensor]) -> Tensor:
        """Return the tensor itself, or what is computed for it."""
        return tensor if isinstance(tensor, Tensor) else tensor()

    def hooked(self, hook: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the hook."""
        return hook(*args, **kwargs)

    def entered(self, path: str, module: type) -> int:
        """Begin a module's call."""
        return 0

    def left(self, path: str, depth: int, given: Any, output: Any) -> Any:
        """End a module's call."""
        return output


class _Apart(Tensors):
    """Buffers are copies, to which a forward may write."""

    def __init__(self) -> None:
        self._copied: dict[str, Tensor] = {}

    def attribute(self, path: str, tensor: Tensor | Callable[[], Tensor]) -> Tensor:
        """Return a parameter itself, and one copy of each buffer."""
        if isinstance(tensor, nn.Parameter) or not isinstance(tensor, Tensor):
            return super().attribute(path, tensor)
        return self._copied.setdefault(path, tensor.clone())


def rehearse(model: nn.Module, arguments: Arguments) -> None:
    """Run a copy of a model's modules once on the example, and change nothing of the model.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    arguments : Arguments
        With examples.

    Raises
    ------
    CaptureError
        If the model does not run on them.
    """
    args, kwargs = arguments.placed(lambda _, example: example)
    with kept(model), torch.inference_mode(False), torch.no_grad():
        copy = ModuleTree(model, _Apart()).root
        try:
            copy(*args, **kwargs)
        except RelfuncError:
            raise
        except Exception as error:
            raise CaptureError(
                f"{type(model).__name__} does not run on its example_inputs: {type(error).__name__}: {error}"
            ) from error
