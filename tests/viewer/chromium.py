"""A headless Chromium, and servers for it to visit."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.visits import EXECUTABLE, FLAGS

MISSING = "no Chromium on this machine: install chromium, chromium-browser or google-chrome"


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield started
        started.close()


@contextmanager
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    """Open a page and wait for its first picture; afterwards it must have met no error, and asked no other server."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    expect.set_options(timeout=15_000)
    troubles: list[str] = []
    own = ("data:", "blob:", address.removesuffix("/viewer"))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: request.url.startswith(own) or troubles.append(request.url))
    page.goto(address)
    page.locator(".sample img").first.wait_for(timeout=60_000)  # a new installation compiles while it is visited
    yield page
    context.close()
    assert troubles == []


@contextmanager
def serving(*command: str, path: str = "", port: int) -> Iterator[str]:
    """Run a Python module that serves on a port, and yield its address once it answers."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield _answering(f"http://127.0.0.1:{port}{path}", server)
        finally:
            server.terminate()


def free_port() -> int:
    """Return a port that nothing listens on: any, so that several processes of tests hardly ever meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answering(url: str, server: subprocess.Popen) -> str:
    for _ in range(600):
        assert server.poll() is None, "the server has stopped"
        try:
            with urllib.request.urlopen(url):
                return url
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")
