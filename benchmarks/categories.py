"""An analysis of many categories: writing it, opening it, the viewer on it, and running it again from its store."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

import analysis
import relfunc as rf
import viewer
from analysis.roles import result
from relfunc.files.netcdf import save
from viewer.opening import opened
from viewer.project.project import Project
from viewer.project.scores import ranking
from viewer.state.view import View

EACH: Final = 20
"""Samples of a category."""
WRITTEN: Final = "write and reopen"
OPENED: Final = "viewer opens"
WARM: Final = "run, all in the store"
TARGETS: Final = {WRITTEN: 10.0, OPENED: 1.0, WARM: 2.0}
"""Seconds that may pass at a thousand categories; of running again, those of the processor."""


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    if device != "cpu":
        return []  # files need no GPU
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        _measured(_written(Path(folder) / "warm", 2), 2)  # imports, and what numba has compiled
        before: dict[str, tuple[float, float]] = {}
        for n in (10, 100) if quick else (10, 100, 1000):
            found = _measured(_written(Path(folder) / str(n), n), n) | _again(Path(folder) / f"{n} again", n)
            rows += [_row(n, what, taken, before.get(what)) for what, taken in found.items()]
            before = found
    return rows


def _row(n: int, what: str, taken: tuple[float, float], before: tuple[float, float] | None) -> dict[str, Any]:
    row = {"categories": n, "what": what, "s": taken[0], "cpu s": taken[1]}
    if before is not None:
        row["cpu growth by 10"] = taken[1] / max(before[1], 0.01)
    if n == 1000 and what in TARGETS:
        row |= {"target": f"≤ {TARGETS[what]:g} s", "met": taken[what == WARM] <= TARGETS[what]}
    return row


def _measured(folder: Path, n: int) -> dict[str, tuple[float, float]]:
    """Seconds by the clock and of processors, those of children with them."""
    tree = _tree(n)
    found = {
        "write": _time(lambda: save(tree, folder / "analysis.nc")),
        "reopen": _time(lambda: rf.open_analysis(folder).close()),
    }
    found[WRITTEN] = (found["write"][0] + found["reopen"][0], found["write"][1] + found["reopen"][1])
    with rf.open_analysis(folder) as read:
        found["read every category"] = _time(lambda: read.load())
    found[OPENED] = _time(lambda: _listed(folder, n))
    found["first map"] = _time(lambda: _shown(folder))
    return found


def _again(folder: Path, n: int) -> dict[str, tuple[float, float]]:
    """Run a plan whose results are as many as those of :func:`analysis.spray`, twice with one store."""
    each, rng = 50, np.random.default_rng(0)
    variables = {
        "attribution": (("sample", "channel", "y", "x"), rng.random((n * each, 1, 32, 32), np.float32)),
        "prediction": (("sample", "class"), rng.random((n * each, n), np.float32)),
        "label": ("sample", rng.permutation(np.arange(n * each) % n)),
    }
    data = xr.Dataset(variables, {"sample": np.arange(n * each), "class": [f"class {k}" for k in range(n)]})
    plan, store = analysis.step(_results), analysis.Store(folder)

    def again(out: Path | None = None) -> xr.DataTree:
        return analysis.run(plan, data, store=store, out=out, progress=False)

    found = {"run, nothing in the store": _time(again), WARM: _time(again)}
    found[f"{WARM}, and write"] = _time(lambda: again(folder / "analysis.nc"))
    found[f"{WARM}, and look at every category"] = _time(lambda: [node.sizes for node in again().subtree])
    return found


def _results(data: xr.Dataset) -> xr.Dataset:
    """Return random numbers as results of every kind."""
    n, rng, names = data.sizes["sample"], np.random.default_rng(0), [f"kmeans-{k:02d}" for k in range(2, 9)]
    both, cuts = ("clustering", "cluster"), (*names, "apart")
    labels = {name: result("clustering", ("sample",), rng.integers(0, 8, n, np.int32)) for name in cuts}
    of_each = ("separability", "silhouette", "noise")
    scores = {name: result("score", ("clustering",), rng.random(len(cuts))) for name in of_each}
    scores |= {name: result("score", both, rng.random((len(cuts), 8))) for name in ("cluster_separability", "size")}
    scores |= {name: result("score", (), rng.random()) for name in ("eigengap", "n_strategies", "margin")}
    scores["margin_chance"] = result("score", ("surrogate",), rng.random(20))
    found = {
        "spectral": result("embedding", ("sample", "eigen"), rng.random((n, 16))),
        "eigenvalue": result("eigenvalue", ("eigen",), rng.random(16)),
    }
    return xr.Dataset(found | labels | scores, {"clustering": list(cuts), "cluster": np.arange(8)})


def _listed(folder: Path, n: int) -> None:
    project = opened(folder)
    if not isinstance(project, Project) or len(ranking(project, "separability")) != n:
        raise RuntimeError(f"{folder}: the list of classes is not there")


def _shown(folder: Path) -> None:
    view = View()
    viewer.app(folder, view=view)
    if view.points is None:
        raise RuntimeError(view.trouble)


def _time(work: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - wall, sum(os.times()[:4]) - cpu


def _written(folder: Path, n: int) -> Path:
    """Write the attributions of some categories."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    variables = {
        "attribution": (("sample", "feature"), rng.normal(size=(n * EACH, 8)).astype(np.float32)),
        "prediction": (("sample", "class"), rng.normal(size=(n * EACH, n)).astype(np.float32)),
        "label": ("sample", np.repeat(np.arange(n), EACH)),
    }
    names = [f"class {k}" for k in range(n)]
    save(xr.Dataset(variables, {"sample": np.arange(n * EACH), "class": names}), folder / "attributions.nc")
    return folder


def _tree(n: int) -> xr.DataTree:
    """Return an analysis as that of :func:`analysis.spray` is, of random numbers."""
    rng = np.random.default_rng(0)
    about = {"step": "analysis.some.step", "parameters": '{"n_dims": 8, "of": "spectral", "seed": 0}', "seed": 0}
    names, both = ["kmeans-02", "kmeans-03"], ("clustering", "cluster")

    def numbers(dims: tuple[str, ...], *shape: int) -> tuple[Any, ...]:
        return dims, rng.normal(size=shape), {"role": "some", "of": "spectral", **about}

    nodes = {}
    for k in range(n):
        coords = {"sample": np.arange(k * EACH, (k + 1) * EACH), "eigen": np.arange(4), "component": np.arange(2)}
        top = {"index": ("sample", coords["sample"]), "eigenvalue": numbers(("eigen",), 4)}
        scores = {name: numbers(("clustering",), 2) for name in ("separability", "silhouette", "noise")}
        scores |= {name: numbers((), *()) for name in ("eigengap", "n_strategies")}
        scores |= {"cluster_separability": numbers(both, 2, 3), "size": (both, np.full((2, 3), 7.0), about)}
        nodes |= {
            f"/class {k}": xr.Dataset(top, coords, {"category": f"class {k}"}),
            f"/class {k}/embedding": xr.Dataset(
                {"spectral": numbers(("sample", "eigen"), EACH, 4), "tsne": numbers(("sample", "component"), EACH, 2)}
            ),
            f"/class {k}/cluster": xr.Dataset({name: ("sample", np.arange(EACH) % 3, about) for name in names}),
            f"/class {k}/score": xr.Dataset(scores, {"clustering": names, "cluster": np.arange(3)}),
        }
    return xr.DataTree.from_dict(nodes)
