"""Relevance of all ten classes: one call beside ten."""

from collections.abc import Callable
from typing import Any

import relfunc as rf

from .contenders import COMPOSITES, images, model
from .timing import interleave, ratio, summary

CLASSES = 10
AT_LEAST = 2.0  # times as fast as ten calls


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    names = ("vgg16", "resnet50")
    return [_compare(name, composite, quick, device) for name in names for composite in COMPOSITES]


def _compare(name: str, composite: str, quick: bool, device: str) -> dict[str, Any]:
    batch, size, rounds = (1, 64, 3) if quick else (1, 224, 5)
    f = rf.lrp(model(name, device, num_classes=CLASSES), COMPOSITES[composite]())
    x, all_classes, one_class = images(batch, size, device), rf.per_class(f), rf.gradient(f)
    candidates: dict[str, Callable[[], Any]] = {
        "one call": lambda: all_classes(x),
        "ten calls": lambda: [one_class(x, c) for c in range(CLASSES)],
    }
    timings = interleave(candidates, rounds, device)
    speedup = ratio(timings["ten calls"].cpu, timings["one call"].cpu)
    return {
        "model": name,
        "batch": batch,
        "size": size,
        "device": device,
        "composite": composite,
        **summary(timings, "one call"),
        "target": f"≥ {AT_LEAST}",
        "met": speedup >= AT_LEAST,
    }
