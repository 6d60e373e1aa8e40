"""Models as users write them, and passes as users write them for such models."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import relfunc as rf


class Squashed(nn.Module):
    """An activation as products and a sigmoid."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        return self.out(x * torch.sigmoid(1.702 * x))


class ByHand(nn.Module):
    """A linear layer as a product and a sum."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((x.unsqueeze(1) * self.weight).sum(-1) + self.bias)


class Layer(nn.Module):
    """What it means."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(F.linear(x, self.weight, self.bias))


class Normalized(nn.Module):
    """A batch norm by a function of the user's, behind a convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        mean, variance = self.norm.running_mean, self.norm.running_var
        scale = torch.exp(torch.log(variance + self.norm.eps) * -0.5) * self.norm.weight
        shape = (1, 3, 1, 1)
        return torch.relu(torch.einsum("nchw,c->nchw", x - mean.view(shape), scale) + self.norm.bias.view(shape))


class Norm(Normalized):
    """What it means."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


# --- passes -----------------------------------------------------------------------------------------------


def is_call(node: Any, name: str) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and rf.ops.name_of(node.target) == name


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def find_quick_gelu(graph: fx.Graph) -> fx.Graph:
    for node in graph.nodes:
        match node.args:
            case x, gate if is_call(node, "mul") and is_call(gate, "sigmoid") and is_call(gate.args[0], "mul"):
                if set(gate.args[0].args) == {x, 1.702}:
                    with graph.inserting_before(node):
                        new = graph.call_function(quick_gelu, (x,))
                    node.replace_all_uses_with(new, propagate_meta=True)
    return graph


def find_linear(graph: fx.Graph) -> fx.Graph:
    """Leaves the old nodes behind, dead."""
    for node in graph.nodes:
        match node.args:
            case total, bias if is_call(node, "add") and is_call(total, "sum") and is_call(total.args[0], "mul"):
                column, weight = total.args[0].args
                with graph.inserting_before(node):
                    new = graph.call_function(F.linear, (column.args[0], weight, bias))
                node.replace_all_uses_with(new)
    return graph


def find_batch_norm(graph: fx.Graph) -> fx.Graph:
    """Reads other tensors of the model's than it did."""
    (node,) = [node for node in graph.nodes if is_call(node, "relu")]
    node, x = node.args[0], next(node for node in graph.nodes if is_call(node, "conv2d"))
    with graph.inserting_before(node):
        mean, variance, weight, bias = (
            graph.get_attr(f"norm.{name}") for name in ("running_mean", "running_var", "weight", "bias")
        )
        new = graph.call_function(F.batch_norm, (x, mean, variance, weight, bias))
    node.replace_all_uses_with(new, propagate_meta=True)
    return graph


def rectify_in_place(graph: fx.Graph) -> fx.Graph:
    for node in graph.nodes:
        if is_call(node, "relu"):
            node.target, node.args, node.kwargs = torch.relu_, (node.args[0],), {}
    return graph


def written_anew(graph: fx.Graph) -> fx.Graph:
    """Returns another graph, from which all facts about its nodes are gone."""
    copy = fx.Graph()
    output = copy.graph_copy(graph, {})
    copy.output(output)
    for node in copy.nodes:
        node.meta = {}
    return copy


def untouched(graph: fx.Graph) -> fx.Graph:
    return graph


def negate(graph: fx.Graph) -> fx.Graph:
    """Changes what is computed."""
    output = graph.output_node()
    with graph.inserting_before(output):
        output.args = (graph.call_function(torch.neg, (output.args[0],)),)
    return graph


def negate_twice(graph: fx.Graph) -> fx.Graph:
    return negate(negate(graph))
