"""Relevance of one affine operation from explicit matrices in NumPy: slow, dense, literal, without code of relfunc.

An affine operation is ``f(x, W, b)``. Its matrix for a weight ``V`` is the Jacobian of ``x -> f(x, V, 0)``, its offset
for a bias ``c`` is ``f(0, 0, c)``. Each rule is its formula over these; ``R`` is the relevance of the output.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.functional import jacobian

Array = NDArray[np.float64]
Stabilizer = Callable[[Array], Array]
Formula = Callable[["Affine", Array, Array], Array]


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine operation as matrices, with its parameters ``W`` and ``b`` (zeros if it has no bias)."""

    f: Callable[[Tensor, Tensor, Tensor], Tensor]
    W: Array
    b: Array
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    cache: dict[bytes, Array]

    def matrix(self, V: Array) -> Array:
        """Matrix ``(output, input)`` for a weight."""
        key = V.tobytes()
        if key not in self.cache:
            zero = torch.zeros(self.b.shape, dtype=torch.float64)
            at = torch.zeros(self.input_shape, dtype=torch.float64)
            J = jacobian(lambda x: self.f(x, torch.tensor(V), zero), at)
            self.cache[key] = J.numpy().reshape(np.prod(self.output_shape), np.prod(self.input_shape))
        return self.cache[key]

    def offset(self, c: Array) -> Array:
        """Output ``(output,)`` of a bias alone."""
        zeros = torch.zeros(self.input_shape, dtype=torch.float64), torch.zeros(self.W.shape, dtype=torch.float64)
        return self.f(*zeros, torch.tensor(c)).numpy().ravel()


def affine(f: Callable[[Tensor, Tensor, Tensor], Tensor], W: Tensor, b: Tensor, x: Tensor) -> Affine:
    return Affine(f, W.numpy(), b.numpy(), tuple(x.shape), tuple(f(x, W, b).shape), {})


def relevance(formula: Formula, operation: Affine, x: Tensor, R: Tensor) -> Array:
    """Apply a formula to tensors; the result has the shape of ``x``."""
    return formula(operation, x.numpy().ravel(), R.numpy().ravel()).reshape(operation.input_shape)


def assert_close(actual: Array, expected: Array) -> None:
    """Equal to 1e-10 of the largest value."""
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))


def pos(a: Array) -> Array:
    return np.maximum(a, 0)


def neg(a: Array) -> Array:
    return np.minimum(a, 0)


# --- stabilizers ------------------------------------------------------------------------------------


def sign(z: Array) -> Array:
    return np.where(z < 0, -1.0, 1.0)


def plain(epsilon: float = 1e-6) -> Stabilizer:
    return lambda z: z + epsilon * sign(z)


def clipping(epsilon: float) -> Stabilizer:
    return lambda z: sign(z) * np.maximum(np.abs(z), epsilon)


def norm_scaled(epsilon: float, axis: tuple[int, ...] | None = None, clip: bool = False) -> Stabilizer:
    def stabilize(z: Array) -> Array:
        over = tuple(range(1, z.ndim)) if axis is None else axis
        scaled = epsilon * np.sqrt((z**2).mean(over, keepdims=True))
        scaled = np.where(scaled > 0, scaled, 1)  # where the formula has no value
        return sign(z) * np.maximum(np.abs(z), scaled) if clip else z + sign(z) * scaled

    return stabilize


# --- rules ------------------------------------------------------------------------------------------


def epsilon(st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    def formula(op: Affine, x: Array, R: Array) -> Array:
        W, b = _zeroed(op, zero)
        A = op.matrix(W)
        return x * (A.T @ _over(R, A @ x + op.offset(b), st, op))

    return formula


def gamma(g: float, st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    def formula(op: Affine, x: Array, R: Array) -> Array:
        W, b = _zeroed(op, zero)
        up, down = op.matrix(W + g * pos(W)), op.matrix(W + g * neg(W))
        b_up, b_down = op.offset(b + g * pos(b)), op.offset(b + g * neg(b))
        y0, y1 = up @ pos(x) + b_up, down @ neg(x)
        y2, y3 = down @ pos(x) + b_down, up @ neg(x)
        y4 = op.matrix(W) @ x + op.offset(op.b)
        s = (y4 > 0) * _over(R, y0 + y1, st, op)
        t = (y4 < 0) * _over(R, y2 + y3, st, op)
        return pos(x) * (up.T @ s) + neg(x) * (down.T @ s) + pos(x) * (down.T @ t) + neg(x) * (up.T @ t)

    return formula


def zplus(st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    return lambda op, x, R: _raising(op, x, R, st, zero)


def alpha_beta(alpha: float, beta: float, st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    return lambda op, x, R: alpha * _raising(op, x, R, st, zero) - beta * _lowering(op, x, R, st, zero)


def zbox(low: Tensor, high: Tensor, st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    def formula(op: Affine, x: Array, R: Array) -> Array:
        W, b = _zeroed(op, zero)
        l, h = (np.broadcast_to(a.numpy(), op.input_shape).ravel() for a in (low, high))  # noqa: E741
        A, P, N = op.matrix(W), op.matrix(pos(W)), op.matrix(neg(W))
        z = (A @ x + op.offset(b)) - (P @ l + op.offset(pos(b))) - (N @ h + op.offset(neg(b)))
        s = _over(R, z, st, op)
        return x * (A.T @ s) - l * (P.T @ s) - h * (N.T @ s)

    return formula


def wsquare(st: Stabilizer, *, zero: tuple[str, ...] = ()) -> Formula:
    def formula(op: Affine, x: Array, R: Array) -> Array:
        W, b = _zeroed(op, zero)
        S = op.matrix(W**2)
        return S.T @ _over(R, S @ np.ones_like(x) + op.offset(b**2), st, op)

    return formula


def flat(st: Stabilizer) -> Formula:
    def formula(op: Affine, x: Array, R: Array) -> Array:
        ones = op.matrix(np.ones_like(op.W))
        return ones.T @ _over(R, ones @ np.ones_like(x), st, op)

    return formula


def norm(f: Callable[..., Tensor], xs: tuple[Tensor, ...], R: Tensor, st: Stabilizer) -> tuple[Array, ...]:
    """Relevance of each input of an operation that is affine in all of them together."""
    z = f(*xs).numpy()
    share = (R.numpy() / st(z)).ravel()
    Js = jacobian(f, tuple(torch.zeros_like(x) for x in xs))
    matrices = [J.numpy().reshape(z.size, -1) for J in Js]
    return tuple(x.numpy() * (A.T @ share).reshape(x.shape) for x, A in zip(xs, matrices, strict=True))


def _raising(op: Affine, x: Array, R: Array, st: Stabilizer, zero: tuple[str, ...]) -> Array:
    W, b = _zeroed(op, zero)
    P, N = op.matrix(pos(W)), op.matrix(neg(W))
    s = _over(R, P @ pos(x) + op.offset(pos(b)) + N @ neg(x), st, op)
    return pos(x) * (P.T @ s) + neg(x) * (N.T @ s)


def _lowering(op: Affine, x: Array, R: Array, st: Stabilizer, zero: tuple[str, ...]) -> Array:
    W, b = _zeroed(op, zero)
    P, N = op.matrix(pos(W)), op.matrix(neg(W))
    s = _over(R, N @ pos(x) + op.offset(neg(b)) + P @ neg(x), st, op)
    return pos(x) * (N.T @ s) + neg(x) * (P.T @ s)


def _zeroed(op: Affine, zero: tuple[str, ...]) -> tuple[Array, Array]:
    return (
        np.zeros_like(op.W) if "weight" in zero else op.W,
        np.zeros_like(op.b) if "bias" in zero else op.b,
    )


def _over(R: Array, z: Array, st: Stabilizer, op: Affine) -> Array:
    return R / st(z.reshape(op.output_shape)).ravel()


# --- max pooling ------------------------------------------------------------------------------------


def winner_takes_all(x: Array, R: Array, kernel: int, stride: int, padding: int) -> Array:
    """Two-dimensional; of equal values the first wins."""
    total = np.zeros_like(x)
    for where, window in _windows(x, R.shape, kernel, stride, padding):
        rows, columns = window
        flat_index = np.argmax(x[(*where[:2], rows, columns)])
        i, j = np.unravel_index(flat_index, x[(*where[:2], rows, columns)].shape)
        total[(*where[:2], rows.start + i, columns.start + j)] += R[where]
    return total


def proportional(x: Array, R: Array, kernel: int, stride: int, padding: int, st: Stabilizer) -> Array:
    """Two-dimensional; ``z`` is the mean over the window, its padding counted as zeros."""
    total = np.zeros_like(x)
    for where, window in _windows(x, R.shape, kernel, stride, padding):
        part = (*where[:2], *window)
        total[part] += x[part] / kernel**2 * R[where] / st(x[part].sum() / kernel**2)
    return total


def _windows(
    x: Array, output_shape: tuple[int, ...], kernel: int, stride: int, padding: int
) -> list[tuple[tuple[int, ...], tuple[slice, slice]]]:
    """Each output's index and the part of the image that it sees."""

    def seen(i: int, size: int) -> slice:
        start = i * stride - padding
        return slice(max(start, 0), min(start + kernel, size))

    return [(w, (seen(w[2], x.shape[2]), seen(w[3], x.shape[3]))) for w in np.ndindex(output_shape)]
