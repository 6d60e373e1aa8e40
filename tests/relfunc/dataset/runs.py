"""Data and runs for the tests of what tells runs apart and of what is refused."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn
from torch.utils.data import (
    Dataset,
)

import relfunc as rf

N, CLASSES = 20, 3
X = torch.linspace(0, 1, N * 12).reshape(N, 3, 2, 2)
Y = torch.arange(N) % CLASSES


def model(seed: int = 0, slope: float = 0.1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.LeakyReLU(slope), nn.Linear(4, CLASSES)).eval()


def run(data: Any, out: Path, explain: Any = None, **options: Any) -> xr.Dataset:
    explain = explain or rf.gradient(model())
    manifest = rf.attribute_dataset(
        explain, data, out, **{"progress": False, "shard_size": 8, "batch_size": 4, **options}
    )
    with rf.open_attributions(manifest) as read:
        return read.load()


def of_model(held: nn.Module) -> Callable[..., Any]:
    return lambda x, target: (held(x).detach(), torch.ones_like(x))


class Rows(Dataset):
    """A dataset with code of its own, and a constant that its class holds."""

    scale = 1.0

    def __init__(self, x: torch.Tensor, y: torch.Tensor, transform: Any = None) -> None:
        self.x, self.y, self.transform = x, y, transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        x = self.x[i] * self.scale
        return (self.transform(x) if self.transform else x), self.y[i]


def scaled(by: float) -> Callable[[Any], torch.Tensor]:
    return lambda x: torch.as_tensor(x).float() * by


def moved(at: int, by: float = 1e-3) -> torch.Tensor:
    x = X.clone()
    x[at % N, 0, 0, 0] += by
    return x


def relabelled(at: int) -> torch.Tensor:
    y = Y.clone()
    y[at % N] = (y[at % N] + 1) % CLASSES
    return y


def swapped(k: int) -> list[int]:
    order = list(range(N))
    i, j = random.Random(k).sample(order, 2)
    order[i], order[j] = j, i
    return order


def labelled(x: torch.Tensor = X, y: torch.Tensor = Y, ids: Any = None) -> xr.Dataset:
    coords = {"sample": [f"s{i}" for i in range(N)] if ids is None else ids}
    return xr.Dataset({"input": (("sample", "channel", "y", "x"), x.numpy()), "label": ("sample", y.numpy())}, coords)


def renamed(k: int) -> list[str]:
    return [f"s{i}" if i != k % N else "another" for i in range(N)]
