"""Models of transformers, tiny and with random weights: relfunc's forward is theirs, and its gradient autograd's."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relfunc as rf
from benchmarks.families import FAMILIES, WORDS, made
from relfunc.graph.returned import aligned

from ..conformance import GRADIENT, TOLERANCE

pytest.importorskip("transformers", reason="one of relfunc's extra 'packages'")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FAMILIES)
def test_output_and_gradient_are_the_model_s(name):
    key = FAMILIES[name].key
    tolerance = TOLERANCE if FAMILIES[name].dtype is torch.float64 else 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, when it is imported and used
        model, inputs = made(name)
        model.requires_grad_(False)
        expected = model(**inputs)
        at = place(expected[key])

        def seed(output: Any) -> list[Any]:
            weights = torch.zeros_like(output[key])
            weights[at] = 1
            return aligned(output, {key: weights})

        f = rf.lrp(model, GRADIENT, example_inputs=inputs)
        lookups = f._lrp.known.tokens.lookups
        output, relevance = f.relevance(inputs, seed)
        rows = f.relevance(inputs, seed, f.program_at([node.name for node in lookups]))[1]
        wanted, wanted_rows = gradients(model, inputs, key, at)
        assert type(output) is type(expected)
        assert (output[key] - expected[key]).abs().max() <= tolerance * max(1, expected[key].abs().max())
        assert wanted or wanted_rows
        for argument, gradient in wanted.items():
            assert (relevance[argument] - gradient).abs().max() <= tolerance * gradient.abs().max()
        found = [row for row in rows if row.abs().max() > 0]
        for gradient in wanted_rows:
            off = [(row - gradient).abs().max() for row in found if row.shape == gradient.shape]
            assert min(off) <= tolerance * gradient.abs().max()
        for composite in (rf.composites.attnlrp(), rf.composites.cp_lrp()):
            g = rf.lrp(f._lrp.captured, composite)
            explained = g.relevance(inputs, seed)[1]
            assert relevance.get("attention_mask") is None
            for argument, found_relevance in explained.items():
                assert found_relevance is None or found_relevance.isfinite().all()
                assert argument == "attention_mask" or found_relevance.shape == inputs[argument].shape


def place(y: Tensor) -> tuple[Any, ...]:
    """Choose a class: of the last token, of the first pixel, or of all."""
    return (slice(None), -1, 42) if y.ndim == 3 and y.shape[-1] > 42 else (slice(None), *(0,) * (y.ndim - 1))


def gradients(
    model: nn.Module, inputs: dict[str, Tensor], key: str, at: tuple[Any, ...]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """By autograd, with respect to floating-point inputs, and to what tables of words return for tokens."""
    given = {name: x.clone().requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
    rows: list[Tensor] = []
    embedding = F.embedding

    def keep(index: Tensor, table: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        found = embedding(index, table, *args, **kwargs)
        if len(table) != WORDS:
            return found
        rows.append(found.detach().requires_grad_())
        return rows[-1] + 0.0  # which may be written to

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "embedding", keep)
        score = model(**given)[key][at].sum()
    leaves = {name: x for name, x in given.items() if x.requires_grad}
    found = torch.autograd.grad(score, [*leaves.values(), *rows], allow_unused=True)
    smooth = {name: a for name, a in zip(leaves, found, strict=False) if a is not None}
    return smooth, [a for a in found[len(leaves) :] if a is not None]


def test_exported_model_takes_other_lengths():
    model, inputs = made("bert")
    f = rf.lrp(model, GRADIENT, example_inputs=inputs)
    others = {name: torch.cat([value, value[:, :2]], 1)[:1] for name, value in inputs.items()}
    output, relevance = rf.gradient(f)(others, 1)
    assert (output.logits - model(**others).logits).abs().max() <= TOLERANCE
    assert relevance["input_ids"].shape == (1, 9)
