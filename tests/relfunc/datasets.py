"""Small data of each kind, and a small network, for tests of whole datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch import nn
from torchvision import transforms

import relfunc as rf

COUNT, SHAPE, CLASSES = 23, (1, 6, 6), 4


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES)).eval()


def explanation() -> Any:
    return rf.gradient(rf.lrp(network(), rf.composites.epsilon_plus()))


def labelled() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "input": (("sample", "channel", "y", "x"), rng.integers(0, 256, (COUNT, *SHAPE), np.uint8)),
            "label": ("sample", rng.integers(0, CLASSES, COUNT)),
        },
        coords={"sample": [f"image {i}" for i in range(COUNT)], "class": list("abcd")},
    )


def scaled(images: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(images).float() / 255


def attribute(data: Any, out: Path, **options: Any) -> Path:
    return rf.attribute_dataset(explanation(), data, out, **{"batch_size": 4, "shard_size": 8, **options})


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pictures(home: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(6):
        folder = home / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).save(folder / f"{i}.png")
    return home / "images"


NORMALIZED = transforms.Compose([transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize([0.4], [0.2])])
