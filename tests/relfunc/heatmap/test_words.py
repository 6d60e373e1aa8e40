"""Texts on the colour of their relevance: what is shown, how strongly, and that no text steers a page or terminal."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from relfunc import heatmap
from relfunc.heatmap.spelling import pieces
from relfunc.heatmap.words import AGAINST, FOR, STRONGEST


class Page(HTMLParser):
    """The text of a page's sections, and the spans with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.spans: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self._reads = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "p":
            self.texts.append("")
            self._reads = True
        if tag == "span":
            self.spans.append(dict(attrs))

    def handle_endtag(self, tag):
        self._reads = self._reads and tag != "p"

    def handle_data(self, data):
        if self._reads:
            self.texts[-1] += data


def shares(page: str) -> list[float]:
    signs = {"for": 1, "against": -1, None: 0}
    sizes = [re.findall(r"[\d.]+", span.get("style") or "0")[0] for span in Page(page).spans]
    return [
        signs[span.get("class")] * float(size) / 100 / STRONGEST
        for span, size in zip(Page(page).spans, sizes, strict=True)
    ]


READ = {
    "words": (["a", "good", "film"], " a good film"),
    "WordPiece": (["[CLS]", "un", "##believ", "##able", "!", "[SEP]"], " [CLS] unbelievable ! [SEP]"),
    "SentencePiece": (["▁un", "believ", "able", "▁film", "</s>"], " unbelievable film</s>"),
    "bytes": (
        ["Un", "bel", "iev", "able", "Ġfilm", "Ċ", "Ċ", "na", "ÃŃ", "ve", "<|end|>"],
        "Unbelievable film↵↵naíve<|end|>",
    ),
    "half a letter": (["Ġa", "ð", "ŁĺĬ"], " aðŁĺĬ"),
    "white space": (["a", " ", "\t\n", ""], " a ␣ ⇥↵ ∅"),
    "marks alone": (["##", "▁", "a"], "##␣a"),
    "what steers a terminal": (["a\x1b[31m", "\u202eb", "c\x00"], " a\\x1b[31m \\u202eb c\\x00"),
    "other scripts": (["日本", "naïve", "👍🏽"], " 日本 naïve 👍🏽"),
}


@pytest.mark.parametrize("kind", READ)
def test_tokens_are_shown_as_they_are_read(kind):
    tokens, read = READ[kind]
    assert "".join(" " * spaced + text for spaced, text in pieces(tokens)) == read
    page = Page(heatmap.tokens_html(np.zeros(len(tokens)), tokens))
    assert page.texts == [read.strip()]
    assert heatmap.tokens_text(np.zeros(len(tokens)), tokens) == read.strip()


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '" onmouseover="x', "</style>", "'&amp;"])
def test_no_text_becomes_markup(evil):
    page = Page(heatmap.tokens_html([1.0, -1.0], ["a", evil], titles=[evil]))
    assert page.tags == {"meta", "title", "style", "div", "section", "h2", "p", "span"}
    assert page.texts == [f"a {evil}"]
    assert page.spans[1]["title"] == f"{evil}: -1"
    assert set(page.spans[1]) == {"class", "style", "title"}


def test_a_page_asks_for_nothing_else():
    page = heatmap.tokens_html([1.0], ["a"])
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert page.startswith('<!doctype html>\n<meta charset="utf-8">')


def test_colours_are_linear_in_relevance_of_one_text_or_all():
    relevance, tokens = [[1.0, -2.0, 0.0], [4.0, np.nan]], [["a", "b", "c"], ["d", "e"]]
    assert shares(heatmap.tokens_html(relevance, tokens)) == pytest.approx([0.5, -1, 0, 1, 0], abs=2e-3)
    one_scale = heatmap.tokens_html(relevance, tokens, per="batch")
    assert shares(one_scale) == pytest.approx([0.25, -0.5, 0, 1, 0], abs=2e-3)
    assert shares(heatmap.tokens_html([np.inf, -3.0, 1.0], list("abc"), vmax=2)) == pytest.approx(
        [1, -1, 0.5], abs=2e-3
    )
    assert shares(heatmap.tokens_html([0.0, 0.0], ["a", "b"])) == [0, 0]


def test_numbers_and_colours_in_a_terminal():
    relevance, tokens = [9.0, -4.5, 0.1, 1.0], ["a", "b", "c", "d"]
    assert heatmap.tokens_text(relevance, tokens) == "a[+9] b[-4] c d[+1]"
    painted = heatmap.tokens_text(relevance, tokens, ansi=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == "a b c d"
    strongest = tuple(round(255 * (1 - STRONGEST) + STRONGEST * part) for part in FOR)
    assert painted.startswith("\x1b[38;2;0;0;0;48;2;{};{};{}ma\x1b[0m ".format(*strongest))
    assert painted.count("\x1b[0m") == 4


def test_padding_is_left_out_and_features_are_summed():
    relevance = torch.tensor([[[1.0, 1.0], [5.0, 5.0]], [[0.0, 9.0], [-1.0, 0.0]]], requires_grad=True)
    tokens, mask = np.array([["a", "[PAD]"], ["[PAD]", "b"]]), np.array([[True, False], [False, True]])
    assert heatmap.tokens_text(relevance, tokens, mask=mask) == "a[+9]\nb[-9]"
    assert Page(heatmap.tokens_html(relevance, tokens, mask=mask)).texts == ["a", "b"]


def _contrast(one, other):
    def luminance(colour):
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [FOR, AGAINST])
@pytest.mark.parametrize(("ink", "ground"), [((22, 25, 29), (255, 255, 255)), ((238, 241, 245), (22, 25, 29))])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_letters_can_be_read_on_every_colour(colour, ink, ground, share):
    opacity = STRONGEST * share
    below = [(1 - opacity) * under + opacity * part for under, part in zip(ground, colour, strict=True)]
    assert _contrast(ink, below) >= 4.5  # WCAG 2.2, AA


WRONG = {
    "relevance of another length": (lambda: heatmap.tokens_html([1.0], ["a", "b"]), "2 tokens has 1 of relevance"),
    "a mask of another length": (lambda: heatmap.tokens_text([1.0], ["a"], mask=[True, False]), "a mask of 2"),
    "texts without relevance": (lambda: heatmap.tokens_html([[1.0]], [["a"], ["b"]]), "2 texts, 1 of relevance"),
    "titles": (lambda: heatmap.tokens_html([1.0], ["a"], titles=["a", "b"]), "2 titles and 1 texts"),
    "a bound": (lambda: heatmap.tokens_text([1.0], ["a"], vmax=0), "no positive number"),
    "a range": (lambda: heatmap.tokens_text([1.0], ["a"], per="text"), "none of 'sample' and 'batch'"),
    "complex": (lambda: heatmap.tokens_text([1j], ["a"]), "give real numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_errors_say_what_was_wrong(kind):
    call, said = WRONG[kind]
    with pytest.raises(heatmap.PictureError, match=said):
        call()
