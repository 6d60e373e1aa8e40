"""Time to capture a model, to make a relevance function of it, and of its first call, which compares the two."""

from typing import Any

import torch

import relfunc as rf

from .contenders import COMPOSITES, MODELS, model
from .timing import interleave, summary

BELOW = 1.0  # seconds, for the capture


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    return [_time(name, 3 if quick else 10, device) for name in MODELS]


def _time(name: str, rounds: int, device: str) -> dict[str, Any]:
    network, composite = model(name, device), COMPOSITES["epsilon_gamma_box"]()
    x, f = torch.randn(1, 3, 224, 224, device=device), rf.lrp(network, composite)
    candidates = {
        "capture": lambda: rf.capture(network),
        "lrp": lambda: rf.lrp(network, composite),
        "lrp and first call": lambda: rf.gradient(rf.lrp(network, composite))(x, 0),
        "later call": lambda: rf.gradient(f)(x, 0),
    }
    timings = interleave(candidates, rounds, device)
    columns = summary(timings, "capture")
    return {
        "model": name,
        "device": device,
        **columns,
        "target": f"capture < {BELOW} s",
        "met": columns["capture cpu s"] < BELOW,
    }
