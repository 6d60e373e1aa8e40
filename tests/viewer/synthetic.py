"""A small project with a planted finding: in one cluster, a watermark in a corner carries the relevance."""

from pathlib import Path

import numpy as np
import xarray as xr

from relfunc.files.netcdf import save

CLASSES = ("ring", "disc")
EACH = 150
SIDE = 32
WATERMARK = (slice(2, 8), slice(2, 8))


def write_project(folder: Path, *, seed: int = 0, inputs: bool = True, analysis: bool = True) -> Path:
    """Write ``attributions.nc`` and ``analysis.nc`` of two classes; cluster 0 of the first holds the watermark."""
    rng = np.random.default_rng(seed)
    n = 2 * EACH
    label = np.repeat([0, 1], EACH)
    planted = np.zeros(n, bool)
    planted[:50] = True
    y, x = np.mgrid[:SIDE, :SIDE]
    middle = 16 + rng.uniform(-3, 3, (n, 2))
    distance = np.hypot(y - middle[:, :1, None], x - middle[:, 1:, None])
    shape = np.where(label[:, None, None] == 0, np.abs(distance - 9) < 2, distance < 8)
    image = np.clip(shape * 190 + rng.normal(30, 12, (n, SIDE, SIDE)), 0, 255).astype(np.uint8)
    image[np.ix_(planted, range(2, 8), range(2, 8))] = 255
    relevance = shape * rng.normal(0.3, 0.2, (n, SIDE, SIDE)) + rng.normal(0, 0.02, (n, SIDE, SIDE))
    relevance[planted] *= 0.1
    relevance[np.ix_(planted, range(2, 8), range(2, 8))] = 1.0
    wrong = rng.random(n) < 0.05
    output = np.where(np.eye(2)[np.where(wrong, 1 - label, label)] > 0, 3.0, -3.0) + rng.normal(0, 0.3, (n, 2))
    variables: dict = {
        "attribution": (("sample", "channel", "y", "x"), relevance[:, None].astype(np.float32)),
        "prediction": (("sample", "class"), output.astype(np.float32)),
        "label": (("sample",), label),
    }
    if inputs:
        variables["input"] = (("sample", "channel", "y", "x"), image[:, None])
    coords = {"sample": [f"img-{k:04d}" for k in range(n)], "class": list(CLASSES)}
    save(xr.Dataset(variables, coords, {"model": "small CNN"}), folder / "attributions.nc")
    if analysis:
        save(_tree(label, planted, rng), folder / "analysis.nc")
    return folder


def _tree(label: np.ndarray, planted: np.ndarray, rng: np.random.Generator) -> xr.DataTree:
    groups = {}
    for k, name in enumerate(CLASSES):
        rows = np.flatnonzero(label == k)
        cluster = np.where(planted[rows], 0, 1 + np.arange(rows.size) % 2)
        centre = np.array([[-14.0, 6.0], [9.0, 7.0], [8.0, -9.0]])[cluster]
        tsne = centre + rng.normal(0, 2.1, (rows.size, 2))
        density = np.where(rng.random(rows.size) < 0.06, -1, cluster)
        spectral = rng.normal(0, 0.02, (rows.size, 6)) + np.eye(6)[cluster] * 0.2
        coords = {"sample": [f"img-{row:04d}" for row in rows]}
        eigen = np.sort(np.r_[0.0, 0.012, 0.03, 0.31, 0.36, 0.4]) if k == 0 else np.linspace(0, 0.5, 6)
        groups[name] = xr.Dataset(
            {"index": ("sample", rows.astype(np.uint32)), "eigenvalue": ("eigen", eigen)},
            {**coords, "eigen": np.arange(6), "component": np.arange(2)},
        )
        groups[f"{name}/embedding"] = xr.Dataset(
            {"spectral": (("sample", "eigen"), spectral), "tsne": (("sample", "component"), tsne)}
        )
        groups[f"{name}/cluster"] = xr.Dataset({"kmeans-3": ("sample", cluster), "hdbscan": ("sample", density)})
        groups[f"{name}/score"] = xr.Dataset(
            {
                "separability": ((), 0.91 - 0.5 * k),
                "silhouette": ("clustering", [0.7 - 0.3 * k, 0.6 - 0.3 * k]),
                "cluster_separability": (
                    ("clustering", "cluster"),
                    np.array([[0.9, 0.5, np.nan], [0.8, 0.4, 0.3]]) - 0.5 * k,
                ),
                "size": (
                    ("clustering", "cluster"),
                    [np.bincount(each + 1, minlength=4)[1:] for each in (cluster, density)],
                ),
            },
            {"clustering": ["kmeans-3", "hdbscan"], "cluster": [0, 1, 2]},
        )
    return xr.DataTree.from_dict({f"/{name}": data for name, data in groups.items()})


def spoiled(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file short, change some of its bytes, or overwrite a piece."""
    spoiled, kind = bytearray(content), rng.integers(3)
    if kind == 0:
        return bytes(spoiled[: rng.integers(len(spoiled))])
    if kind == 1:
        for at in rng.integers(len(spoiled), size=rng.integers(1, 40)):
            spoiled[at] = rng.integers(256)
    else:
        at = rng.integers(min(len(spoiled), 20_000))
        spoiled[at : at + 64] = rng.bytes(len(spoiled[at : at + 64]))
    return bytes(spoiled)
