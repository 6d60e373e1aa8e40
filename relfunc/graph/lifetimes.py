"""Lifetimes: values of a program that only give their shape are let go, and those that nobody reads are overwritten.

Both leave all results as they are. A program's peak memory is the activations that rules read later, so that what is
kept for nothing counts in full.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..ops.table import op_of
from .memory import rectified


def shape_of(value: Any) -> Any:
    """Return tensors of the same shapes that take no memory."""
    if isinstance(value, Tensor):  # as nearly always
        return torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)
    return pytree.tree_map_only(Tensor, shape_of, value)


def overwrite_unread(graph: fx.Graph) -> None:
    """Let each ReLU overwrite its input, where that is fresh memory which nothing else reads.

    Parameters
    ----------
    graph : torch.fx.Graph
        Of a program; it is changed.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in _RELU:
            continue
        source = node.args[0]
        others = [user for user in source.users if user is not node and user.target is not shape_of]
        op = op_of(source) if source.op == "call_function" else None
        if op is not None and op.memory == "own" and op.kind in {"affine", "combination", "move"} and not others:
            node.target, node.kwargs = rectified, {}


_RELU = {F.relu, torch.relu, torch.Tensor.relu, torch.ops.aten.relu.default}
