"""The report: what it says, that each of its numbers stands in the file beside it, and that it needs nothing else."""

import html
import re
import shutil

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis.report import page as pages
from relfunc import storage

from .made import KINDS, run

NUMBER = re.compile(r'<data value="([^"]*)" data-source="([^"]*)">([^<]*)</data>')
PLACE = re.compile(r"(?P<file>[^:]+): /(?P<group>\w+)(?:/(?P<name>\w+))?(?P<at>(?:\[\w+=\d+\])*)(?P<how>[:@]\w+)?$")


def written(folder, tree, data, **options):
    """Write a report, and return its text and its evidence."""
    path = analysis.write_report(tree, data, folder / "report.html", **options)
    with xr.open_datatree(folder / "report.nc", engine="netcdf4") as held:
        return path.read_text(encoding="utf-8"), held.load()


def looked_up(source, held):
    """Look a number up where its source says that it is."""
    found = PLACE.fullmatch(html.unescape(source))
    assert found, source
    assert found["file"] == "report.nc"
    node = held[found["group"]].to_dataset()
    if found["how"] and found["how"].startswith("@"):
        return node.attrs[found["how"][1:]]
    values = node[found["name"]]
    if found["how"]:
        return {":sum": values.values.sum(), ":size": values.size}[found["how"]]
    return values.isel({dim: int(k) for dim, k in re.findall(r"\[(\w+)=(\d+)\]", found["at"])}).item()


def untraceable(text, held):
    """Return the numbers of a page that do not stand where they say."""
    found = NUMBER.findall(text)
    assert len(found) > 20
    return [
        (value, source)
        for value, source, _ in found
        if not np.array_equal(float(value), float(looked_up(source, held)), equal_nan=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_every_kind_have_a_report_whose_numbers_stand_in_its_file(kind, tmp_path):
    text, held = written(tmp_path, *run(kind), split="train")
    assert untraceable(text, held) == []
    assert "Class &#x27;a&#x27;: 10 of 30 samples stand apart" in text
    assert "Class &#x27;b&#x27;: no cluster stands apart by more than chance" in text
    assert 'class="finding"' in text
    assert {"ranking", "findings", "examples", "slices", "duplicates"} <= set(held.children)
    assert ("<img" in text) == ("y" in KINDS[kind][0])
    assert ("<svg" in text) == ("y" not in KINDS[kind][0])
    assert ('class="relfunc-tokens"' in text) == (kind == "texts")


def test_a_number_that_is_not_in_the_file_is_noticed(tmp_path):
    text, held = written(tmp_path, *run())
    held["findings"]["effect"] = held["findings"]["effect"] + 0.5
    assert untraceable(text, held)


def test_sentences_follow_from_the_ranking_in_the_file(tmp_path):
    text, held = written(tmp_path, *run(per_class=30, names=("a", "b", "c")))
    table = held["ranking"].to_dataset()
    for line in [analysis.verdict(table)[0], *analysis.verdict(table)]:
        assert html.escape(line) in text


def test_evidence_is_what_the_functions_return(tmp_path):
    tree, data = run()
    _, held = written(tmp_path, tree, data, split="train")
    expected = {
        "ranking": analysis.ranking(tree),
        "findings": analysis.findings(tree, data),
        "slices": analysis.slices(tree, data),
        "duplicates": analysis.duplicates(data, split="train"),
    }
    for name, table in expected.items():
        storage.save(table, tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc", engine="netcdf4") as alone:
            xr.testing.assert_equal(held[name].to_dataset(), alone.load())


NASTY = ("<script>alert(1)</script>", '"><b>&', "\u202e evil", "a" * 300)


def test_what_comes_from_data_is_text(tmp_path):
    tree, data = run(names=NASTY, setting='</style><img src=x onerror="1">', plan_note="<h1>")
    tree.attrs["plan"] = "</pre><script>"
    text, held = written(tmp_path, tree, data)
    body = text.partition("</style>")[2]
    assert "<script" not in body
    assert "<b>&" not in body
    assert "onerror=" not in re.sub(r"&quot;|&lt;[^&]*", "", body)
    assert "<north>" not in body
    assert html.escape(NASTY[0]) in body
    assert untraceable(text, held) == []


def test_the_page_asks_for_nothing(tmp_path):
    text, _ = written(tmp_path, *run())
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s)>]+)', text)
    assert sources
    assert [one for one in sources if not one.startswith("data:image/")] == []
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text


@pytest.mark.parametrize(
    "rule",
    ["@media screen and (prefers-color-scheme: dark)", "@media print", "@page", "break-inside: avoid", "break-before"],
)
def test_it_is_light_dark_and_printable(rule, tmp_path):
    assert rule in written(tmp_path, *run("tables"))[0]


def test_of_many_classes_the_first_are_told_and_the_others_listed(tmp_path):
    tree, data = run("tables", names=tuple(f"class {k}" for k in range(300)), per_class=20)
    text, held = written(tmp_path, tree, data)
    assert text.count(": no cluster stands apart") == 39
    last = held["ranking"].to_dataset()["category"].values[-1]
    assert f'<td class="text">{last}</td>' in text
    assert untraceable(text, held) == []
    assert len(text) < 1_000_000


def test_a_page_that_would_be_too_large_shows_fewer_findings(tmp_path, monkeypatch):
    tree, data = run()
    whole, _ = written(tmp_path, tree, data)
    monkeypatch.setattr(pages, "LARGEST", len(whole.encode()) - 1)
    less, _ = written(tmp_path, tree, data)
    assert "Not shown, to keep this page small, are those of &#x27;a&#x27;" in less
    assert len(less) < len(whole)


def test_findings_beyond_the_most_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.evidence.MOST_FINDINGS", 0)
    text, held = written(tmp_path, *run())
    assert held["findings"].sizes["finding"] == 0
    assert "Not shown, to keep this page small, are those of &#x27;a&#x27;" in text


def test_photographs_stay_below_the_limit(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "photographs", ({"y": 224, "x": 224}, {"channel": 3, "y": 224, "x": 224}))
    text, _ = written(tmp_path, *run("photographs", names=("a",)))
    assert len(text) < pages.LARGEST / pages.IN_FULL  # although noise is as large as pictures can be


def test_power_is_told_where_it_was_measured(tmp_path, monkeypatch):
    lines = [f"{n},{share},{found}" for n, found in ((20, 0.25), (500, 0.875)) for share in (0.05, 0.1, 0.2)]
    (tmp_path / "power.csv").write_text("\n".join(["n,prevalence,found", *lines]))
    monkeypatch.setattr("analysis.results.power.MEASURED", tmp_path / "power.csv")
    text, held = written(tmp_path, *run(per_class=20))
    np.testing.assert_allclose(held["power"]["found"], 0.25)
    assert "How often a patch, watermark or border that a network relies on is found" in text
    assert "500 for 5%, 500 for 10%, 500 for 20%" in text
    assert untraceable(text, held) == []


def test_small_classes_are_said_not_to_be_judged(tmp_path):
    text, _ = written(tmp_path, *run(names=("a", "b"), per_class=12))
    assert "too few samples to judge (12; about 20 would do)" in text
    assert "Too few samples to judge have &#x27;a&#x27; (12), &#x27;b&#x27; (12)" in text
    assert "No group of samples stands apart by more than chance." in text


def test_an_analysis_without_chance_scores_says_so(tmp_path):
    tree, data = run()
    for node in tree.children.values():
        node["score"] = xr.DataTree(node["score"].to_dataset()[["cluster_separability", "size"]])
    text, held = written(tmp_path, tree, data)
    assert "were not compared with chance" in text
    assert "the clusters that are farthest apart" in text
    assert untraceable(text, held) == []


def test_labels_that_are_several_and_predictions_of_one_class(tmp_path):
    tree, data = run()
    several = xr.DataArray(np.eye(2, dtype=bool)[data["label"].values], dims=("sample", "class"))
    text, _ = written(tmp_path, tree, data.assign(label=several))
    assert "Nothing says which predictions are right" in text
    text, held = written(tmp_path, tree, data.assign(label=several, correct=data["train"]))
    assert "Nothing says which predictions are right" not in text
    assert "hospital" in held["slices"]["variable"].values


def test_copies_and_leaks_are_listed(tmp_path):
    tree, data = run()
    data["input"][3] = data["input"][40]
    data["train"][3], data["train"][40] = True, False
    text, held = written(tmp_path, tree, data, split="train")
    assert "identical: s3, s40" in text
    assert "of which lie across &#x27;train&#x27;, and are leaks" in text
    assert untraceable(text, held) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("report.txt", {}, "no name of a page"),
        ("report.html", {"split": "fold"}, "split='fold' is no variable over 'sample' alone; there are"),
    ],
)
def test_what_cannot_be_written_is_said(name, options, message, tmp_path):
    with pytest.raises(analysis.DataError, match=message):
        analysis.write_report(*run("tables"), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_analysis_is_not_replaced_by_the_evidence(tmp_path):
    tree, data = run("tables")
    storage.save(tree, tmp_path / "analysis.nc")
    before = (tmp_path / "analysis.nc").read_bytes()
    with pytest.raises(analysis.DataError, match="is one of the files analysed"):
        analysis.write_report(tree, data, tmp_path / "analysis.html", files=[tmp_path / "analysis.nc"])
    assert (tmp_path / "analysis.nc").read_bytes() == before


def test_an_old_report_stays_where_a_new_one_fails(tmp_path, monkeypatch):
    tree, data = run("tables")
    text, _ = written(tmp_path, tree, data)
    monkeypatch.setattr("analysis.report.write.page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        analysis.write_report(tree, data, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.nc"}


# --- in a browser ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="no Chromium")
@pytest.mark.parametrize("kind", ["grey pictures", "signals", "texts"])
def test_a_browser_shows_and_prints_it(kind, tmp_path):
    from ...viewer.chromium import browser

    written(tmp_path, *run(kind, names=("a", *NASTY)))
    troubles: list[str] = []
    asked_for: list[str] = []
    with browser() as chromium:
        grounds = []
        for scheme in ("light", "dark"):
            page = chromium.new_context(color_scheme=scheme, viewport={"width": 900, "height": 700}).new_page()
            page.on("console", lambda message: troubles.append(message.text))
            page.on("request", lambda asked: asked_for.append(asked.url))
            page.goto((tmp_path / "report.html").as_uri())
            assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.emulate_media(media="print", color_scheme=scheme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert troubles == []
    assert [url for url in asked_for if not url.startswith(("file:", "data:"))] == []
