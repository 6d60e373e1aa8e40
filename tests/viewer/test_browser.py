"""What a visitor does: open the page, change the class, select points in several ways, and see their pictures."""

import math
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from .chromium import EXECUTABLE, MISSING, free_port, serving
from .pointer import drag, place

pytestmark = [pytest.mark.browser, pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)]


@pytest.fixture(scope="module")
def address(folder, unanalysed) -> Iterator[str]:
    port = free_port()
    options = ["--address", "127.0.0.1", "--port", str(port), "--allow-websocket-origin", f"127.0.0.1:{port}"]
    projects = ["--args", str(folder), str(unanalysed)]
    with serving("panel", "serve", "viewer", *options, *projects, path="/viewer", port=port) as served:
        yield served


def test_a_class_is_opened_from_the_list_and_from_the_ranking(page: Page):
    _shows(page, "150 samples")
    assert _first(page) == "img-0000"
    page.get_by_label("Class", exact=True).select_option("disc")
    expect(page.locator(".id").first).to_have_text("img-0150")
    page.locator(".pick", has_text="ring").click()
    expect(page.locator(".id").first).to_have_text("img-0000")


def test_a_lasso_round_the_island_finds_the_watermark(page: Page):
    x, y = place(page, -14, 6)
    reach = abs(place(page, -5, 6)[0] - x)
    drag(page, [(x + reach * math.cos(t / 12 * math.pi), y + reach * math.sin(t / 12 * math.pi)) for t in range(24)])
    _shows(page, "50 of 150 selected")
    expect(page.locator(".sample")).to_have_count(48)
    page.locator(".sample img").first.wait_for()
    assert (
        page.locator(".sample img").first.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 32
    )
    assert {image.get_attribute("alt") for image in page.locator(".sample").first.locator("img").all()} == {
        "input of img-0000",
        "attribution of img-0000",
        "overlay of img-0000",
    }
    expect(page.locator("li.on .name").nth(1)).to_have_text("Cluster 0")


def test_a_box_selects_adds_with_shift_and_is_undone(page: Page):
    page.locator(".bk-tool-icon-box-select").click()
    _box(page, (-24, 13), (-5, -2))
    _shows(page, "50 of 150 selected")
    page.keyboard.down("Shift")
    _box(page, (-1, 13), (17, 0))
    page.keyboard.up("Shift")
    _shows(page, "100 of 150 selected")
    page.get_by_role("button", name="Undo").click()
    _shows(page, "50 of 150 selected")
    page.get_by_role("button", name="Clear").click()
    _shows(page, "150 samples")


def test_a_click_on_empty_ground_clears_the_selection(page: Page):
    page.locator(".pick", has_text="Cluster 1").click()
    _shows(page, "50 of 150 selected")
    page.mouse.click(*place(page, -2, -4))
    _shows(page, "150 samples")


def test_escape_clears_the_selection(page: Page):
    page.locator(".pick", has_text="Cluster 1").click()
    _shows(page, "50 of 150 selected")
    page.keyboard.press("Escape")
    _shows(page, "150 samples")


def test_pages_and_kinds_of_pictures(page: Page):
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator(".id").first).to_have_text("img-0048")
    page.get_by_role("button", name="Display").click()
    page.get_by_role("button", name="Overlay", exact=True).click()
    expect(page.locator(".sample").first.locator("img")).to_have_count(2)


def test_a_sample_opens_large_and_escape_closes_it(page: Page):
    page.locator(".sample").nth(2).click()
    expect(page.locator("dialog h2")).to_have_text("img-0002")
    expect(page.locator("dialog img")).to_have_count(3)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.locator(".sample").nth(1).click()
    page.get_by_role("button", name="Show its nearest neighbours").click()
    expect(page.locator(".id").first).to_have_text("img-0001")


def test_the_pointer_names_the_nearest_sample(page: Page):
    page.locator(".pick", has_text="Cluster 0").click()
    _shows(page, "50 of 150 selected")
    page.locator(".sample").first.wait_for()
    page.mouse.move(*place(page, *_coordinates(page, "img-0000")))
    expect(page.locator(".tip b")).to_have_text("img-0000")
    page.mouse.move(10, 10)
    expect(page.locator(".tip")).to_be_hidden()


def test_a_second_embedding_lies_beside_the_first_and_shares_its_selection(page: Page):
    page.locator("select", has_text="and spectral").select_option("and spectral")
    expect(page.locator(".bk-Figure")).to_have_count(2)
    second = page.locator(".bk-Figure").nth(1)
    expect(second.locator("canvas").first).to_be_visible()
    second.locator(".bk-tool-icon-box-select").click()
    area = second.bounding_box()
    assert area is not None
    page.wait_for_timeout(500)
    # Cluster 0 lies where its first axis is large and the others are small.
    drag(
        page,
        [
            (area["x"] + area["width"] * 0.62, area["y"] + area["height"] * 0.5),
            (area["x"] + area["width"] * 0.8, area["y"] + area["height"] * 0.8),
            (area["x"] + area["width"] - 4, area["y"] + area["height"] - 4),
        ],
    )
    _shows(page, "50 of 150 selected")
    expect(page.locator("li.on .name").last).to_have_text("Cluster 0")
    page.locator("select", has_text="and spectral").select_option("One map")
    expect(second).to_be_hidden()


def test_a_finding_is_kept_exported_and_reopened_from_its_link(page: Page, address: str):
    page.locator(".pick", has_text="Cluster 0").click()
    _shows(page, "50 of 150 selected")
    page.get_by_label("Name of the finding").fill("Watermark")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.locator("li .open b")).to_have_text("Watermark")
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table").click()
    assert len(download.value.path().read_text().splitlines()) == 51
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_url("**?view=*")
    assert len(page.url) < 2_000
    shared = page.context.new_page()
    shared.goto(page.url)
    _shows(shared, "50 of 150 selected")
    expect(shared.locator(".id").first).to_have_text("img-0000")


def test_a_project_without_analysis_says_so_and_shows_its_samples(page: Page):
    page.get_by_role("button", name="unanalysed").click()
    expect(page.get_by_text("No analysis yet")).to_be_visible()
    expect(page.locator(".sample")).to_have_count(48)
    page.get_by_role("button", name="shapes").click()
    expect(page.get_by_text("No analysis yet")).to_be_hidden()


def _shows(page: Page, count: str):
    expect(page.locator(".count")).to_have_text(count)


def _first(page: Page) -> str:
    return page.locator(".id").first.inner_text()


def _coordinates(page: Page, sample: str) -> tuple[float, float]:
    """Where a sample lies in the embedding, as its own page says."""
    page.locator(".sample", has_text=sample).click()
    said = page.locator("dt", has_text="tsne").locator("xpath=following-sibling::dd[1]").inner_text()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    x, y = said.split(", ")
    return float(x), float(y)


def _box(page: Page, one, other):
    (x0, y0), (x1, y1) = place(page, *one), place(page, *other)
    drag(page, [(x0, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x1, y1)])
