"""Meaning: what is spelled out in simpler operations becomes the operation that it is.

A matrix product with a constant matrix is a linear layer, whatever it is written with; a constant added to it is its
bias; multiplying by constants and adding constants, in any order, is a scale and shift, as of a batch norm. Gated
linear units, power-average pooling and the products with a sum of torch become what their definitions say.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..ops.spellings import spelling, words
from ..ops.table import OPS, Op, find
from .affine import scale_shift
from .attention import ATTENTION
from .equations import names_of_equation, product_of
from .graphs import bound, calls, mapped, origin_of, shape_of_constant, substitute, varying, within
from .normalization import NORMALIZATIONS
from .recurrent import RECURRENT
from .written import Constant

# --- definitions --------------------------------------------------------------------------------------


def expand(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Replace operations by what their definitions say, unless the user's table says what they are.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    for node in calls(graph):
        op, name = find(node.target, rows), spelling(node.target) or ""
        names, write = _DEFINITIONS.get(name, ("", None))
        if write is None or (op is not None and op.kind != "other" and op != OPS.get(name)):
            continue
        given = bound(node, names if isinstance(names, str) else names(node))

        def call(function: Callable[..., Any], *args: Any, node: fx.Node = node, **kwargs: Any) -> fx.Node:
            made = graph.call_function(function, args, kwargs)
            made.meta = origin_of(node)
            return made

        with graph.inserting_before(node):
            new = write(call, given)
        if isinstance(new, tuple):
            _substitute_items(graph, node, new)
        elif new is not None:
            substitute(graph, node, new)
            if name == "scaled_dot_product_attention":
                _reshape_behind(new)


def _reshape_behind(node: fx.Node) -> None:
    """Let views of moved values be of any memory: what a fused attention returned was arranged by token."""
    for user in list(node.users):
        name = spelling(user.target) or ""
        if name in {"view", "_unsafe_view"} and not any(isinstance(a, torch.dtype) for a in user.args):
            sizes: Any = user.args[1:]
            sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
            user.target, user.args, user.kwargs = torch.reshape, (user.args[0], tuple(sizes)), {}
        if name in _MOVES:
            _reshape_behind(user)


_MOVES: Final = words("view _unsafe_view transpose permute movedim contiguous clone to")


def _substitute_items(graph: fx.Graph, old: fx.Node, parts: tuple[fx.Node | None, ...]) -> None:
    """Let several nodes take the place of one that returned a tuple."""
    for reader in list(old.users):
        index: Any = reader.args[1] if reader.target is operator.getitem else None
        if isinstance(index, int) and isinstance(new := parts[index], fx.Node):
            substitute(graph, reader, new)
        else:
            args = mapped(lambda node: parts if node is old else node, (reader.args, dict(reader.kwargs)))
            reader.args, reader.kwargs = args
    graph.erase_node(old)


def _gated_linear_unit(call: Any, given: dict[str, Any]) -> fx.Node:
    halves = call(torch.chunk, given["input"], 2, given.get("dim", -1))
    signal, gate = (call(operator.getitem, halves, i) for i in (0, 1))
    return call(operator.mul, signal, call(torch.sigmoid, gate))


def _power_average(n: int) -> Callable[[Any, dict[str, Any]], fx.Node | None]:
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]

    def write(call: Any, given: dict[str, Any]) -> fx.Node | None:
        p, kernel = float(given["norm_type"]), given["kernel_size"]
        window = torch.Size(kernel if isinstance(kernel, tuple | list) else (kernel,) * n).numel()
        stride = given.get("stride") or None
        options = (kernel, stride, 0, bool(given.get("ceil_mode", False)))
        mean = call(average, call(torch.pow, given["input"], p), *options)
        kept = call(operator.mul, call(torch.sign, mean), call(F.relu, call(torch.abs, mean)))
        return call(torch.pow, call(operator.mul, kept, window), 1 / p)

    return write


def _weighted_product(call: Any, given: dict[str, Any]) -> fx.Node:
    product = call(operator.mul, given["tensor1"], given["tensor2"])
    return call(operator.add, given["input"], _scaled(call, product, given.get("value", 1)))


def _interpolated(call: Any, given: dict[str, Any]) -> fx.Node:
    step = call(operator.sub, given["end"], given["input"])
    return call(operator.add, given["input"], call(operator.mul, step, given["weight"]))


def _product_and_sum(product: Callable[..., Any], first: str, second: str) -> Callable[[Any, dict[str, Any]], fx.Node]:
    def write(call: Any, given: dict[str, Any]) -> fx.Node:
        multiplied = _scaled(call, call(product, given[first], given[second]), given.get("alpha", 1))
        return call(operator.add, multiplied, _scaled(call, given["input"], given.get("beta", 1)))

    return write


def _embedding_bag(call: Any, given: dict[str, Any]) -> fx.Node | None:
    """Look up tokens and reduce them, where the bags are the rows of a matrix of tokens."""
    further = ("offsets", "max_norm", "padding_idx")
    if "tokens" not in given or any(given.get(name) is not None for name in further):
        return None
    found, weights = call(F.embedding, given["tokens"], given["weight"]), given.get("per_sample_weights")
    if weights is not None:
        found = call(operator.mul, found, call(torch.unsqueeze, weights, -1))
    return call({"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[given.get("mode", "mean")], found, 1)


def _names_of_bag(node: fx.Node) -> str:
    names = "offsets max_norm norm_type scale_grad_by_freq mode sparse per_sample_weights include_last_offset"
    return f"tokens weight {names} padding_idx" if node.target is F.embedding_bag else "weight indices offsets"


def _scaled(call: Any, a: Any, factor: Any) -> Any:
    return a if isinstance(factor, int | float) and factor == 1 else call(operator.mul, a, factor)


def _cosine_similarity(call: Any, given: dict[str, Any]) -> fx.Node | None:
    x: Any
    x, y, dim, eps = given.get("input", given.get("x1")), given["x2"], given.get("dim", 1), given.get("eps", 1e-8)
    if dim >= 0:  # an axis of what the two become together
        if not {x, y} <= varying(x.graph):
            return None
        both = call(torch.broadcast_tensors, x, y)
        x, y = (call(operator.getitem, both, i) for i in range(2))
    x, y = (call(F.normalize, a, 2.0, dim, eps) for a in (x, y))
    return call(torch.sum, call(operator.mul, x, y), dim)


_DEFINITIONS: Final[dict[str, tuple[Any, Any]]] = {
    **NORMALIZATIONS,
    **ATTENTION,
    **RECURRENT,
    "embedding_bag": (_names_of_bag, _embedding_bag),
    "einsum": (names_of_equation, product_of),
    "glu": ("input dim", _gated_linear_unit),
    **{f"lp_pool{n}d": ("input norm_type kernel_size stride ceil_mode", _power_average(n)) for n in (1, 2, 3)},
    "addcmul": ("input tensor1 tensor2 value", _weighted_product),
    "cosine_similarity": ("x1 x2 dim eps", _cosine_similarity),
    "lerp": ("input end weight", _interpolated),
    "addmm": ("input mat1 mat2 beta alpha", _product_and_sum(torch.matmul, "mat1", "mat2")),
    "addmv": ("input mat vec beta alpha", _product_and_sum(torch.matmul, "mat", "vec")),
    "baddbmm": ("input batch1 batch2 beta alpha", _product_and_sum(torch.matmul, "batch1", "batch2")),
}


# --- activations that export takes apart --------------------------------------------------------------


def reunite(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Find the shrinking activations in what :func:`torch.export.export` makes of them.

    Taken apart they are differences of a value and a function of it, to which a rule would send relevance that cancels;
    the last call becomes the activation, and what it was made of is read by nobody.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    for node in calls(graph):
        found = _shrinking(node)
        if found is not None and find(found[0], rows) == find(found[0]):
            function, x, *width = found
            node.target, node.args, node.kwargs = function, (x, *width), {}


def _shrinking(node: fx.Node) -> tuple[Any, ...] | None:
    match _tree(node, 4):
        case ("sub", x, ("tanh", y)) if x is y:
            return F.tanhshrink, x
        case ("where", ("le", ("abs", x), width), 0, y) if x is y:
            return F.hardshrink, x, width
        case ("where", ("gt", ("abs", x), width), ("sub", y, ("mul", ("sign", z), same)), ("mul", w, 0)):
            return (F.softshrink, x, width) if x is y is z is w and width == same else None
    return None


def _tree(a: Any, depth: int) -> Any:
    """Write a call as nested tuples of names and operands; operands that are compared stay nodes."""
    if not isinstance(a, fx.Node) or a.op != "call_function" or a.kwargs or not depth:
        return a
    name = spelling(a.target)
    if name not in _SHRINKING:
        return a
    return (name, *(_tree(operand, depth - 1) for operand in a.args))


_SHRINKING: Final = words("sub tanh where le gt abs mul sign")


# --- spellings of affine operations -----------------------------------------------------------------


def recognise(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Find linear layers, biases, scales and shifts.

    Only what depends on the input is looked at: constants among themselves are computed as they are written. A chain of
    constants that multiply and are added is followed to its last operation first and written once, as one scale and
    shift, so that it gets one rule, and its sums do not take relevance from the value as if they were inputs.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    found = varying(graph)
    chains: dict[fx.Node, _Chain] = {}
    for node in calls(graph):
        op = find(node.target, rows)
        if op is None or node not in found:
            continue
        name = spelling(node.target) or ""
        if op.matrix and op.kind == "product":
            _make_linear(graph, node, name, found)
        elif name in _STEPS and op.kind not in {"affine", "move"}:
            _extend(node, name, found, chains)
    for node, chain in chains.items():
        if not any(user in chains for user in node.users) or len(node.users) != 1:
            _write(graph, node, chain, rows)


def _make_linear(graph: fx.Graph, node: fx.Node, name: str, found: set[fx.Node]) -> None:
    """Make a product with a constant matrix a linear layer, so that composites give it the rule of one.

    Only where the constant is known to be a matrix: of more axes it is another matrix for each sample or head.
    """
    if name == "einsum":
        pair = _einsum_as_linear(node, found)
    elif name in {"mm", "matmul"} and len(node.args) == 2 and not node.kwargs:
        pair = (node.args[0], node.args[1], True)
    else:
        pair = None
    if pair is None:
        return
    x: Any
    weight: Any
    x, weight, transposed = pair
    shape = shape_of_constant(weight) if weight not in found else None
    if x not in found or shape is None or len(shape) != 2:
        return
    if transposed:
        with graph.inserting_before(node):
            known = weight.meta.get("val")
            weight = graph.call_function(torch.t, (weight,))
            weight.meta["val"] = None if known is None else known.t()
    node.target, node.args, node.kwargs = F.linear, (x, weight, None), {}


def _einsum_as_linear(node: fx.Node, found: set[fx.Node]) -> tuple[Any, Any, bool] | None:
    """Read an equation such as ``bti,io->bto``: a last axis that a matrix replaces by another."""
    equation: Any = node.args[0]
    operands: Any = node.args[1:] if len(node.args) == 3 else node.args[1]
    if not isinstance(equation, str) or not isinstance(operands, tuple | list):
        return None
    left, _, out = equation.replace(" ", "").partition("->")
    if "->" not in equation:  # what is not summed over comes in alphabetical order
        out = "".join(sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1))
    labels = left.split(",")
    if len(labels) != 2 or len(operands) != 2:
        return None
    if operands[0] not in found:
        labels, operands = labels[::-1], operands[::-1]
    a, matrix = labels
    if len(matrix) != 2 or not a or "." in matrix or matrix[0] == matrix[1]:
        return None
    for old, new, transposed in ((matrix[0], matrix[1], True), (matrix[1], matrix[0], False)):
        distinct = len(set(a.replace(".", ""))) == len(a.replace(".", ""))
        if a[-1] == old and new not in a and out == a[:-1] + new and distinct:
            return operands[0], operands[1], transposed
    return None


@dataclass
class _Chain:
    """Constants that multiply and are added to one value, one after the other."""

    root: fx.Node
    steps: list[fx.Node]


_STEPS: Final = words("add sub rsub mul div neg")


def _extend(node: fx.Node, name: str, found: set[fx.Node], chains: dict[fx.Node, _Chain]) -> None:
    """Follow a value through one more operation with a constant.

    A value that is read elsewhere too ends its chain: it is needed as it is, and a new chain starts from it.
    """
    operands: tuple[Any, ...] = node.args
    if node.kwargs or not 1 <= len(operands) <= 2 or len(within(operands, found)) != 1:
        return
    (value,) = within(operands, found)
    if name == "div" and operands[0] is not value:
        return
    before = chains.get(value)
    if before is not None and len(value.users) == 1:
        chains[node] = _Chain(before.root, [*before.steps, node])
    else:
        chains[node] = _Chain(value, [node])


def _write(graph: fx.Graph, last: fx.Node, chain: _Chain, rows: Mapping[Any, Op]) -> None:
    """Write a chain as one scale and shift; or a sum with a constant as the bias it is.

    The chain ``x -> (x - m) / s * g + b`` is ``scale * x + shift``; step by step, multiplying changes both and adding
    the shift alone. It stays as it was written where it only multiplies or only adds, which has a rule as it is; where
    a constant's shape is unknown; and where it is of numbers alone and stands beside no affine operation.
    """
    names = [_op_name(step, rows) for step in chain.steps]
    constants = [a for step in chain.steps for a in step.args if a is not chain.root and a not in chain.steps]
    if names == ["add"] and _add_bias(graph, last, chain.root, constants[0], rows):
        return
    if not any(isinstance(a, fx.Node) for a in constants) and not _is_beside_affine(chain.root, last, rows):
        return  # numbers alone stay as they are: what is proved of them, such as gates, would be lost
    multiplies, adds = {"mul", "div"} & set(names), {"add", "sub", "rsub"} & set(names)
    if not multiplies or not adds:
        return
    if any(isinstance(a, fx.Node) and shape_of_constant(a) is None for a in constants):
        return
    scale: Any = 1.0
    shift: Any = 0.0

    def call(function: Callable[..., Any], *args: Any) -> Any:
        if not any(isinstance(a, fx.Node) for a in args):
            return function(*args)
        return graph.call_function(function, args)

    with graph.inserting_before(last):
        value: Any = chain.root
        for step, name in zip(chain.steps, names, strict=True):
            other: Any = next((a for a in step.args if a is not value), None)
            other = call(Tensor.double, other) if isinstance(other, fx.Node) else other  # rounded once, at the end
            first = bool(step.args) and step.args[0] is value
            if name in {"mul", "div"}:
                function = operator.mul if name == "mul" else operator.truediv
                scale, shift = call(function, scale, other), call(function, shift, other)
            elif name == "add":
                shift = call(operator.add, shift, other)
            elif name == "neg" or (name == "sub" and not first) or (name == "rsub" and first):
                scale, shift = call(operator.neg, scale), call(operator.neg, shift)
                shift = shift if name == "neg" else call(operator.add, shift, other)
            else:
                shift = call(operator.sub, shift, other)
            value = step
        if not isinstance(scale, fx.Node) or not isinstance(shift, fx.Node):
            scale, shift = (_as_tensor(graph, a) for a in (scale, shift))
        shapes = tuple(tuple(shape_of_constant(a) or ()) for a in (scale, shift))
        new = graph.call_function(scale_shift, (chain.root, scale, shift), {"channelwise": False})
    new.meta = origin_of(last)
    new.meta["shapes"] = shapes
    new.meta["merged"] = tuple(key for step in chain.steps[:-1] for key in step.meta.get("returned", ()))
    substitute(graph, last, new)
    for step in reversed(chain.steps[:-1]):
        graph.erase_node(step)


def _as_tensor(graph: fx.Graph, a: Any) -> Any:
    """Make a number a tensor, which takes the type of what it meets."""
    return a if isinstance(a, fx.Node) else graph.call_function(Constant(torch.tensor(a, dtype=torch.float64)))


def _is_beside_affine(root: fx.Node, last: fx.Node, rows: Mapping[Any, Op]) -> bool:
    """Whether an affine operation stands just before a chain of constants, or just behind it."""
    readers = list(last.users)
    if _op_name(root, rows) in _AFFINE and len(root.users) == 1:
        return True
    return len(readers) == 1 and _op_name(readers[0], rows) in _AFFINE and readers[0].args[0] is last


_AFFINE: Final = words("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")


def _add_bias(graph: fx.Graph, node: fx.Node, before: fx.Node, bias: Any, rows: Mapping[Any, Op]) -> bool:
    """Make a constant that is added to a linear layer without a bias its bias.

    The constant must have one number for each output channel, and nothing else may read the sum without it. The layer
    moves down to where the sum was, because the constant may be computed between the two.
    """
    name = _op_name(before, rows)
    if name not in _AFFINE or len(before.users) != 1 or before.args[2:] != (None,):
        return False
    weight, shape = shape_of_constant(before.args[1]), shape_of_constant(bias)
    if weight is None or shape is None or len(weight) < 2:
        return False
    spatial = len(weight) - 2
    transposed = name.startswith("conv_transpose")
    groups: Any = before.kwargs.get("groups", 1)
    channels = weight[1] * groups if transposed else weight[0]
    if shape[len(shape) - 1 - spatial :] != (channels, *(1,) * spatial) or len(shape) != spatial + 1:
        return False
    if spatial:
        with graph.inserting_before(node):
            bias = graph.call_function(torch.flatten, (bias,))
    before.args = (*before.args[:2], bias)
    node.prepend(before)
    before.meta["merged"] = before.meta.pop("returned", ())
    substitute(graph, node, before)
    return True


def _op_name(node: fx.Node, rows: Mapping[Any, Op]) -> str:
    op = find(node.target, rows) if node.op == "call_function" else None
    return spelling(node.target) or "" if op is not None else ""
