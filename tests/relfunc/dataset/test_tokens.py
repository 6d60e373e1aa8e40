"""Runs over texts: token ids with a mask, of several lengths, with the text of each token beside its relevance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import relfunc as rf
from relfunc.errors import DataError, RunError, SchemaError

from ..texts import (
    CLASSES,
    COUNT,
    LENGTHS,
    WORDS,
    Classifier,
    Embedded,
    Scorer,
    Texts,
    Tokenizer,
    batches,
    collated,
    explanation,
    spelled,
)
from .runs import run

LONGEST = max(LENGTHS)


def filled(values: torch.Tensor, filler: float = 0) -> np.ndarray:
    return torch.nn.functional.pad(values, (0, LONGEST - len(values)), value=filler).numpy()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return run(Texts(), tmp_path_factory.mktemp("run"), explanation(), tokens=spelled)


def test_each_text_has_the_relevance_that_it_has_alone(whole: xr.Dataset) -> None:
    explain, data = explanation(), Texts()
    assert whole["attribution"].dims == ("sample", "token")
    assert whole.sizes == {"sample": COUNT, "token": LONGEST, "class": CLASSES}
    for i, item in enumerate(data):
        alone = {name: item[name][None] for name in ("input_ids", "attention_mask")}
        output, relevance = explain(alone, item["labels"])
        np.testing.assert_allclose(whole["attribution"][i], filled(relevance["input_ids"][0]), atol=1e-6)
        np.testing.assert_allclose(whole["prediction"][i], output["logits"][0].numpy(), atol=1e-6)
        np.testing.assert_array_equal(whole["input"][i], filled(item["input_ids"], -1))
        assert whole["label"][i] == whole["target"][i] == item["labels"]


def test_padding_is_known_from_tokens(whole: xr.Dataset) -> None:
    assert whole["token_mask"].dtype == bool
    assert whole["token_mask"].sum("token").values.tolist() == LENGTHS
    assert whole["input"].dtype == np.int64
    for i, ids in enumerate(Texts().ids):
        assert whole["token_text"][i].values.tolist() == [*spelled(ids.tolist()), *[""] * (LONGEST - len(ids))]


@pytest.mark.parametrize("left", [False, True])
def test_batches_that_were_padded_are_as_long_as_the_longest_of_the_run(
    whole: xr.Dataset, tmp_path: Path, left: bool
) -> None:
    loader = DataLoader(Texts(), 5, collate_fn=lambda items: collated(items, left=left))
    read = run(loader, tmp_path, explanation(), tokens=spelled, batch_size=3)
    assert read.sizes == whole.sizes
    assert read["token_mask"].sum("token").values.tolist() == LENGTHS
    for i, length in enumerate(LENGTHS):
        mask = read["token_mask"][i].values
        assert mask.argmax() == (0 if not left else max(LENGTHS[i // 5 * 5 : i // 5 * 5 + 5]) - length)
        np.testing.assert_allclose(read["attribution"][i][mask], whole["attribution"][i][:length], atol=1e-6)
        np.testing.assert_array_equal(read["token_text"][i][mask], whole["token_text"][i][:length])
        assert not read["attribution"][i][~mask].any()
    assert "[PAD]" in read["token_text"][0].values  # as the tokenizer says


def test_one_long_text_at_the_end_leaves_no_rubbish_before_it(tmp_path: Path) -> None:
    """Where a file grows, what was not written would be whatever is on the disk."""
    data = Texts()
    data.ids = [*data.ids, torch.arange(400) % 9 + 1]
    read = run(data, tmp_path, explanation(), batch_size=1, shard_size=64, tokens=spelled)
    for i, length in enumerate([*LENGTHS, 400]):
        rest = read.isel(sample=i, token=slice(length, None))
        assert not rest["attribution"].any()
        assert not rest["token_mask"].any()
        assert (rest["input"] == -1).all()
        assert (rest["token_text"] == "").all()


def test_shards_of_several_lengths_are_read_in_any_order(whole: xr.Dataset, tmp_path: Path) -> None:
    manifest = rf.attribute_dataset(explanation(), Texts(), tmp_path, shard_size=3, progress=False, tokens=spelled)
    with rf.open_attributions(manifest) as read:
        rows = np.random.default_rng(0).permutation(COUNT)
        for name in ("attribution", "input", "token_mask", "token_text"):
            np.testing.assert_array_equal(read[name][rows, 1:8:2], whole[name][rows, 1:8:2])
            np.testing.assert_array_equal(read[name][4, [7, 0]], whole[name][4, [7, 0]])
            np.testing.assert_array_equal(read[name][0:0], whole[name][0:0])
        lengths = {xr.open_dataset(path).sizes["token"] for path in tmp_path.glob("*.nc")}
    assert len(lengths) > 1


def test_embeddings_are_explained_where_they_are_given(tmp_path: Path) -> None:
    model = Embedded().eval()

    class Rows(Texts):
        def __getitem__(self, i: int) -> dict[str, Any]:
            item = super().__getitem__(i)
            return {"inputs_embeds": model.words(item.pop("input_ids")).detach(), **item}

    read = run(Rows(), tmp_path, rf.gradient(rf.lrp(model, rf.composites.epsilon_plus())), keep_input=None)
    assert read["attribution"].dims == ("sample", "token", "feature")
    assert read["token_mask"].sum("token").values.tolist() == LENGTHS
    assert not read["attribution"].where(~read["token_mask"], 0).any()


def test_a_tuple_explains_one_output_of_many(tmp_path: Path) -> None:
    explain, data = explanation(Scorer()), Texts()
    read = run(data, tmp_path / "run", explain, target=(-1, -2))
    assert run(data, tmp_path / "run", explain, target=(-1, -2)).identical(read)
    for i, item in enumerate(data):
        alone = {name: item[name][None] for name in ("input_ids", "attention_mask")}
        output, relevance = explain(alone, (-1, -2))
        np.testing.assert_allclose(read["attribution"][i], filled(relevance["input_ids"][0]), atol=1e-6)
        np.testing.assert_allclose(read["prediction"][i], output["logits"][0, -1].numpy(), atol=1e-6)
    assert set(read["target"].values.tolist()) == {1}
    with pytest.raises(DataError, match=r"not \(sample, class\).*give a tuple of 2 indices"):
        run(data, tmp_path / "other", explain, target=1)


TARGETS = {
    "prediction": lambda output: output.argmax(1),
    2: lambda output: torch.full((len(output),), 2),
}


@pytest.mark.parametrize("target", TARGETS)
def test_other_targets_mean_what_they_mean_for_images(target: Any, tmp_path: Path) -> None:
    read = run(Texts(), tmp_path / "named", explanation(), target=target)
    of = TARGETS[target]
    again = run(Texts(), tmp_path / "function", explanation(), target=lambda output, label: of(output))
    np.testing.assert_array_equal(read["target"], of(torch.as_tensor(read["prediction"].values)))
    np.testing.assert_array_equal(read["attribution"], again["attribution"])


# --- identity and resuming ----------------------------------------------------------------------------


def test_a_tokenizer_is_known_by_its_vocabulary(tmp_path: Path, whole: xr.Dataset) -> None:
    read = run(Texts(), tmp_path, explanation(), tokens=Tokenizer())
    np.testing.assert_array_equal(read["token_text"], whole["token_text"])
    assert run(Texts(), tmp_path, explanation(), tokens=Tokenizer()).identical(read)
    with pytest.raises(RunError, match="tokens was"):
        run(Texts(), tmp_path, explanation(), tokens=Tokenizer((*WORDS[:-1], "other")))
    with pytest.raises(RunError, match="tokens was"):
        run(Texts(), tmp_path, explanation())


class Remasked(Texts):
    """The same ids; another mask for one text in the middle, which a spread of samples does not meet."""

    def __getitem__(self, i: int) -> dict[str, Any]:
        item = super().__getitem__(i)
        return {**item, "attention_mask": item["attention_mask"].clone().index_fill_(0, torch.tensor([0]), int(i != 7))}


def test_a_stream_of_another_mask_is_another_run(tmp_path: Path) -> None:
    run(batches(), tmp_path, explanation())
    with pytest.raises(RunError, match="made of other data"):
        run(batches(Remasked()), tmp_path, explanation())


@pytest.mark.parametrize("data", [Texts, batches])
def test_a_run_of_texts_goes_on_behind_the_last_whole_file(data: Any, tmp_path: Path, whole: xr.Dataset) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done >= 12:
            raise StopError

    options = {"tokens": spelled, "progress": False, "shard_size": 8, "batch_size": 4}
    with pytest.raises(StopError):
        rf.attribute_dataset(explanation(), data(), tmp_path / "run", **{**options, "progress": stop})
    assert [path.name for path in (tmp_path / "run").glob("*.nc")] == ["attributions-00000.nc"]
    stopped = run(data(), tmp_path / "run", explanation(), tokens=spelled)
    assert stopped.identical(run(data(), tmp_path / "undisturbed", explanation(), tokens=spelled))


# --- refused ------------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[Any, str]] = {
    "an entry of text": (lambda item: {**item, "text": "a film"}, "entry 'text' of sample '0' is a str"),
    "two that could be meant": (
        lambda item: {"a": torch.rand(3), "b": torch.rand(3)},
        "which is explained is not known",
    ),
    "no ids": (lambda item: {"attention_mask": torch.ones(3)}, "which is explained is not known"),
    "an axis too many": (lambda item: {**item, "input_ids": item["input_ids"][None]}, r"\(token,\) for each sample"),
    "two labels": (lambda item: (item, 1), "a label among its entries and another"),
    "labels by both names": (lambda item: {**item, "label": 1}, "has a 'label' and 'labels'"),
}


class Items(torch.utils.data.Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


@pytest.mark.parametrize("kind", REFUSED)
def test_samples_that_are_not_understood_are_refused(kind: str, tmp_path: Path) -> None:
    make, said = REFUSED[kind]
    with pytest.raises(DataError, match=said):
        run(Items([make(item) for item in Texts(4)]), tmp_path, explanation())


def test_entries_that_some_samples_lack_are_named(tmp_path: Path) -> None:
    items = [dict(item) for item in Texts(4)]
    items[2]["token_type_ids"] = torch.zeros_like(items[2]["input_ids"])
    with pytest.raises(DataError, match=r"sample '2': it has the entries .*token_type_ids"):
        run(Items(items), tmp_path, explanation())


TOLD: dict[str, tuple[Any, str]] = {
    "too few": (lambda ids: ["a"], "1 texts for 3 ids"),
    "no text": (lambda ids: [None] * len(ids), "gave None for the id"),
}


@pytest.mark.parametrize("kind", TOLD)
def test_text_that_is_not_that_of_the_tokens_is_refused(kind: str, tmp_path: Path) -> None:
    tokens, said = TOLD[kind]
    with pytest.raises(DataError, match=said):
        run(Texts(), tmp_path, explanation(), tokens=tokens)


def test_images_have_no_text(tmp_path: Path) -> None:
    data = TensorDataset(torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.int64))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, CLASSES)).eval()
    with pytest.raises(DataError, match="tokens= gives ids their text"):
        run(data, tmp_path, rf.gradient(model), tokens=spelled)


def test_ids_are_not_taken_for_an_image_that_was_not_converted(tmp_path: Path) -> None:
    data = TensorDataset(torch.ones(4, 3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="give a transform to floating point"):
        run(data, tmp_path, rf.gradient(torch.nn.Linear(3, CLASSES).eval()))
    model = torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Flatten(), torch.nn.Linear(6, CLASSES)).eval()
    explain = rf.gradient(
        rf.lrp(model, rf.composites.epsilon_plus(), example_inputs=torch.ones(1, 3, dtype=torch.int64))
    )
    assert run(data, tmp_path / "ids", explain)["attribution"].dims == ("sample", "token")


@pytest.mark.parametrize("dims", [("sample", "token"), ("sample", "place")])
@pytest.mark.parametrize("kind", [np.int64, np.uint16])
@pytest.mark.parametrize("as_batches", [False, True])
def test_ids_of_an_xarray_dataset_stay_integers(
    tmp_path: Path, dims: tuple[str, str], kind: Any, as_batches: bool
) -> None:
    torch.manual_seed(0)
    ids = np.array([[3, 1, 2], [0, 3, 3], [2, 2, 1], [1, 0, 2]], kind)
    data = xr.Dataset({"input": (dims, ids), "label": ("sample", [0, 1, 2, 0])})
    model = torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Flatten(), torch.nn.Linear(6, CLASSES)).eval()
    x = torch.as_tensor(ids.astype(np.int64))
    explain = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus(), example_inputs=x))
    given = [data[{"sample": [i, i + 1]}].assign_coords(sample=[i, i + 1]) for i in (0, 2)] if as_batches else data
    read = run(given, tmp_path, explain, tokens=spelled)
    assert read["attribution"].dims == ("sample", "token")
    assert read["input"].dtype == np.int64
    np.testing.assert_array_equal(read["input"], ids)
    wanted = explain(x, torch.tensor([0, 1, 2, 0]))[1]
    np.testing.assert_allclose(read["attribution"], wanted, atol=1e-6)
    assert read["token_text"][0].values.tolist() == spelled(ids[0].tolist())


def test_integers_of_an_xarray_dataset_are_numbers_for_a_model_of_numbers(tmp_path: Path) -> None:
    data = xr.Dataset({"input": (("sample", "feature"), np.eye(3, dtype=np.int64)), "label": ("sample", [0, 1, 2])})
    read = run(data, tmp_path, rf.gradient(torch.nn.Linear(3, CLASSES).eval()), keep_input="float32")
    assert read["attribution"].dims == ("sample", "feature")
    assert read["input"].dtype == np.float32


def test_a_plain_gradient_of_ids_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(rf.errors.InputError, match=r"relfunc\.lrp\(model, composite, example_inputs=x\)"):
        run(Texts(), tmp_path, rf.gradient(Classifier().eval()))


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        ({"attribution": ("sample", "feature", "token")}, r"should begin with \('sample', 'token'\)"),
        ({"token_text": ("token", "sample")}, "'token_text' has dimensions"),
        ({"attribution": ("sample", "y", "x")}, "'token_mask' is of tokens"),
    ],
)
def test_the_schema_holds_tokens_to_their_dimensions(dims: dict[str, tuple[str, ...]], said: str) -> None:
    sizes = {"sample": 2, "token": 3, "feature": 4, "class": 2, "y": 2, "x": 2}
    named = {
        "attribution": ("sample", "token"),
        "prediction": ("sample", "class"),
        "token_mask": ("sample", "token"),
        "token_text": ("sample", "token"),
        **dims,
    }
    data = xr.Dataset(
        {name: (held, np.zeros([sizes[dim] for dim in held])) for name, held in named.items()},
        {"sample": [0, 1], "class": ["a", "b"]},
    ).assign(label=("sample", [0, 1]))
    with pytest.raises(SchemaError, match=said):
        rf.schema.check_attributions(data)
