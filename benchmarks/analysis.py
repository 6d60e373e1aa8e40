"""Time and memory of the analysis: beside CoRelAy, how they grow with the number of samples, and of a warm run."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import analysis
from analysis import chain, step

from .memory import resident
from .timing import interleave, ratio, summary

SIDE = 32
"""Heatmaps of 32 × 32 pixels, so d = 1,024."""
NEIGHBORS, EIGENVALUES, SWEEP = 10, 32, range(2, 31)
WARM_AT_MOST = 1.0  # seconds
BEYOND_INPUT_AT_MOST = 1024.0  # MiB

FEATURES = (step(analysis.flatten), step(analysis.neighbor_graph, n_neighbors=NEIGHBORS))
PIPELINE = chain(
    *FEATURES,
    step(analysis.spectral, n_eigenvalues=EIGENVALUES),
    step(analysis.kmeans, clusters=(2,), unit_rows=True),
)
EMBEDDED = chain(*FEATURES, step(analysis.spectral, n_eigenvalues=16))


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    if device != "cpu":
        return [{"what": "analysis", "device": device, "skipped": "the analysis computes on the CPU"}]
    rounds = 1 if quick else 3
    n = 1000 if quick else 4000
    sizes = (1000, 4000) if quick else (1000, 10_000, 100_000)
    return [
        *_beside_corelay(n, rounds),
        *(_in_fresh_process(size, False) for size in sizes),
        _in_fresh_process(sizes[-1], True),
    ]


def heatmaps(n: int, seed: int = 0) -> xr.Dataset:
    """Draw positive heatmaps of twenty shapes, float32, in blocks, so that making them takes no more than they do."""
    shapes = np.exp(np.random.default_rng(seed).normal(size=(20, SIDE, SIDE))).astype(np.float32)
    heat = np.empty((n, SIDE, SIDE), np.float32)
    for start in range(0, n, 1000):
        rng = np.random.default_rng([seed, start])
        block = heat[start : start + 1000]
        rng.standard_normal(dtype=np.float32, out=block)
        np.abs(block, out=block)
        block *= shapes[rng.integers(0, len(shapes), len(block))]
    return xr.Dataset({"attribution": (("sample", "y", "x"), heat)}, {"sample": np.arange(n)})


# --- beside CoRelAy -----------------------------------------------------------------------------------


def _beside_corelay(n: int, rounds: int) -> list[dict[str, Any]]:
    if util.find_spec("corelay") is None:
        return [{"what": "neighbours, pipeline, sweep", "n": n, "skipped": "CoRelAy is not installed"}]
    data = heatmaps(n)
    x = data["attribution"].values.reshape(n, -1)
    embedded = np.asarray(analysis.run(EMBEDDED, data, by=None)["all/embedding/spectral"])
    ours = xr.Dataset({"features": (("sample", "feature"), x), "spectral": (("sample", "eigen"), embedded)})
    corelay = _corelay(x, embedded)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any], float]] = {
        "neighbours": (lambda: analysis.neighbor_graph(ours, n_neighbors=NEIGHBORS), corelay["neighbours"], 10),
        "pipeline": (lambda: analysis.run(PIPELINE, data, by=None, progress=False), corelay["pipeline"], 5),
        "spray and scores, without a map": (
            lambda: analysis.run(analysis.spray(tsne=False), data, by=None, progress=False),
            corelay["pipeline, k = 2 … 8"],
            5,
        ),
        "linkage, k = 2 … 30": (lambda: analysis.agglomerative(ours, clusters=SWEEP), corelay["linkage"], 1),
    }
    rows = []
    for what, (mine, theirs, at_least) in pairs.items():
        timings = interleave({"relfunc": mine, "corelay": theirs}, rounds)
        speedup = ratio(timings["corelay"].cpu, timings["relfunc"].cpu)
        row = {"what": what, "n": n, "d": x.shape[1], **summary(timings, "relfunc")}
        if what == "neighbours":
            row["identical"] = _identical(mine(), theirs(), n)
        rows.append(row | {"target": f"≥ {at_least}", "met": speedup >= at_least and row.get("identical", True)})
    return rows


def _corelay(x: NDArray, embedded: NDArray) -> dict[str, Callable[[], Any]]:
    """Return CoRelAy's ways, by name."""
    from corelay.pipeline.spectral import SpectralClustering, SpectralEmbedding
    from corelay.processor.affinity import SparseKNN
    from corelay.processor.clustering import AgglomerativeClustering, KMeans
    from corelay.processor.distance import SciPyPDist
    from corelay.processor.embedding import EigenDecomposition

    distance, affinity = SciPyPDist(metric="euclidean"), SparseKNN(n_neighbors=NEIGHBORS, symmetric=True)
    embedding = SpectralEmbedding(embedding=EigenDecomposition(n_eigval=EIGENVALUES, is_output=True))
    pipeline = SpectralClustering()

    def swept() -> list[Any]:
        _, vectors = embedding(x)
        return [KMeans(n_clusters=k)(vectors[:, -k:]) for k in range(2, 9)]

    return {
        "neighbours": lambda: affinity(distance(x)),
        "pipeline": lambda: pipeline(x),
        "pipeline, k = 2 … 8": swept,
        "linkage": lambda: [AgglomerativeClustering(n_clusters=k)(embedded) for k in SWEEP],
    }


def _identical(ours: xr.Dataset, theirs: Any, n: int) -> bool:
    difference = analysis.as_matrix(ours.assign_coords(sample=np.arange(n))) - theirs
    return not abs(difference).sum()


# --- growth -------------------------------------------------------------------------------------------


def _in_fresh_process(n: int, approximate: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.analysis", json.dumps([n, approximate])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _grown(n: int, approximate: bool) -> dict[str, Any]:
    """Run SpRAy without a map on one category, cold and warm; its peak is beyond the input and the libraries."""
    plan = analysis.spray(tsne=False, approximate=approximate)
    analysis.run(plan, heatmaps(300), by=None, progress=False)  # loads the libraries
    data = heatmaps(n)
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        store = analysis.Store(folder)
        wall, cpu = time.perf_counter(), time.process_time()
        tree = analysis.run(plan, data, by=None, store=store, progress=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        beyond = resident("VmHWM") - before
        began = time.perf_counter()
        analysis.run(plan, data, by=None, store=store, progress=False)
        warm = time.perf_counter() - began
    return {
        "what": f"spray, {'approximate' if approximate else 'exact'}, in a fresh process",
        "n": n,
        "d": SIDE * SIDE,
        "relfunc s": wall,
        "relfunc cpu s": cpu,
        "warm s": warm,
        "peak MiB beyond the input": beyond,
        **({"recall": tree["all/score/recall"].item()} if approximate else {}),
        "target": f"warm ≤ {WARM_AT_MOST:g} s, ≤ {BEYOND_INPUT_AT_MOST:g} MiB",
        "met": warm <= WARM_AT_MOST and beyond <= BEYOND_INPUT_AT_MOST,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_grown(*json.loads(sys.argv[1]))))
