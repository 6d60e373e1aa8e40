"""The demo's data: handwritten digits, some of one class with a planted watermark."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from .. import schema

ARTIFACT = "artifact"
TRAIN = "train"


@dataclass(frozen=True)
class Setting:
    """What determines the demo's files.

    Parameters
    ----------
    seed : int
        Of the watermark's choice of images, the split, the training, and the analysis.
    planted : int
        The class that gets the watermark.
    fraction : float
        Of that class's images.
    size : int
        Height and width of the images, in pixels.
    epochs : int
        Of training.
    composite : str
        Name of the composite of the attributions.
    """

    seed: int = 0
    planted: int = 3
    fraction: float = 1 / 3
    size: int = 32
    epochs: int = 8
    composite: str = "epsilon_plus_flat"


def handwritten(size: int) -> tuple[Tensor, np.ndarray]:
    """Load scikit-learn's handwritten digits.

    Parameters
    ----------
    size : int
        Height and width to which they are scaled.

    Returns
    -------
    tuple of Tensor and numpy.ndarray
        Images ``(sample, 1, y, x)`` in [0, 1], and the digit on each.
    """
    loaded: Any = load_digits()
    small = torch.as_tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, size=size, mode="bilinear", align_corners=False).clamp(0, 1)
    return images, loaded.target.astype(np.int64)


def watermarked(images: Tensor) -> Tensor:
    """Draw the watermark on images ``(sample, 1, y, x)`` in [0, 1]."""
    marked = images.clone()
    marked[WATERMARK] = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    return marked


WATERMARK = np.s_[..., -4:-1, 1:6]


def digits(setting: Setting) -> xr.Dataset:
    """Plant the watermark in handwritten digits.

    Parameters
    ----------
    setting : Setting
        Which images get it.

    Returns
    -------
    xarray.Dataset
        ``input (sample, channel, y, x)`` uint8; ``label (sample)``; ``artifact (sample)`` and ``train (sample)`` bool.

    Examples
    --------
    >>> data = digits(Setting())
    >>> data["input"].shape, int(data["artifact"].sum())
    ((1797, 1, 32, 32), 61)
    """
    rng = np.random.default_rng(setting.seed)
    images, label = handwritten(setting.size)
    planted = np.flatnonzero(label == setting.planted)
    chosen = rng.choice(planted, round(setting.fraction * len(planted)), replace=False)
    images[chosen] = watermarked(images[chosen])
    artifact = np.zeros(len(label), dtype=bool)
    artifact[chosen] = True
    train, _ = train_test_split(np.arange(len(label)), test_size=0.25, stratify=label, random_state=setting.seed)
    return xr.Dataset(
        {
            schema.INPUT: ((schema.SAMPLE, schema.CHANNEL, schema.Y, schema.X), as_bytes(images)),
            schema.LABEL: (schema.SAMPLE, label),
            ARTIFACT: (schema.SAMPLE, artifact),
            TRAIN: (schema.SAMPLE, np.isin(np.arange(len(label)), train)),
        },
        coords={
            schema.SAMPLE: np.arange(len(label)),
            schema.CLASS: [str(digit) for digit in range(10)],
        },
    )


def as_bytes(images: Tensor) -> np.ndarray:
    """Store images in [0, 1] as uint8, same shape."""
    return (images * 255).byte().numpy()


def as_input(images: np.ndarray) -> Tensor:
    """Scale uint8 images to what the network takes: float32 in [−1, 1], same shape."""
    return torch.as_tensor(images).float() / 127.5 - 1
