"""Equations: an einsum that sums over nothing is the product, element by element, that it spells.

A gate is one, and a chain of products has as many factors, whether it is multiplied by an operator or by an equation.
"""

import operator
from typing import Any

import torch
from torch import fx


def names_of_equation(node: fx.Node) -> str:
    """Name the arguments of an einsum, of which there may be any number."""
    return " ".join(["equation", *(f"factor_{i}" for i in range(len(node.args)))])


def product_of(call: Any, given: dict[str, Any]) -> fx.Node | None:
    """Write an einsum as a product, if it is one; parameters as of all definitions."""
    equation = given.pop("equation")
    given.pop("path", None)
    factors = [a for value in given.values() for a in (value if isinstance(value, tuple | list) else (value,))]
    if not isinstance(equation, str) or "->" not in equation or not factors:
        return None
    left, _, right = equation.replace(" ", "").partition("->")
    labels, out = [_axes(part) for part in left.split(",")], _axes(right)
    kept = all(len(set(axes)) == len(axes) and set(axes) <= set(out) for axes in labels)
    if len(labels) < 2 or len(labels) != len(factors) or not kept:
        return None
    orders = [_order(axes, out) for axes in labels]
    if any(order is None for order in orders):
        return None
    aligned = [_aligned(call, a, *order) for a, order in zip(factors, orders, strict=True) if order is not None]
    product = aligned[0]
    for factor in aligned[1:]:
        product = call(operator.mul, product, factor)
    return product


def _axes(labels: str) -> list[str]:
    """Return the labels of axes, of which an ellipsis is one."""
    return list(labels.replace("...", "."))


def _order(axes: list[str], out: list[str]) -> tuple[list[int] | None, list[int]] | None:
    """Say how axes are permuted, and which are added from behind, to be those of a product; None if that is unknown."""
    wanted = [label for label in out if label in axes]
    missing = [i for i, label in enumerate(out) if label not in axes and any(a in axes for a in out[:i])]
    if "." in axes and wanted != axes:
        return None
    if any("." in out[i:] for i in missing):
        return None
    permuted = None if wanted == axes else [axes.index(label) for label in wanted]
    return permuted, [i - len(out) for i in reversed(missing)]


def _aligned(call: Any, a: Any, permuted: list[int] | None, added: list[int]) -> Any:
    a = a if permuted is None else call(torch.permute, a, tuple(permuted))
    for axis in added:
        a = call(torch.unsqueeze, a, axis)
    return a
