"""Fisher's discriminant: how far apart groups lie, in units of their own width.

With the scatters S_b between, S_w within and S_t = S_b + S_w of all samples, and Λ = λI,

    τ = max_w (wᵀ S_b w) / (wᵀ (S_w + Λ) w) = ρ / (1 − ρ),    ρ = max_w (wᵀ S_b w) / (wᵀ (S_t + Λ) w),

and S_t does not depend on the groups. So the samples are whitened once by (S_t + Λ)^−½, and ρ is the largest eigenvalue
of the groups' between-scatter there, a matrix of rank below the number of groups.
"""

import numpy as np
from numpy.typing import NDArray


def whitened(x: NDArray, ridge: float) -> NDArray:
    """Return (x − mean) (S_t + λI)^−½ in principal axes, λ = ridge · tr(S_t) / d.

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
    if n <= d:
        square, left = np.linalg.eigh(x @ x.T)
        square = np.maximum(square, 0)
        scores = left * np.sqrt(square)
    else:
        square, right = np.linalg.eigh(x.T @ x)
        square = np.maximum(square, 0)
        scores = x @ right
    width = square + ridge * square.sum() / d
    resolved = width > square.max() * n * np.finfo(np.float64).eps
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
