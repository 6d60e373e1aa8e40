"""What is compared: models, composites, and one attribution by the plain gradient, by relfunc and by Zennit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision import models

import relfunc as rf

MODELS: Final[dict[str, Callable[..., nn.Module]]] = {"vgg16": models.vgg16, "resnet50": models.resnet50}
LOW, HIGH = -3.0, 3.0
COMPOSITES: Final[dict[str, Callable[[], rf.composites.Composite]]] = {
    "epsilon_gamma_box": lambda: rf.composites.epsilon_gamma_box(LOW, HIGH),
    "epsilon_plus": rf.composites.epsilon_plus,
    "epsilon_plus_flat": rf.composites.epsilon_plus_flat,
    "epsilon": lambda: rf.composites.mixed(
        rf.composites.by_type({"linear|convolution": rf.rules.epsilon()}),
        rf.composites.Composite("", (), rf.composites.base()),
        name="epsilon",
    ),
}

Attribute = Callable[[], tuple[Tensor, Tensor]]


def model(name: str, device: str = "cpu", **options: Any) -> nn.Module:
    """Build a torchvision model with random weights."""
    torch.manual_seed(0)
    return MODELS[name](weights=None, **options).eval().to(device)


def images(batch: int, size: int, device: str = "cpu") -> Tensor:
    """Draw normal noise within the bounds that the box rule is given."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size, size, generator=generator).clamp(LOW, HIGH).to(device)


def one_hot(x: Tensor, classes: int = 1000) -> Tensor:
    """Seed sample i with its class i."""
    return torch.eye(classes, device=x.device)[torch.arange(len(x)) % classes]


@contextmanager
def plain_gradient(network: nn.Module, x: Tensor, composite: str) -> Iterator[Attribute]:
    """Input gradient by autograd, as a user would write it; the composite is not used."""
    seed = one_hot(x)

    def attribute() -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        output = network(leaf)
        return output.detach(), torch.autograd.grad(output, leaf, seed)[0]

    yield attribute


@contextmanager
def relfunc(network: nn.Module, x: Tensor, composite: str) -> Iterator[Attribute]:
    """Relevance by relfunc; the model is captured once."""
    seed = one_hot(x)
    explain = rf.gradient(rf.lrp(network, COMPOSITES[composite]()))
    yield lambda: explain(x, seed)


@contextmanager
def zennit(network: nn.Module, x: Tensor, composite: str) -> Iterator[Attribute]:
    """Relevance by Zennit on a copy of the model, which its hooks stay registered on."""
    from zennit.attribution import Gradient

    seed = one_hot(x)
    attributor: Any = Gradient(model=deepcopy(network), composite=_zennit_composite(network, composite, x))
    with attributor:

        def attribute() -> tuple[Tensor, Tensor]:
            output, relevance = attributor(x, seed)
            return output.detach(), relevance

        yield attribute


def _zennit_composite(network: nn.Module, name: str, x: Tensor) -> Any:
    from zennit import composites
    from zennit.rules import Epsilon
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer
    from zennit.types import Convolution

    canonizers = [ResNetCanonizer() if isinstance(network, models.ResNet) else VGGCanonizer()]
    if name == "epsilon":
        layers = [(Convolution, Epsilon()), (nn.Linear, Epsilon())]
        return composites.LayerMapComposite(composites.layer_map_base() + layers, canonizers=canonizers)
    if name == "epsilon_gamma_box":
        low, high = torch.full_like(x[:1], LOW), torch.full_like(x[:1], HIGH)
        return composites.EpsilonGammaBox(low=low, high=high, canonizers=canonizers)
    classes = {"epsilon_plus": composites.EpsilonPlus, "epsilon_plus_flat": composites.EpsilonPlusFlat}
    return classes[name](canonizers=canonizers)


CONTENDERS: Final = {"gradient": plain_gradient, "relfunc": relfunc, "zennit": zennit}
