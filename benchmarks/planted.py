"""Heatmaps of networks, with artefacts in one class or none, and maps without any structure."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

import relfunc as rf
from relfunc.demo import as_input, handwritten, network, watermarked

SIZE: Final = 32
CLASSES: Final = 10
TRAINED: Final = 4000
"""At most so many images are learned from."""
EPOCHS: Final = 8
COMPOSITE: Final = rf.composites.epsilon_plus_flat()


def _patch(images: Tensor) -> Tensor:
    images[..., 2:6, 26:30] = 1
    return images


def _border(images: Tensor) -> Tensor:
    inner = images[..., 2:-2, 2:-2].clone()
    images[:] = 0.8
    images[..., 2:-2, 2:-2] = inner
    return images


def _texture(images: Tensor) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (images + 0.3 * ((x + y) % 4 < 2)).clamp(0, 1)


ARTEFACTS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "patch": _patch,
    "watermark": watermarked,
    "border": _border,
    "tint": lambda images: images * 0.75 + 0.25,
    "texture": _texture,
    "blur": lambda images: F.avg_pool2d(images, 5, 1, 2, count_include_pad=False),
}
"""What is done to copies of images (sample, 1, y, x) in [0, 1]."""
WRONG: Final = "wrong labels"
"""Instead of an artefact: images of the next class under the label of the planted one."""


class Explained(NamedTuple):
    """Heatmaps of a network for the labels of its images.

    Parameters
    ----------
    relevance : ndarray of float32, shape (n, y, x)
    label : ndarray of int, shape (n,)
    planted : ndarray of bool, shape (n,)
        Which images have the artefact.
    relied : float
        How far the artefact raises the logit of the planted class above the others in images of other classes, in
        standard deviations of logits; NaN without one.
    """

    relevance: NDArray
    label: NDArray
    planted: NDArray
    relied: float


def explained(
    seed: int, each: int, artefact: str = "", share: float = 0.05, architecture: int = 0, photographs: bool = False
) -> Explained:
    """Train a network on images, some of one class with an artefact, and explain them.

    Parameters
    ----------
    seed : int
    each : int
        Images of each class.
    artefact : str
        One of ``ARTEFACTS``, ``WRONG``, or none.
    share : float
        Of the images of the planted class.
    architecture : int
        0: that of the demo; 1: wide kernels without batch norm; 2: strides and average pooling.
    photographs : bool
        Whether classes are the tenths of scikit-learn's two photographs that patches are from, and not digits.
    """
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    draw, label = _patches if photographs else _digits, np.repeat(np.arange(CLASSES), each)
    clean = draw(label, rng, generator)
    marked, planted, class_ = clean.clone(), np.zeros(len(label), bool), int(rng.integers(CLASSES))
    if artefact:
        planted[rng.choice(np.flatnonzero(label == class_), round(share * each), replace=False)] = True
    if artefact == WRONG:
        marked[planted] = draw(np.full(planted.sum(), (class_ + 1) % CLASSES), rng, generator)
    elif artefact:
        marked[planted] = ARTEFACTS[artefact](clean[planted].clone())
    x, y = _quantized(marked), torch.as_tensor(label)
    model = _trained(NETWORKS[architecture](), x, y, rng)
    function = rf.gradient(rf.lrp(model, COMPOSITE))
    parts = [function(x[part], y[part])[1].sum(1).numpy() for part in torch.arange(len(y)).split(256)]
    known = artefact in ARTEFACTS
    relied = _relied(model, clean[label != class_][:400], artefact, class_) if known else np.nan
    return Explained(np.concatenate(parts), label, planted, relied)


def _digits(label: NDArray, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Draw handwritten digits from scikit-learn's, and turn, scale, shear, move and bend them at random, a little."""
    images, digit = handwritten(SIZE)
    source = np.empty(len(label), dtype=int)
    for k in range(CLASSES):
        own, among = np.flatnonzero(label == k), np.flatnonzero(digit == k)
        source[own] = rng.choice(among, own.size, replace=own.size > among.size)
    return _deformed(images[source], generator)


def _patches(label: NDArray, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Draw patches at random places; a class is one of five stripes of one of two photographs."""
    photographs = np.stack(load_sample_images().images).mean(-1, dtype=np.float32) / 255
    _, height, width = photographs.shape
    stripe = width // 5
    top = rng.integers(height - SIZE, size=len(label))
    left = label % 5 * stripe + rng.integers(stripe - SIZE, size=len(label))
    cut = [photographs[k // 5, y : y + SIZE, x : x + SIZE] for k, y, x in zip(label, top, left, strict=True)]
    return torch.as_tensor(np.stack(cut))[:, None]


def structureless(kind: str, n: int, rng: np.random.Generator) -> NDArray:
    """Make maps (n, 24, 24) of one distribution without groups: "noise", "smooth" fields, a "template" or "bumps"."""
    shape = (n, 24, 24)
    if kind == "noise":
        return rng.normal(size=shape)
    if kind == "smooth":
        return ndimage.gaussian_filter(rng.normal(size=shape), (0, 3, 3))
    if kind == "template":
        template = ndimage.gaussian_filter(rng.normal(size=shape[1:]), 3)
        return template / template.std() * rng.uniform(0.5, 2, (n, 1, 1)) + 0.5 * rng.normal(size=shape)
    y, x = np.mgrid[:24, :24]
    (at_x, at_y), width = rng.uniform(0, 24, (2, n, 1, 1)), rng.uniform(1.5, 5, (n, 1, 1))
    bump = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 2 / width**2)
    return bump + 0.02 * rng.normal(size=shape)


STRUCTURELESS: Final = ("noise", "smooth", "template", "bumps")


def _relied(model: nn.Module, clean: Tensor, artefact: str, class_: int) -> float:
    with torch.no_grad():
        before, after = model(_quantized(clean)), model(_quantized(ARTEFACTS[artefact](clean.clone())))
    change = after - before
    return float((change[:, class_] - change.mean(1)).mean() / before.std())


def _trained(model: nn.Module, x: Tensor, y: Tensor, rng: np.random.Generator) -> nn.Module:
    seen = rng.permutation(len(y))[:TRAINED]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.as_tensor(rng.permutation(seen)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def _quantized(images: Tensor) -> Tensor:
    return as_input((images * 255).byte().numpy())


def _deformed(images: Tensor, generator: torch.Generator) -> Tensor:
    def uniform(*shape: int, most: float) -> Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1) * most

    n = len(images)
    angle, scale, shear = uniform(n, most=0.26), 1 + uniform(n, most=0.15), uniform(n, most=0.2)
    move = uniform(n, 2, most=0.125)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack([cos, shear - sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    coarse = 0.06 * torch.randn(n, 2, 5, 5, generator=generator)
    bend = F.interpolate(coarse, size=SIZE, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid + bend, align_corners=False).clamp(0, 1)


def _wide() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(24 * 8 * 8, CLASSES)),
    )


def _strided() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48 * 4, CLASSES)),
    )


NETWORKS: Final[tuple[Callable[[], Any], ...]] = (network, _wide, _strided)
