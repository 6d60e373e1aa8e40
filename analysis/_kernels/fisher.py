"""Fisher's discriminant: how far apart groups lie, in units of their own width.

With the scatters S_b between, S_w within and S_t = S_b + S_w of all samples, and Λ = λI,

    τ = max_w (wᵀ S_b w) / (wᵀ (S_w + Λ) w) = ρ / (1 − ρ),    ρ = max_w (wᵀ S_b w) / (wᵀ (S_t + Λ) w),

and S_t does not depend on the groups. So the matrix H = X (S_t + Λ)⁻¹ Xᵀ of the centred samples X is prepared once.
With a column y for each group, 1 / √size where a sample belongs to it, S_b = Xᵀ y yᵀ X, and ρ is the largest
eigenvalue of yᵀ H y, a matrix as small as the number of groups.

For two groups the discriminant is the ridge regression of the membership y on the samples (Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, exercise 4.2). H is its hat matrix, so what a discriminant
fitted without sample i says of it is known without fitting anew: y_i − (y_i − ŷ_i) / (1 − h_ii), with ŷ = H y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

BLOCK_BYTES = 1 << 25


@dataclass(frozen=True)
class Hat:
    """The hat matrix H of the samples, n × n, as what it does.

    Parameters
    ----------
    diagonal : ndarray of float64, shape (n,)
        Zero for coinciding points.
    times : callable
        Takes y, shape (n, c), and returns H y.
    """

    diagonal: NDArray
    times: Callable[[NDArray], NDArray]


def hat(x: NDArray, ridge: float) -> Hat:
    """Return H = X (S_t + λI)⁻¹ Xᵀ of the centred samples X, λ = ridge · tr(S_t) / min(n, d).

    Parameters
    ----------
    x : ndarray, shape (n, d)
        Taken in blocks: beside it, min(n, d)² numbers are held.
    ridge : float
        Strength of the regularisation in units of the mean variance.

    Returns
    -------
    Hat
    """
    n, d = x.shape
    kind = np.result_type(x.dtype, np.float32)
    mean = x.mean(0, dtype=np.float64).astype(kind)
    if n <= d:
        scatter = sum((_scatter((x[:, p] - mean[p]).T) for p in _parts(d, n)), np.zeros((n, n)))
        axes, weight, square = _inverted(scatter, ridge)
        matrix = (axes * (weight * square)) @ axes.T
        return Hat(np.diagonal(matrix), matrix.__matmul__)
    rows = _parts(n, d)
    white = _root_inverted(sum((_scatter(x[p] - mean) for p in rows), np.zeros((d, d))), ridge).astype(kind)
    diagonal = np.concatenate([np.square((x[p] - mean) @ white).sum(1, dtype=np.float64) for p in rows])

    def times(y: NDArray) -> NDArray:
        y = y - y.mean(0)  # which is to centre the samples, without a copy of them
        total = white @ (white.T @ sum((x[p].T @ y[p].astype(kind) for p in rows), np.zeros((d, y.shape[1]))))
        return np.concatenate([x[p] @ total.astype(kind) for p in rows]) - mean @ total

    return Hat(diagonal, times)


def separability(samples: Hat, groups: NDArray) -> float:
    """Return τ of groups of samples; NaN for fewer than two groups.

    Parameters
    ----------
    samples : Hat
        As :func:`hat` returns it.
    groups : ndarray, shape (n,)
        One label per sample.
    """
    names, size = np.unique(groups, return_counts=True)
    if names.size < 2 or not samples.diagonal.any():
        return float("nan")
    y = (groups[:, None] == names) / np.sqrt(size)
    rho = float(linalg.eigvalsh(y.T @ samples.times(y))[-1])
    return rho / max(1 - rho, np.finfo(np.float64).eps)


def held_out(samples: Hat, inside: NDArray) -> NDArray:
    """Return τ of groups, each against the rest, every sample judged by a discriminant fitted without it.

    Parameters
    ----------
    samples : Hat
        As :func:`hat` returns it.
    inside : ndarray of bool, shape (n, c)
        Who belongs to each of c groups.

    Returns
    -------
    ndarray of float64, shape (c,)
        Between- over within-group variance of the held-out projections; 0 if they put the group on the wrong side,
        NaN for an empty group or rest, or coinciding points.
    """
    if not samples.diagonal.any():
        return np.full(inside.shape[1], np.nan)
    projection = projected(samples, inside)
    return np.array([_ratio(*pair) for pair in zip(projection.T, inside.T, strict=True)])


def projected(samples: Hat, inside: NDArray) -> NDArray:
    """Project every sample by the discriminants of groups, each against the rest, fitted without that sample.

    Parameters
    ----------
    samples : Hat
        As :func:`hat` returns it.
    inside : ndarray of bool, shape (n, c)
        Who belongs to each of c groups.

    Returns
    -------
    ndarray of float64, shape (n, c)
        Larger inside, if the group can be told apart.
    """
    y = np.subtract(inside, inside.mean(0), dtype=samples.diagonal.dtype)
    # 1/n is the leverage of the mean; below 1 so that a sample no other one resembles stays finite
    leverage = np.minimum(samples.diagonal + 1 / len(inside), 1 - 1e-9)
    return y - (y - samples.times(y)) / (1 - leverage)[:, None]


def _ratio(projection: NDArray, inside: NDArray) -> float:
    n, size = inside.size, int(inside.sum())
    if size in (0, n):
        return float("nan")
    inner, outer = projection[inside], projection[~inside]
    if inner.mean() <= outer.mean():
        return 0.0
    between = size * (n - size) / n * (inner.mean() - outer.mean()) ** 2
    within = size * inner.var() + (n - size) * outer.var()
    return float(between / max(within, between * np.finfo(np.float64).eps))


def _root_inverted(scatter: NDArray, ridge: float) -> NDArray:
    """Return a matrix A with A Aᵀ = (S + λI)⁻¹ where S is not rounding error."""
    strength = ridge * np.trace(scatter) / len(scatter)
    if ridge < 1e-8 or strength == 0:
        axes, weight, _ = _inverted(scatter, ridge)
        return axes * np.sqrt(weight)
    factor = linalg.cholesky(scatter + strength * np.eye(len(scatter)), lower=True)
    return linalg.solve_triangular(factor, np.eye(len(scatter)), lower=True).T


def _inverted(scatter: NDArray, ridge: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return the axes of a scatter, 1 / (s + λ) along each, and s itself; both are 0 where s is rounding error."""
    square, axes = linalg.eigh(scatter, overwrite_a=True)
    square = np.maximum(square, 0)
    resolved = square > square.max() * len(square) * np.finfo(np.float64).eps
    width = square + ridge * square.sum() / len(square)
    weight = np.divide(1, width, out=np.zeros_like(width), where=resolved)
    return axes, weight, square


def _scatter(rows: NDArray) -> NDArray:
    return rows.T @ rows


def _parts(n: int, row: int) -> list[slice]:
    rows = max(1, BLOCK_BYTES // (8 * max(row, 1)))
    return [slice(start, start + rows) for start in range(0, n, rows)]
