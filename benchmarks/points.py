"""A project of many points: two embeddings, 32 clusters, small attributions, written as relfunc writes it."""

from pathlib import Path
from typing import Final

import netCDF4
import numpy as np

CLUSTERS: Final = 32
SIDE: Final = 8
PART: Final = 100_000


def write(folder: Path, n: int, *, seed: int = 0) -> Path:
    """Write ``attributions.nc`` and ``analysis.nc`` of one category with ``n`` samples in random order."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    cluster = rng.integers(CLUSTERS, size=n)
    with netCDF4.Dataset(folder / "attributions.nc", "w") as file:
        for name, size in (("sample", n), ("channel", 1), ("y", SIDE), ("x", SIDE), ("class", 2)):
            file.createDimension(name, size)
        attribution = file.createVariable("attribution", "f4", ("sample", "channel", "y", "x"))
        block = rng.normal(size=(PART, 1, SIDE, SIDE)).astype("f4")
        for first in range(0, n, PART):
            attribution[first : first + PART] = block[: n - first]
        file.createVariable("prediction", "f4", ("sample", "class"))[:] = rng.normal(size=(n, 2)).astype("f4")
        file.createVariable("label", "i1", ("sample",))[:] = cluster % 2
        file.createVariable("sample", "i4", ("sample",))[:] = np.arange(n)
        file.createVariable("class", "S1", ("class",))[:] = np.array([b"a", b"b"])
    centre, spread = rng.uniform(-20, 20, (CLUSTERS, 2)), rng.uniform(0.3, 2, CLUSTERS)
    flat = centre[cluster] + rng.normal(size=(n, 2)) * spread[cluster, None]
    with netCDF4.Dataset(folder / "analysis.nc", "w") as file:
        node = file.createGroup("all")
        for name, size in (("sample", n), ("component", 2)):
            node.createDimension(name, size)
        node.createVariable("index", "u4", ("sample",))[:] = np.arange(n)
        node.createVariable("sample", "i4", ("sample",))[:] = np.arange(n)
        embedding = node.createGroup("embedding")
        embedding.createVariable("tsne", "f4", ("sample", "component"))[:] = flat.astype("f4")
        node.createGroup("cluster").createVariable("kmeans-32", "i4", ("sample",))[:] = cluster
    return folder
