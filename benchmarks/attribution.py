"""Time of one attribution: relfunc and Zennit beside the plain gradient, by model and composite."""

from contextlib import ExitStack
from typing import Any

from .contenders import COMPOSITES, CONTENDERS, MODELS, images, model
from .timing import interleave, ratio, summary

# By composite: at most this many times the plain gradient's time; at least this many times faster than Zennit.
TARGETS = {
    "epsilon_gamma_box": (1.8, 3.5),
    "epsilon_plus": (1.8, 2.2),
    "epsilon_plus_flat": (1.8, 2.2),
    "epsilon": (1.2, 1.0),
}


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    return [_compare(name, composite, quick, device) for name in MODELS for composite in COMPOSITES]


def _compare(name: str, composite: str, quick: bool, device: str) -> dict[str, Any]:
    batch, size, rounds = (1, 64, 3) if quick else (8, 224, 5)
    network, x = model(name, device), images(batch, size, device)
    with ExitStack() as stack:
        candidates = {key: stack.enter_context(make(network, x, composite)) for key, make in CONTENDERS.items()}
        timings = interleave(candidates, rounds, device)
        ours, theirs = (candidates[key]()[1] for key in ("relfunc", "zennit"))
    columns = summary(timings, "gradient")
    at_most, at_least = TARGETS[composite]
    speedup = ratio(timings["zennit"].cpu, timings["relfunc"].cpu)
    return {
        "model": name,
        "batch": batch,
        "size": size,
        "device": device,
        "composite": composite,
        **columns,
        "zennit/relfunc wall": ratio(timings["zennit"].wall, timings["relfunc"].wall),
        "zennit/relfunc cpu": speedup,
        "target": f"≤ {at_most}, ≥ {at_least}",
        "met": columns["relfunc/gradient cpu"] <= at_most and speedup >= at_least,
        "largest difference": ((ours - theirs).abs().max() / theirs.abs().max()).item(),
        "rounds": {key: {"wall": timing.wall, "cpu": timing.cpu} for key, timing in timings.items()},
    }
