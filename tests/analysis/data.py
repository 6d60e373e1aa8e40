"""Made-up attributions for the tests of this folder."""

import numpy as np
import xarray as xr


def attributions(
    per_class: int = 24, classes: int = 3, *, planted: int | None = None, share: float = 0.3, seed: int = 0
) -> xr.Dataset:
    """Heatmaps of 12 × 12 pixels: a blob per class that moves and changes its size, on noise.

    Parameters
    ----------
    per_class, classes : int
        How many samples and classes.
    planted : int, optional
        The class in which a ``share`` of the samples has a fifth of its relevance in a corner, told by ``artifact``.
    """
    rng = np.random.default_rng(seed)
    n = per_class * classes
    label = rng.permutation(np.repeat(np.arange(classes), per_class))
    angle = 2 * np.pi * label / classes
    y, x = np.mgrid[:12, :12]
    centre = np.stack([6 + 2.5 * np.sin(angle), 6 + 2.5 * np.cos(angle)]) + rng.normal(scale=0.7, size=(2, n))
    width = rng.uniform(1.5, 2.5, n)[:, None, None]
    square = (y - centre[0][:, None, None]) ** 2 + (x - centre[1][:, None, None]) ** 2
    heat = np.exp(-square / (2 * width**2)) + 0.02 * np.abs(rng.normal(size=(n, 12, 12)))
    artifact = np.zeros(n, bool)
    if planted is not None:
        members = np.flatnonzero(label == planted)
        artifact[rng.choice(members, round(share * len(members)), replace=False)] = True
        mark = np.zeros((12, 12))
        mark[:2, :2] = 0.25 * rng.uniform(0.8, 1.2, size=(2, 2))
        total = heat[artifact].sum((1, 2), keepdims=True)
        heat[artifact] += 0.25 * mark * total * rng.uniform(0.7, 1.3, size=total.shape)
    prediction = np.eye(classes)[label] + rng.normal(scale=0.1, size=(n, classes))
    return xr.Dataset(
        {
            "attribution": (("sample", "channel", "y", "x"), heat[:, None].astype(np.float32)),
            "prediction": (("sample", "class"), prediction.astype(np.float32)),
            "label": ("sample", label),
            "artifact": ("sample", artifact),
            "input": (("sample", "channel", "y", "x"), np.zeros((n, 1, 12, 12), np.uint8)),
        },
        coords={"sample": [f"s{i}" for i in range(n)], "class": [f"class {i}" for i in range(classes)]},
        attrs={"model": "made up"},
    )
