"""The demo's network, and its training."""

import sys

import torch
import torch.nn.functional as F
import xarray as xr
from torch import nn
from tqdm import tqdm

from .. import schema
from .data import TRAIN, Setting, as_input


def network() -> nn.Module:
    """Build the demo's convolutional network: ``(sample, 1, 32, 32)`` to ``(sample, 10)``.

    Returns
    -------
    torch.nn.Module
    """
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def train(data: xr.Dataset, setting: Setting) -> nn.Module:
    """Train the network on the training part.

    Parameters
    ----------
    data : xarray.Dataset
        From :func:`digits`.
    setting : Setting
        Seed and epochs.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    part = data.isel({schema.SAMPLE: data[TRAIN].values})
    x, y = as_input(part[schema.INPUT].values), torch.as_tensor(part[schema.LABEL].values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=setting.epochs)
        for _ in tqdm(range(setting.epochs), "train", disable=not sys.stderr.isatty(), leave=False):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(data: xr.Dataset) -> float:
    """Accuracy on the test part, between 0 and 1."""
    part = data.isel({schema.SAMPLE: ~data[TRAIN].values})
    return float((part[schema.PREDICTION].argmax(schema.CLASS) == part[schema.LABEL]).mean())
