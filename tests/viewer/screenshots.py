"""The pictures in the README, taken from the demo: ``python -m tests.viewer.screenshots relfunc-demo``."""

import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from relfunc.demo import Setting

from .chromium import browser, free_port, serving

FOLDER = Path(__file__).parents[2] / "viewer" / "assets" / "screenshots"
SIZE = {"width": 1440, "height": 900}


def take(project: Path, folder: Path) -> None:
    """Take the pictures of the demo's project."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (
        serving("relfunc.command.cli", "view", str(project), "--no-browser", "--port", str(port), port=port) as address,
        browser() as chromium,
    ):
        for name, scheme in (("selection", "light"), ("comparison", "dark")):
            page = chromium.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(address)
            _prepare(page)
            if name == "comparison":
                page.get_by_role("button", name="Compare", exact=True).click()
                page.get_by_alt_text("difference of the mean attributions").wait_for()
                expect(page.locator(".versus h2").first).to_have_text("Selection")
            page.mouse.move(700, 20)
            # Pictures that have come are drawn in the next frames.
            page.wait_for_timeout(600)
            page.screenshot(path=folder / f"{name}.png")
            page.close()


def _prepare(page: Page) -> None:
    """Select the cluster with the watermark."""
    page.set_default_timeout(30_000)
    page.get_by_label("Class", exact=True).select_option(str(Setting().planted))
    page.get_by_label("Clustering", exact=True).select_option("kmeans-02")
    page.locator(".pick", has_text="Cluster 1").click()
    expect(page.locator(".count")).to_contain_text("selected", timeout=30_000)
    page.locator(".sample img").first.wait_for()


if __name__ == "__main__":
    take(Path(sys.argv[1]), FOLDER)
