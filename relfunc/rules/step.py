"""Steps: relevance on its way through one operation; and what is known of a rule, in one row for each.

What any pass asks of a rule is a column of its row, which stands in the file of the rule's family, beside the functions
that make the rule and propagate by it. The rows of all rules are :data:`relfunc.rules.RULES`; they are looked up once,
when a program is written, never when it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import RelfuncError
from ..graph.calls import Call
from ..ops.table import Op, Sign
from .tables import AnyRule

Reads: TypeAlias = tuple[Literal["values", "output"], ...]


class PropagateError(RelfuncError, ValueError):
    """A rule does not fit the tensors it met."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation and its rule.

    Parameters
    ----------
    rule : Rule, Elementary or callable
        As the composite gave it, simplified.
    call : Call
        The operation.
    receivers : tuple of int
        The data slots that get relevance.
    rectified : bool
        Whether the output that it is given is a ReLU of the operation's, equal wherever relevance is not zero.
    node : str
        The operation's name in the forward graph.
    owned : bool
        Whether nobody else reads the relevance that arrives, so that it may be overwritten.
    factors : tuple of int
        Of each data slot, how many factors of a chain of products it stands for.
    """

    rule: AnyRule
    call: Call
    receivers: tuple[int, ...]
    rectified: bool
    node: str = ""
    owned: bool = False
    factors: tuple[int, ...] = ()


def unknown(rule: AnyRule, op: Op | None) -> Sign:
    """Say that relevance may be anything where the input is zero."""
    return "unknown"


def at_least_single(a: Tensor) -> Tensor:
    """Return a tensor in single precision if it is in half of it."""
    return a.float() if a.dtype in HALF else a


HALF: Final = {torch.float16, torch.bfloat16}


def everyone(data: tuple[int, ...], gates: frozenset[int]) -> tuple[int, ...]:
    """Let all inputs receive relevance."""
    return data


def unsimplified(rule: AnyRule, nonnegative: bool, dead: bool) -> AnyRule:
    """Leave a rule as it is."""
    return rule


def never(rule: AnyRule) -> bool:
    """Say no of every rule."""
    return False


def no_forwards(step: Step) -> int:
    """Count no modified forward pass."""
    return 0


def nothing(step: Step, passed: float, relevance: Any, output: Any, *values: Any, **options: Any) -> dict[str, float]:
    """Absorb nothing: what does not pass is dropped."""
    return {}


@dataclass(frozen=True)
class RuleRow:
    """What is known of a rule.

    A column that may be a function depends on the options of the rule, or on the operation it meets.

    Parameters
    ----------
    name : str
        As :func:`relfunc.plan`, prints and TOML say it.
    propagate : callable
        ``(step, relevance, output, *values, **options) -> relevances``, one for each data slot of ``step.call``, of
        ordinary differentiable operations. ``output`` and ``values`` are what ``reads`` asks for; ``options`` those
        of an :class:`relfunc.rules.tables.Elementary`.
    make : callable, optional
        The public function that makes the rule; None for rules of the user's.
    reads : tuple of str, or callable
        Of the operation: ``"values"`` of its inputs, else only their shapes; ``"output"``. What nobody reads is not
        kept in memory. A function takes the :class:`Step`.
    vanishes : callable
        ``(rule, op)``, of the operation's row if it has one: whether the relevance of an input that is zero is zero:
        ``"always"``, or ``"kept"`` if that holds of the output, else ``"unknown"``.
    unchanged : bool
        Whether relevance passes each element as it is.
    receives : callable
        ``(data slots, those of them that are gates)``: the slots that get relevance; the others get none.
    absorbs : callable
        ``(step, passed, relevance, output, *values, **options)``: the relevance that reached no input, by the heading
        under which :func:`relfunc.audit` books it: ``"bias"``, ``"stabilizer"``, ``"softmax"`` or ``"tables"``. What is
        not explained is ``"dropped"``.
    memory : {"own", "shared", ""}
        Whether the relevance it returns has memory of its own, or may share that of the relevance that arrives; empty
        if nobody knows.
    meant_for : str, or callable
        The kinds of operation that it is given by a module's path, which names all operations of the module. A function
        takes the rule.
    base : str
        The types of operation that every relevance-conserving composite gives it, unless it says otherwise.
    constant : bool
        Whether the operation's output is taken for a constant, which nothing behind it sends relevance to.
    constant_weights : bool
        Whether it has a meaning only where the operation's weights do not depend on the input.
    takes_rectified : callable
        ``(rule)``: whether it gives the same relevance if it is given a ReLU of the output, where relevance vanishes
        wherever the output is not positive.
    simplify : callable
        ``(rule, nonnegative, dead)``: a rule with the same relevances, where no input is negative, and where relevance
        vanishes wherever the output is not positive.
    widened : callable
        ``(tensor)``: what it reads of a model that computes in half precision, in single precision.
    forwards : callable
        ``(step)``: how many modified forward passes it costs.
    """

    name: str
    propagate: Callable[..., tuple[Any, ...]]
    make: Callable[..., AnyRule] | None = None
    reads: Reads | Callable[[Any], Reads] = ("values",)
    vanishes: Callable[[Any, Op | None], Sign] = unknown
    unchanged: bool = False
    receives: Callable[[tuple[int, ...], frozenset[int]], tuple[int, ...]] = everyone
    absorbs: Callable[..., dict[str, float]] = nothing
    memory: Literal["own", "shared", ""] = ""
    meant_for: str | Callable[[Any], str] = "affine combination activation pool product other"
    base: str = ""
    constant: bool = False
    constant_weights: bool = False
    takes_rectified: Callable[[Any], bool] = never
    simplify: Callable[[Any, bool, bool], AnyRule] = unsimplified
    widened: Callable[[Tensor], Tensor] = at_least_single
    forwards: Callable[[Any], int] = no_forwards

    def suits(self, rule: AnyRule, kind: str) -> bool:
        """Whether a rule is meant for operations of a kind."""
        kinds = self.meant_for if isinstance(self.meant_for, str) else self.meant_for(rule)
        return kind in kinds.split()


def summed(relevance: Any) -> float:
    """Sum relevance over all that holds it."""
    return sum(float(part.double().sum()) for part in pytree.tree_leaves(relevance) if isinstance(part, Tensor))
