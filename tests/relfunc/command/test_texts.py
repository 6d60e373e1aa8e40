"""Texts on the command line: files of them, and classifiers as transformers saves them."""

import json
import socket
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import relfunc as rf
from relfunc.command.texts import ROUND, texts_of
from relfunc.errors import RelfuncError

from .given import results, run

CLASSES = ("bad", "very good")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "good", "bad", "dull", "##ly", "not"]
TEXTS = ["a good film", "not a bad film", "du", "badly not good " * 8]
FILES = {
    "t.csv": "label,text\nvery good,a good film\n0,not a bad film\nVERY_GOOD,du\n1,badly\n",
    "t.jsonl": "\n".join(
        json.dumps({"text": text, "label": label})
        for text, label in zip([*TEXTS[:3], "badly\u2028x"], ["very good", 0, "1", 1], strict=True)
    ),
}


def words(text: str, **options: Any) -> dict[str, list[int]]:
    ids = [len(word) for word in text.split()]
    filled = -len(ids) % options.get("pad_to_multiple_of", 1)
    return {"input_ids": [*ids, *[0] * filled], "attention_mask": [*[1] * len(ids), *[0] * filled]}


@pytest.mark.parametrize("name", FILES)
def test_texts_and_labels_are_read(name, tmp_path):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    data = texts_of(tmp_path / name, words, CLASSES, pads=False)
    assert [label for _, label in data] == [1, 0, 1, 1]
    assert [*data.texts[:3]] == TEXTS[:3]
    assert data[0][0]["input_ids"].tolist() == [1, 4, 4]
    filled, _ = texts_of(tmp_path / name, words, CLASSES, pads=True)[0]
    assert {len(value) for value in filled.values()} == {ROUND}
    assert filled["attention_mask"].sum() == 3


def test_texts_without_labels(tmp_path):
    (tmp_path / "t.txt").write_text("a good film\n\n«naïve»\r\n", encoding="utf-8")
    (tmp_path / "t.csv").write_text("text\na\n", encoding="utf-8")
    assert texts_of(tmp_path / "t.txt", words, CLASSES, pads=False).texts == ["a good film", "«naïve»"]
    assert set(texts_of(tmp_path / "t.csv", words, CLASSES, pads=False)[0]) == {"input_ids", "attention_mask"}


WRONG = {
    "t.csv": [("words\na\n", "name that of the texts 'text'"), ("text,label\na,good\n", "label 'good' is none of")],
    "t.jsonl": [
        ('{"text": "a"}\n[]', "line 2: give an object"),
        ("{", "cannot be read as .jsonl"),
        ('{"text": "a", "label": 0}\n{"text": "b"}', "text 2 has no label"),
    ],
    "t.txt": [("\udcff", "cannot be read as .txt")],
    "t.md": [("a", "its name ends in .txt, .csv, .jsonl")],
}


@pytest.mark.parametrize(("name", "text", "said"), [(name, *each) for name, all_ in WRONG.items() for each in all_])
def test_files_that_are_none_are_refused(name, text, said, tmp_path):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RelfuncError, match=said):
        texts_of(tmp_path / name, words, CLASSES, pads=False)


def fails(capsys, *argv) -> str:
    capsys.readouterr()
    assert run(*argv) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("relfunc: error: ")
    return said


def test_without_transformers_the_extra_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    said = fails(capsys, "attribute", "--model", "transformers:saved", "--data", "t.csv", "--out", "run")
    assert 'pip install "relfunc[packages]"' in said


def test_texts_need_a_tokenizer(here, capsys, monkeypatch):
    Path("t.txt").write_text("a\n")
    argv = ["attribute", "--model", "networks:ready", "--data", "t.txt", "--out", "run", "--target", "prediction"]
    assert "has no tokenizer" in fails(capsys, *argv)


@pytest.mark.parametrize(
    ("architectures", "missing", "said"),
    [
        (["BertModel"], [], "is BertModel: give one for sequence classification"),
        (None, [], "of no known architecture"),
        (["BertForSequenceClassification"], ["classifier.weight", "classifier.bias"], "'classifier.bias' and 1 more"),
    ],
)
def test_a_model_that_is_no_trained_classifier_is_refused(here, capsys, monkeypatch, architectures, missing, said):
    def pretrained(found):
        def of(folder, *, local_files_only, trust_remote_code, **_):
            assert (local_files_only, trust_remote_code) == (True, False)
            return found

        return SimpleNamespace(from_pretrained=of)

    fake = SimpleNamespace(
        AutoConfig=pretrained(SimpleNamespace(architectures=architectures)),
        AutoModelForSequenceClassification=pretrained((torch.nn.Linear(1, 1), {"missing_keys": missing})),
    )
    monkeypatch.setitem(sys.modules, "transformers", fake)
    Path("saved").mkdir()
    argv = ["attribute", "--model", "transformers:saved", "--data", "photos", "--out", "run"]
    assert "has no config.json" in fails(capsys, *argv)
    Path("saved", "config.json").write_text("{}")
    assert said in fails(capsys, *argv)


# --- with the package ---------------------------------------------------------------------------------


@pytest.fixture
def saved(here, monkeypatch) -> Any:
    """A small classifier with its tokenizer in a folder, texts, and no network."""
    transformers = pytest.importorskip("transformers", reason="one of relfunc's extra 'packages'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, when it is used
        Path("vocab.txt").write_text("\n".join(WORDS))
        tokenizer = transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            id2label=dict(enumerate(CLASSES)),
        )
        model = transformers.BertForSequenceClassification(config).eval()
        model.save_pretrained("saved")
        tokenizer.save_pretrained("saved")
        Path("t.csv").write_text("text,label\n" + "".join(f"{text},very good\n" for text in TEXTS))

        def refused(*_: Any, **__: Any) -> Any:
            raise AssertionError("the network was asked")

        monkeypatch.setattr(socket, "getaddrinfo", refused)
        monkeypatch.setattr(socket.socket, "connect", refused)
        yield SimpleNamespace(model=model, tokenizer=tokenizer)


@pytest.mark.slow
def test_a_saved_classifier_is_attributed(saved, capsys):
    argv = ["--model", "transformers:saved", "--data", "t.csv"]
    assert run("attribute", *argv, "--out", "run") == 0
    assert run("attribute", *argv, "--out", "run") == 0
    data = results()
    assert data["class"].values.tolist() == [*CLASSES]
    assert data.sizes["token"] == 3 * ROUND
    given = dict(saved.tokenizer(TEXTS, return_tensors="pt", padding=True))
    f = rf.lrp(saved.model, rf.composites.attnlrp(), example_inputs=given)
    output, relevance = rf.gradient(f)(given, 1)
    longest = given["input_ids"].shape[1]
    np.testing.assert_allclose(data["prediction"], output.logits, atol=1e-5)
    np.testing.assert_allclose(data["attribution"][:, :longest], relevance["input_ids"], atol=1e-5)
    assert not data["attribution"].where(~data["token_mask"], 0).any()
    np.testing.assert_array_equal(data["token_mask"][:, :longest], given["attention_mask"] == 1)
    said = data["token_text"][0].values[data["token_mask"][0].values]
    assert said.tolist() == ["[CLS]", "a", "good", "film", "[SEP]"]
    capsys.readouterr()
    assert run("plan", *argv[:2]) == 0
    assert "softmax" in capsys.readouterr().out
    assert run("audit", *argv, "--samples", "3", "--target", "prediction") == 0
    assert "total" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("saved")
def test_a_folder_that_is_damaged_is_one_line(capsys):
    argv = ["attribute", "--model", "transformers:saved", "--data", "t.csv", "--out", "run"]
    weights = Path("saved", "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    assert "saved cannot be loaded" in fails(capsys, *argv)
    config = json.loads(Path("saved", "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"}
    Path("saved", "config.json").write_text(json.dumps(config))
    Path("saved", "own.py").write_text("raise SystemExit('code of the folder was run')")
    assert "saved cannot be loaded" in fails(capsys, *argv)
