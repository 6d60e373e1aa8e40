r"""Rules: each is a frozen table of branches and terms, read by one function in :mod:`relfunc.propagate`.

For an affine operation :math:`f(x; W, b)` with output relevance :math:`R` a rule is

.. math::

    z_b &= \sum_t \mathrm{sign}_t\, f(x_t; W_t, b_t) \\
    s_b &= \mathrm{scale}_b \cdot [\mathrm{gate}_b] \cdot R / \mathrm{st}(z_b) \\
    R_x &= \sum_b \sum_t \mathrm{sign}_t\, x_t \odot J_t^T s_b

over its branches :math:`b` and their terms :math:`t`. A *part* of a tensor is a pair of factors
:math:`(p, n)`, meaning :math:`p\,a^+ + n\,a^-` with :math:`a^+ = \max(a, 0)` and :math:`a^- = \min(a, 0)`, so that
``ALL = (1, 1)``, ``POSITIVE = (1, 0)``, ``NEGATIVE = (0, 1)``; three names stand for what is no such pair.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor

from .errors import RelfuncError


class RuleError(RelfuncError, ValueError):
    """A rule was given parameters it cannot work with."""


# --- stabilizers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    r""":math:`z + \epsilon\, \mathrm{sgn}(z)` with :math:`\mathrm{sgn}(0) = 1`.

    In float16 and bfloat16, :math:`\epsilon` is at least the dtype's machine epsilon: anything smaller is lost in
    rounding beside a number of order one, and its reciprocal overflows float16.

    Parameters
    ----------
    epsilon : float
        In the units of ``z``.

    Examples
    --------
    >>> Plain(0.5)(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-1.5000,  0.5000,  2.5000])
    """

    epsilon: float = 1e-6

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        return z + _signed(torch.tensor(_representable(self.epsilon, z), dtype=z.dtype), z)

    def signed(self, z: Tensor, sign: int) -> Tensor:
        """As calling it, where the caller knows that no ``z`` has the other sign."""
        return z + sign * _representable(self.epsilon, z)


@dataclass(frozen=True)
class Clipping:
    r""":math:`\mathrm{sgn}(z) \max(|z|, \epsilon)` with :math:`\mathrm{sgn}(0) = 1`.

    Parameters
    ----------
    epsilon : float
        In the units of ``z``; at least the machine epsilon in float16 and bfloat16.

    Examples
    --------
    >>> Clipping(0.5)(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-1.0000,  0.5000,  2.0000])
    """

    epsilon: float = 1e-6

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        return _signed(z.abs().clamp(min=_representable(self.epsilon, z)), z)


@dataclass(frozen=True)
class NormScaled:
    r""":math:`z + \mathrm{sgn}(z)\, \epsilon \sqrt{\mathrm{mean}(z^2)}`, the mean over ``dim``.

    Where all values of a mean are zero, they become one.

    Parameters
    ----------
    epsilon : float
        Relative to the root mean square of ``z``.
    dim : tuple of int, optional
        Dimensions of the mean; by default all but the first.
    clip : bool
        Clip at the scaled epsilon as :class:`Clipping` does, instead of adding it.

    Examples
    --------
    >>> NormScaled(0.5)(torch.tensor([[-3.0, 4.0, 0.0]])).round(decimals=3)
    tensor([[-4.4430,  5.4430,  1.4430]])
    """

    epsilon: float = 1e-6
    dim: tuple[int, ...] | None = None
    clip: bool = False

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``z`` kept off zero; same shape and dtype."""
        dim = tuple(range(1, z.ndim)) if self.dim is None else self.dim
        norm = torch.linalg.vector_norm(z, dim=dim or None, keepdim=True)
        scale = _representable(self.epsilon, z) * norm / math.sqrt(z.numel() / max(norm.numel(), 1))
        scale = torch.where(norm > 0, scale, 1)
        size = torch.maximum(z.abs(), scale) if self.clip else z.abs() + scale
        return _signed(size, z)


Stabilizer: TypeAlias = Callable[[Tensor], Tensor]


def _signed(size: Tensor, z: Tensor) -> Tensor:
    """Give a size the sign of ``z``; adding zero makes a negative zero positive. Several times as fast as ``where``."""
    return torch.copysign(size, z + 0.0)


def _representable(epsilon: float, z: Tensor) -> float:
    return max(epsilon, torch.finfo(z.dtype).eps) if z.dtype.itemsize == 2 else epsilon


def _stabilizer(value: float | Stabilizer) -> Stabilizer:
    if isinstance(value, bool) or not (isinstance(value, int | float) or callable(value)):
        raise RuleError(f"a stabilizer is a number or a function of z, not {value!r}")
    if not isinstance(value, int | float):
        return value
    if not 0 <= value < float("inf"):
        raise RuleError(f"the stabilizer's epsilon is {value}: give a finite number of 0 or more")
    return Plain(float(value))


# --- tables ----------------------------------------------------------------------------------------

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
    """A rule for affine operations: what :mod:`relfunc.propagate` reads.

    Rules compare, hash, pickle and print. Make one with the functions of this module, or from branches of your own.

    Parameters
    ----------
    name : str
        What :func:`relfunc.plan` shows.
    branches : tuple of Branch
        The table.
    stabilizer : callable
        Keeps denominators off zero.
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

    def is_forward(self, branch: Branch) -> bool:
        """Whether a branch is the operation itself, so that its output is the denominator."""
        return not self.zero_params and branch.terms == (Term(),)

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


# --- rules for affine operations -------------------------------------------------------------------


def epsilon(epsilon: float | Stabilizer = 1e-6, *, zero_params: str | tuple[str, ...] = ()) -> Rule:
    r"""Relevance in proportion to each input's contribution: :math:`x \odot J^T (R / \mathrm{st}(z))`.

    Parameters
    ----------
    epsilon : float or callable
        Added to the denominator away from zero, in units of the output; or a stabilizer.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Rule

    References
    ----------
    Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
    propagation", PLoS ONE 2015, equation 58.

    Examples
    --------
    >>> print(epsilon(0.1))
    epsilon(epsilon=0.1)
    """
    return _rule("epsilon", (Branch((Term(),)),), epsilon, zero_params, {"epsilon": epsilon})


def zplus(*, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()) -> Rule:
    """Only contributions that raise the output; for inputs of any sign.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominator off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Rule

    References
    ----------
    Montavon et al., "Explaining nonlinear classification decisions with deep Taylor decomposition", Pattern
    Recognition 2017, section 4.2; Bach et al. 2015, equation 60 with α = 1, β = 0.

    Examples
    --------
    >>> print(zplus())
    zplus(stabilizer=1e-06)
    """
    return _rule("zplus", (Branch(_RAISING, sign=1),), stabilizer, zero_params, {"stabilizer": stabilizer})


def alpha_beta(
    alpha: float = 2.0,
    beta: float = 1.0,
    *,
    stabilizer: float | Stabilizer = 1e-6,
    zero_params: str | tuple[str, ...] = (),
) -> Rule:
    """Contributions that raise the output weighted by α, those that lower it by −β.

    Parameters
    ----------
    alpha, beta : float
        Not negative, with ``alpha - beta == 1`` up to rounding, so that relevance is conserved.
    stabilizer : float or callable
        Keeps the denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Rule

    Raises
    ------
    RuleError
        If α or β is negative or their difference is not one.

    References
    ----------
    Bach et al., PLoS ONE 2015, equation 60.

    Examples
    --------
    >>> print(alpha_beta(2.2, 1.2))
    alpha_beta(alpha=2.2, beta=1.2, stabilizer=1e-06)
    """
    if alpha < 0 or beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise RuleError(f"alpha={alpha} and beta={beta}: both must be 0 or more and alpha - beta must be 1")
    branches = (Branch(_RAISING, scale=alpha, sign=1), Branch(_LOWERING, scale=-beta, sign=-1))
    return _rule(
        "alpha_beta", branches, stabilizer, zero_params, {"alpha": alpha, "beta": beta, "stabilizer": stabilizer}
    )


def gamma(
    gamma: float = 0.25, *, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Rule:
    """Favour contributions of the output's own sign by a factor 1 + γ; for inputs and outputs of any sign.

    Parameters
    ----------
    gamma : float
        0 is the epsilon rule; the limit of large γ is :func:`zplus` for positive outputs.
    stabilizer : float or callable
        Keeps the denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero in the numerators and denominators.

    Returns
    -------
    Rule

    References
    ----------
    Montavon et al., "Layer-wise relevance propagation: an overview", 2019, section 10.2.3; generalised to inputs of
    any sign by Andéol et al., "Learning domain invariant representations by joint Wasserstein distance
    minimization", Neural Networks 2023, equation 20.

    Examples
    --------
    >>> print(gamma(0.5))
    gamma(gamma=0.5, stabilizer=1e-06)
    """
    if not 0 <= gamma < float("inf"):
        raise RuleError(f"gamma is {gamma}: give a finite number of 0 or more")
    more, less = (1.0 + gamma, 1.0), (1.0, 1.0 + gamma)
    branches = (
        Branch((Term(POSITIVE, more, more), Term(NEGATIVE, less, NONE)), gate=1, sign=1),
        Branch((Term(POSITIVE, less, less), Term(NEGATIVE, more, NONE)), gate=-1, sign=-1),
    )
    return _rule("gamma", branches, stabilizer, zero_params, {"gamma": gamma, "stabilizer": stabilizer})


def zbox(
    low: Any, high: Any, *, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Rule:
    """For an input layer whose values are bounded, such as pixels.

    Parameters
    ----------
    low, high : float, sequence or tensor
        The bounds, which broadcast to the input as torch does: a per-channel bound of an image has shape (3, 1, 1).
    stabilizer : float or callable
        Keeps the denominator off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Rule

    Raises
    ------
    RuleError
        If a lower bound is above its upper bound.

    References
    ----------
    Montavon et al., Pattern Recognition 2017, section 4.1 (the z^B rule).

    Examples
    --------
    >>> print(zbox(-1, 1))
    zbox(low=-1.0, high=1.0, stabilizer=1e-06)
    """
    bounds = (_numbers(low), _numbers(high))
    try:
        crossed = bool((torch.tensor(bounds[0]) > torch.tensor(bounds[1])).any())
    except RuntimeError as error:
        raise RuleError(f"the shapes of low and high do not broadcast: {error}") from error
    if crossed:
        raise RuleError(f"low={bounds[0]} is above high={bounds[1]}: swap them")
    terms = (Term(), Term("low", POSITIVE, POSITIVE, -1), Term("high", NEGATIVE, NEGATIVE, -1))
    options = {"low": bounds[0], "high": bounds[1], "stabilizer": stabilizer}
    made = _rule("zbox", (Branch(terms),), stabilizer, zero_params, options)
    return replace(made, bounds=bounds)


def wsquare(*, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()) -> Rule:
    """Relevance in proportion to the squared weights, whatever the input: for an unbounded input layer.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominator off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Rule

    References
    ----------
    Montavon et al., Pattern Recognition 2017, section 4.1 (the w² rule).

    Examples
    --------
    >>> print(wsquare())
    wsquare(stabilizer=1e-06)
    """
    branch = Branch((Term("one", "square", "square"),), sign=1)
    return _rule("wsquare", (branch,), stabilizer, zero_params, {"stabilizer": stabilizer})


def flat(*, stabilizer: float | Stabilizer = 1e-6) -> Rule:
    """Relevance spread evenly over each output's inputs: for an input layer where the region matters.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominator off zero.

    Returns
    -------
    Rule

    References
    ----------
    Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what machines really learn", Nature
    Communications 2019, supplementary note 3.

    Examples
    --------
    >>> print(flat())
    flat(stabilizer=1e-06)
    """
    return _rule("flat", (Branch((Term("one", "one", NONE),), sign=1),), stabilizer, (), {"stabilizer": stabilizer})


def norm(*, stabilizer: float | Stabilizer = 1e-6) -> Rule:
    """Relevance in proportion to contributions, for operations without parameters: sums, means, average pooling.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominator off zero.

    Returns
    -------
    Rule

    Examples
    --------
    >>> print(norm())
    norm(stabilizer=1e-06)
    """
    return _rule("norm", (Branch((Term(),)),), stabilizer, (), {"stabilizer": stabilizer})


_RAISING: Final = (Term(POSITIVE, POSITIVE, POSITIVE), Term(NEGATIVE, NEGATIVE, NONE))
_LOWERING: Final = (Term(POSITIVE, NEGATIVE, NEGATIVE), Term(NEGATIVE, POSITIVE, NONE))


# --- rules for other operations --------------------------------------------------------------------


@dataclass(frozen=True)
class Elementary:
    """A rule that is no table: the name of a function in :mod:`relfunc.propagate` and its options.

    Parameters
    ----------
    name : str
        Which function.
    options : tuple of (str, value)
        Its keyword arguments.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options)})"


def pass_() -> Elementary:
    """Relevance passes an elementwise operation unchanged.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(pass_())
    pass()
    """
    return Elementary("pass")


def gradient() -> Elementary:
    """Relevance follows the operation's own derivative, as an ordinary cotangent.

    For max pooling this is winner-takes-all; for operations that only move values it is exact.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(gradient())
    gradient()
    """
    return Elementary("gradient")


def guided_backprop() -> Elementary:
    """Gradient of a ReLU, cut where the cotangent is negative.

    Returns
    -------
    Elementary

    References
    ----------
    Springenberg et al., "Striving for simplicity: the all convolutional net", ICLR workshop 2015, section 3.4.

    Examples
    --------
    >>> print(guided_backprop())
    guided_backprop()
    """
    return Elementary("guided_backprop")


def deconvnet() -> Elementary:
    """Use a ReLU of the cotangent in place of a ReLU's gradient.

    Returns
    -------
    Elementary

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2.1.

    Examples
    --------
    >>> print(deconvnet())
    deconvnet()
    """
    return Elementary("deconvnet")


def beta_smooth(beta: float = 10.0) -> Elementary:
    """Gradient of a softplus of sharpness β in place of a ReLU's.

    Parameters
    ----------
    beta : float
        Positive; the limit of large β is the gradient.

    Returns
    -------
    Elementary

    References
    ----------
    Dombrowski et al., "Explanations can be manipulated and geometry is to blame", NeurIPS 2019, section 4.

    Examples
    --------
    >>> print(beta_smooth())
    beta_smooth(beta=10.0)
    """
    if not 0 < beta < float("inf"):
        raise RuleError(f"beta is {beta}: give a finite positive number")
    return Elementary("beta_smooth", (("beta", float(beta)),))


def proportional(*, stabilizer: float | Stabilizer = 1e-6) -> Elementary:
    """Relevance of a max pooling spread over its window in proportion to the inputs.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominator off zero.

    Returns
    -------
    Elementary

    Examples
    --------
    >>> print(proportional())
    proportional(stabilizer=Plain(epsilon=1e-06))
    """
    return Elementary("proportional", (("stabilizer", _stabilizer(stabilizer)),))


def signal() -> Elementary:
    """Relevance of a product goes to the signal, none to its gate; in equal shares where neither is a gate.

    A gate is a factor that the graph shows to be the output of a sigmoid, hard sigmoid or softmax.

    Returns
    -------
    Elementary

    References
    ----------
    Arras et al., "Explaining and interpreting LSTMs", 2019, section 11.3.2 (signal-take-all); Achtibat et al.,
    "AttnLRP", ICML 2024, proposition 3.3 (equal shares).

    Examples
    --------
    >>> print(signal())
    signal()
    """
    return Elementary("signal")


AnyRule: TypeAlias = Rule | Elementary | Callable[..., Any]


def _rule(
    name: str,
    branches: tuple[Branch, ...],
    stabilizer: float | Stabilizer,
    zero_params: str | tuple[str, ...],
    options: dict[str, Any],
) -> Rule:
    zero = (zero_params,) if isinstance(zero_params, str) else tuple(zero_params)
    unknown = sorted(set(zero) - {"weight", "bias"})
    if unknown:
        raise RuleError(f"zero_params names {unknown[0]!r}: a rule knows 'weight' and 'bias'")
    if zero:
        options["zero_params"] = zero
    return Rule(name, branches, _stabilizer(stabilizer), zero, options=tuple(options.items()))


def _numbers(value: Any) -> Any:
    """Nested tuples of floats, which compare and hash, from a number, sequence, array or tensor."""
    listed = torch.as_tensor(value, dtype=torch.float64).tolist()

    def frozen(item: Any) -> Any:
        return tuple(map(frozen, item)) if isinstance(item, list) else item

    return frozen(listed)
