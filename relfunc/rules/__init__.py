"""Rules: functions that make the table, or name the function, by which relevance passes an operation.

Each stands in the file of its family with its row (:class:`relfunc.rules.step.RuleRow`): all that any pass asks of it.
"""

from typing import Any, Final

from ..errors import RuleError
from . import derivative, elementwise, linear, pooling, product, reductions, sums
from .derivative import *  # noqa: F403  (what its __all__ names)
from .elementwise import *  # noqa: F403
from .linear import *  # noqa: F403
from .pooling import *  # noqa: F403
from .product import *  # noqa: F403
from .read import TABLE
from .reductions import *  # noqa: F403
from .stabilizers import Clipping, NormScaled, Plain, Stabilizer
from .step import PropagateError, RuleRow, Step
from .sums import *  # noqa: F403
from .tables import ALL, NEGATIVE, NONE, POSITIVE, AnyRule, Branch, Elementary, Rule, Term, simplify

__all__ = [
    "ALL",
    "NEGATIVE",
    "NONE",
    "POSITIVE",
    "AnyRule",
    "Branch",
    "Clipping",
    "Elementary",
    "NormScaled",
    "Plain",
    "Rule",
    "RuleError",
    "Stabilizer",
    "Term",
    "simplify",
]
__all__ += derivative.__all__
__all__ += elementwise.__all__
__all__ += linear.__all__
__all__ += pooling.__all__
__all__ += product.__all__
__all__ += reductions.__all__
__all__ += sums.__all__


def row_of(rule: AnyRule) -> RuleRow:
    """Look up what is known of a rule.

    Parameters
    ----------
    rule : Rule, Elementary or callable
        One of relfunc's, a table of the user's, or a function of his.

    Returns
    -------
    RuleRow

    Raises
    ------
    RuleError
        If it is none of them.

    Examples
    --------
    >>> row_of(pass_()).reads, row_of(lambda call, values, output, relevance: relevance).reads
    ((), ('values', 'output'))
    """
    if isinstance(rule, Rule):
        return TABLE
    if isinstance(rule, Elementary) and rule.name in RULES:
        return RULES[rule.name]
    if isinstance(rule, Elementary) or not callable(rule):
        raise RuleError(f"{rule!r} is no rule: make one with the functions of relfunc.rules, or give a function")
    return _FUNCTION


def _called(step: Step, relevance: Any, output: Any, *values: Any) -> tuple[Any, ...]:
    rule: Any = step.rule
    returned = rule(step.call, values, output, relevance)
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(step.call.data):
        raise PropagateError(
            f"the rule {getattr(rule, '__name__', rule)} returned {len(returned)} relevances for "
            f"'{step.call.name}', which has {len(step.call.data)} inputs that carry relevance"
        )
    return returned


_FUNCTION: Final = RuleRow("function", propagate=_called, reads=("values", "output"))

_FAMILIES: Final = (elementwise, linear, product, reductions, derivative, pooling, sums)

RULES: Final[dict[str, RuleRow]] = {row.name: row for family in _FAMILIES for row in family.ROWS}
"""What is known of each rule, by name; of several that serve a type of operation, the first is the base composite's."""
