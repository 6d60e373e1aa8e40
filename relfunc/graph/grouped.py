"""Grouped linear layers: each row of a batch by the weight of its group, as experts compute what was routed to them.

Rows are sorted by group, and an offset says where each group ends. Whatever such a product is written with becomes one
affine operation, so that the layers of experts get the rules of linear layers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._C._functorch import is_batchedtensor

from ..ops.spellings import spelling
from ..ops.table import OPS, Op, find, known_as
from .graphs import bound, calls


@known_as("grouped_linear")
def grouped_linear(x: Tensor, weight: Tensor, bias: None = None, *, offsets: Tensor) -> Tensor:
    """Multiply each row by the matrix of its group.

    Parameters
    ----------
    x : Tensor
        Rows, sorted by group: ``(row, feature)``.
    weight : Tensor
        ``(group, feature, output)``.
    bias : None
        There is none.
    offsets : Tensor
        Where each group ends.

    Returns
    -------
    Tensor
        ``(row, output)``; zeros in rows behind the last group.
    """
    if torch.compiler.is_compiling() or is_batchedtensor(offsets):  # how many rows a group has is not to be asked
        group = torch.searchsorted(offsets, torch.arange(len(x), device=x.device, dtype=offsets.dtype), right=True)
        chosen = weight[group.clamp(max=len(weight) - 1)]
        return (x.unsqueeze(1) @ chosen).squeeze(1) * (group < len(weight)).unsqueeze(-1)
    ends = offsets.tolist()
    parts = [x[start:end] @ weight[i] for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))]
    behind = x.new_zeros(len(x) - ends[-1], weight.shape[-1])
    return torch.cat([*parts, behind])


def grouped_linear_transpose(share: Tensor, x: Tensor, weight: Tensor, *, offsets: Tensor) -> Tensor:
    """Multiply by the transposed Jacobian of :func:`grouped_linear`."""
    return grouped_linear(share, weight.mT, offsets=offsets)


def group(graph: fx.Graph, rows: Mapping[Any, Op]) -> None:
    """Give grouped matrix products of constant weights one form.

    Parameters
    ----------
    graph : torch.fx.Graph
        It is changed.
    rows : mapping
        From :func:`relfunc.ops.table`.
    """
    for node in calls(graph):
        if spelling(node.target) != "grouped_mm" or find(node.target, rows) != OPS["grouped_mm"]:
            continue
        given = bound(node, "mat_a mat_b offs bias out_dtype")
        x, weight = given.get("input", given.get("mat_a")), given.get("weight", given.get("mat_b"))
        further = [given.get(name) for name in ("bias", "out_dtype")]
        if isinstance(x, fx.Node) and given.get("offs") is not None and further == [None, None]:
            node.target, node.args, node.kwargs = grouped_linear, (x, weight, None), {"offsets": given["offs"]}
