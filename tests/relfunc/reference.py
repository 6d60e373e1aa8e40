"""The reference models and inputs, made without stored weights, and what the published Zennit 1.0.0 gives for them."""

from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

DATA = Path(__file__).parents[1] / "data"

COTANGENTS = {
    "one_hot": torch.tensor([3, 7]),
    "signed": torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(2, 10),
    "output": None,
}


def cnn() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, 10),
    )
    return filled(model, seed=11)


def resnet18() -> nn.Module:
    return filled(torchvision.models.resnet18(num_classes=10), seed=13)


MODELS = {"cnn": cnn, "resnet18": resnet18}


def images() -> Tensor:
    return torch.tensor(np.random.default_rng(5).uniform(-2.0, 2.5, (2, 3, 32, 32)))


def filled(model: nn.Module, seed: int) -> nn.Module:
    """Fill a model's parameters and running statistics from one generator, in float64 and evaluation mode."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            shape = tuple(p.shape)
            if p.ndim > 1:
                value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            else:
                value = (
                    1 + 0.2 * rng.standard_normal(shape)
                    if name.endswith("weight")
                    else 0.1 * rng.standard_normal(shape)
                )
            p.copy_(torch.tensor(value))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(torch.tensor(0.1 * rng.standard_normal(tuple(b.shape))))
            elif name.endswith("running_var"):
                b.copy_(torch.tensor(rng.uniform(0.5, 1.5, tuple(b.shape))))
    return model.double().eval()
