"""Cases of conformance: functions and methods of one tensor, operators and indices."""

import math
import operator
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from .conformance import Case, Group, Table


def _unary(how: str, names: str, call: Callable[..., Any]) -> Table:
    """Functions of one tensor, by name."""
    return {how.format(name): lambda m, x, name=name: call(name)(x) for name in names.split()}


def _torch(name: str) -> Callable[..., Any]:
    return lambda x: getattr(torch, name)(x)


def _special(name: str) -> Callable[..., Any]:
    return lambda x: getattr(torch.special, name)(x)


def _method(name: str) -> Callable[..., Any]:
    return lambda x: getattr(x, name)()


def _functional(name: str, **named: Any) -> Callable[..., Any]:
    return lambda x: getattr(F, name)(x, **named)


def _in_place(name: str) -> Callable[..., Any]:
    """Write to the tensor, and read it again: the value must be the new one."""

    def call(x: Tensor) -> Tensor:
        getattr(x, name)()
        return x * 2

    return call


# --- one tensor -----------------------------------------------------------------------------------------

ANYWHERE = (
    "abs absolute arctan asinh arcsinh atan cos cosh deg2rad erf erfc exp exp2 expm1 frac neg negative "
    "positive rad2deg sigmoid sin sinc sinh square tanh relu selu"
)
AT_UNIT = "acos asin atanh arccos arcsin arctanh logit tan erfinv"
METHODS = " ".join(n for n in ANYWHERE.split() if n not in {"selu"})
WRITTEN = " ".join(f"{n}_" for n in METHODS.split() if n not in {"positive", "asinh", "arcsinh"})
ACTIVATIONS = (
    "relu relu6 elu selu celu gelu silu mish softplus softsign tanhshrink hardtanh hardswish hardsigmoid logsigmoid "
    "hardshrink softshrink leaky_relu rrelu tanh sigmoid glu normalize"
)
WRITING = "relu elu selu celu silu mish leaky_relu hardtanh hardswish hardsigmoid relu6 rrelu"

_ELEMENTWISE = [
    Group("functions of one tensor", _unary("torch.{}(x)", ANYWHERE, _torch)),
    Group(
        "functions of one tensor",
        _unary("torch.{}(x)", "sqrt rsqrt log log2 log10 log1p reciprocal lgamma digamma i0", _torch)
        | {
            "torch.mvlgamma(x + 2, 2)": lambda m, x: torch.mvlgamma(x + 2, 2),
            "torch.acosh(x + 1)": lambda m, x: torch.acosh(x + 1),
            "torch.polygamma(1, x)": lambda m, x: torch.polygamma(1, x),
        },
        domain=(0.2, 2.0),
    ),
    Group("functions of one tensor", _unary("torch.{}(x)", AT_UNIT, _torch), domain=(0.1, 0.9)),
    Group("methods of one tensor", _unary("x.{}()", METHODS, _method)),
    Group(
        "methods of one tensor", _unary("x.{}()", "sqrt rsqrt log log2 log1p reciprocal", _method), domain=(0.2, 2.0)
    ),
    Group("in-place methods", _unary("x.{}(), then x", WRITTEN, _in_place)),
    Group(
        "in-place methods",
        _unary("x.{}(), then x", "sqrt_ rsqrt_ log_ log2_ log1p_ reciprocal_", _in_place),
        domain=(0.2, 2.0),
    ),
    Group(
        "torch.special",
        _unary("torch.special.{}(x)", "erf erfc erfcx exp2 expit expm1 i0e i1 i1e log_ndtr ndtr sinc", _special)
        | {"torch.special.log_softmax": lambda m, x: torch.special.log_softmax(x, -1)}
        | {"torch.special.softmax": lambda m, x: torch.special.softmax(x, -1)}
        | {"torch.special.logsumexp": lambda m, x: torch.special.logsumexp(x, -1)},
    ),
    Group(
        "torch.special",
        _unary("torch.special.{}(x)", "digamma psi entr gammaln logit log1p ndtri erfinv", _special)
        | {"torch.special.xlogy": lambda m, x: torch.special.xlogy(m.c, x)}
        | {"torch.special.xlog1py": lambda m, x: torch.special.xlog1py(x, m.positive)}
        | {"torch.special.zeta": lambda m, x: torch.special.zeta(2.0, x)}
        | {"torch.special.polygamma": lambda m, x: torch.special.polygamma(1, x)},
        domain=(0.1, 0.9),
    ),
    Group("activations", _unary("F.{}(x)", ACTIVATIONS, _functional)),
    Group("activations", _unary("F.{}(x, inplace=True)", WRITING, lambda n: _functional(n, inplace=True))),
    Group(
        "activations",
        {
            "F.softmax": lambda m, x: F.softmax(x, -1),
            "F.softmax(dim=1)": lambda m, x: F.softmax(x, dim=1),
            "F.softmin": lambda m, x: F.softmin(x, -1),
            "F.log_softmax": lambda m, x: F.log_softmax(x, -1),
            "torch.softmax": lambda m, x: torch.softmax(x, 2),
            "x.softmax": lambda m, x: x.softmax(-1),
            "x.log_softmax": lambda m, x: x.log_softmax(-1),
            "F.gelu(tanh)": lambda m, x: F.gelu(x, approximate="tanh"),
            "F.leaky_relu(x, 0.3)": lambda m, x: F.leaky_relu(x, 0.3),
            "F.elu(x, alpha=0.5)": lambda m, x: F.elu(x, alpha=0.5),
            "F.hardtanh(x, -0.5, 0.5)": lambda m, x: F.hardtanh(x, -0.5, 0.5),
            "F.threshold": lambda m, x: F.threshold(x, 0.1, 0.5),
            "F.prelu": lambda m, x: F.prelu(x, m.scale),
            "torch.prelu": lambda m, x: torch.prelu(x, m.scale),
            "F.relu_": lambda m, x: F.relu_(x),
            "torch.relu_": lambda m, x: torch.relu_(x),
            "F.leaky_relu_": lambda m, x: F.leaky_relu_(x, 0.3),
            "F.elu_": lambda m, x: F.elu_(x),
            "F.hardtanh_": lambda m, x: F.hardtanh_(x),
            "F.threshold_": lambda m, x: F.threshold_(x, 0.1, 0.5),
            "F.dropout": lambda m, x: F.dropout(x, 0.5, m.training),
            "F.dropout(inplace)": lambda m, x: F.dropout(x, training=m.training, inplace=True),
            "F.alpha_dropout": lambda m, x: F.alpha_dropout(x, training=m.training),
            "torch.dropout": lambda m, x: torch.dropout(x, 0.5, False),
            "silu spelled": lambda m, x: x * torch.sigmoid(x),
            "hardswish spelled": lambda m, x: x * F.relu6(x + 3) / 6,
            "gelu spelled": lambda m, x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        },
    ),
    Group(
        "clamping and rounding",
        {
            "x.clamp(-1, 1)": lambda m, x: x.clamp(-1, 1),
            "x.clamp(min=0)": lambda m, x: x.clamp(min=0),
            "torch.clamp(max=0.5)": lambda m, x: torch.clamp(x, max=0.5),
            "torch.clip": lambda m, x: torch.clip(x, -1, 1),
            "x.clamp_min": lambda m, x: x.clamp_min(0.2),
            "x.clamp_max": lambda m, x: x.clamp_max(0.2),
            "x.clamp(tensor)": lambda m, x: x.clamp(min=m.c),
            "x.nan_to_num": lambda m, x: x.nan_to_num(),
            "x.ceil": lambda m, x: x - x.ceil(),
            "x.floor": lambda m, x: x - x.floor(),
            "x.round": lambda m, x: x - x.round(),
            "x.round(decimals=1)": lambda m, x: x - x.round(decimals=1),
            "x.trunc": lambda m, x: x - x.trunc(),
            "torch.fix": lambda m, x: x - torch.fix(x),
            "x.sign": lambda m, x: x * x.sign(),
            "x.sgn": lambda m, x: x * x.sgn(),
            "x.heaviside": lambda m, x: x * torch.heaviside((x > 0).double(), m.c),
            "x.renorm": lambda m, x: x.renorm(2, 0, 1.0),
            "x.logit(eps)": lambda m, x: x.logit(eps=0.1),
        },
    ),
]

# --- operators and indices --------------------------------------------------------------------------------


def _set(key: Any, value: Any) -> Callable[..., Any]:
    """Write to part of the tensor."""

    def call(m: Any, x: Tensor) -> Tensor:
        x[key(m, x) if callable(key) else key] = value(m, x) if callable(value) else value
        return x * 2

    return call


def _view_written(m: Any, x: Tensor) -> Tensor:
    first = x[:, 0]
    first.mul_(2)
    return x


def _later_written(m: Any, x: Tensor) -> Tensor:
    y = x * 2
    x += 1
    return x * y


_OPERATORS = [
    Group(
        "operators",
        {
            "x + 1": lambda m, x: x + 1,
            "1 + x": lambda m, x: 1 + x,
            "x + c": lambda m, x: x + m.c,
            "c + x": lambda m, x: m.c + x,
            "x - 1": lambda m, x: x - 1,
            "1 - x": lambda m, x: 1 - x,
            "c - x": lambda m, x: m.c - x,
            "x * 2": lambda m, x: x * 2,
            "2 * x": lambda m, x: 2 * x,
            "x * c": lambda m, x: x * m.c,
            "c * x": lambda m, x: m.c * x,
            "x * scale + c": lambda m, x: x * m.scale[:, None] + m.c,
            "x / 2": lambda m, x: x / 2,
            "x / c": lambda m, x: x / m.c,
            "-x": lambda m, x: -x,
            "+x": lambda m, x: +x,
            "abs(x)": lambda m, x: abs(x),
            "x @ w": lambda m, x: x @ m.w,
            "u @ x": lambda m, x: m.u @ x,
            "x @ c": lambda m, x: x @ m.c,
            "x @ w + c": lambda m, x: x @ m.w + m.c,
            "x * x": lambda m, x: x * x,
            "x + x": lambda m, x: x + x,
            "x - x.mean()": lambda m, x: x - x.mean(),
            "x @ x.mT": lambda m, x: x @ x.mT,
            "x ** 2": lambda m, x: x**2,
            "x ** 3": lambda m, x: x**3,
            "x ** 1": lambda m, x: x**1,
            "2 ** x": lambda m, x: 2**x,
            "positive ** x": lambda m, x: m.positive**x,
            "x.detach() // 0.5": lambda m, x: x - x.detach() // 0.5,
            "x % 0.7": lambda m, x: x % 0.7,
            "x > 0": lambda m, x: (x > 0) * x,
            "x >= c": lambda m, x: x * (x >= m.c),
            "x == x": lambda m, x: x * (x == x),
            "x != 0": lambda m, x: x * (x != 0),
            "0 < x": lambda m, x: x * (0 < x),  # noqa: SIM300
            "x.gt(0)": lambda m, x: x * x.gt(0),
            "&": lambda m, x: x * ((x > -1) & (x < 1)),
            "| ~": lambda m, x: x * ((x > 1) | ~(x > 0)),
            "logical_and": lambda m, x: x * torch.logical_and(x > -1, x < 1),
            "mask.double()": lambda m, x: x * (x > 0).double(),
            "x += 1": lambda m, x: operator.iadd(x, 1) * 2,
            "x -= c": lambda m, x: operator.isub(x, m.c) * 2,
            "x *= 2": lambda m, x: operator.imul(x, 2) * 2,
            "x /= c": lambda m, x: operator.itruediv(x, m.c) * 2,
            "x **= 2": lambda m, x: operator.ipow(x, 2) * 2,
            "x @= w": lambda m, x: operator.imatmul(x, m.w) if hasattr(x, "__imatmul__") else x @ m.w,
            "x += 1, read before": _later_written,
        },
    ),
    Group(
        "operators",
        {
            "1 / x": lambda m, x: 1 / x,
            "c / x": lambda m, x: m.c / x,
            "x ** 0.5": lambda m, x: x**0.5,
            "x ** -1": lambda m, x: x**-1,
            "x ** c": lambda m, x: x**m.c,
            "x ** x": lambda m, x: x**x,
            "x / sum": lambda m, x: x / x.sum(-1, keepdim=True),
        },
        domain=(0.2, 2.0),
    ),
    Group(
        "operators of two tensors",
        {
            "x + y": lambda m, x, y: x + y,
            "x - y": lambda m, x, y: x - y,
            "x * y": lambda m, x, y: x * y,
            "x / y": lambda m, x, y: x / y,
            "x ** y": lambda m, x, y: x**y,
            "x % y": lambda m, x, y: x % y,
            "x @ y.mT": lambda m, x, y: x @ y.mT,
            "x += y": lambda m, x, y: operator.iadd(x, y) * 2,
            "x *= y": lambda m, x, y: operator.imul(x, y) + y,
            "x > y": lambda m, x, y: (x > y) * x + y,
            "x broadcast": lambda m, x, y: x[:, :1] * y[:1],
            "x + y * y": lambda m, x, y: x + y * y,
        },
        shapes=((2, 3, 4), (2, 3, 4)),
        domain=(0.2, 2.0),
    ),
    Group(
        "indices",
        {
            "x[0]": lambda m, x: x[0],
            "x[-1]": lambda m, x: x[-1],
            "x[:, 0]": lambda m, x: x[:, 0],
            "x[:, -1, 1:]": lambda m, x: x[:, -1, 1:],
            "x[..., 0]": lambda m, x: x[..., 0],
            "x[..., -2:]": lambda m, x: x[..., -2:],
            "x[...]": lambda m, x: x[...],
            "x[None]": lambda m, x: x[None],
            "x[:, None]": lambda m, x: x[:, None],
            "x[..., None]": lambda m, x: x[..., None],
            "x[:, None, :, None]": lambda m, x: x[:, None, :, None],
            "x[1:, :2]": lambda m, x: x[1:, :2],
            "x[:, ::2]": lambda m, x: x[:, ::2],
            "x[:, slice(0, 2)]": lambda m, x: x[:, slice(0, 2)],
            "x[:, [0, 2]]": lambda m, x: x[:, [0, 2]],
            "x[[1, 0, 0]]": lambda m, x: x[[1, 0, 0]],
            "x[:, (0, 1)]": lambda m, x: x[:, (0, 1)],
            "x[..., [[0, 1], [2, 3]]]": lambda m, x: x[..., [[0, 1], [2, 3]]],
            "x[:, ids]": lambda m, x: x[:, m.ids],
            "x[:, negative_ids]": lambda m, x: x[:, m.negative_ids],
            "x[:, ids, ids]": lambda m, x: x[:, m.ids, m.ids],
            "x[ids % 2, :, ids]": lambda m, x: x[m.ids % 2, :, m.ids],
            "x[:, ids[:, None], ids]": lambda m, x: x[:, m.ids[:, None], m.ids],
            "x[0, ids]": lambda m, x: x[0, m.ids],
            "x[..., mask]": lambda m, x: x[..., m.mask],
            "x[:, rows]": lambda m, x: x[:, m.rows],
            "x[:, 1, mask]": lambda m, x: x[:, 1, m.mask],
            "x[:, m.mask list]": lambda m, x: x[..., [True, False, True, True]],
            "x[x > 0]": lambda m, x: x[x > 0],
            "x[:, tensor([0, 2])]": lambda m, x: x[:, torch.tensor([0, 2])],
            "x[:, arange]": lambda m, x: x[:, torch.arange(2)],
            "x[True]": lambda m, x: x[True],
            "x[:, :-1] - x[:, 1:]": lambda m, x: x[:, :-1] - x[:, 1:],
            "x[:, x.shape[1] // 2]": lambda m, x: x[:, x.shape[1] // 2],
            "x[x.argmax]": lambda m, x: x[:, x.sum((0, 2)).argmax()],
            "a, b = x": lambda m, x: operator.mul(*x.unbind()),
        },
    ),
    Group(
        "writing to parts",
        {
            "x[:, 0] = 0": _set((slice(None), 0), 0),
            "x[..., 1:] = c": _set((..., slice(1, None)), lambda m, x: m.c[1:]),
            "x[:, 0] = x[:, 1]": _set((slice(None), 0), lambda m, x: x[:, 1] * 2),
            "x[mask] = 0": _set(lambda m, x: (..., m.mask), 0),
            "x[x < 0] = 0": _set(lambda m, x: x < 0, 0),
            "x[:, negative_ids] = 1": _set(lambda m, x: (slice(None), m.negative_ids), 1),
            "x[:, 0] += 1": lambda m, x: (operator.iadd(x[:, 0], 1), x)[1],
            "x[:, 0].mul_(2)": _view_written,
            "x.view(-1).mul_(2)": lambda m, x: (x.view(-1).mul_(2), x)[1],
            "x.data": lambda m, x: x + x.data,
        },
    ),
]

OPERATORS: Final[list[Case]] = [case for group in (*_ELEMENTWISE, *_OPERATORS) for case in group.cases()]
