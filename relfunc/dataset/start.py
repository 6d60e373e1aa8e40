"""Start: what of a batch's output is explained, and the scores of the classes, as the option ``target`` says."""

from typing import Any

import torch
from torch import Tensor

from ..attribution.explanation import Explain, Explanation
from ..attribution.methods import input_x_gradient
from ..attribution.transforms import gradient
from ..relevance.inputs import call
from ..relevance.target import part_of, seed


class Start:
    """What a batch's relevance starts with.

    Parameters
    ----------
    target : object
        As :class:`relfunc.dataset.options.Options` has it.
    label : Tensor or None
        Of the batch.

    Attributes
    ----------
    chosen : Tensor or None
        Class indices ``(sample,)``, if that is what is explained.
    """

    def __init__(self, target: Any, label: Tensor | None) -> None:
        self._target, self._label = target, label
        self.chosen: Tensor | None = None

    def before(self, explain: Explain, inputs: Any, count: int) -> Any:
        """Return the target to give a method: what is known already, or else a function of the output.

        Methods that run the model at other inputs than these are given what its output at these says.
        """
        if self._target == "label" and self._label is not None:
            return self._told(self._label)
        if isinstance(self._target, int):
            return self._told(torch.full((count,), self._target))
        if isinstance(self._target, tuple):
            self.chosen = torch.full((count,), self._target[-1])
            return self._target
        if isinstance(explain, Explanation) and explain.method not in {gradient, input_x_gradient}:
            with torch.no_grad():
                return self._of(call(explain.f, inputs))
        return lambda output: seed(self._of(output))(output)

    def scores(self, output: Any) -> Any:
        """Return the scores of the classes: the output, its part that has them, or what a tuple indexes of it.

        Raises
        ------
        TargetError
            If there is none.
        """
        if isinstance(self._target, tuple):
            return part_of(self._target, output)[(slice(None), *self._target[:-1])]
        return output if isinstance(output, Tensor) else part_of(0, output)

    def _of(self, output: Any) -> Tensor:
        scores = self.scores(output)
        if self._target == "prediction":
            return self._told(scores.detach().argmax(1))
        return self._told(self._target(scores, self._label))

    def _told(self, target: Tensor) -> Tensor:
        if target.ndim == 1:
            self.chosen = target
            return target
        return target.float()
