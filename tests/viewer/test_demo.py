"""The demo's viewer in a browser: from the ranking to the watermark."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from relfunc.demo import Setting
from relfunc.storage import open_attributions

from .chromium import EXECUTABLE, MISSING, browser, free_port, serving

pytestmark = [pytest.mark.browser, pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)]


def test_the_watermark_is_found_by_looking(demo):
    with open_attributions(demo) as data:
        marked = [str(i) for i in data["sample"].values[data["artifact"].values].tolist()]
        n = int((data["label"] == Setting().planted).sum())
    port = free_port()
    with (
        serving("relfunc.cli", "view", str(demo), "--no-browser", "--port", str(port), port=port) as address,
        browser() as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(30_000)
        page.goto(address)
        page.get_by_label("Class", exact=True).select_option(str(Setting().planted))
        expect(page.get_by_text(f"{n} samples")).to_be_visible()
        page.get_by_label("Clustering", exact=True).select_option("kmeans-02")
        page.locator(".pick", has_text="Cluster 1").click()
        expect(page.get_by_text(f"{len(marked)} of {n} selected")).to_be_visible()
        expect(page.get_by_text(f"1–48 of {len(marked)}")).to_be_visible()
        expect(page.locator(".sample .id")).to_have_text(marked[:48])
        page.locator(".bk-tool-icon-box-select").click()
        area = page.locator(".bk-Figure").first.bounding_box()
        assert area is not None
        page.mouse.move(area["x"] + 5 + area["width"] * 0.05, area["y"] + 5)
        page.mouse.down()
        page.mouse.move(area["x"] + area["width"] - 5, area["y"] + area["height"] - 5, steps=6)
        page.mouse.up()
        expect(page.get_by_text(f"{n} of {n} selected")).to_be_visible()
        expect(page.get_by_text(f"1–48 of {n}")).to_be_visible()
        first = page.locator(".sample").first.locator("img")
        assert [image.evaluate("picture => picture.naturalWidth") for image in first.all()] == [32, 32, 32]
        if folder := os.environ.get("RELFUNC_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "demo.png")
