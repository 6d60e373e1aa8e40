"""Peak memory of one attribution beyond the model's own, each in a fresh process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .contenders import COMPOSITES, CONTENDERS, MODELS, images, model

AT_MOST = 1.3  # times the plain gradient's

_STATUS = Path("/proc/self/status")


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    batch, size = (1, 64) if quick else (8, 224)
    if device == "cpu" and not _STATUS.exists():
        return [{"device": device, "skipped": "peak memory on a CPU is read from Linux's /proc"}]
    return [_compare(name, composite, batch, size, device) for name in MODELS for composite in COMPOSITES]


def _compare(name: str, composite: str, batch: int, size: int, device: str) -> dict[str, Any]:
    peaks = {key: _peak_in_fresh_process(name, composite, key, batch, size, device) for key in CONTENDERS}
    return {
        "model": name,
        "batch": batch,
        "size": size,
        "device": device,
        "composite": composite,
        **{f"{key} MiB": peak for key, peak in peaks.items()},
        "relfunc/gradient": peaks["relfunc"] / peaks["gradient"],
        "zennit/gradient": peaks["zennit"] / peaks["gradient"],
        "target": f"≤ {AT_MOST}",
        "met": peaks["relfunc"] <= AT_MOST * peaks["gradient"],
    }


def _peak_in_fresh_process(*arguments: Any) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(arguments)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _peak(name: str, composite: str, contender: str, batch: int, size: int, device: str) -> float:
    """MiB that one attribution needs at most, beyond the model, the input and the imported libraries."""
    network, x = model(name, device), images(batch, size, device)
    with CONTENDERS[contender](network, x, composite) as attribute:
        return peak_of(attribute, device)


def peak_of(attribute: Callable[[], Any], device: str) -> float:
    """MiB that a call needs at most beyond what there is; on a CPU the first call that a process makes."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        attribute()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = resident("VmRSS")
    attribute()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """MiB of this process; unlike ``ru_maxrss``, ``VmHWM`` does not begin at the size of the parent process."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.stdout.write(str(_peak(*json.loads(sys.argv[1]))))
