"""Accounts of relevance: every part of the seed is booked under what took it, and a wrong rule shows as dropped."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..efficient import BERT, GPT2, LLAMA, VIT, Transformer
from ..kinds import net, normal
from ..rules.test_spellings_of_attention import NORMS, between

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation", "ignore:The tensor attributes")

COMPOSITES = [
    pytest.param(rf.composites.attnlrp(), id="attnlrp"),
    pytest.param(rf.composites.attnlrp(0.25, stabilizer=1e-3), id="attnlrp, gamma"),
    pytest.param(rf.composites.cp_lrp(), id="cp_lrp"),
    pytest.param(rf.composites.epsilon_plus(), id="epsilon_plus"),
]
PARTS = ["passed", "bias", "stabilizer", "softmax", "tables", "dropped"]


def transformer(kind):
    def make():
        model = Transformer(kind)
        return model, model.example()

    return make


def recurrent(module):
    def make():
        parts = {"m": module(6, 6, batch_first=True, bidirectional=True), "z": nn.Linear(12, 3)}
        return net(lambda s, x: s.z(s.m(x)[0][:, -1]), **parts), normal(2, 4, 6)

    return make


def norm(name):
    return lambda: (between(NORMS[name][0]), normal(2, 4, 6))


def small(function, *shape, **parts):
    return lambda: (net(function, **parts), normal(*shape))


MODELS = {
    **{name: transformer(kind) for name, kind in {"vit": VIT, "bert": BERT, "gpt2": GPT2, "llama": LLAMA}.items()},
    **{m.__name__: recurrent(m) for m in (nn.LSTM, nn.GRU, nn.RNN)},
    **{f"{name} norm": norm(name) for name in NORMS},
    "bilinear": small(lambda s, x: s.b(x, s.a(x)), a=nn.Linear(4, 4), b=nn.Bilinear(4, 4, 3)),
    "product with itself": small(lambda s, x: s.a(x.mT @ x).sum(1), a=nn.Linear(4, 3)),
    "padding": small(lambda s, x: s.a(F.pad(s.a(x), (0, 4), value=1.0)[:, 2:6].exp()), a=nn.Linear(4, 4)),
    "filled": small(lambda s, x: s.a(x.masked_fill(x > 0, 0.5).exp()), a=nn.Linear(4, 3)),
    "greatest": small(lambda s, x: s.a(torch.maximum(s.a(x), s.floor)), a=nn.Linear(4, 4), floor=normal(4, seed=9)),
    "deviation": small(lambda s, x: s.a(s.a(x).std(1, keepdim=True) + x), a=nn.Linear(4, 4)),
    "two outputs of log-softmax": small(lambda s, x: s.a(x).log_softmax(-1), a=nn.Linear(4, 4)),
}


LARGE = {"vit", "bert", "gpt2", "llama", "LSTM", "GRU", "RNN"}
CASES = [
    pytest.param(name, *composite.values, id=f"{name}-{composite.id}", marks=[pytest.mark.slow] * slow)
    for name in MODELS
    for i, composite in enumerate(COMPOSITES)
    for slow in [name in LARGE and (i > 0 or name in {"bert", "GRU", "RNN"})]
]


@pytest.mark.parametrize(("name", "composite"), CASES)
def test_nothing_is_dropped_and_the_parts_sum_to_the_seed(name, composite):
    model, x = MODELS[name]()
    R = normal(*model(x).shape, seed=4)
    table = rf.audit(model, composite, x, R, example_inputs=x)
    total = table.loc["total"]
    assert total["relevance"] == pytest.approx(float(R.sum()), abs=1e-12)
    assert table["dropped"].abs().max() < 1e-8
    assert table[PARTS].sum(axis=1).sub(table["relevance"]).abs().max() < 1e-8
    assert table.iloc[:-1][PARTS[1:]].sum().sub(total[PARTS[1:]]).abs().max() < 1e-8


def test_softmax_takes_the_constant_of_its_expansion_and_no_bias():
    model, x, R = net(lambda s, x: x.softmax(1)), normal(2, 3, 4), normal(2, 3, 4, seed=2)
    row = rf.audit(model, rf.composites.attnlrp(), x, R).loc["softmax"]
    y = x.softmax(1)
    constant = y - (y * x - y * (y * x).sum(1, keepdim=True))  # of the expansion at x, whose other terms are J x
    assert row["softmax"] == pytest.approx(float((R / y * constant).sum()), abs=1e-9)
    assert row["bias"] == row["tables"] == row["stabilizer"] == 0


@pytest.mark.parametrize("composite", COMPOSITES[::3])
def test_what_stands_beside_the_input_is_booked_as_tables_wherever_it_takes_something(composite):
    model, x = transformer(VIT)()
    table = rf.audit(model, composite, x, 1, example_inputs=x)
    joined, added = (table[table.index.str.match(name)] for name in ("cat", "add$"))
    assert abs(joined["tables"].item()) > 1e-3
    assert (abs(added["tables"].iloc[-1]) > 1e-3) == (composite.name != "epsilon_plus")  # a shift lets relevance pass
    assert table.drop(index=["total", *joined.index, *added.index])["tables"].abs().max() < 1e-12


def test_a_bias_is_no_table_whatever_its_shape():
    for bias in (normal(4), normal(1, 4), normal(4).expand(3, 4)):
        model = net(lambda s, x: s.a(x) * 2 + s.b, a=nn.Linear(4, 4), b=bias.clone())
        model.b = bias
        total = rf.audit(model, rf.composites.attnlrp(), normal(3, 4), 1).loc["total"]
        assert total["tables"] == 0
        assert abs(total["bias"]) > 1e-3


def test_a_token_in_the_place_of_another_is_a_table():
    """As the first token of a decoder, which its inputs are moved behind."""
    model = net(lambda s, ids: s.e(torch.cat([ids[:, :1] * 0, ids[:, :-1]], 1)).cumsum(1), e=nn.Embedding(9, 4))
    ids = torch.tensor([[3, 1, 4], [1, 5, 2]])
    table = rf.audit(model, rf.composites.attnlrp(), ids, (-1, 2), example_inputs=ids)
    begun = model.e.weight[0, 2] / model(ids)[:, -1, 2]
    assert table.loc["total", "tables"] == pytest.approx(begun.sum().item(), rel=1e-5)
    assert table["dropped"].abs().max() < 1e-8


def lossy(call, values, output, relevance):
    """A rule that loses some of the relevance, be there one input or two."""
    return tuple(part / 3 for part in call.transpose(relevance, *values))


def uniform(call, values, output, relevance):
    """A rule of softmax that gives each score what arrives at all of them."""
    return (relevance.sum(-1, keepdim=True).expand_as(relevance),)


@pytest.mark.parametrize(
    ("wrong", "rule"), [("softmax", uniform), ("move", lossy), ("matrix_product", lossy), ("sum", lossy)]
)
def test_a_wrong_rule_shows_as_dropped(wrong, rule):
    parts = {"a": nn.Linear(4, 4), "z": nn.Linear(4, 3)}
    model = net(lambda s, x: s.z(((s.a(x) @ x.mT + 1).softmax(-1) @ x + x).flatten(1)[:, :4]), **parts)
    x = normal(2, 5, 4)
    composite = rf.composites.mixed(rf.composites.by_type({wrong: rule}), rf.composites.attnlrp())
    table = rf.audit(model, composite, x, lambda y: y, example_inputs=x)
    is_wrong = table["rule"].str.contains(rule.__name__)
    assert is_wrong.any()
    assert table[is_wrong]["dropped"].abs().max() > 1e-3
    assert table[~is_wrong].drop(index="total")["dropped"].abs().max() < 1e-9
    assert table[PARTS].sum(axis=1).sub(table["relevance"]).abs().max() < 1e-9


def test_relevance_of_an_output_that_no_input_reaches_is_dropped():
    model = net(lambda s, x: (s.a(x), s.b * 1), a=nn.Linear(4, 3), b=normal(3, 2))
    total = rf.audit(model, rf.composites.attnlrp(), normal(), lambda y: (y[0] * 0 + 1, y[1] * 0 + 2)).loc["total"]
    assert total["relevance"] == pytest.approx(9 + 12)
    assert total["dropped"] == pytest.approx(12)
