"""A visitor with a stopwatch: headless Chromium opens a served project, zooms, and draws lassos."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

EXECUTABLE: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE: Final = {"width": 1440, "height": 900}
FIRST: Final = "() => window._drawn.length > 0"
WATCH: Final = """
  window._drawn = []; window._long = []
  const seen = new WeakSet(), draw = CanvasRenderingContext2D.prototype.drawImage
  CanvasRenderingContext2D.prototype.drawImage = function (image, ...rest) {
    if (image instanceof HTMLImageElement && !seen.has(image)) window._drawn.push(performance.now())
    if (image instanceof HTMLImageElement) seen.add(image)
    return draw.call(this, image, ...rest)
  }
  new PerformanceObserver((list) => window._long.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "longtask", buffered: true })
"""
"""Notes when a picture is first drawn, and what keeps the page busy for longer than 50 ms."""
FOLLOW: Final = """() => {
  const find = (node, what) => node.querySelector(what) ?? [...node.querySelectorAll("*")].filter((e) => e.shadowRoot)
    .reduce((found, e) => found ?? find(e.shadowRoot, what), null)
  const samples = find(document, ".sample").parentNode, said = find(document, ".count").textContent
  const first = samples.querySelector(".id").textContent
  window._seen = {}; window._drawn = []; window._long = []; window._over = false
  const tick = () => {
    if (!window._seen.count && find(document, ".count").textContent !== said) window._seen.count = performance.now()
    const shown = [...samples.querySelectorAll(".sample")].slice(0, 20)
    const here = (one) => one.querySelector("img") && [...one.querySelectorAll("img")].every((i) => i.naturalWidth)
    const fresh = samples.querySelector(".id").textContent !== first
    if (!window._seen.thumbnails && fresh && shown.length && shown.filter((one) => {
      const box = one.getBoundingClientRect()
      return box.top < innerHeight && box.bottom > 0
    }).every(here)) window._seen.thumbnails = performance.now()
    if (!window._over) requestAnimationFrame(tick)
  }
  tick()
}"""
"""Notes when the number of selected samples has changed, and when the first of them are there with their pictures."""


def missing() -> str | None:
    """Say why there can be no visit, if so."""
    try:
        import playwright.sync_api  # noqa: F401
        import psutil  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: pip install 'relfunc[bench]'"
    return None if EXECUTABLE else "no Chromium on this machine"


def visit(folder: Path, zooms: int, lassos: int, visits: int) -> dict[str, float]:
    """Measure what a visitor of a project waits for, in milliseconds, and what it takes of memory and processor.

    Parameters
    ----------
    folder : pathlib.Path
        The project.
    zooms, lassos, visits : int
        How often to zoom, to select, and to come and go.
    """
    import psutil
    from playwright.sync_api import sync_playwright

    with _serving(folder) as (address, server), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        process, found = psutil.Process(server), {}
        _first_plot(chromium, address)  # warms the server up
        page, found["first plot"], traffic = _first_plot(chromium, address, keep=True)
        page.wait_for_timeout(3000)
        found["first load MB"] = traffic["bytes"] / 1e6
        found["other origins"] = sum(not url.startswith((address, "data:", "blob:")) for url in traffic["urls"])
        found["blocked while loading"] = max(page.evaluate("window._long"), default=0.0)
        found["server MB"] = process.memory_info().rss / 2**20
        found |= _zoom(page, traffic, zooms) | _select(page, lassos)
        found["idle %"] = _idle(page, process)
        known = _state(address)
        for _ in range(visits):
            _first_plot(chromium, address)
        crowd = [_first_plot(chromium, address, keep=True)[0] for _ in range(4)]
        page.wait_for_timeout(1000)
        before, crowded = process.memory_info().rss, [*crowd]
        more = [_first_plot(chromium, address, keep=True)[0] for _ in range(4)]
        page.wait_for_timeout(1000)
        found["MB per session"] = (process.memory_info().rss - before) / 2**20 / 4
        for one in (*crowded, *more):
            one.context.close()
        for _ in range(30):  # sessions are freed some time after they end
            page.wait_for_timeout(2000)
            if _state(address)["documents"] <= known["documents"]:
                break
        found["documents left"] = _state(address)["documents"] - known["documents"]
        chromium.close()
    return found


def growth(folder: Path, sessions: int = 200) -> float:
    """Measure how many MiB more a server takes after many sessions, one after another, than after the first forty.

    Parameters
    ----------
    folder : pathlib.Path
        The project, of so many points that it is sent as a picture.
    sessions : int
        How many.
    """
    import psutil
    from playwright.sync_api import sync_playwright

    with _serving(folder) as (address, server), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        taken = []
        for count in (40, sessions):
            for _ in range(count):
                _first_plot(chromium, address)
            _state(address)  # collects what is left
            taken.append(psutil.Process(server).memory_info().rss / 2**20)
        chromium.close()
    return taken[1] - taken[0]


def _first_plot(chromium: Any, address: str, *, keep: bool = False) -> Any:
    context = chromium.new_context(viewport=SIZE)
    page = context.new_page()
    page.add_init_script(f"(() => {{ {WATCH} }})()")
    traffic: dict[str, Any] = {"bytes": 0, "urls": []}
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.requestWillBeSent", lambda event: traffic["urls"].append(event["request"]["url"]))
    network.on("Network.loadingFinished", lambda event: _add(traffic, event["encodedDataLength"]))
    network.on("Network.webSocketFrameReceived", lambda event: _add(traffic, len(event["response"]["payloadData"])))
    page.goto(address)
    page.wait_for_function(FIRST, timeout=120_000)
    taken = page.evaluate("window._drawn[0]")
    if keep:
        return page, taken, traffic
    context.close()
    return None


def _add(traffic: dict[str, Any], count: int) -> None:
    traffic["bytes"] += count


def _zoom(page: Any, traffic: dict[str, Any], zooms: int) -> dict[str, float]:
    area = page.locator(".bk-Figure").first.bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.45, area["y"] + area["height"] * 0.5)
    taken, sizes = [], []
    for k in range(zooms):
        before = traffic["bytes"]
        began = page.evaluate("window._drawn = [], performance.now()")
        page.mouse.wheel(0, -120 if k % 6 < 4 else 240)
        page.wait_for_function(FIRST, timeout=20_000)
        page.wait_for_timeout(400)
        taken.append(page.evaluate("window._drawn.at(-1)") - began)
        sizes.append(traffic["bytes"] - before)
    page.locator(".bk-tool-icon-reset").first.click()
    page.wait_for_timeout(1500)
    return {
        "repaint median": median(taken),
        "repaint p95": sorted(taken)[math.ceil(0.95 * len(taken)) - 1],
        "redraw MB": max(sizes) / 1e6,
    }


def _select(page: Any, lassos: int) -> dict[str, float]:
    area = page.locator(".bk-Figure").first.bounding_box()
    seen: list[dict[str, float]] = []
    for k in range(lassos):
        page.evaluate("window._over = true")
        page.wait_for_timeout(100)
        page.evaluate(FOLLOW)
        reach = area["height"] * (0.28 + 0.03 * k)
        x, y = area["x"] + area["width"] * (0.4 + 0.06 * k), area["y"] + area["height"] * 0.5
        page.mouse.move(x + reach, y)
        page.mouse.down()
        for turn in range(1, 60):
            angle = turn / 60 * 2 * math.pi
            page.mouse.move(x + reach * math.cos(angle), y + reach * math.sin(angle))
        began = page.evaluate("window._drawn = [], performance.now()")
        page.mouse.up()
        page.wait_for_timeout(2500)
        noted = page.evaluate("({...window._seen, highlight: window._drawn.at(-1)})")
        blocked = max(page.evaluate("window._long"), default=0.0)
        seen.append({name: at - began for name, at in noted.items() if at} | {"blocked": blocked})
    names = {
        "count": "count",
        "highlight": "highlight",
        "thumbnails": "thumbnails",
        "blocked": "blocked by a selection",
    }
    held = {said: [one[name] for one in seen if name in one] for name, said in names.items()}
    return {said: median(values) for said, values in held.items() if values}


def _idle(page: Any, server: Any) -> float:
    """Percent of a processor core that server and browser take while nothing happens."""
    import psutil

    page.evaluate("window._over = true")
    page.mouse.move(3, 3)
    page.wait_for_timeout(3000)
    browser = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
    before, began = sum(map(_used, (server, *browser))), time.perf_counter()
    page.wait_for_timeout(8000)
    return 100 * (sum(map(_used, (server, *browser))) - before) / (time.perf_counter() - began)


def _used(process: Any) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _state(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{address}/state") as answer:
        return json.loads(answer.read())


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.visits", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ}) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    _state(address)
                    break
                except OSError:
                    time.sleep(0.1)
            yield address, server.pid
        finally:
            server.terminate()


def _serve(folder: str, port: int) -> None:
    import gc

    from bokeh.document import Document
    from tornado.web import RequestHandler

    import viewer

    class State(RequestHandler):
        def get(self) -> None:
            gc.collect()
            self.write({"documents": sum(issubclass(type(held), Document) for held in gc.get_objects())})

    viewer.serve(folder, port=port, show=False, extra_patterns=[("/state", State)])


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
