"""Complex numbers: a stretch of complex arithmetic that is linear becomes one linear map from real values to real ones.

A Fourier transform of which the real part is taken, or a rotation of pairs written as a product with complex constants,
mixes real and imaginary parts; relevance of a complex number has no meaning, and that of what enters and leaves the
stretch has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import fx
from torch.utils import _pytree as pytree

from ..ops.spellings import spelling, words
from ..ops.table import OPS, Op, find
from .graphs import calls, mapped, origin_of, substitute, varying, within


@dataclass(frozen=True, eq=False)
class ComplexMap:
    """A stretch of complex arithmetic, from real values to real ones.

    Parameters
    ----------
    function : torch.fx.GraphModule
        What it computes.
    """

    function: fx.GraphModule
    __name__ = "complex_map"
    op = OPS["complex_map"]

    def __call__(self, *values: Any) -> Any:
        """Run it."""
        return self.function(*values)


def collapse_complex(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Make one operation of each linear stretch of complex arithmetic that ends in real values.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    found = varying(graph)
    inside: set[fx.Node] = set()
    for node in calls(graph):
        name = _name(node)
        behind = not inside.isdisjoint(node.all_input_nodes)
        if name in _ENTRIES or (name not in _EXITS and (behind or (node in found and _is_complex(node)))):
            inside.add(node)
    for node in calls(graph):
        if _name(node) in _EXITS and not inside.isdisjoint(node.all_input_nodes):
            stretch = _stretch(node, inside)
            if all(_is_linear(part, found, rows) for part in stretch if part in found):
                _collapse(graph, [*stretch, node])


def _name(node: fx.Node) -> str:
    if node.target is getattr and node.args[1:] == ("real",):
        return "real"
    return spelling(node.target) or ""


def _stretch(last: fx.Node, inside: set[fx.Node]) -> list[fx.Node]:
    """Return the complex values that a real one is made of, in the order in which they are computed."""
    pending, seen = [last], set()
    while pending:
        for a in pending.pop().all_input_nodes:
            if a in inside and a not in seen:
                seen.add(a)
                pending.append(a)
    return [node for node in last.graph.nodes if node in seen]


def _is_linear(node: fx.Node, found: set[fx.Node], rows: Mapping[Any, Op]) -> bool:
    name, op = _name(node), find(node.target, rows)
    if name in _ENTRIES or name in _SUMS or (op is not None and op.kind == "move"):
        return True
    if name == "div" and node.args[1:2] and node.args[1] in found:
        return False
    return name in _PRODUCTS and len(within(pytree.tree_leaves(node.args), found)) == 1


def _is_complex(node: fx.Node) -> bool:
    return getattr(node.meta.get("dtype"), "is_complex", False)


def _collapse(graph: fx.Graph, stretch: list[fx.Node]) -> None:
    inner = fx.Graph()
    outer = [a for a in dict.fromkeys(a for node in stretch for a in node.all_input_nodes) if a not in stretch]
    copies = {value: inner.placeholder(f"x{i}") for i, value in enumerate(outer)}
    for node in stretch:
        args, kwargs = mapped(copies.__getitem__, (node.args, dict(node.kwargs)))
        copies[node] = inner.create_node("call_function", node.target, args, kwargs)
    inner.output(copies[stretch[-1]])
    module = fx.GraphModule(torch.nn.Module(), inner)
    with graph.inserting_before(stretch[-1]):
        new = graph.call_function(ComplexMap(module), tuple(outer))
    new.meta = origin_of(stretch[-1])
    if "dtype" in stretch[-1].meta:
        new.meta["dtype"] = stretch[-1].meta["dtype"]
    substitute(graph, stretch[-1], new)
    for node in reversed(stretch[:-1]):
        if not node.users:
            graph.erase_node(node)


_ENTRIES: Final = words(
    "view_as_complex fft.fft fft.fft2 fft.fftn fft.rfft fft.rfft2 fft.rfftn fft.ifft fft.ifft2 fft.ifftn"
)
_EXITS: Final = words("real imag view_as_real fft.irfft fft.irfft2 fft.irfftn")
_SUMS: Final = words("add sub neg complex conj _conj conj_physical resolve_conj")
_PRODUCTS: Final = words("mul div matmul mm bmm einsum")
