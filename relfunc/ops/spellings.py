"""Spellings: one name for each operation of torch, however it is written.

``F.relu``, ``torch.relu_``, ``Tensor.relu`` and ``aten.relu.default`` are all ``relu``; ``a @ b``, ``operator.matmul``
and ``torch.matmul`` are ``matmul``. A function is known by its identity, not by what it is called: a user's function
named ``relu`` is none of them.
"""

import math
import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F


def spelling(target: Any) -> str | None:
    """Name of one of torch's functions, the same for all its spellings.

    Parameters
    ----------
    target : callable
        A function, method, operator or overload.

    Returns
    -------
    str or None
        None for a function that is not torch's.

    Examples
    --------
    >>> import operator
    >>> [spelling(f) for f in (torch.relu_, torch.Tensor.add_, torch.ops.aten.conv2d.default, operator.matmul)]
    ['relu', 'add', 'conv2d', 'matmul']
    >>> spelling(lambda x: x) is None
    True
    """
    if isinstance(target, torch._ops.OpOverload):
        target = target.overloadpacket
    if isinstance(target, torch._ops.OpOverloadPacket):
        home, _, name = target._qualified_op_name.partition("::")
        return plain(name if home in _NATIVE else f"{home}.{name}")
    try:
        return _spellings().get(target)
    except TypeError:  # what cannot be hashed is no function of torch's
        return None


def plain(name: str) -> str:
    """Name without the underscore of an in-place form, and of several names of one function the usual one.

    Examples
    --------
    >>> plain("multiply_"), plain("_to_copy"), plain("linalg_vecdot")
    ('mul', '_to_copy', 'linalg.vecdot')
    """
    bare = name if name.startswith("_") else name.rstrip("_")
    for home in ("linalg", "fft"):  # as native operations write it
        bare = f"{home}.{bare.removeprefix(f'{home}_')}" if bare.startswith(f"{home}_") else bare
    return _SYNONYMS.get(bare, bare)


def is_in_place(target: Any) -> bool:
    """Whether a function of torch's writes to its first argument.

    Examples
    --------
    >>> is_in_place(torch.Tensor.add_), is_in_place(operator.iadd), is_in_place(torch.add)
    (True, True, False)
    """
    if spelling(target) is None:
        return False
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.is_mutable
    name = getattr(target, "__name__", "")
    if getattr(target, "__module__", "") == "_operator":
        return name in _IN_PLACE_OPERATORS
    return name.endswith("_") and not name.startswith("_")


def words(names: str) -> frozenset[str]:
    """Return a set of names that are written one after the other."""
    return frozenset(names.split())


@cache
def may_share(name: str) -> bool:
    """Whether what a native operation returns may be memory of its arguments, as its schemas say.

    Parameters
    ----------
    name : str
        Canonical.

    Returns
    -------
    bool
        True for one without a schema of that name.

    Examples
    --------
    >>> may_share("lerp"), may_share("narrow")
    (False, True)
    """
    packet = getattr(torch.ops.aten, name.replace(".", "_"), None)
    if packet is None:
        return True
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
    functional = [schema for schema in schemas if not schema.is_mutable]
    return any(result.alias_info is not None for schema in functional for result in schema.returns)


@cache
def _spellings() -> dict[Callable[..., Any], str]:
    found: dict[Callable[..., Any], str] = {}
    for function, name in _functions():
        try:
            found.setdefault(function, plain(name))
        except TypeError:
            continue
    return found


def _functions() -> Iterator[tuple[Any, str]]:
    """Yield torch's functions with the names that they bear, the usual home of each first."""
    yield from ((getattr(operator, name), base) for name, base in _IN_PLACE_OPERATORS.items())
    yield from ((function, function.__name__) for function in (getattr, len))
    for home, prefix in _HOMES:
        for name in dir(home):
            function = getattr(home, name, None)
            if callable(function) and not isinstance(function, type) and not name.startswith("__"):
                own = getattr(function, "__name__", name)  # torch.dsmm is torch.mm
                yield function, f"{prefix}{own if getattr(home, own, None) is function else name}"


_HOMES: Final = (
    (torch, ""),
    (torch.Tensor, ""),
    (F, ""),
    (getattr(torch._C, "_nn"), ""),  # noqa: B009  (pyright does not know them)
    (getattr(torch._C, "_VariableFunctions"), ""),  # noqa: B009
    (torch.special, "special."),
    (torch.linalg, "linalg."),
    (torch.fft, "fft."),
    (operator, ""),
    (math, "math."),
)

_NATIVE: Final = ("aten", "prims", "torchvision")

_IN_PLACE_OPERATORS: Final = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "div",
    "ifloordiv": "floordiv",
    "imod": "mod",
    "ipow": "pow",
    "imatmul": "matmul",
    "iand": "and",
    "ior": "or",
    "ixor": "xor",
    "setitem": "setitem",
}

_SYNONYMS: Final = {
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "clip": "clamp",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "row_stack": "vstack",
    "nelement": "numel",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctanh": "atanh",
    "arctan2": "atan2",
    "fix": "trunc",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "_threshold": "threshold",
    "_unsafe_index": "index",
    "__and__": "and",
    "__or__": "or",
    "__xor__": "xor",
    "dsmm": "mm",
    "spmm": "mm",
    "unsafe_chunk": "chunk",
    "unsafe_split": "split",
    "slice_copy": "slice",
    "special.expit": "sigmoid",
    "special.exp2": "exp2",
    "special.expm1": "expm1",
    "special.erf": "erf",
    "special.erfc": "erfc",
    "special.log1p": "log1p",
    "special.softmax": "softmax",
    "special.log_softmax": "log_softmax",
    "linalg.matmul": "matmul",
    "log_sigmoid": "logsigmoid",
    "_grouped_mm": "grouped_mm",
    "transformers.grouped_mm_fallback": "grouped_mm",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
}
