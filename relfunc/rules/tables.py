r"""Tables: a rule is a frozen table of branches and terms, read by one function in :mod:`relfunc.rules.read`.

For an affine operation :math:`f(x; W, b)` with output relevance :math:`R` a rule is

.. math::

    z_b &= \sum_t \mathrm{sign}_t\, f(x_t; W_t, b_t) \\
    s_b &= \mathrm{scale}_b \cdot [\mathrm{gate}_b] \cdot R / \mathrm{st}(z_b) \\
    R_x &= \sum_b \sum_t \mathrm{sign}_t\, x_t \odot J_t^T s_b

over its branches :math:`b` and their terms :math:`t`. A *part* of a tensor is a pair of factors
:math:`(p, n)`, meaning :math:`p\,a^+ + n\,a^-` with :math:`a^+ = \max(a, 0)` and :math:`a^- = \min(a, 0)`, so that
``ALL = (1, 1)``, ``POSITIVE = (1, 0)``, ``NEGATIVE = (0, 1)``; three names stand for what is no such pair.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from .stabilizers import Plain, Stabilizer

Part: TypeAlias = tuple[float, float] | Literal["one", "square", "low", "high"]

ALL: Final[Part] = (1.0, 1.0)
POSITIVE: Final[Part] = (1.0, 0.0)
NEGATIVE: Final[Part] = (0.0, 1.0)
NONE: Final[Part] = (0.0, 0.0)


@dataclass(frozen=True)
class Term:
    r"""One evaluation :math:`\mathrm{sign} \cdot f(x_t; W_t, b_t)` of the operation.

    Parameters
    ----------
    x, weight, bias : pair of float, or str
        The part of each that enters; ``"one"`` is a tensor of ones (for ``x``, it also drops the factor
        :math:`x_t`), ``"square"`` the square, ``"low"`` and ``"high"`` the rule's bounds.
    sign : int
        1 or −1.
    """

    x: Part = ALL
    weight: Part = ALL
    bias: Part = ALL
    sign: int = 1


@dataclass(frozen=True)
class Branch:
    """Terms that share a denominator.

    Parameters
    ----------
    terms : tuple of Term
        What the denominator sums.
    scale : float
        Factor on the relevance.
    gate : {1, −1, 0}
        Keep only relevance where the operation's output is positive (1) or negative (−1); 0 keeps all.
    sign : {1, −1, 0}
        The sign that the denominator has wherever the branch keeps relevance, if the terms imply one, which makes
        stabilizing it cheap; 0 if it can have either.
    """

    terms: tuple[Term, ...]
    scale: float = 1.0
    gate: int = 0
    sign: int = 0


@dataclass(frozen=True)
class Rule:
    """A rule for affine operations: what :mod:`relfunc.rules.read` reads.

    Rules compare, hash, pickle and print. Make one with the functions of this module, or from branches of your own.

    Parameters
    ----------
    name : str
        What :func:`relfunc.plan` shows.
    branches : tuple of Branch
        The table.
    stabilizer : callable
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
    zero_params : tuple of str
        ``"weight"`` or ``"bias"`` to take as zero in every term.
    bounds : tuple, optional
        The lowest and highest input, as nested tuples of numbers.
    options : tuple of (str, value)
        The arguments that made it, for printing and TOML.
    """

    name: str
    branches: tuple[Branch, ...]
    stabilizer: Stabilizer = field(default_factory=Plain)
    zero_params: tuple[str, ...] = ()
    bounds: tuple[Any, Any] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options)})"

    def is_forward(self, term: Term) -> bool:
        """Whether a term is the operation itself, whose output is known."""
        return not self.zero_params and term == Term()

    @property
    def multiplies_input(self) -> bool:
        """Whether the relevance of an input that is zero is zero."""
        return self.bounds is None and all(isinstance(t.x, tuple) for b in self.branches for t in b.terms)


def simplify(rule: Rule, *, nonnegative: bool, dead_below_zero: bool) -> Rule:
    """Drop the terms and branches that contribute nothing, given what the graph proves.

    Parameters
    ----------
    rule : Rule
        Any table.
    nonnegative : bool
        No input is negative.
    dead_below_zero : bool
        The relevance is zero wherever the output is not positive.

    Returns
    -------
    Rule
        A table with the same relevances.

    Examples
    --------
    >>> from relfunc.rules import gamma
    >>> len(gamma().branches), [len(b.terms) for b in gamma().branches]
    (2, [2, 2])
    >>> simple = simplify(gamma(), nonnegative=True, dead_below_zero=True)
    >>> len(simple.branches), [len(b.terms) for b in simple.branches]
    (1, [1])
    """
    branches = rule.branches
    if dead_below_zero:
        branches = tuple(replace(b, gate=0) for b in branches if b.gate >= 0)
    if nonnegative:
        branches = tuple(replace(b, terms=_without_negative_input(b.terms)) for b in branches)
    return replace(rule, branches=tuple(b for b in branches if b.terms and b.scale))


def _without_negative_input(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    return tuple(
        replace(t, x=(t.x[0], t.x[0])) if isinstance(t.x, tuple) else t
        for t in terms
        if not (isinstance(t.x, tuple) and t.x[0] == 0 and t.bias == NONE)
    )


@dataclass(frozen=True)
class Elementary:
    """A rule that is no table: the name of its row in :data:`relfunc.rules.RULES`, and its options.

    Parameters
    ----------
    name : str
        Which row.
    options : tuple of (str, value)
        Its keyword arguments.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options)})"


AnyRule: TypeAlias = Rule | Elementary | Callable[..., Any]
"""A table, a named rule, or a function ``(call, values, output, relevance) -> relevances``."""
