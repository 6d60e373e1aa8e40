"""What the tests of commands are given: networks, pictures, and ways to run a command."""

import numpy as np
import torch
from torchvision.transforms.functional import to_tensor

import relfunc as rf
from relfunc.command.cli import main

NETWORKS = """
import torch
from torch import nn
from torchvision.transforms.functional import to_tensor

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers)

class Network(nn.Sequential):
    def __init__(self):
        super().__init__(*network())

ready = network()
number = 3

def with_options(width):
    return network()

def failing():
    raise ValueError("no such file: weights")

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x) if x.shape[0] > 0 and x.sum() > 1e9 else self.inner(x) + 0

def scaled(images):
    return torch.as_tensor(images).float() / 255
"""


def pictures():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 9, 3)).astype(np.uint8)


def network(seed=0):
    torch.manual_seed(seed)
    layers = (
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    return torch.nn.Sequential(*layers).eval()


def trained():
    return network(seed=7)


LABEL = torch.tensor([0, 0, 1, 1, 2, 2, 2])


def x():
    return torch.stack([to_tensor(image) for image in pictures()])


def run(*argv):
    return main([*map(str, argv)])


def attribute(*argv, model="networks:network", data="photos", transform="networks:to_tensor"):
    given = ("--transform", transform) if transform else ()
    return run("attribute", "--model", model, "--data", data, "--out", "run", *given, *argv)


def results():
    with rf.open_attributions("run") as data:
        return data.load()


def fails(capsys, *argv, **given):
    """Run a command that fails, and return its one line."""
    capsys.readouterr()
    assert (attribute(*argv, **given) if argv[:1] not in {("plan",), ("audit",)} else run(*argv)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("relfunc: error: ")
    return said
