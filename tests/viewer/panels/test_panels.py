"""What a visitor does beside the map: choose how samples are drawn, compare, keep and import, all of it by keyboard."""

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from viewer.draw.heat import heat
from viewer.state.findings import dump

from ..chromium import EXECUTABLE, MISSING, free_port, serving
from ..forms import write_features, write_texts
from ..state.test_keep import STATE, fuzzed
from ..synthetic import write_project

pytestmark = [pytest.mark.browser, pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)]
CONTROLS = """() => {
    const found = []
    const walk = (node) => {
        for (const each of node.querySelectorAll("*")) {
            if (each.shadowRoot) walk(each.shadowRoot)
            const control = each.matches("button:not(:disabled), select, input, summary, textarea")
            if (control && each.getBoundingClientRect().width > 1) found.push(each)
        }
    }
    walk(document)
    return found.map((each) => {
        const label = each.getRootNode().querySelector(`label[for="${each.id}"]`)
        const {left, right, top} = each.getBoundingClientRect()
        const said = each.tagName === "SELECT" ? "" : each.textContent.trim()
        const name = each.ariaLabel || (each.id && label?.textContent.trim()) || said || each.title
        return {tag: each.tagName, name, left, right, top, stop: each.tabIndex >= 0}
    })
}"""
FOCUSED = """() => {
    let at = document.activeElement
    while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement
    const label = at?.id && at.getRootNode().querySelector(`label[for="${at.id}"]`)
    return at && [at.ariaLabel, label?.textContent, at.title, at.textContent.trim().slice(0, 40)].join(" ")
}"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("own") / "shapes")


@pytest.fixture(scope="module")
def address(own: Path) -> Iterator[str]:
    port = free_port()
    projects = [own, write_features(own.parent / "features"), write_texts(own.parent / "texts")]
    command = ["relfunc.command.cli", "view", *map(str, projects), "--no-browser", "--port", str(port)]
    with serving(*command, port=port) as served:
        yield served


@pytest.mark.parametrize("size", [(1280, 720), (1366, 768), (1920, 1080)])
def test_the_page_fits(page: Page, size):
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_role("button", name="Display").click()
    page.get_by_label("Colour map").wait_for()
    assert page.evaluate(
        "document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight"
    )
    controls = page.evaluate(CONTROLS)
    assert {"Class", "Colour map", "Invert", "Copy link"} <= {each["name"] for each in controls}
    assert [each for each in controls if each["left"] < 0 or each["right"] > width] == []
    tops = {each["name"]: round(each["top"]) for each in controls}
    assert tops["Samples"] == tops["Next"] == tops["Display"], "the bar has broken into two lines"


def test_every_control_has_a_name_and_is_reached_by_tab(page: Page):
    page.get_by_role("button", name="Display").click()
    page.locator(".pick", has_text="Cluster 1").click()
    expect(page.locator(".id").first).to_have_text("img-0050")
    page.get_by_label("Colour map").wait_for()
    controls = page.evaluate(CONTROLS)
    assert [each for each in controls if not each["name"]] == []
    page.mouse.click(200, 5)
    reached = set()
    for _ in range(140):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    missing = [
        each["name"] for each in controls if each["stop"] and not any(each["name"][:20] in str(r) for r in reached)
    ]
    assert missing == []


def test_samples_are_walked_through_by_keyboard(page: Page):
    page.locator(".sample").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "img-0002" in page.evaluate(FOCUSED)
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("img-0002")
    expect(page.locator("dialog img")).to_have_count(3)
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog h2")).to_have_text("img-0003")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("dialog h2")).to_have_text("img-0001")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


def test_escape_closes_a_menu_before_it_clears(page: Page):
    page.locator(".pick", has_text="Cluster 1").click()
    expect(page.locator(".count")).to_have_text("50 of 150 selected")
    page.locator("summary", has_text="Export").click()
    page.get_by_role("button", name="Table").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Table")).to_be_hidden()
    expect(page.locator(".count")).to_have_text("50 of 150 selected")
    page.keyboard.press("Escape")
    expect(page.locator(".count")).to_have_text("150 samples")


def test_samples_are_drawn_as_chosen(page: Page, project):
    page.get_by_role("button", name="Display").click()
    relevance = project.attributions["attribution"].values
    page.get_by_label("Colour map").select_option("seismic (ViRelAy)")
    _drawn(page, heat(relevance[0], "virelay:seismic"))
    page.get_by_label("Colour map").select_option("seismic")
    _drawn(page, heat(relevance[0], "seismic"))
    page.get_by_label("Strongest colour").select_option("One for the class")
    most = np.abs(relevance[:150].sum(axis=1)).max()
    _drawn(page, heat(relevance[0], "seismic", bound=float(most)))
    first = page.locator(".sample img").first
    expect(first).to_have_class("pixelated")
    page.get_by_label("Small pictures").select_option("Smooth")
    expect(first).to_have_class("")
    page.get_by_role("button", name="Input", exact=True).click()
    page.get_by_role("button", name="Overlay", exact=True).click()
    expect(page.locator(".sample").first.locator("img")).to_have_count(1)


def test_only_what_is_seen_is_sent_and_nothing_twice(page: Page):
    seen = page.locator(".sample:has(img)")
    some = seen.count()
    assert 0 < some < 48
    page.locator(".sample").nth(47).scroll_into_view_if_needed()
    page.locator(".sample").nth(47).locator("img").first.wait_for()
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator(".id").first).to_have_text("img-0048")
    page.locator(".sample img").first.wait_for()
    sent: list[int] = []
    page.on("websocket", lambda _: sent.append(0))
    page.get_by_role("button", name="Back", exact=True).click()
    expect(page.locator(".id").first).to_have_text("img-0000")
    # Drawings that have come once are there at once.
    assert page.locator(".sample").first.locator("img").count() == 3


def test_clusters_are_sorted_and_chosen_in_their_table(page: Page):
    page.get_by_label("Clustering", exact=True).select_option("hdbscan")
    page.get_by_role("button", name="Clusters", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_role("button", name=re.compile("^Separability")).click()
    expect(page.locator("tbody tr").first).to_contain_text("Cluster 0")
    page.get_by_role("button", name=re.compile("^Separability")).click()
    page.locator("tbody .pick", has_text="Cluster 2").click()
    expect(page.locator(".count")).to_contain_text("of 150 selected")
    expect(page.locator("tbody img").first).to_be_visible()


def test_a_selection_is_compared_with_the_rest(page: Page):
    page.locator(".pick", has_text="Cluster 0").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".versus section").first).to_contain_text("50")
    expect(page.locator(".versus section").last).to_contain_text("100")
    expect(page.get_by_alt_text("difference of the mean attributions")).to_be_visible()


def test_features_and_texts_are_shown_for_what_they_are(page: Page):
    for name, kinds in (("features", ["input", "attribution"]), ("texts", ["attribution"])):
        page.get_by_role("button", name=name, exact=True).click()
        first = page.locator(".sample").first.locator("img")
        expect(first).to_have_count(len(kinds))
        assert [image.get_attribute("alt") for image in first.all()] == [f"{kind} of s0" for kind in kinds]
        assert (first.first.get_attribute("src") or "").startswith("data:image/svg+xml")
        assert first.first.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 200


def test_the_map_is_exported_as_a_picture(page: Page):
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture of the map").click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


@pytest.mark.slow
def test_a_hundred_damaged_files_leave_a_message_each(page: Page, own: Path, tmp_path: Path):
    """No file that is imported stops the page, whatever is in it."""
    page.locator("summary", has_text="Import").click()
    status, file = page.locator(".status[role=status]"), tmp_path / "view.json"
    for text in fuzzed(json.dumps(dump(STATE, project=own.name)), random.Random(2), 100):
        status.evaluate("status => { status.textContent = '' }")
        file.write_text(text)
        page.get_by_label("File of a view").set_input_files(file)
        expect(status).not_to_be_empty()
    page.get_by_label("Class", exact=True).select_option("disc")
    page.get_by_role("button", name="Clear").or_(page.locator(".count")).first.wait_for()
    expect(page.locator(".notice", has_text="cannot be shown")).to_have_count(0)
    expect(page.locator(".sample").first).to_be_visible()


def test_a_link_is_opened_by_pasting_it(page: Page, address: str):
    page.locator("summary", has_text="Import").click()
    page.get_by_label("Link to a view").fill(
        "http://127.0.0.1:8000/projects/0?analysisMethod=m&analysisCategory=disc&embedding=tsne&embeddingVectors=151%2C203"
    )
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.locator(".count")).to_have_text("2 of 150 selected")
    expect(page.locator(".id").first).to_have_text("img-0151")


def _drawn(page: Page, expected: Image.Image) -> None:
    """Wait until the first sample's attribution is this picture."""
    held = io.BytesIO()
    expected.save(held, format="PNG", compress_level=1)
    source = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    expect(page.locator(".sample").first.locator("img[alt^=attribution]")).to_have_attribute("src", source)
