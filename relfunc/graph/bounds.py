"""Bounds: between which numbers the values of a graph lie, whatever the input; interval arithmetic on its operations.

What is never negative lets rules drop terms, and a value between 0 and 1 is a gate (:mod:`relfunc.graph.facts`). What
cannot be proved is unbounded.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling, words
from ..ops.table import Op
from .written import Constant

Interval: TypeAlias = tuple[float, float]

ANY: Final[Interval] = (-math.inf, math.inf)
NONNEGATIVE: Final[Interval] = (0.0, math.inf)
GATE: Final[Interval] = (0.0, 1.0)


def bounds_of(node: fx.Node, op: Op, bounds: Mapping[fx.Node, Interval]) -> Interval:
    """Bound a node's values by those of what it is computed from.

    Parameters
    ----------
    node : torch.fx.Node
        A call.
    op : Op
        Its row.
    bounds : mapping
        The bounds of all nodes before that depend on the input.

    Returns
    -------
    tuple of float
        The least and the greatest value that it can have.
    """
    prove = _PROOFS.get(spelling(node.target) or "")
    if prove is not None:
        found = prove(node, bounds)
        if found is not None:
            return found if not any(map(math.isnan, found)) else ANY
    if op.gate:
        return GATE
    if op.sign == "always":
        return NONNEGATIVE
    inputs = [bounds.get(n, ANY) for n in _data(node, bounds)]
    if op.kind == "move" and op.sign == "kept":
        return _hull([*inputs, *_others(node, bounds)])
    if op.sign == "kept" and inputs and all(low >= 0 for low, _ in [*inputs, *_others(node, bounds)]):
        return NONNEGATIVE
    return ANY


def _data(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> list[fx.Node]:
    return [n for n in node.all_input_nodes if n in bounds]


def _others(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> list[Interval]:
    """Bounds of the constant tensors that enter a joining of tensors: nothing is bounds of them."""
    joined = spelling(node.target) in _JOINING
    return [ANY for n in node.all_input_nodes if n not in bounds and joined]


_JOINING: Final = words(
    "cat stack hstack vstack dstack column_stack where block_diag masked_fill index_fill masked_scatter scatter add "
    "mul min index_copy index_put slice_scatter select_scatter diagonal_scatter written"
)


def _hull(intervals: Sequence[Interval]) -> Interval:
    return (min(low for low, _ in intervals), max(high for _, high in intervals)) if intervals else ANY


def _of(a: Any, bounds: Mapping[fx.Node, Interval]) -> Interval:
    if isinstance(a, fx.Node):
        return _within(a.target.value) if isinstance(a.target, Constant) else bounds.get(a, ANY)
    return (float(a), float(a)) if isinstance(a, bool | int | float) else ANY


def _within(constant: Tensor) -> Interval:
    """Bound a tensor that the forward made itself by its values, which stay."""
    if constant.is_complex() or constant.layout is not torch.strided or not constant.numel():
        return ANY
    low, high = float(constant.min()), float(constant.max())
    return ANY if math.isnan(low) else (low, high)


def _argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    value = node.args[position] if len(node.args) > position else node.kwargs.get(name)
    return default if value is None else value


Proof: TypeAlias = Callable[[fx.Node, Mapping[fx.Node, Interval]], Interval | None]


def _plus(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _negative(a: Interval) -> Interval:
    return -a[1], -a[0]


def _times(a: Interval, b: Interval) -> Interval:
    products = [0.0 if 0.0 in {x, y} else x * y for x in a for y in b]
    return min(products), max(products)


def _sum(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    if node.kwargs or len(node.args) != 2:
        return ANY
    a, step = node.args
    if isinstance(step, fx.Node) and (blend := _blend(a, step, bounds)) is not None:
        return blend
    return _plus(_of(a, bounds), _of(step, bounds))


def _blend(a: Any, step: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    """Bound ``a + (b - a) * w`` with w between 0 and 1, which lies between a and b."""
    if spelling(step.target) != "mul" or len(step.args) != 2 or step.kwargs:
        return None
    difference, weight = step.args
    if not isinstance(difference, fx.Node) or spelling(difference.target) != "sub":
        return None
    if len(difference.args) != 2 or difference.kwargs:
        return None
    low, high = _of(weight, bounds)
    b, other = difference.args
    return _hull([_of(a, bounds), _of(b, bounds)]) if other is a and low >= 0 and high <= 1 else None


def _difference(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    if node.kwargs or len(node.args) != 2:
        return ANY
    a, b = (_of(operand, bounds) for operand in node.args)
    a, b = (b, a) if spelling(node.target) == "rsub" else (a, b)
    return _plus(a, _negative(b))


def _product(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    if node.kwargs or len(node.args) != 2:
        return ANY
    a, b = node.args
    if a is b:
        return _square(_of(a, bounds))
    return _times(_of(a, bounds), _of(b, bounds))


def _square(a: Interval) -> Interval:
    low, high = _times(a, a)
    return (max(low, 0.0), high) if a[0] >= 0 or a[1] <= 0 else (0.0, high)


def _power(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    exponent = node.args[1] if len(node.args) == 2 else None
    low, high = _of(node.args[0], bounds) if node.args else ANY
    if not isinstance(exponent, int | float) or exponent <= 0:
        return ANY
    if low >= 0:
        return (low**exponent, high**exponent) if high <= 1 else NONNEGATIVE
    return NONNEGATIVE if exponent % 2 == 0 else ANY


def _exp(a: float) -> float:
    return math.exp(a) if a < 700 else math.inf


def _quotient(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    if not node.kwargs and len(node.args) == 2 and _of(node.args[0], bounds)[0] >= 0 and _is_total(*node.args):
        return GATE
    if node.kwargs or len(node.args) != 2:
        return ANY
    return _times(_of(node.args[0], bounds), _reciprocal(_of(node.args[1], bounds)))


def _reciprocal(a: Interval) -> Interval:
    low, high = a
    return (1 / high, 1 / low) if low > 0 or high < 0 else ANY


def _is_total(part: Any, total: Any) -> bool:
    """Whether a value is the sum of what another is a part of, or somewhat more, so that it is not less than that."""
    axis: Any = None
    while isinstance(total, fx.Node) and total.args and total.args[0] is not part:
        name, further = spelling(total.target), total.args[1:]
        more = all(isinstance(a, int | float) and a >= 0 for a in further) and not total.kwargs
        if name == "unsqueeze" and axis is None:
            axis = _argument(total, 1, "dim")
        elif not (name == "expand" or (more and name == "add") or name == "clamp_min"):
            break
        total = total.args[0]
    if not isinstance(total, fx.Node) or spelling(total.target) != "sum" or not total.args or total.args[0] is not part:
        return False
    dim, kept = _argument(total, 1, "dim"), _argument(total, 2, "keepdim", False)
    over = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    if kept or dim is None:  # the axes of the part and of the total are the same, or the total has none
        return axis is None or not kept
    return over == ((0,) if axis is None else (axis,))


def _item(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    """Bound what is picked of values and their places by the values that they were picked from."""
    several = node.args[0]
    if not isinstance(several, fx.Node) or spelling(several.target) not in PICKING or not several.args:
        return None
    return _of(several.args[0], bounds) if node.args[1] == 0 else ANY


PICKING: Final = words("topk sort kthvalue cummax cummin")


def _clamped(lowest: str, highest: str, default: Interval) -> Proof:
    def prove(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
        low, high = _of(node.args[0] if node.args else node.kwargs.get("input"), bounds)
        least = _of(_argument(node, 1, lowest, default[0]), bounds)
        most = _of(_argument(node, 2, highest, default[1]), bounds)
        low, high = max(low, least[0]), max(high, least[1])
        return min(low, most[0]), min(high, most[1])

    return prove


def _of_first(function: Callable[[Interval], Interval]) -> Callable[[fx.Node, Mapping[fx.Node, Interval]], Interval]:
    def prove(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
        return function(_of(node.args[0] if node.args else node.kwargs.get("input"), bounds))

    return prove


def _same(a: Interval) -> Interval:
    return a


def _with_zero(a: Interval) -> Interval:
    return min(a[0], 0.0), max(a[1], 0.0)


def _of_all(function: Callable[[Interval], Interval]) -> Proof:
    def prove(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
        found = function(_hull([bounds.get(n, ANY) for n in node.all_input_nodes]))
        return found if spelling(node.target) not in {"fold", "col2im"} else _times(found, (0.0, math.inf))

    return prove


def _averaged(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    if node.kwargs.get("divisor_override") is not None or len(node.args) > 6:
        return ANY
    return _of_first(_with_zero)(node, bounds)


def _softplus(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    beta = _argument(node, 1, "beta", 1)
    return NONNEGATIVE if isinstance(beta, int | float) and beta > 0 else ANY


def _viewed(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    as_type = any(isinstance(a, torch.dtype) for a in (*node.args, *node.kwargs.values()))
    return ANY if as_type else _of_first(_same)(node, bounds)


def _padded(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    """Bound what a constant is put around."""
    is_native = spelling(node.target) == "constant_pad_nd"
    mode = "constant" if is_native else _argument(node, 2, "mode", "constant")
    inner = _of(node.args[0] if node.args else node.kwargs.get("input"), bounds)
    if mode != "constant":
        return inner
    return _hull([inner, _of(_argument(node, 2 if is_native else 3, "value", 0), bounds)])


def _interpolated(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    convex = {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"}
    inner = _of(node.args[0] if node.args else node.kwargs.get("input"), bounds)
    return inner if _argument(node, 3, "mode", "nearest") in convex else ANY


def _greatest(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval | None:
    operands = [_of(a, bounds) for a in node.args]
    if len(operands) != 2 or node.kwargs:
        return ANY
    (a, b), (c, d) = operands
    least = spelling(node.target) in {"minimum", "fmin"}
    return (min(a, c), min(b, d)) if least else (max(a, c), max(b, d))


def _masked(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    operands = pytree.tree_leaves([*node.args, *node.kwargs.values()])
    return _hull([_of(operands[0], bounds), _of(operands[-1], bounds)])


def _scattered(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    """Bound what is put into other values, such as zeros."""
    if len(node.args) != 4 or node.kwargs or not isinstance(into := node.args[0], fx.Node):
        return ANY
    before = (0.0, 0.0) if spelling(into.target) in _ZEROS else _of(into, bounds)
    return _hull([before, _of(node.args[3], bounds)])


def _added_at(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    """Bound the sum of values and of others that are added at some places."""
    if len(node.args) != 4 or node.kwargs:
        return ANY
    into: Any = node.args[0]
    is_zero = isinstance(into, fx.Node) and spelling(into.target) in _ZEROS
    nonnegative = (is_zero or _of(into, bounds)[0] >= 0) and _of(node.args[3], bounds)[0] >= 0
    return NONNEGATIVE if nonnegative else ANY


_ZEROS: Final = words("zeros zeros_like new_zeros")


def _selected(node: fx.Node, bounds: Mapping[fx.Node, Interval]) -> Interval:
    return _hull([_of(a, bounds) for a in node.args[1:]]) if len(node.args) == 3 else ANY


_PROOFS: Final[dict[str, Proof]] = {
    "add": _sum,
    **dict.fromkeys(("sub", "rsub"), _difference),
    "neg": _of_first(_negative),
    "mul": _product,
    "div": _quotient,
    "reciprocal": _of_first(_reciprocal),
    "square": _of_first(_square),
    "pow": _power,
    "exp": _of_first(lambda a: (_exp(a[0]), _exp(a[1]))),
    "abs": _of_first(lambda a: (0.0 if a[0] <= 0 <= a[1] else min(map(abs, a)), max(map(abs, a)))),
    "relu": _of_first(lambda a: (max(a[0], 0.0), max(a[1], 0.0))),
    "relu6": _of_first(lambda a: (min(max(a[0], 0.0), 6.0), min(max(a[1], 0.0), 6.0))),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax", "_softmax"), _of_first(lambda a: GATE)),
    "tanh": _of_first(lambda a: (math.tanh(a[0]), math.tanh(a[1]))),
    "erf": _of_first(lambda a: (-1.0, 1.0)),
    **dict.fromkeys(("sin", "cos"), _of_first(lambda a: (-1.0, 1.0))),
    "hardtanh": _clamped("min_val", "max_val", (-1.0, 1.0)),
    **dict.fromkeys(("clamp", "clamp_min"), _clamped("min", "max", ANY)),
    **dict.fromkeys(("mean", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), _of_first(_same)),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _averaged),
    "softplus": _softplus,
    **dict.fromkeys(("im2col", "unfold", "diag", "block_diag", "fold", "col2im"), _of_all(_with_zero)),
    "view": _viewed,
    "getitem": _item,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "amax", "amin"), _of_first(_same)),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), _of_first(_same)),
    **dict.fromkeys(("interpolate", "upsample"), _interpolated),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"), _of_first(_same)),
    **dict.fromkeys(("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"), _of_first(_same)),
    **dict.fromkeys(("pad", "constant_pad_nd"), _padded),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _greatest),
    **dict.fromkeys(("index_add", "scatter_add"), _added_at),
    **dict.fromkeys(("masked_fill", "index_fill"), _masked),
    "where": _selected,
    "scatter": _scattered,
    **dict.fromkeys(("tril", "triu", "diag_embed"), _of_first(_with_zero)),
}
"""By canonical name of torch's function; None where the row of the operation says as much."""
