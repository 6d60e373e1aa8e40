"""Products, norms, activations and attention get the same relevance however they are written."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..kinds import net, normal, ones
from .test_attention import close

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")

BASE = rf.composites.epsilon_plus(epsilon=1e-9, stabilizer=1e-9)
ATTNLRP = rf.composites.attnlrp(epsilon=1e-9, stabilizer=1e-9)


def relevance(model, x, composite=ATTNLRP, seed=ones):
    return rf.gradient(rf.lrp(model, composite, example_inputs=x))(x, seed)[1]


# --- chains of products -------------------------------------------------------------------------------------


def associated(factors):
    """Every way to put brackets into a product."""
    if len(factors) == 1:
        return [factors[0]]
    found = []
    for i in range(1, len(factors)):
        found += list(itertools.product(associated(factors[:i]), associated(factors[i:])))
    return found


def product(tree, x, scaled):
    if not isinstance(tree, tuple):
        return x[:, tree : tree + 1]
    a, b = (product(part, x, scaled) for part in tree)
    return (a * b * 0.5).view(-1, 1) * 2 if scaled else a * b


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "with constants and views between"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 1, 2, 3)], ids=str)
def test_all_factors_of_a_product_get_equal_shares_however_they_are_associated(order, scaled):
    x = torch.tensor([[2.0, 3.0, 4.0, 5.0]], dtype=torch.float64)
    y = math.prod(float(x[0, i]) for i in order)
    expected = torch.tensor([[y / len(order) if i in order else 0 for i in range(4)]], dtype=torch.float64)
    for tree in associated(order):
        model = net(lambda s, x, tree=tree: product(tree, x, scaled))
        for composite in (BASE, ATTNLRP):
            found = relevance(model, x, composite, lambda y: y)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_three_factors_share_8_8_8():
    model = net(lambda s, x: x[:, 0] * (x[:, 1] * x[:, 2]))
    found = relevance(model, torch.tensor([[2.0, 3.0, 4.0]]).double(), seed=lambda y: y)
    torch.testing.assert_close(found, torch.full((1, 3), 8.0).double(), rtol=1e-12, atol=0)


SHARES = {
    "a quotient": (lambda a, b: a / b, (0.5, 0.5)),
    "a gated unit with silu": (lambda a, b: a * F.silu(b), (0.5, 0.5)),
    "a gate": (lambda a, b: a * torch.sigmoid(b), (1, 0)),
    "a gate between": (lambda a, b: a * torch.sigmoid(b) * b, (0.5, 0.5)),
    "two gates": (lambda a, b: torch.sigmoid(a) * torch.sigmoid(b), (0.5, 0.5)),
    "a repeated factor": (lambda a, b: a * a * b, (2 / 3, 1 / 3)),
}


@pytest.mark.parametrize("case", SHARES)
def test_shares_of_products(case):
    function, shares = SHARES[case]
    found = relevance(net(lambda s, x: function(x[:, :1], x[:, 1:])), normal(3, 2))
    torch.testing.assert_close(found, torch.tensor([shares] * 3, dtype=torch.float64), rtol=1e-12, atol=0)


# --- norms written by hand ----------------------------------------------------------------------------------


def by_hand(x, over, eps=1e-5):
    mean = x.mean(over, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(over, keepdim=True) + eps)


def by_var_mean(s, x):
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5) * s.w + s.b


def by_native(s, x):
    return torch.native_layer_norm(x, (6,), s.w, s.b, 1e-5)[0]


def by_welford(s, x):
    mean = x.mean(-1).unsqueeze(-1)
    variance = x.var(dim=-1, unbiased=False).unsqueeze(-1)
    return s.w * ((x - mean) / (variance + 1e-5).sqrt()) + s.b


NORMS = {
    "layer": (
        lambda s, x: F.layer_norm(x, (6,), s.w, s.b),
        [
            lambda s, x: by_hand(x, -1) * s.w + s.b,
            lambda s, x: s.b + by_hand(x, (2,)) * s.w,
            by_var_mean,
            by_native,
            by_welford,
        ],
    ),
    "rms": (
        lambda s, x: F.rms_norm(x, (6,), s.w, 1e-5),
        [
            lambda s, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * s.w,
            lambda s, x: s.w * (x.float().double() * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)),
            lambda s, x: s.w * x / torch.sqrt(x.square().mean(-1, True) + 1e-5),
            lambda s, x: s.w * x / (x.norm(dim=-1, keepdim=True).square() / 6 + 1e-5).sqrt(),
        ],
    ),
    "group": (
        lambda s, x: F.group_norm(x, 2, s.four, s.four),
        [
            lambda s, x: by_hand(x.reshape(-1, 2, 12), -1).reshape(-1, 4, 6) * s.four[:, None] + s.four[:, None],
            lambda s, x: torch.native_group_norm(x, s.four, s.four, x.shape[0], 4, 6, 2, 1e-5)[0],
        ],
    ),
    "instance": (
        lambda s, x: F.instance_norm(x, weight=s.four, bias=s.four),
        [lambda s, x: by_hand(x, 2) * s.four[:, None] + s.four[:, None]],
    ),
    "batch": (
        lambda s, x: F.batch_norm(x, None, None, s.four, s.four, training=True),
        [lambda s, x: by_hand(x, (0, 2)) * s.four[:, None] + s.four[:, None]],
    ),
    "normalize": (
        lambda s, x: F.normalize(x, dim=-1),
        [
            lambda s, x: x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12),
            lambda s, x: x * torch.rsqrt((x * x).sum(-1, keepdim=True)).expand_as(x),
            lambda s, x: x / torch.linalg.vector_norm(x, dim=-1).unsqueeze(-1),
        ],
    ),
    "response": (
        lambda s, x: x / (1 + x.abs().mean((1, 2), keepdim=True)),
        [lambda s, x: x / (1 + x.flatten(1).abs().mean(1).view(-1, 1, 1))],
    ),
}
NORM_CASES = [(name, i) for name, (_, others) in NORMS.items() for i in range(len(others))]


def between(function):
    """A model with the function between two linear layers; every case has the same parameters."""
    parts = {
        "a": nn.Linear(6, 6),
        "z": nn.Linear(6, 3),
        "w": nn.Parameter(torch.ones(6)),
        "b": nn.Parameter(torch.ones(6)),
    }
    return net(lambda s, x: s.z(function(s, s.a(x))), **parts, four=nn.Parameter(torch.ones(4)))


@pytest.mark.parametrize("composite", [BASE, ATTNLRP, rf.composites.cp_lrp(0.1)], ids=["base", "attnlrp", "gamma"])
@pytest.mark.parametrize(("name", "i"), NORM_CASES)
def test_a_norm_is_what_it_is_however_it_is_written(name, i, composite):
    function, others = NORMS[name]
    x = normal(2, 4, 6)
    torch.testing.assert_close(between(others[i])(x), between(function)(x), rtol=1e-6, atol=1e-6)
    close(relevance(between(others[i]), x, composite), relevance(between(function), x, composite), 1e-5)


@pytest.mark.parametrize("name", [name for name in NORMS if name not in {"normalize", "rms", "response"}])
def test_centring_shares_and_the_shift_absorbs(name):
    """The input times the gradient with the deviation constant."""
    model, x = between(NORMS[name][0]), normal(2, 4, 6)
    axes = {"layer": (2,), "group": (2,), "instance": (2,), "batch": (0, 2)}[name]

    def with_constant_deviation(x):
        h = model.a(x)
        h = h.reshape(-1, 2, 12) if name == "group" else h
        centred = h - h.mean(axes, keepdim=True)
        y = centred / (h.var(axes, correction=0, keepdim=True) + 1e-5).sqrt().detach()
        y = y.reshape(x.shape)
        w, b = (model.w, model.b) if name == "layer" else (model.four[:, None], model.four[:, None])
        return (model.z(y * w + b)).sum()

    expected = x * torch.autograd.functional.jacobian(with_constant_deviation, x)
    close(relevance(model, x, seed=lambda y: y), expected, 1e-6)


NO_STATISTICS = {
    "of another value": (lambda s, x: s.a(x) * s.c(x).mean(-1, keepdim=True), nn.Linear(6, 6)),
    "through a layer": (lambda s, x: s.a(x)[:, :1] * s.c(s.a(x).mean(-1, keepdim=True)), nn.Linear(1, 1)),
    "of another part": (lambda s, x: s.a(x)[:, :3] * s.c(s.a(x)[:, 3:].mean(-1, keepdim=True)), nn.Identity()),
    "that meets another value": (lambda s, x: s.a(x) * s.c(x.mean(-1, keepdim=True)), nn.Identity()),
}


@pytest.mark.parametrize("case", NO_STATISTICS)
def test_what_is_no_statistic_shares(case):
    function, module = NO_STATISTICS[case]
    model, x = net(function, a=nn.Linear(6, 6), c=module), normal(3, 6)
    _, found = rf.relevance_at(rf.lrp(model, ATTNLRP), ["c"])(x, ones)
    assert found["c"].sum() == pytest.approx(model(x).numel() / 2)


# --- activations written by hand ----------------------------------------------------------------------------

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu, by tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu, by powers of products": lambda x: 0.5 * x * (1 + torch.tanh(0.797 * x * (1 + 0.044715 * x * x))),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "swish": lambda x: x * torch.sigmoid(x),
    "swish, by a quotient": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "softsign": lambda x: x / (1 + x.abs()),
    "hardswish": lambda x: x * F.relu6(x + 3) / 6,
    "square of relu": lambda x: F.relu(x) ** 2,
    "square of relu, as a product": lambda x: F.relu(x) * F.relu(x),
    "laplace": lambda x: x * (0.5 * (1 + torch.erf((x - 0.707) / 0.282))),
    "silu": F.silu,
    "gelu of torch": F.gelu,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("composite", [BASE, ATTNLRP], ids=["base", "attnlrp"])
@pytest.mark.parametrize("case", ACTIVATIONS)
def test_relevance_passes_an_activation_however_it_is_written(case, composite):
    model = net(lambda s, x: ACTIVATIONS[case](s.a(x)), a=nn.Linear(4, 3))
    at = rf.relevance_at(rf.lrp(model, composite), ["a"])
    _, found = at(normal(), ones)
    torch.testing.assert_close(found["a"], torch.ones(3, 3).double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", ACTIVATIONS)
def test_exact_zeros_pass_relevance_in_every_precision(case, dtype):
    model = net(lambda s, x: ACTIVATIONS[case](x)).to(dtype)
    x = torch.tensor([[0.0, -0.0, 1e-8, -1e-8, 1.0]], dtype=dtype)
    found = relevance(model, x)
    torch.testing.assert_close(found, torch.ones_like(x, dtype=torch.float32), rtol=0, atol=0)


# --- attention ----------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Attention by hand or fused, with a mask of any kind."""

    def __init__(self, fused, mask=None, scale=None, causal=False):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.register_buffer("mask", mask)
        self.fused, self.scale, self.causal = fused, scale, causal
        self.double().eval()

    def forward(self, x):
        q, k, v = (layer(x).view(-1, 5, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal, scale=self.scale)
        else:
            scores = q * (0.5 if self.scale is None else self.scale) @ k.transpose(-2, -1)
            mask = torch.ones(5, 5, dtype=torch.bool).tril() if self.causal else self.mask
            if mask is not None and mask.dtype is torch.bool:
                scores = scores.masked_fill(~mask, -torch.inf)
            elif mask is not None:
                scores = scores + mask
            seen = (scores.detach() > -torch.inf).any(-1, keepdim=True)
            y = torch.where(seen, torch.softmax(torch.where(seen, scores, 0.0), -1), 0.0) @ v
        return self.out(y.transpose(1, 2).reshape(-1, 5, 8))


CAUSAL = torch.ones(5, 5).tril().bool()
WINDOW = torch.ones(5, 5).tril().triu(-1).bool()
PADDED = torch.tensor([True, True, False, False, True]).expand(5, 5)
NOTHING = torch.eye(5, dtype=torch.bool) & (torch.arange(5) > 1)
MASKS = {
    "none": {},
    "causal": {"causal": True},
    "window": {"mask": WINDOW},
    "padding": {"mask": PADDED},
    "fully masked rows": {"mask": NOTHING},
    "numbers": {"mask": torch.zeros(5, 5).masked_fill(~WINDOW, -torch.inf).double()},
    "bias": {"mask": normal(2, 5, 5)},
    "scale": {"scale": 0.3},
}


@pytest.mark.parametrize("composite", [BASE, ATTNLRP, rf.composites.cp_lrp()], ids=lambda c: c.name)
@pytest.mark.parametrize("case", MASKS)
def test_fused_attention_is_that_by_hand_and_that_of_one_sample(case, composite):
    fused, eager = (Attention(fused, **MASKS[case]) for fused in (True, False))
    x = normal(2, 5, 8)
    torch.testing.assert_close(fused(x), eager(x))
    expected = relevance(eager, x, composite)
    assert expected.isfinite().all()
    close(relevance(fused, x, composite), expected)
    close(torch.cat([relevance(fused, one[None], composite) for one in x]), expected)


def test_by_cp_lrp_queries_and_keys_get_nothing():
    model, x = Attention(True), normal(2, 5, 8)
    f = rf.lrp(model, rf.composites.cp_lrp(epsilon=1e-9, stabilizer=1e-9), example_inputs=x)
    _, found = rf.relevance_at(f, ["q", "k", "v", "out"])(x, ones)
    assert not found["q"].any()
    assert not found["k"].any()
    assert found["v"].any()
    attnlrp = rf.relevance_at(rf.lrp(model, ATTNLRP, example_inputs=x), ["q", "k"])(x, ones)[1]
    assert attnlrp["q"].any()
    assert attnlrp["k"].any()


HEADS = {
    "itself": (nn.MultiheadAttention(8, 2, batch_first=True), {}),
    "tokens first": (nn.MultiheadAttention(8, 2), {}),
    "no biases": (nn.MultiheadAttention(8, 2, bias=False, batch_first=True), {}),
    "other keys": (nn.MultiheadAttention(8, 2, kdim=8, vdim=8, batch_first=True), {}),
    "padding": (nn.MultiheadAttention(8, 2, batch_first=True), {"key_padding_mask": ~PADDED[:2]}),
    "mask": (nn.MultiheadAttention(8, 2, batch_first=True), {"attn_mask": ~WINDOW}),
    "mask of each head": (nn.MultiheadAttention(8, 2, batch_first=True), {"attn_mask": ~WINDOW.expand(4, 5, 5)}),
    "causal": (nn.MultiheadAttention(8, 2, batch_first=True), {"attn_mask": ~CAUSAL, "is_causal": True}),
}


@pytest.mark.parametrize("needed", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("case", HEADS)
def test_multi_head_attention_is_that_by_hand(case, needed):
    module, options = HEADS[case]
    model = net(lambda s, x: s.attention(x, x, x, need_weights=needed, **options)[0], attention=module)
    module, x = model.attention, normal(*((5, 2, 8) if case == "tokens first" else (2, 5, 8)))
    if module.in_proj_weight is None:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    else:
        weights = module.in_proj_weight.chunk(3)
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)

    def written(s, x):
        x = x if module.batch_first else x.transpose(0, 1)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (2, 4)).transpose(1, 2) for w, b in zip(weights, biases, strict=True)
        )
        scores = q * 0.5 @ k.transpose(-2, -1)
        if "key_padding_mask" in options:
            scores = scores.masked_fill(options["key_padding_mask"][:, None, None], -torch.inf)
        if "attn_mask" in options:
            scores = scores.masked_fill(options["attn_mask"].expand(4, 5, 5)[0], -torch.inf)
        y = s.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return y if module.batch_first else y.transpose(0, 1)

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = module.out_proj
            self.parts = nn.ParameterList([*weights, *(b for b in biases if b is not None)])

        def forward(self, x):
            return written(self, x)

    torch.testing.assert_close(model(x), Written().eval()(x))
    close(relevance(model, x), relevance(Written().eval(), x), 1e-6)  # torch adds masks, which has an epsilon


FURTHER = {
    "bias": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True},
    "bias and zero": {"add_bias_kv": True, "add_zero_attn": True},
}
MASKED = {
    "nothing masked": {},
    "mask": {"attn_mask": ~WINDOW},
    "padding": {"key_padding_mask": ~PADDED[:2]},
    "both": {"attn_mask": ~WINDOW, "key_padding_mask": ~PADDED[:2]},
    "both added": {
        "attn_mask": torch.zeros(5, 5).masked_fill(~WINDOW, -torch.inf).double(),
        "key_padding_mask": torch.zeros(2, 5).masked_fill(~PADDED[:2], -torch.inf).double(),
    },
}


@pytest.mark.parametrize("masked", MASKED)
@pytest.mark.parametrize("case", FURTHER)
def test_further_tokens_of_attention_are_keys_and_values_of_the_model_s(case, masked):
    module = nn.MultiheadAttention(8, 2, batch_first=True, **FURTHER[case])
    model = net(lambda s, x: s.attention(x, x, x, need_weights=False, **MASKED[masked])[0], attention=module)
    module, x = model.attention, normal(2, 5, 8)
    kept = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    for mask in MASKED[masked].values():
        seen = ~mask if mask.dtype is torch.bool else mask == 0
        kept = kept & (seen if seen.shape == (5, 5) else seen[:, None, None])

    def written(s, x):
        q, k, v = F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
        more = [(module.bias_k, module.bias_v)] if "bias" in case else []
        more += [(torch.zeros(1, 1, 8, dtype=x.dtype),) * 2] if "zero" in case else []
        for of_key, of_value in more:
            k = torch.cat([k, of_key.expand(len(k), 1, 8)], 1)
            v = torch.cat([v, of_value.expand(len(v), 1, 8)], 1)
        q, k, v = (a.unflatten(-1, (2, 4)).transpose(1, 2) for a in (q, k, v))
        scores = (q * 0.5 @ k.transpose(-2, -1)).masked_fill(~F.pad(kept, (0, len(more)), value=True), -torch.inf)
        return module.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    by_hand = net(written, attention=module)
    torch.testing.assert_close(model(x), by_hand(x))
    close(relevance(model, x), relevance(by_hand, x), 1e-6)  # torch adds masks, which has an epsilon


def test_attention_that_drops_weights_is_an_error_that_says_what_to_do():
    model = net(lambda s, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1))
    with pytest.raises(rf.errors.RelfuncError, match="drops weights at random"):
        rf.lrp(model, ATTNLRP)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_double_precision(dtype):
    x = normal(2, 5, 8)
    expected = relevance(Attention(True), x, rf.composites.attnlrp(1e-2))
    model = Attention(True).to(dtype)
    found = relevance(model, x.to(dtype), rf.composites.attnlrp(1e-2))
    assert found.isfinite().all()
    assert float(torch.corrcoef(torch.stack([found.double().flatten(), expected.flatten()]))[0, 1]) > 0.95


# --- composites ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [rf.composites.attnlrp, rf.composites.cp_lrp])
def test_composites_print_and_go_through_toml(make):
    for composite in (make(), make(0.25), make(epsilon=0.1, stabilizer=rf.rules.Clipping(0.1), zero_params="bias")):
        assert rf.toml.from_toml(rf.toml.to_toml(composite)) == composite
        assert str(composite).startswith(make.__name__)
