"""What is computed again for relevance: the same bits, and less that is kept."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

import relfunc as rf
from relfunc.graph import recomputed
from relfunc.relevance import rewrite
from relfunc.relevance.target import seed

from ..efficient import BERT, GPT2, LLAMA, VIT, Transformer


class Convolutions(nn.Module):
    """Two convolutions, with an activation and views between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        return self.second(F.silu(torch.cat([y, y.flip(-1)], 1).narrow(1, 0, 4))).mean((2, 3))


class Kept(fx.Interpreter):
    """Runs a program, and counts the bytes of all values that are there when the model's own operations are done."""

    size = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(target, rewrite.Seeding):
            tensors = [leaf for leaf in pytree.tree_leaves(list(self.env.values())) if isinstance(leaf, Tensor)]
            storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
            self.size = sum(storages.values())
        return super().call_function(target, args, kwargs)


def run(f: Any, x: Tensor) -> tuple[Tensor, int]:
    """Return the relevance of class 1, and how much was kept for it."""
    interpreter = Kept(f._lrp.program.run)
    _, (relevance,) = interpreter.run(x, *f._lrp.parameters(), seed(1))
    return relevance, interpreter.size


@pytest.mark.parametrize("kind", [VIT, BERT, GPT2, LLAMA])
@pytest.mark.parametrize("fused", [False, True])
def test_relevance_is_the_same_and_less_is_kept(kind, fused, monkeypatch):
    model = Transformer(kind)
    for block in model.blocks:
        block.parts[0].fused = fused
    x = model.example()
    recomputing = rf.lrp(model, rf.composites.attnlrp(0.25), example_inputs=x)
    monkeypatch.setattr(rewrite, "recompute", lambda graph, seeding, ops: None)
    keeping = rf.lrp(model, rf.composites.attnlrp(0.25), example_inputs=x)
    (ours, less), (theirs, more) = run(recomputing, x), run(keeping, x)
    assert torch.equal(ours, theirs)
    parameters = sum(p.untyped_storage().nbytes() for p in model.parameters())
    assert less - parameters < 0.7 * (more - parameters)


def test_relu_is_not_run_again():
    torch.manual_seed(0)
    f = rf.lrp(Convolutions().eval(), rf.composites.epsilon_plus())
    names = [node.name for node in f._lrp.program.run.graph.nodes]
    assert sum(name.startswith("relu") for name in names) == 1
    assert sum(name.startswith("silu") for name in names) <= 2


def test_what_needs_a_value_that_is_not_kept_stays():
    """The mean over tokens is kept by nobody: what is added to it is not computed again from it."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.tanh(torch.cumsum(x, 1)))

    f = rf.lrp(Pooled().eval(), rf.composites.by_type({"*": rf.rules.gradient(), "linear": rf.rules.gamma(0.25)}))
    assert sum(node.name.startswith("cumsum") for node in f._lrp.program.run.graph.nodes) == 1
    assert recomputed.recompute is rewrite.recompute
