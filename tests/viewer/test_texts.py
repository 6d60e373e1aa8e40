"""A run over texts and its analysis, as a visitor sees them: words in place of pictures, and nothing of padding."""

import base64
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from playwright.sync_api import Page, expect

import analysis
import relfunc as rf
from relfunc.heatmap.spelling import pieces
from viewer.draw.samples import thumbnails
from viewer.draw.summary import comparison
from viewer.opening import opened
from viewer.project.outcomes import pixels
from viewer.project.project import Points, Project

from ..relfunc.texts import LENGTHS, Texts, explanation, spelled
from .chromium import EXECUTABLE, MISSING, free_port, serving
from .conftest import close

COUNT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of several files of texts, and its analysis."""
    folder = tmp_path_factory.mktemp("projects") / "reviews"
    data = Texts()
    data.ids = [ids.roll(k) for k in range(3) for ids in data.ids]
    rf.attribute_dataset(explanation(), data, folder, shard_size=8, tokens=spelled, progress=False)
    with rf.open_attributions(folder) as held:
        analysis.run(analysis.spray(n_neighbors=4, n_eigenvalues=4), held, out=folder / "analysis.nc", by=None)
    return folder


@pytest.fixture(scope="module")
def project(folder: Path) -> Iterator[Project]:
    held = opened(folder)
    assert isinstance(held, Project)
    yield held
    close(held)


def said(source: str) -> list[str]:
    svg = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")).decode()
    return [str(each.text) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def read(i: int) -> list[str]:
    """The words of a text as they are shown."""
    return [piece.text for piece in pieces(spelled(Texts().ids[i % 20].roll(i // 20).tolist()))]


def test_a_text_is_drawn_without_its_padding(project: Project):
    rows = np.array([5, 0, 29, 7])
    drawn = thumbnails(project, rows)
    assert [sorted(each) for each in drawn] == [["attribution"]] * 4
    assert [said(each["attribution"]) for each in drawn] == [read(row) for row in rows.tolist()]


def test_padding_at_the_start_is_left_out_too(tmp_path: Path):
    mask = np.array([[False, True, True], [True, True, True]])
    data = xr.Dataset(
        {
            "attribution": (("sample", "token"), np.arange(6.0).reshape(2, 3)),
            "token_mask": (("sample", "token"), mask),
            "input": (("sample", "token"), np.array([[0, 7, 8], [9, 7, 8]])),
        }
    )
    relevance, ids = pixels(Project("texts", tmp_path, data), np.array([1, 0]))
    assert [each.tolist() for each in relevance] == [[3, 4, 5], [1, 2]]
    assert ids is not None
    assert [each.tolist() for each in ids] == [[9, 7, 8], [7, 8]]
    assert said(thumbnails(Project("texts", tmp_path, data), np.array([0]))[0]["attribution"]) == ["7", "8"]


def test_parts_are_compared_by_their_typical_texts_on_one_scale(project: Project):
    rows, xy = np.arange(COUNT), np.zeros((COUNT, 2), np.float32)
    xy[:, 0] = np.abs(rows - 10)
    xy[3] = np.nan
    one, other, difference = comparison(project, Points(rows, xy), np.arange(3, 18), np.arange(20, 24), "bwr")
    assert [kind for kind, _ in one] == ["typical text 1", "typical text 2", "typical text 3"]
    assert difference == ""
    assert len(other) == 3
    middle = np.abs(xy[4:18, 0] - xy[4:18, 0].mean()).argmin() + 4
    assert len(said(one[0][1])) == LENGTHS[middle % 10]
    placeless = comparison(project, Points(rows, np.full_like(xy, np.nan)), np.arange(3), np.arange(3), "bwr")
    assert placeless[0] == placeless[1]


def test_an_analysis_takes_padding_for_no_relevance(folder: Path):
    """As long as the longest text, or filled up further, texts are as far from each other."""
    with rf.open_attributions(folder) as held:
        data = held.load()
    longer = data.drop_vars(["input", "token_text", "token_mask"]).pad(token=(0, 5), constant_values=0)
    assert longer.sizes["token"] == max(LENGTHS) + 5
    plan = analysis.spray(n_neighbors=4, n_eigenvalues=4, tsne=False)
    one, other = (analysis.run(plan, each, by=None) for each in (data, longer))
    for name in ("eigenvalue", "cluster/kmeans-03"):
        np.testing.assert_allclose(one[f"all/{name}"].values, other[f"all/{name}"].values, atol=1e-6)


# --- in a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    port = free_port()
    with serving("relfunc.command.cli", "view", str(folder), "--no-browser", "--port", str(port), port=port) as served:
        yield served


@pytest.mark.browser
@pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)
def test_a_visitor_sees_words_and_compares_texts(page: Page):
    expect(page.locator(".grid.token .sample")).to_have_count(48)
    first = page.locator(".sample").first
    expect(first.locator("img")).to_have_count(1)
    assert said(first.locator("img").get_attribute("src") or "") == read(0)
    first.click()
    expect(page.locator("dialog img")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator(".pick", has_text="Cluster 1").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".versus .texts img")).to_have_count(6)
    text = page.get_by_alt_text("typical text 1 of Selection")
    expect(text).to_be_visible()
    assert text.evaluate("picture => picture.naturalWidth && picture.clientWidth") > 200
