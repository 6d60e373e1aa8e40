"""``torch.compile`` beside eager, for relevance and for the plain gradient."""

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

    torch.compiler.reset()
    candidates: dict[str, Callable[[], torch.Tensor]] = {
        "eager": relevance,
        "compiled": torch.compile(relevance, fullgraph=True),
    }
    try:
        difference = (candidates["compiled"]() - relevance()).abs().max() / relevance().abs().max()
    except TorchDynamoException as error:  # no compiler on this machine, or a limit of dynamo's
        return {**row, "skipped": str(error).strip().splitlines()[0]}
    return {**row, **summary(interleave(candidates, rounds, device), "eager"), "difference": difference.item()}
