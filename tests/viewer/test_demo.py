"""The demo's viewer in a browser: from the ranking to the watermark, by hand, and back to it from a link."""

import base64
import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from playwright.sync_api import Page, expect
from scipy.spatial import ConvexHull

from relfunc.demo import Setting
from relfunc.files.netcdf import open_analysis, open_attributions

from .chromium import EXECUTABLE, MISSING, browser, free_port, serving
from .pointer import drag, place
from .screenshots import FOLDER, take

pytestmark = [pytest.mark.browser, pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)]
PLANTED = str(Setting().planted)
CORNER = (slice(24, 32), slice(0, 10))
"""The watermark is at the bottom on the left; relevance is spread a little about it."""


def test_the_watermark_is_found_by_looking(demo):
    """Open, choose the class, lasso the island, see the watermark, name it, export it, share it, reopen it."""
    with open_attributions(demo) as data:
        marked = data["sample"].values[data["artifact"].values].astype(str).tolist()
        n = int((data["label"] == Setting().planted).sum())
    port = free_port()
    with (
        serving("relfunc.command.cli", "view", str(demo), "--no-browser", "--port", str(port), port=port) as address,
        browser() as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=15_000)
        page.goto(address)
        page.get_by_label("Class", exact=True).select_option("0")
        expect(page.locator(".count")).not_to_have_text(f"{n} samples")
        page.get_by_label("Class", exact=True).select_option(PLANTED)
        expect(page.locator(".count")).to_have_text(f"{n} samples")
        page.get_by_label("Clustering", exact=True).select_option("kmeans-02")

        island, size = _island(demo)
        drag(page, [place(page, *corner) for corner in island])
        expect(page.locator(".count")).to_have_text(f"{size} of {n} selected")
        expect(page.locator(".status", has_text=f"1–48 of {size} selected")).to_be_visible()
        seen = _watermarks(page, 48)
        assert len(set(marked) & set(seen)) >= 47
        page.get_by_role("button", name="Next", exact=True).click()
        expect(page.get_by_text(f"49–{size} of {size} selected")).to_be_visible()
        seen += _watermarks(page, size - 48)
        assert set(marked) <= set(seen)

        page.get_by_label("Name of the finding").fill("Watermark")
        page.get_by_label("Note on the finding").fill("A chequered patch carries the relevance.")
        page.get_by_role("button", name="Keep", exact=True).click()
        expect(page.locator("li .open b")).to_have_text("Watermark")
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Table").click()
        table = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        assert {row["sample"] for row in table} == set(seen)
        assert {row["label"] for row in table} == {PLANTED}
        with page.expect_download() as download:
            page.get_by_role("button", name="Samples netCDF").click()
        with xr.open_dataset(download.value.path()) as exported:
            assert exported["artifact"].values.sum() == len(marked)
        page.get_by_role("button", name="Copy link").click()
        page.wait_for_url("**?view=*")
        assert len(page.url) < 2_000

        # Another visitor, who has nothing but the link.
        again = chromium.new_page(viewport={"width": 1280, "height": 800})
        again.goto(page.url)
        expect(again.locator(".count")).to_have_text(f"{size} of {n} selected")
        again.get_by_role("button", name="Clear").click()
        again.locator("li .open", has_text="Watermark").click()
        expect(again.locator(".count")).to_have_text(f"{size} of {n} selected")
        expect(again.locator(".id").first).to_have_text(seen[0])


@pytest.mark.slow
def test_the_pictures_of_the_readme_are_not_stale(demo, tmp_path):
    """Taken anew, they look the same from afar; see screenshots.py for how to renew them."""
    shutil.copytree(demo, tmp_path / "relfunc-demo", ignore=shutil.ignore_patterns("findings", "store"))
    take(tmp_path / "relfunc-demo", tmp_path / "pictures")
    for new in sorted((tmp_path / "pictures").iterdir()):
        kept = FOLDER / new.name
        seen = [np.asarray(Image.open(path).convert("L").resize((96, 60)), float) for path in (new, kept)]
        assert np.abs(seen[0] - seen[1]).mean() < 4, f"{new.name}: python -m tests.viewer.screenshots relfunc-demo"
        assert kept.stat().st_size < 300_000


def test_the_pictures_of_the_readme_exist():
    named = re.findall(r"\(viewer/assets/screenshots/(\w+\.png)\)", (FOLDER.parents[2] / "README.md").read_text())
    assert named
    assert set(named) <= {path.name for path in FOLDER.iterdir()}


def _island(demo: Path) -> tuple[list[tuple[float, float]], int]:
    """Return a polygon round the cluster that stands apart in the embedding, and how many points it holds."""
    with open_analysis(demo / "analysis.nc") as tree:
        xy = tree[f"{PLANTED}/embedding"]["tsne"].values[:, :2].astype(float)
        inside = tree[f"{PLANTED}/cluster"]["kmeans-02"].values == 1
    own, middle = xy[inside], xy[inside].mean(axis=0)
    hull = own[ConvexHull(own).vertices]
    away = hull - middle
    hull = hull + away / np.linalg.norm(away, axis=1, keepdims=True) * np.ptp(xy, axis=0).max() * 0.025
    return [*map(tuple, hull.tolist()), tuple(hull[0].tolist())], int(inside.sum())


def _watermarks(page: Page, count: int) -> list[str]:
    """Return the samples shown in which relevance is strongest on the watermark; all of them must be drawn."""
    expect(page.locator(".sample")).to_have_count(count)
    found = []
    for sample in page.locator(".sample").all():
        sample.scroll_into_view_if_needed()
        drawn = sample.locator("img[alt^=attribution]")
        drawn.wait_for()
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode((drawn.get_attribute("src") or "").split(",")[1]))))
        heat = pixels[..., 0].astype(float) + pixels[..., 1] - pixels[..., 2]
        if heat[CORNER].sum() == max(heat[y : y + 8, x : x + 10].sum() for y in (0, 8, 16, 24) for x in (0, 10, 20)):
            found.append(sample.locator(".id").inner_text())
    return found
