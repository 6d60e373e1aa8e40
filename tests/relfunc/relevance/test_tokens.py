"""Integer inputs that index tables: their relevance is that of the rows, summed over features, and all else is None."""

import itertools
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf
from relfunc.errors import CaptureError, RelfuncError

from ..conformance import GRADIENT

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
INPUTS = {"input_ids": IDS, "attention_mask": MASK}
VIA = ("trace", "export")


class Output(OrderedDict[str, Any]):
    """What a model returns: a mapping of a class of its own, whose entries are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Cache:
    """What a model returns beside tensors, and no graph holds."""


class Language(nn.Module):
    """Tokens and their positions, mixed along the positions that a mask allows, and scores of the next token."""

    def __init__(self, read: str = "embedding") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        sizes = {"tokens": (10, 4), "positions": (9, 4), "mixer": (4, 4), "head": (10, 4)}
        for name, size in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(size, dtype=torch.float64, generator=generator)))
        self.way = read

    def mixed(self, rows: Tensor, attention_mask: Tensor | None) -> Tensor:
        places = torch.arange(rows.shape[1])
        x = rows + nn.functional.embedding(places, self.positions)
        if attention_mask is not None:
            x = x.masked_fill((attention_mask == 0).unsqueeze(-1), 0.0)
        return torch.tanh(x.cumsum(1) @ self.mixer) @ self.head.t()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        rows = READ[self.way](self.tokens, input_ids)
        return Output(logits=self.mixed(rows, attention_mask), cache=Cache(), rows=(rows.mean(1), None))


READ = {
    "embedding": lambda table, ids: nn.functional.embedding(ids, table),
    "index": lambda table, ids: table[ids],
    "index and slice": lambda table, ids: table[ids, :],
    "index and ellipsis": lambda table, ids: table[ids, ...],
    "index_select": lambda table, ids: table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, -1),
    "shifted": lambda table, ids: nn.functional.embedding(ids.roll(1, 1), table),
    "begun": lambda table, ids: nn.functional.embedding(torch.cat([ids[:, :1] * 0, ids[:, :-1]], 1), table),
    "padded": lambda table, ids: nn.functional.embedding(nn.functional.pad(ids, (1, 0))[:, :-1], table),
    "narrowed": lambda table, ids: nn.functional.embedding(ids.to(torch.int32).to(torch.int64), table),
    "replaced": lambda table, ids: nn.functional.embedding(ids.masked_fill(ids == 9, 0), table),
}


def wanted(model: Language, read: str, inputs: dict[str, Tensor], target: Any) -> Tensor:
    """The gradient of what the rows of each token were, by autograd: each place of the input has rows of its own."""
    ids = inputs["input_ids"]
    samples, length = ids.shape
    own = torch.arange(ids.numel()).reshape(ids.shape) + 1  # 0 is what begins or replaces
    table = torch.cat([model.tokens[:1], model.tokens[ids.reshape(-1)]]).detach()
    if read == "replaced":
        own = own.masked_fill(ids == 9, 0)
        rows = table.requires_grad_()[own]
    else:
        rows = READ[read](table.requires_grad_(), own)
    score = model.mixed(rows, inputs.get("attention_mask"))[(slice(None), *target)].sum()
    (gradient,) = torch.autograd.grad(score, table)
    return gradient[1:].sum(-1).reshape(samples, length)


WAYS = [
    pytest.param(read, via, marks=[pytest.mark.slow] * (via == "export" and read not in {"embedding", "shifted"}))
    for read, via in itertools.product(READ, VIA)
]


@pytest.mark.parametrize(("read", "via"), WAYS)
def test_relevance_of_a_token_is_that_of_its_rows(read, via):
    model = Language(read).eval()
    f = rf.lrp(rf.capture(model, via=via, example_inputs=INPUTS), GRADIENT)
    output, relevance = rf.gradient(f)(INPUTS, target=(-1, 7))
    assert type(output) is Output
    assert "cache" not in output
    assert output.rows[1] is None
    torch.testing.assert_close(output.logits, model(**INPUTS).logits)
    torch.testing.assert_close(relevance["input_ids"], wanted(model, read, INPUTS, (-1, 7)))
    assert relevance["attention_mask"] is None


def test_exported_model_takes_other_batches_and_lengths():
    model = Language().eval()
    f = rf.lrp(rf.capture(model, via="export", example_inputs=INPUTS), GRADIENT)
    others = {"input_ids": torch.tensor([[1, 2, 3, 4, 5, 6, 7]]), "attention_mask": torch.ones(1, 7, dtype=torch.int64)}
    output, relevance = rf.gradient(f)(others, target=(2, 0))
    torch.testing.assert_close(output.logits, model(**others).logits)
    torch.testing.assert_close(relevance["input_ids"], wanted(model, "embedding", others, (2, 0)))


def test_tokens_are_found_without_an_example():
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Language()

        def forward(self, ids: Tensor) -> Tensor:
            return self.model(ids).logits[:, -1]

    model = Scores().eval()
    f = rf.lrp(model, GRADIENT)
    _, relevance = rf.gradient(f)(IDS, 7)
    torch.testing.assert_close(relevance, wanted(model.model, "embedding", {"input_ids": IDS}, (-1, 7)))
    _, each = rf.per_class(f)(IDS)
    torch.testing.assert_close(each[7], relevance)
    jacobian = torch.func.jacrev(lambda hot: rf.gradient(f)(IDS, lambda y: hot.expand(y.shape))[1])(
        torch.ones(10).double()
    )
    torch.testing.assert_close(jacobian.movedim(-1, 0), each)
    compiled = torch.compile(lambda ids: rf.gradient(f)(ids, 7)[1], fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(IDS), relevance)


def test_relevance_of_tokens_has_derivatives():
    model = Language().eval()
    f = rf.lrp(model, GRADIENT, example_inputs=INPUTS)
    _, relevance = rf.gradient(f, create_graph=True)(INPUTS, target=(-1, 7))
    (found,) = torch.autograd.grad(relevance["input_ids"].square().sum(), model.mixer)

    def of_mixer(mixer: Tensor) -> Tensor:
        rows = model.tokens[IDS].detach().requires_grad_()
        score = torch.func.functional_call(_Mixed(model), {"model.mixer": mixer}, (rows, MASK))[:, -1, 7].sum()
        return torch.autograd.grad(score, rows, create_graph=True)[0].sum(-1).square().sum()

    mixer = model.mixer.detach().clone().requires_grad_()
    torch.testing.assert_close(found, torch.autograd.grad(of_mixer(mixer), mixer)[0])


class _Mixed(nn.Module):
    def __init__(self, model: Language) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        return self.model.mixed(rows, mask)


def test_positions_counted_from_a_mask_are_no_tokens():
    class Counted(Language):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
            places = (attention_mask.cumsum(1) - 1).clamp(min=0)
            rows = nn.functional.embedding(input_ids, self.tokens)
            return Output(logits=(rows + nn.functional.embedding(places, self.positions)) @ self.head.t())

    f = rf.lrp(Counted().eval(), GRADIENT, example_inputs=INPUTS)
    _, relevance = rf.gradient(f)(INPUTS, target=(-1, 7))
    assert relevance["attention_mask"] is None
    assert (relevance["input_ids"] != 0).any()


def test_audit_lists_tables_under_their_own_heading():
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.head = nn.Linear(6, 4, bias=False), nn.Linear(4, 3, bias=False)
            self.first = nn.Parameter(torch.ones(1, 1, 4))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), self.patch(x)], 1)
            return self.head(x.mean(1))

    torch.manual_seed(0)
    model, x = Patches().eval().double(), torch.randn(2, 3, 6, dtype=torch.float64)
    total = rf.audit(model, rf.composites.epsilon_plus(), x, 1).loc["total"]
    parts = total[["passed", "bias", "stabilizer", "tables", "dropped"]]
    assert abs(total["relevance"] - parts.sum()) < 1e-9
    assert abs(total["dropped"]) < 1e-9
    assert abs(total["tables"]) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_has_relevance_in_single(dtype):
    model = Language().eval()
    _, exact = rf.gradient(rf.lrp(model, GRADIENT, example_inputs=INPUTS))(INPUTS, target=(-1, 7))
    f = rf.lrp(model.to(dtype), GRADIENT, example_inputs=INPUTS)
    output, relevance = rf.gradient(f)(INPUTS, target=(-1, 7))
    assert output.logits.dtype == dtype
    assert relevance["input_ids"].dtype == torch.float32
    off = (relevance["input_ids"] - exact["input_ids"]).abs().max() / exact["input_ids"].abs().max()
    assert off < 30 * torch.finfo(dtype).eps


def test_saved_model_returns_its_own_class():
    f = rf.lrp(rf.capture(Language().eval(), via="export", example_inputs=INPUTS), GRADIENT)
    again = pickle.loads(pickle.dumps(f))
    assert type(again(**INPUTS)) is Output
    torch.testing.assert_close(rf.gradient(again)(INPUTS, (-1, 7))[1], rf.gradient(f)(INPUTS, (-1, 7))[1])


@pytest.mark.parametrize("make", [rf.gradient, rf.smoothgrad], ids=lambda make: make.__name__)
def test_plain_gradient_of_tokens_says_what_to_do(make):
    with pytest.raises(rf.attribution.transforms.InputError, match=r"relfunc.gradient.*relfunc.lrp"):
        make(Language().eval())(INPUTS, target=(-1, 7))


def test_gradients_off_where_relevance_would_stop_are_refused_with_the_line():
    class Stopped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = x.sin()
            return y * x

    with pytest.raises(CaptureError, match=r"switches gradients off.*'sin'.*test_tokens.py"):
        rf.capture(Stopped().eval(), via="export", example_inputs=torch.ones(2, 3))


def test_constants_made_without_gradients_are_captured():
    class Rotary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                angles = torch.arange(x.shape[1], dtype=x.dtype).sin()
            return x * angles

    x = torch.randn(2, 3)
    _, relevance = rf.gradient(rf.lrp(rf.capture(Rotary().eval(), via="export", example_inputs=x), GRADIENT))(x, 2)
    torch.testing.assert_close(relevance[:, 2], torch.arange(3.0).sin()[2].expand(2))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.table(input_ids) * attention_mask[..., None]).mean(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_ids": torch.rand(2, 5)}, r"input_ids is torch.float32, and holds token ids"),
        ({"input_ids": torch.full((2, 5), 9)}, r"input_ids has the id 9, and the table table.weight has rows 0 to 8"),
        ({"input_ids": torch.full((2, 5), -1)}, r"has the id -1"),
        ({"attention_mask": torch.ones(2, 4, dtype=torch.int64)}, r"that fit each"),
    ],
)
def test_wrong_calls_say_what_is_wrong(change, said):
    inputs = {"input_ids": torch.arange(10).reshape(2, 5) % 9, "attention_mask": torch.ones(2, 5, dtype=torch.int64)}
    captured = rf.capture(Masked(), via="export", example_inputs=inputs)
    f = rf.lrp(captured, rf.composites.attnlrp())
    with pytest.raises(RelfuncError, match=said):
        rf.gradient(f)({**inputs, **change}, 1)


class Transcribing(nn.Module):
    """Takes sounds and, beside them, ids of as many samples: an exported graph compares their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.sounds, self.out = nn.Embedding(9, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, sounds: Tensor, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.table(ids).mean(1) * self.sounds(sounds).sum(1)))


@pytest.mark.parametrize("via", ["trace", "export"])
def test_tokens_beside_floating_point_inputs_have_relevance(via):
    torch.manual_seed(0)
    inputs = {"sounds": torch.randn(2, 5, 3), "ids": torch.randint(0, 9, (2, 4))}
    captured = rf.capture(Transcribing().eval(), example_inputs=inputs, via=via)
    relevance = rf.gradient(rf.lrp(captured, rf.composites.attnlrp()))(inputs, 1)[1]
    assert relevance["ids"].shape == (2, 4)
    assert relevance["ids"].abs().min() > 0
    assert relevance["sounds"].abs().min() > 0


@pytest.mark.filterwarnings("ignore:composite .* matches no operation")
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings_are_reductions_of_what_is_looked_up(mode):
    table = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reduce = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}[mode]

    class Bag(nn.Module):
        def __init__(self, fused: bool) -> None:
            super().__init__()
            self.table, self.fused = nn.Parameter(table), fused

        def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
            if self.fused:
                options = {"per_sample_weights": weights} if mode == "sum" else {}
                return nn.functional.embedding_bag(ids, self.table, mode=mode, **options) * weights[:, :1]
            rows = nn.functional.embedding(ids, self.table)
            return reduce(rows * weights[..., None] if mode == "sum" else rows, 1) * weights[:, :1]

    inputs = (IDS, torch.rand(IDS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    functions = [rf.lrp(Bag(fused).eval(), rf.composites.attnlrp(), example_inputs=inputs) for fused in (True, False)]
    found, expected = (rf.gradient(f)(inputs, lambda y: y)[1] for f in functions)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert (found[0] != 0).any()
