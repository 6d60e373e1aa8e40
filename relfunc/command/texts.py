"""Texts of a file, with labels or without, as a model's tokenizer reads them."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError
from .folders import class_index

ROUND: Final = 16
"""Lengths are filled up to multiples of it, so that many texts are of one length, and are attributed together."""


class Texts(torch.utils.data.Dataset[Any]):
    """Texts as a model's arguments by name, with their labels.

    Parameters
    ----------
    texts : sequence of str
        One for each sample.
    labels : sequence of int or None
        Index of each one's class.
    tokenizer : callable
        As transformers has it.
    pads : bool
        Whether to fill texts up to multiples of :data:`ROUND`.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[int] | None, tokenizer: Any, *, pads: bool) -> None:
        self.texts, self.labels, self.tokenizer, self.pads = texts, labels, tokenizer, pads

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> Any:
        """Return the arguments of a sample; with its label, if it has one."""
        filled = {"padding": True, "pad_to_multiple_of": ROUND} if self.pads else {}
        found: dict[str, Tensor] = {
            name: torch.as_tensor(value)
            for name, value in self.tokenizer(self.texts[i], truncation=True, **filled).items()
        }
        return found if self.labels is None else (found, self.labels[i])


def texts_of(path: Path, tokenizer: Any, classes: Sequence[str], *, pads: bool) -> Texts:
    """Read texts.

    Parameters
    ----------
    path : pathlib.Path
        With one text a line (``.txt``); or with columns (``.csv``) or keys (``.jsonl``) ``text`` and, if there are
        labels, ``label``: a class's name or index.
    tokenizer : callable
        As transformers has it.
    classes : sequence of str
        The model's.
    pads : bool
        As for :class:`Texts`.

    Raises
    ------
    DataError
        If it is no such file, or some texts have labels and others have none.
    FolderError
        If a label names no class.
    """
    read = FORMS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is no file of texts: its name ends in {', '.join(FORMS)}")
    try:
        rows = list(read(path))
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as {path.suffix}: {error}") from error
    without = [k for k, (_, label) in enumerate(rows) if label == ""]
    if without and len(without) < len(rows):
        raise DataError(f"{path}: text {without[0] + 1} has no label, and others have: label all, or none")
    labels = None if without else [class_index(label, classes, of="label") for _, label in rows]
    return Texts([text for text, _ in rows], labels, tokenizer, pads=pads)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    return ((line, "") for line in path.read_text(encoding="utf-8").split("\n") if line.strip())


def _table(path: Path) -> Iterator[tuple[str, str]]:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "text" not in table:
        raise DataError(f"{path} has the columns {', '.join(map(repr, table))}: name that of the texts 'text'")
    labels = table["label"] if "label" in table else [""] * len(table)
    return zip(table["text"], labels, strict=True)


def _records(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                raise DataError(f"{path}, line {number}: give an object with 'text' and perhaps 'label'")
            label = record.get("label")
            yield record["text"], "" if label is None else str(label)


FORMS: Final[dict[str, Callable[[Path], Iterator[tuple[str, str]]]]] = {
    ".txt": _lines,
    ".csv": _table,
    ".jsonl": _records,
}
