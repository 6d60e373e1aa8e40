"""Fisher's discriminant: how far apart groups lie, in units of their own width.

With the scatters S_b between, S_w within and S_t = S_b + S_w of all samples, and Λ = λI,

    τ = max_w (wᵀ S_b w) / (wᵀ (S_w + Λ) w) = ρ / (1 − ρ),    ρ = max_w (wᵀ S_b w) / (wᵀ (S_t + Λ) w),

and S_t does not depend on the groups. So the samples are whitened once, Z = (X − mean) (S_t + Λ)^−½, and ρ is the
largest eigenvalue of the groups' between-scatter there, a matrix of rank below the number of groups.

For two groups the discriminant is the ridge regression of the membership y on the samples (Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, exercise 4.2). Its hat matrix is H = Z Zᵀ, so what a discriminant
fitted without sample i says of it is known without fitting anew: y_i − (y_i − ŷ_i) / (1 − h_ii), with ŷ = H y.
"""

import numpy as np
from numpy.typing import NDArray


def whitened(x: NDArray, ridge: float) -> NDArray:
    """Return (x − mean) (S_t + λI)^−½ in principal axes, λ = ridge · tr(S_t) / min(n, d).

    Parameters
    ----------
    x : ndarray, shape (n, d)
    ridge : float
        Strength of the regularisation in units of the mean variance.

    Returns
    -------
    ndarray of float64, shape (n, min(n, d))
        Zero for coinciding points.
    """
    x = x.astype(np.float64)
    x -= x.mean(0)
    n, d = x.shape
    square, axes = np.linalg.eigh(x @ x.T if n <= d else x.T @ x)
    square = np.maximum(square, 0)
    scores = axes * np.sqrt(square) if n <= d else x @ axes
    width = square + ridge * square.sum() / min(n, d)
    resolved = square > square.max() * max(n, d) * np.finfo(np.float64).eps
    return np.divide(scores, np.sqrt(width), out=np.zeros_like(scores), where=resolved)


def separability(white: NDArray, groups: NDArray) -> float:
    """Return τ of groups of whitened samples; NaN for fewer than two groups.

    Parameters
    ----------
    white : ndarray, shape (n, r)
        As :func:`whitened` returns it.
    groups : ndarray, shape (n,)
        One label per sample.
    """
    names, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    if names.size < 2 or not white.any():
        return float("nan")
    total = np.zeros((names.size, white.shape[1]))
    np.add.at(total, member, white)
    rho = np.linalg.norm(total / np.sqrt(size)[:, None], 2) ** 2
    return float(rho / max(1 - rho, np.finfo(np.float64).eps))


def held_out(white: NDArray, inside: NDArray) -> float:
    """Return τ of one group against the rest, every sample judged by a discriminant fitted without it.

    Parameters
    ----------
    white : ndarray, shape (n, r)
        As :func:`whitened` returns it.
    inside : ndarray of bool, shape (n,)
        Who belongs to the group.

    Returns
    -------
    float
        Between- over within-group variance of the held-out projections; 0 if they put the group on the wrong side,
        NaN for an empty group or rest, or coinciding points.
    """
    n, size = inside.size, int(inside.sum())
    if size in (0, n) or not white.any():
        return float("nan")
    y = inside - size / n
    # 1/n is the leverage of the mean; below 1 so that a sample no other one resembles stays finite
    leverage = np.minimum((white**2).sum(1) + 1 / n, 1 - 1e-9)
    fitted = white @ (white.T @ y)
    projection = y - (y - fitted) / (1 - leverage)
    inner, outer = projection[inside], projection[~inside]
    if inner.mean() <= outer.mean():
        return 0.0
    between = size * (n - size) / n * (inner.mean() - outer.mean()) ** 2
    within = size * inner.var() + (n - size) * outer.var()
    return float(between / max(within, between * np.finfo(np.float64).eps))
