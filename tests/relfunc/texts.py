"""A small classifier of texts, and texts of several lengths."""

from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import relfunc as rf

COUNT, CLASSES = 20, 3
WORDS = ("[PAD]", "the", "film", "was", "not", "good", "▁naïve", "##ly", "<b>", "日本")
LENGTHS = [3, 5, 2, 7, 5, 4, 3, 9, 2, 6] * 2


class Classifier(nn.Module):
    """Words that a mask allows, mixed, averaged and scored."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(len(WORDS), 6)
        self.mixer, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        keep = attention_mask.unsqueeze(-1).to(self.words.weight.dtype)
        x = torch.relu(self.mixer(self.words(input_ids))) * keep
        return {"logits": self.head(x.sum(1) / keep.sum(1))}


class Scorer(Classifier):
    """Scores of the next word at every position."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        keep = attention_mask.unsqueeze(-1).to(self.words.weight.dtype)
        return {"logits": self.head((torch.relu(self.mixer(self.words(input_ids))) * keep).cumsum(1))}


class Embedded(Classifier):
    """Takes what the embedding would return."""

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
        x = torch.relu(self.mixer(inputs_embeds)) * attention_mask.unsqueeze(-1)
        return self.head(x.sum(1) / attention_mask.sum(1, keepdim=True))


class Texts(Dataset):
    """Mappings as tokenizers give them, each of its own length."""

    def __init__(self, count: int = COUNT, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.ids = [torch.randint(1, len(WORDS), (LENGTHS[i],), generator=generator) for i in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        ids = self.ids[i]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": i % CLASSES}


def collated(items: list[dict[str, Any]], *, left: bool = False) -> dict[str, Tensor]:
    """Pad a batch to its longest text."""
    longest = max(len(item["input_ids"]) for item in items)

    def filled(x: Tensor) -> Tensor:
        missing = longest - len(x)
        return nn.functional.pad(x, (missing, 0) if left else (0, missing))

    return {
        **{name: torch.stack([filled(item[name]) for item in items]) for name in ("input_ids", "attention_mask")},
        "labels": torch.tensor([item["labels"] for item in items]),
    }


def batches(data: Texts | None = None) -> DataLoader:
    return DataLoader(data or Texts(), 5, collate_fn=collated)


def example() -> dict[str, Tensor]:
    return {"input_ids": torch.ones(2, 4, dtype=torch.int64), "attention_mask": torch.ones(2, 4, dtype=torch.int64)}


def explanation(model: nn.Module | None = None) -> Any:
    model = (model or Classifier()).eval()
    return rf.gradient(rf.lrp(model, rf.composites.attnlrp(), example_inputs=example()))


def spelled(ids: list[int]) -> list[str]:
    return [WORDS[i] for i in ids]


class Tokenizer:
    """What of a tokenizer is used, and beside it something without a value."""

    def __init__(self, words: tuple[str, ...] = WORDS) -> None:
        self.words = words
        self.lock = Lock()

    def get_vocab(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[i] for i in ids]
