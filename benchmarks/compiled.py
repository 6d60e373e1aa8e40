"""``torch.compile`` beside eager, for relevance and for the plain gradient.

Compiled code rounds otherwise, which now and then changes the winner of a max pooling, and with it where relevance
goes: the plain gradient's difference says how much of the relevance's is that.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException

import relfunc as rf

from .contenders import COMPOSITES, images, model, one_hot
from .timing import interleave, summary


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    if quick:  # compiling takes minutes
        return [_compare("vgg16", "epsilon_plus", quick, device)]
    return [_compare("resnet50", composite, quick, device) for composite in COMPOSITES]


def _compare(name: str, composite: str, quick: bool, device: str) -> dict[str, Any]:
    batch, size, rounds = (1, 64, 3) if quick else (8, 224, 5)
    network, x = model(name, device), images(batch, size, device)
    row = {"model": name, "batch": batch, "size": size, "device": device, "composite": composite}
    seed, explain = one_hot(x), rf.gradient(rf.lrp(network, COMPOSITES[composite]()))

    def relevance() -> torch.Tensor:
        return explain(x, seed)[1]

    def gradient() -> torch.Tensor:
        return torch.func.vjp(network, x)[1](seed)[0]

    torch.compiler.reset()
    candidates: dict[str, Callable[[], torch.Tensor]] = {
        "eager": relevance,
        "compiled": torch.compile(relevance, fullgraph=True),
    }
    try:
        difference = _difference(candidates["compiled"](), relevance())
        of_gradient = _difference(torch.compile(gradient, fullgraph=True)(), gradient())
    except TorchDynamoException as error:  # no compiler on this machine, or a limit of dynamo's
        return {**row, "skipped": str(error).strip().splitlines()[0]}
    columns = summary(interleave(candidates, rounds, device), "eager")
    return {**row, **columns, "largest difference": difference, "of the plain gradient": of_gradient}


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()
