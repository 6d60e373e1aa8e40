"""What writing a dataset's attributions costs beside computing them: time, and memory as samples become many."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import relfunc as rf
from relfunc import demo

from .contenders import COMPOSITES, images, model
from .memory import resident
from .timing import interleave, ratio, summary


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    rounds = 3 if quick else 9
    rows = [
        _overhead("demo's CNN", _small(2_000 if quick else 20_000, device), 256, 1.2, rounds, device),
        _overhead("vgg16", _large(4 if quick else 32, 64 if quick else 224, device), 8, 1.05, rounds, device),
    ]
    return rows if device != "cpu" else [*rows, _growth(quick)]


def _small(count: int, device: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    digits = demo.digits(demo.Setting())["input"].values
    return demo.network().eval().to(device), torch.as_tensor(digits[np.arange(count) % len(digits)])


def _large(count: int, size: int, device: str) -> tuple[nn.Module, torch.Tensor]:
    return model("vgg16", device), (images(count, size) * 42 + 128).byte()


def _scaled(pixels: Any) -> torch.Tensor:
    return torch.as_tensor(pixels).float() / 127.5 - 1


def _overhead(
    name: str, setting: tuple[nn.Module, torch.Tensor], batch: int, at_most: float, rounds: int, device: str
) -> dict[str, Any]:
    network, pixels = setting
    explain = rf.gradient(rf.lrp(network, COMPOSITES["epsilon_plus_flat"]()))
    data = xr.Dataset({"input": (("sample", "channel", "y", "x"), pixels.numpy())})

    def alone() -> None:
        for part in pixels.split(batch):
            explain(_scaled(part).to(device), 0)[1].cpu()

    def streamed() -> None:
        with tempfile.TemporaryDirectory() as folder:
            rf.attribute_dataset(explain, data, folder, target=0, batch_size=batch, transform=_scaled)

    candidates: dict[str, Callable[[], Any]] = {"alone": alone, "streamed": streamed}
    timings = interleave(candidates, rounds, device)
    return {
        "what": f"time, {name}",
        "samples": len(pixels),
        "device": device,
        **summary(timings, "alone"),
        "target": f"≤ {at_most} wall",
        "met": ratio(timings["streamed"].wall, timings["alone"].wall) <= at_most,
    }


def _growth(quick: bool) -> dict[str, Any]:
    few, many = 1_000, 10_000 if quick else 100_000
    peaks = {count: _peak_in_fresh_process(count) for count in (few, many)}
    return {
        "what": "peak memory, one small layer",
        "samples": f"{few} and {many}",
        "device": "cpu",
        "few MiB": peaks[few],
        "many MiB": peaks[many],
        "target": "≤ 50 MiB more",
        "met": peaks[many] - peaks[few] <= 50,
    }


def _peak_in_fresh_process(count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.streaming", json.dumps(count)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


class _Noise(torch.utils.data.Dataset[torch.Tensor]):
    """Pictures made when they are asked for, so that they take no memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(i))


def _peak(count: int) -> float:
    torch.manual_seed(0)
    explain = rf.gradient(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    with tempfile.TemporaryDirectory() as folder:
        rf.attribute_dataset(explain, _Noise(count), Path(folder), target=0, batch_size=250)
        return resident("VmHWM")


if __name__ == "__main__":
    sys.stdout.write(str(_peak(json.loads(sys.argv[1]))))
