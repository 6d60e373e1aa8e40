"""Made-up attributions with an artefact, and metadata of their samples."""

import numpy as np
import xarray as xr
from scipy import ndimage

KINDS = ("patch", "watermark", "border")


def heatmaps(
    kind: str,
    *,
    n: int = 120,
    size: int = 24,
    share: float = 0.25,
    strength: float = 0.2,
    noise: float = 0.1,
    seed: int,
) -> tuple[xr.Dataset, np.ndarray]:
    """One class whose objects move and change their size; some samples have relevance on an artefact.

    The artefact takes ``strength`` of the relevance, unevenly and smeared over neighbours, in a ``share`` of the
    samples, told by ``artifact``; on ``noise``.

    Returns
    -------
    xarray.Dataset
    numpy.ndarray
        Where the artefact is, over ``y, x``.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centre = size / 2 + rng.normal(scale=size * 0.08, size=(2, n, 1, 1))
    width = rng.uniform(0.12, 0.22, (n, 1, 1)) * size
    heat = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2)) * rng.uniform(
        0.3, 1.7, size=(n, size, size)
    )
    heat += noise * abs(rng.normal(size=heat.shape))
    mask = np.zeros((size, size), bool)
    if kind == "patch":
        mask[1 : 1 + size // 6, 1 : 1 + size // 6] = True
    elif kind == "watermark":
        mask[-size // 8 - 1 : -1, size // 8 : size // 8 + size // 3] = True
    else:
        mask[:] = True
        mask[size // 12 : -(size // 12), size // 12 : -(size // 12)] = False
    artifact = np.zeros(n, bool)
    artifact[rng.choice(n, round(share * n), replace=False)] = True
    texture = (rng.random(mask.shape) < 0.5) + 0.1 if kind == "watermark" else rng.uniform(0.2, 1.8, mask.shape)
    mark = mask * texture * rng.uniform(0.4, 1.6, size=(artifact.sum(), size, size))
    mark = ndimage.gaussian_filter(mark, (0, 0.7, 0.7))
    mark *= strength * rng.uniform(0.5, 1.5, (len(mark), 1, 1)) / mark.sum((1, 2), keepdims=True)
    heat[artifact] += mark * heat[artifact].sum((1, 2), keepdims=True)
    heat *= rng.choice([-1, 1], size=heat.shape, p=[0.1, 0.9])
    data = xr.Dataset(
        {"attribution": (("sample", "channel", "y", "x"), heat[:, None]), "artifact": ("sample", artifact)},
        {"sample": [f"s{k}" for k in range(n)]},
    )
    return data, mask


def analysed(data: xr.Dataset, clusters: np.ndarray, name: str = "given") -> xr.DataTree:
    """An analysis of one category, "all", with one clustering."""
    n = data.sizes["sample"]
    top = xr.Dataset({"index": ("sample", np.arange(n))}, {"sample": data["sample"].values}, {"category": "all"})
    cluster = xr.Dataset({name: ("sample", np.asarray(clusters).astype(np.int32))})
    return xr.DataTree.from_dict({"/all": top, "/all/embedding": xr.Dataset(), "/all/cluster": cluster})


def row(cluster: int = 1, category: str = "all", clustering: str = "given") -> xr.Dataset:
    """One row of a ranking."""
    columns = {"clustering": ("category", [clustering]), "cluster": ("category", [cluster])}
    return xr.Dataset(columns, {"category": [category]})


def twenty(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Twenty variables of all kinds that have to do with nothing."""
    day = np.datetime64("2020-01-01") + rng.integers(0, 700, n)
    found: dict[str, np.ndarray] = {f"normal {k}": rng.normal(size=n) for k in range(4)}
    found |= {f"long-tailed {k}": rng.exponential(size=n) ** 3 for k in range(3)}
    found |= {f"mostly zero {k}": (rng.random(n) < 0.06) * rng.exponential(size=n) for k in range(2)}
    found |= {f"yes {k}": rng.random(n) < share for k, share in enumerate((0.03, 0.2, 0.5))}
    found |= {f"code {k}": rng.integers(0, values, n) for k, values in enumerate((3, 9))}
    found |= {f"text {k}": rng.choice(list("abcdef"), n, p=[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]) for k in range(3)}
    found |= {"date": day, "count": rng.poisson(30, n), "file": np.array([f"{k}.png" for k in range(n)])}
    assert len(found) == 20
    return found
