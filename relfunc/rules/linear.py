"""Rules for affine and linear operations, as tables of coefficients."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from ..errors import RuleError
from .read import TABLE
from .stabilizers import Stabilizer
from .stabilizers import stabilizer as as_stabilizer
from .step import RuleRow
from .tables import NEGATIVE, NONE, POSITIVE, Branch, Rule, Term

__all__ = ["alpha_beta", "epsilon", "flat", "gamma", "norm", "wsquare", "zbox", "zplus"]


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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.
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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

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
        Of the denominators: see :mod:`relfunc.rules.stabilizers`.

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
    return Rule(name, branches, as_stabilizer(stabilizer), zero, options=tuple(options.items()))


def _numbers(value: Any) -> Any:
    """Nested tuples of floats, which compare and hash, from a number, sequence, array or tensor."""
    listed = torch.as_tensor(value, dtype=torch.float64).tolist()

    def frozen(item: Any) -> Any:
        return tuple(map(frozen, item)) if isinstance(item, list) else item

    return frozen(listed)


def _row(make: Callable[..., Rule], *, base: str = "") -> RuleRow:
    return replace(TABLE, name=make.__name__, make=make, base=base)


ROWS: Final = (
    *map(_row, (epsilon, zplus, alpha_beta, gamma, zbox, wsquare, flat)),
    _row(norm, base="sum|average_pool|interpolation"),
)
