"""Composites: which rule each operation gets, as tables of rows that compare, hash, pickle and print."""

from inspect import signature
from typing import Any, Literal

from .. import rules
from ..rules.stabilizers import Stabilizer
from ..rules.tables import Rule
from .assignment import Composite, CompositeError, CompositeWarning, Having, Row
from .combinators import by_module, by_name, by_type, by_where, first, having, last, mixed, within
from .operation import Operation

__all__ = [
    "Composite",
    "CompositeError",
    "CompositeWarning",
    "Having",
    "Operation",
    "Row",
    "attnlrp",
    "base",
    "beta_smooth",
    "by_module",
    "by_name",
    "by_type",
    "by_where",
    "cp_lrp",
    "deconvnet",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "excitation_backprop",
    "first",
    "guided_backprop",
    "having",
    "last",
    "mixed",
    "within",
]

_GRADIENT = (Row("type", "*", rules.gradient()),)


def base(stabilizer: float | Stabilizer = 1e-6) -> tuple[Row, ...]:
    """Return the rows that every relevance-conserving composite shares, as the rows of the rules say.

    Parameters
    ----------
    stabilizer : float or callable
        Of sums, means and matrix products: see :mod:`relfunc.rules.stabilizers`.

    Returns
    -------
    tuple of Row
    """
    rows = []
    for row in rules.RULES.values():
        if row.base and row.make is not None:
            stabilized = {"stabilizer": stabilizer} if "stabilizer" in signature(row.make).parameters else {}
            rows.append(Row("type", row.base, row.make(**stabilized)))
    return tuple(rows)


def epsilon_gamma_box(
    low: Any,
    high: Any,
    *,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    stabilizer: float | Stabilizer = 1e-6,
    zero_params: str | tuple[str, ...] = (),
) -> Composite:
    """Epsilon in linear layers, gamma in convolutions, the box rule in the first convolution.

    Parameters
    ----------
    low, high : float, sequence or tensor
        Lowest and highest input, which broadcast to it: (3, 1, 1) for a bound per channel.
    epsilon, gamma : float
        Parameters of the rules.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_gamma_box(-2, 2).rows[0])
    first convolution                       zbox(low=-2.0, high=2.0, stabilizer=1e-06)
    """
    rows = (
        Row("first", "convolution", rules.zbox(low, high, stabilizer=stabilizer, zero_params=zero_params)),
        Row("type", "convolution", rules.gamma(gamma, stabilizer=stabilizer, zero_params=zero_params)),
        Row("type", "linear", rules.epsilon(epsilon, zero_params=zero_params)),
    )
    return Composite("epsilon_gamma_box", rows, base(stabilizer))


def epsilon_plus(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, z-plus in convolutions.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_plus().rows[0])
    type  convolution                       zplus(stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.zplus(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_plus", rows, base(stabilizer))


def epsilon_plus_flat(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, z-plus in convolutions, flat in the first of either.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_plus_flat().rows[0])
    first linear|convolution                flat(stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.zplus(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_plus_flat", (_flat_first(stabilizer), *rows), base(stabilizer))


def epsilon_alpha2_beta1(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, alpha-beta with α = 2 and β = 1 in convolutions.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_alpha2_beta1().rows[0])
    type  convolution                       alpha_beta(alpha=2.0, beta=1.0, stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.alpha_beta(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_alpha2_beta1", rows, base(stabilizer))


def epsilon_alpha2_beta1_flat(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, alpha-beta with α = 2 and β = 1 in convolutions, flat in the first of either.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> len(epsilon_alpha2_beta1_flat().rows)
    3
    """
    rows = _epsilon_and(rules.alpha_beta(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_alpha2_beta1_flat", (_flat_first(stabilizer), *rows), base(stabilizer))


def attnlrp(
    gamma: float | None = None,
    *,
    epsilon: float = 1e-6,
    stabilizer: float | Stabilizer = 1e-6,
    zero_params: str | tuple[str, ...] = (),
    residual: Literal["magnitude", "positive"] | None = None,
) -> Composite:
    """Attention-aware relevance: epsilon or gamma in linear layers and convolutions, and biases that absorb their part.

    Softmax by its Taylor expansion, products in equal shares, gates (such as the weights by which experts are mixed),
    the statistics of norms and the parameters of recurrent states constant; whatever is added, such
    as the shift of a norm or a table of positions, takes relevance in proportion.

    Parameters
    ----------
    gamma : float, optional
        Of linear layers and convolutions, as is recommended for vision transformers; epsilon by default.
    epsilon : float
        Of linear layers and convolutions without gamma, and of the scale and shift of norms.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.
    residual : {"magnitude", "positive"}, optional
        How sums of several values share, such as residual connections: see :func:`relfunc.rules.residual`; in
        proportion to the values by default.

    Returns
    -------
    Composite

    References
    ----------
    Achtibat et al., "AttnLRP: attention-aware layer-wise relevance propagation for transformers", ICML 2024.

    Examples
    --------
    >>> print(attnlrp().rows[1])
    type  linear|convolution                epsilon(epsilon=1e-06)
    >>> print(attnlrp(0.25).rows[1])
    type  linear|convolution                gamma(gamma=0.25, stabilizer=1e-06)
    """
    return Composite("attnlrp", _additive(gamma, epsilon, stabilizer, zero_params, residual), base(stabilizer))


def cp_lrp(
    gamma: float | None = None,
    *,
    epsilon: float = 1e-6,
    stabilizer: float | Stabilizer = 1e-6,
    zero_params: str | tuple[str, ...] = (),
    residual: Literal["magnitude", "positive"] | None = None,
) -> Composite:
    """Relevance with the weights of attention constant: all that arrives at an attention goes to its values.

    Parameters
    ----------
    gamma : float, optional
        Of linear layers and convolutions; epsilon by default.
    epsilon : float
        Of linear layers and convolutions without gamma, and of the scale and shift of norms.
    stabilizer : float or callable
        Of the other rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.
    residual : {"magnitude", "positive"}, optional
        How sums of several values share, such as residual connections: see :func:`relfunc.rules.residual`; in
        proportion to the values by default.

    Returns
    -------
    Composite

    References
    ----------
    Ali et al., "XAI for transformers: better explanations through conservative propagation", ICML 2022.

    Examples
    --------
    >>> print(cp_lrp().rows[-1])
    type  matrix_product                    weighted(stabilizer=Plain(epsilon=1e-06))
    """
    rows = _additive(gamma, epsilon, stabilizer, zero_params, residual)
    weighted = Row("type", "matrix_product", rules.weighted(stabilizer=stabilizer))
    return Composite("cp_lrp", (*rows, weighted), base(stabilizer))


def excitation_backprop(*, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()) -> Composite:
    """Z-plus in linear layers and convolutions, proportional sums and means, gradients elsewhere.

    Parameters
    ----------
    stabilizer : float or callable
        Of all rules: see :mod:`relfunc.rules.stabilizers`.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    References
    ----------
    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, section 3.2.

    Examples
    --------
    >>> print(excitation_backprop().rows[0])
    type  linear|convolution                zplus(stabilizer=1e-06)
    """
    zplus, norm = rules.zplus(stabilizer=stabilizer, zero_params=zero_params), rules.norm(stabilizer=stabilizer)
    rows = (Row("type", "linear|convolution", zplus), Row("type", "sum|average_pool", norm))
    return Composite("excitation_backprop", rows, _GRADIENT)


def guided_backprop() -> Composite:
    """Guided backpropagation through ReLUs, gradients elsewhere.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(guided_backprop().rows[0])
    type  relu                              guided_backprop()
    """
    return Composite("guided_backprop", (Row("type", "relu", rules.guided_backprop()),), _GRADIENT)


def deconvnet() -> Composite:
    """Deconvolution through ReLUs, gradients elsewhere.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(deconvnet().rows[0])
    type  relu                              deconvnet()
    """
    return Composite("deconvnet", (Row("type", "relu", rules.deconvnet()),), _GRADIENT)


def beta_smooth(beta: float = 10.0) -> Composite:
    """Gradients with every ReLU smoothed to a softplus of sharpness β.

    Parameters
    ----------
    beta : float
        Positive.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(beta_smooth().rows[0])
    type  relu                              beta_smooth(beta=10.0)
    """
    return Composite("beta_smooth", (Row("type", "relu", rules.beta_smooth(beta)),), _GRADIENT)


def _flat_first(stabilizer: float | Stabilizer) -> Row:
    return Row("first", "linear|convolution", rules.flat(stabilizer=stabilizer))


def _epsilon_and(rule: Rule, epsilon: float, zero_params: str | tuple[str, ...]) -> tuple[Row, Row]:
    return Row("type", "convolution", rule), Row("type", "linear", rules.epsilon(epsilon, zero_params=zero_params))


def _additive(
    gamma: float | None,
    epsilon: float,
    stabilizer: float | Stabilizer,
    zero_params: str | tuple[str, ...],
    residual: Literal["magnitude", "positive"] | None,
) -> tuple[Row, ...]:
    """Return rows by which whatever is added takes relevance in proportion."""
    in_proportion = rules.epsilon(epsilon, zero_params=zero_params)
    layers = in_proportion if gamma is None else rules.gamma(gamma, stabilizer=stabilizer, zero_params=zero_params)
    sums = () if residual is None else (Row("type", "sum", rules.residual(residual, stabilizer=stabilizer)),)
    return (
        Row("type", "state_parameter", rules.constant()),
        Row("type", "linear|convolution", layers),
        Row("type", "batch_norm", in_proportion),
        Row("type", "shift", rules.norm(stabilizer=stabilizer)),
        *sums,
    )
