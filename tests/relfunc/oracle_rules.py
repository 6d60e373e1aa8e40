"""Relevance of one operation under each rule, by the rule's formula alone: slow, dense, without rows or tables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from relfunc.rules import Clipping, NormScaled, Plain

from . import oracle
from .oracle import Array


@dataclass(frozen=True)
class Given:
    """One operation and the relevance of its output.

    Parameters
    ----------
    f : callable
        The operation, of the values that carry relevance.
    xs : tuple of Tensor
        These values.
    R : Tensor
        Relevance of the output.
    of_weights : callable or None
        Of an affine operation: ``(x, W, b) -> output``.
    W, b : Tensor or None
        Its weight and bias.
    arguments : tuple
        Its further arguments, such as a pooling's window.
    """

    f: Callable[..., Tensor]
    xs: tuple[Tensor, ...]
    R: Tensor
    of_weights: Callable[..., Tensor] | None = None
    W: Tensor | None = None
    b: Tensor | None = None
    arguments: tuple[Any, ...] = ()

    @property
    def R_flat(self) -> Array:  # noqa: N802
        return self.R.numpy().ravel()

    def jacobians(self) -> list[Array]:
        """Derivative of the output by each value, ``(output, input)``."""
        parts = jacobian(self.f, self.xs)
        return [J.numpy().reshape(self.R.numel(), -1) for J in parts]


def _stabilizer(given: Any) -> Callable[[Array], Array]:
    match given:
        case Plain(epsilon):
            return oracle.plain(epsilon)
        case Clipping(epsilon):
            return oracle.clipping(epsilon)
        case NormScaled(epsilon, dim, clip):
            return oracle.norm_scaled(epsilon, dim, clip)
    return oracle.plain(given)


def _of_weights(formula: Callable[..., oracle.Formula]) -> Callable[..., list[Array]]:
    def relevance(given: Given, stabilizer: Any = 1e-6, **options: Any) -> list[Array]:
        assert given.of_weights is not None
        assert given.W is not None
        assert given.b is not None
        (x,) = given.xs
        operation = oracle.affine(given.of_weights, given.W, given.b, x)
        return [oracle.relevance(formula(*options.values(), _stabilizer(stabilizer)), operation, x, given.R)]

    return relevance


def _in_proportion(given: Given, stabilizer: Any = 1e-6) -> list[Array]:
    """Also of affine operations, whose bias takes its part of the denominator."""
    z = given.f(*given.xs).numpy()
    share = (given.R.numpy() / _stabilizer(stabilizer)(z)).ravel()
    at = [x.numpy().ravel() for x in given.xs]
    return [x * (J.T @ share) for x, J in zip(at, given.jacobians(), strict=True)]


def _pulled_back(given: Given, R: Array) -> list[Array]:
    return [J.T @ R for J in given.jacobians()]


def _proportional(given: Given, stabilizer: Any = 1e-6) -> list[Array]:
    (x,), (kernel, *_) = given.xs, given.arguments
    return [oracle.proportional(x.numpy(), given.R.numpy(), kernel, kernel, 0, _stabilizer(stabilizer))]


def _equal_shares(given: Given) -> list[Array]:
    """Of an elementwise product, where neither factor is a gate."""
    return [given.R_flat / len(given.xs)] * len(given.xs)


def _bilinear(given: Given, stabilizer: Any = 1e-6) -> list[Array]:
    """Of n factors each in proportion, with n times the output for a denominator."""
    z = len(given.xs) * given.f(*given.xs).numpy()
    share = (given.R.numpy() / _stabilizer(stabilizer)(z)).ravel()
    return [x.numpy().ravel() * (J.T @ share) for x, J in zip(given.xs, given.jacobians(), strict=True)]


def _softmax(given: Given) -> list[Array]:
    """By the Taylor expansion: of a product with the Jacobian, the input times it."""
    (x,) = given.xs
    return [x.numpy().ravel() * part for part in _pulled_back(given, given.R_flat / given.f(x).numpy().ravel())]


def _first_order(given: Given, stabilizer: Any = 1e-6) -> list[Array]:
    Js, at = given.jacobians(), [x.numpy().ravel() for x in given.xs]
    terms = sum(J @ x for J, x in zip(Js, at, strict=True))
    share = given.R_flat / _stabilizer(stabilizer)(np.asarray(terms).reshape(given.R.shape)).ravel()
    return [x * (J.T @ share) for x, J in zip(at, Js, strict=True)]


def _residual(given: Given, by: str = "magnitude", stabilizer: Any = 1e-6) -> list[Array]:
    """Of each output among the values that are added, by what each of them adds."""
    if len(given.xs) == 1:
        return _in_proportion(given, stabilizer)
    Js = given.jacobians()
    added = np.stack([J @ x.numpy().ravel() for J, x in zip(Js, given.xs, strict=True)])
    parts = np.abs(added) if by == "magnitude" else oracle.pos(added)
    share = given.R_flat / _stabilizer(stabilizer)(parts.sum(0).reshape(given.R.shape)).ravel()
    return [(J != 0).T @ (share * part) for J, part in zip(Js, parts, strict=True)]


def _beta_smooth(given: Given, beta: float = 10.0) -> list[Array]:
    return [given.R_flat / (1 + np.exp(-beta * given.xs[0].numpy().ravel()))]


ORACLE: Final[dict[str, Callable[..., list[Array]]]] = {
    "epsilon": lambda given, epsilon=1e-6: _in_proportion(given, epsilon),
    "zplus": _of_weights(oracle.zplus),
    "alpha_beta": _of_weights(oracle.alpha_beta),
    "gamma": _of_weights(oracle.gamma),
    "zbox": _of_weights(lambda low, high, st: oracle.zbox(torch.tensor(low), torch.tensor(high), st)),
    "wsquare": _of_weights(oracle.wsquare),
    "flat": _of_weights(oracle.flat),
    "norm": _in_proportion,
    "pass": lambda given: [given.R_flat],
    "gradient": lambda given: _pulled_back(given, given.R_flat),
    "guided_backprop": lambda given: _pulled_back(given, oracle.pos(given.R_flat)),
    "deconvnet": lambda given: [oracle.pos(given.R_flat)],
    "beta_smooth": _beta_smooth,
    "proportional": _proportional,
    "signal": _equal_shares,
    "bilinear": _bilinear,
    "weighted": _bilinear,
    "constant": lambda given: [np.zeros_like(x) for x in given.xs],
    "softmax": _softmax,
    "first_order": _first_order,
    "residual": _residual,
}
