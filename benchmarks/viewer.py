"""The viewer at one and ten million points: what the server computes, and what a visitor in a browser waits for."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from viewer.draw.colouring import colouring
from viewer.draw.samples import thumbnails
from viewer.loading import open_project
from viewer.plane import canvas, index
from viewer.plane.scene import grid
from viewer.project.project import points

from .points import write
from .visits import growth, missing, visit

SIZE: Final = (900, 700)
TARGETS: Final[dict[str, tuple[float, float]]] = {
    "aggregate and shade": (30, 150),
    "200 categories / 10": (1.2, 1.2),
    "lasso of 300 vertices": (15, 100),
    "a thumbnail": (20, 20),
    "first plot": (3000, 4000),
    "repaint median": (300, 500),
    "repaint p95": (300, 500),
    "redraw MB": (0.5, 0.5),
    "first load MB": (5, 5),
    "other origins": (0, 0),
    "blocked while loading": (200, 200),
    "blocked by a selection": (200, 200),
    "count": (400, 700),
    "highlight": (600, 900),
    "thumbnails": (600, 600),
    "server MB": (650, 650),
    "MB per session": (5, 5),
    "documents left": (0, 0),
    "idle %": (5, 5),
}
"""At most, with one and with ten million points; milliseconds unless the name says otherwise."""


def run(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    if device != "cpu":
        return []  # the viewer needs no GPU
    rows = []
    for large, n in enumerate((1_000_000,) if quick else (1_000_000, 10_000_000)):
        with tempfile.TemporaryDirectory() as folder:
            project = write(Path(folder) / "points", n)
            found = _computed(project)
            reason = missing()
            if reason is None:
                found |= visit(project, *((8, 2, 2) if quick else (40, 5, 20)))
            else:
                rows.append({"points": n, "what": "in a browser", "skipped": reason})
        rows += [_row(n, what, value, TARGETS[what][large]) for what, value in found.items()]
    if not quick and missing() is None:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(50_000, "MB by 200 sessions", growth(write(Path(folder) / "points", 50_000)), 20))
    return rows


def _row(n: int, what: str, value: float, most: float) -> dict[str, Any]:
    return {"points": n, "what": what, "value": float(value), "target": f"≤ {most:g}", "met": value <= most}


def _computed(folder: Path) -> dict[str, float]:
    project = open_project(folder)
    held = points(project, "all", embedding="tsne", clustering="kmeans-32")
    assert held.xy is not None
    cells, colours, rng = grid(held), colouring(project, held, "cluster"), np.random.default_rng(0)
    window = canvas.fit(canvas.bounds(held.xy), *SIZE)
    palette = rng.integers(256, size=(200, 3)).astype(np.uint8)

    def shaded(codes: np.ndarray, of: np.ndarray) -> Callable[[], Any]:
        return lambda: canvas.picture(cells, codes, of, window, *SIZE)

    few, many = (shaded(rng.integers(k, size=len(cells.xy)).astype(np.uint8), palette[:k]) for k in (10, 200))
    found = {
        "aggregate and shade": _median(shaded(colours.codes[cells.position], colours.palette)),
        "200 categories / 10": _median(many) / _median(few),
        "lasso of 300 vertices": _median(_lasso(held.xy, cells)),
        "a thumbnail": _median(lambda: thumbnails(project, rng.integers(held.rows.size, size=1)), rounds=50),
    }
    project.attributions.close()
    return found


def _lasso(xy: np.ndarray, cells: index.Grid) -> Callable[[], Any]:
    """Make a lasso of 300 vertices round about a fifth of the points."""
    middle = xy.mean(axis=0)
    turn = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    reach = np.quantile(np.hypot(*(xy - middle).T), 0.2) * (1 + 0.1 * np.sin(9 * turn))
    return lambda: index.in_polygon(cells, middle[0] + reach * np.cos(turn), middle[1] + reach * np.sin(turn))


def _median(work: Callable[[], Any], rounds: int = 9) -> float:
    """Milliseconds that something takes once it is warm."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken) * 1e3
