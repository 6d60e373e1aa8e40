"""Blocks that transformers are made of: the gradient is autograd's, and relevance the same one sample at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relfunc as rf

from ..kinds import GRADIENT, by_autograd, net, normal, ones

ATTNLRP = rf.composites.attnlrp()
PADDED = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 1, 1, 1]]).bool()
CAUSAL = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)


def shifted_windows(s: Any, x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    x = torch.roll(x, (-1, -1), (1, 2))
    x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    q, k, v = s.qkv(x).reshape(-1, 4, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * 4
    scores = scores + s.bias[s.index.view(-1)].view(4, 4, 2).permute(2, 0, 1)
    mask = x.new_zeros(h, w)
    mask[-2:] = 1
    mask[:, -1].add_(2)
    mask = mask.view(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).reshape(-1, 4)
    mask = mask[:, None] - mask[:, :, None]
    mask = mask.masked_fill(mask != 0, -100.0)
    scores = (scores.view(b, -1, 2, 4, 4) + mask[None, :, None]).view(-1, 2, 4, 4)
    x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, h // 2, w // 2, 2, 2, c)
    return torch.roll(x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c), (1, 1), (1, 2))


def outlook(s: Any, x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    v = F.unfold(s.value(x).permute(0, 3, 1, 2), 3, padding=1).reshape(b, 1, c, 9, h * w).permute(0, 1, 4, 3, 2)
    weights = s.scores(x).reshape(b, h * w, 1, 9, 9).permute(0, 2, 1, 3, 4).softmax(-1)
    return F.fold((weights @ v).permute(0, 1, 4, 3, 2).reshape(b, c * 9, h * w), (h, w), 3, padding=1)


def halo(s: Any, x: Tensor) -> Tensor:
    n, c, _, _ = x.shape
    keys = F.pad(x, [1, 1, 1, 1]).unfold(2, 4, 2).unfold(3, 4, 2).reshape(n, c, -1, 16).permute(0, 2, 3, 1)
    queries = F.unfold(x, 2, stride=2).reshape(n, c, 4, -1).permute(0, 3, 2, 1)
    weights = torch.einsum("bwid,bwjd->bwij", queries, keys).softmax(-1)
    return torch.einsum("bwij,bwjd->bwid", weights, keys)


def talking_heads_and_class_attention(s: Any, x: Tensor) -> Tensor:
    x = torch.cat([s.token.expand(x.shape[0], -1, -1), x], 1)
    q, k, v = s.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
    weights = s.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
    weights = s.behind(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    x = x + (weights @ v).transpose(1, 2).reshape(x.shape)
    token = (x[:, :1] @ x.transpose(-2, -1)).softmax(-1) @ x
    return torch.cat([token, x[:, 1:]], 1)


def linear_attention(s: Any, x: Tensor) -> Tensor:
    q, k, v = s.qkv(x).chunk(3, -1)
    y = F.relu(q) @ (F.relu(k).transpose(-1, -2) @ F.pad(v, (0, 1), value=1.0))
    return y[..., :-1] / (y[..., -1:] + 1e-8)


def cross_covariance(s: Any, x: Tensor) -> Tensor:
    q, k, v = s.qkv(x).transpose(1, 2).chunk(3, 1)
    return ((F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * s.scale).softmax(-1) @ v).transpose(1, 2)


def positions_added_in_place(s: Any, x: Tensor) -> Tensor:
    x = F.dropout(s.qkv(x).flatten(2).transpose(1, 2), 0.1, s.training)
    x += s.bias
    x[:, :1].mul_(2)
    return x


def biases_of_the_input(of_scores: bool, of_keys: bool) -> Callable[[Any, Tensor], Tensor]:
    """Return attention whose scores get biases that depend on the input, as gated relative positions do."""

    def forward(s: Any, x: Tensor) -> Tensor:
        scores = s.scores(x).unflatten(-1, (2, 5)).transpose(1, 2).flatten(0, 1) if of_scores else None
        keys = -F.softplus(s.keys(x))[..., 0] if of_keys else None
        return s.model(x, x, x, attn_mask=scores, key_padding_mask=keys, need_weights=False)[0]

    return forward


def biased(of_scores: bool, of_keys: bool) -> Callable[[], nn.Module]:
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    forward = biases_of_the_input(of_scores, of_keys)
    return lambda: net(forward, model=model, scores=nn.Linear(8, 10), keys=nn.Linear(8, 1))


def rows_and_columns(s: Any, x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    x, _ = s.rows(x.permute(0, 2, 1, 3).reshape(-1, h, c))
    x, _ = s.columns(x.reshape(b, w, h, -1).permute(0, 2, 1, 3).reshape(-1, w, 6))
    return x.reshape(b, h, w, -1)


def encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options), 2)


def decoder() -> nn.Module:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2)


def causal(s: Any, x: Tensor) -> Tensor:
    return s.model(x, x, tgt_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype))


BLOCKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "shifted windows": (
        lambda: net(
            shifted_windows,
            qkv=nn.Linear(6, 18),
            bias=nn.Parameter(normal(9, 2)),
            index=torch.arange(16).view(4, 4) % 9,
        ),
        (2, 4, 6, 6),
    ),
    "outlook": (lambda: net(outlook, value=nn.Linear(6, 6), scores=nn.Linear(6, 81)), (2, 4, 4, 6)),
    "halo": (lambda: net(lambda s, x: halo(s, s.stem(x)), stem=nn.Conv2d(3, 6, 1)), (2, 3, 4, 4)),
    "talking heads, class attention": (
        lambda: net(
            talking_heads_and_class_attention,
            qkv=nn.Linear(8, 24),
            before=nn.Linear(2, 2),
            behind=nn.Linear(2, 2),
            token=nn.Parameter(normal(1, 1, 8)),
        ),
        (2, 5, 8),
    ),
    "linear attention": (lambda: net(linear_attention, qkv=nn.Linear(8, 24)), (2, 5, 8)),
    "cross covariance": (
        lambda: net(cross_covariance, qkv=nn.Linear(8, 24), scale=nn.Parameter(normal(1))),
        (2, 5, 8),
    ),
    "positions added in place": (
        lambda: net(positions_added_in_place, qkv=nn.Conv2d(3, 8, 2, 2), bias=nn.Parameter(normal(1, 4, 8))),
        (2, 3, 4, 4),
    ),
    "recurrent, over rows and columns": (
        lambda: net(
            rows_and_columns,
            rows=nn.LSTM(4, 3, batch_first=True, bidirectional=True),
            columns=nn.LSTM(6, 2, batch_first=True),
        ),
        (2, 3, 5, 4),
    ),
    "biases of scores, of the input": (biased(True, False), (2, 5, 8)),
    "biases of keys, of the input": (biased(False, True), (2, 5, 8)),
    "biases of both, of the input": (biased(True, True), (2, 5, 8)),
    "encoder": (lambda: net(lambda s, x: s.model(x), model=encoder()), (2, 5, 8)),
    "encoder, norm first": (lambda: net(lambda s, x: s.model(x), model=encoder(norm_first=True)), (2, 5, 8)),
    "encoder, gelu": (lambda: net(lambda s, x: s.model(x), model=encoder(activation="gelu")), (2, 5, 8)),
    "encoder, causal": (
        lambda: net(lambda s, x: s.model(x, mask=s.mask, is_causal=True), model=encoder(), mask=CAUSAL),
        (2, 5, 8),
    ),
    "decoder": (
        lambda: net(
            lambda s, x: s.model(x, x.flip(1), tgt_mask=s.mask, tgt_is_causal=True), model=decoder(), mask=CAUSAL
        ),
        (2, 5, 8),
    ),
    "transformer": (
        lambda: net(causal, model=nn.Transformer(8, 2, 1, 1, 16, batch_first=True)),
        (2, 5, 8),
    ),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "decoder")) for name in BLOCKS]
)
def test_gradient_is_autograd_s_and_samples_are_apart(name):
    made, shape = BLOCKS[name]
    model, x = made(), normal(*shape)
    expected, (gradient,) = by_autograd(model, x)
    y, found = rf.gradient(rf.lrp(model, GRADIENT, example_inputs=x))(x, ones)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-12)
    f = rf.lrp(model, ATTNLRP, example_inputs=x)
    together = rf.gradient(f)(x, ones)[1]
    alone = torch.cat([rf.gradient(f)(one[None], ones)[1] for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-10 * float(together.abs().max()))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors")
def test_padding_is_no_fast_path():
    """Without gradients torch's fast path returns zeros for what is padded; what is not is the same."""
    model = net(lambda s, x: s.model(x, src_key_padding_mask=s.padding), model=encoder(), padding=PADDED)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = normal(2, 5, 8)
    y, relevance = rf.gradient(rf.lrp(model, ATTNLRP, example_inputs=x))(x, ones)
    with torch.no_grad():
        fast = model(x)
    assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(y[~PADDED], fast[~PADDED], rtol=1e-10, atol=1e-12)
    assert relevance.isfinite().all()


def test_one_sample_has_its_gradient_behind_a_batch_norm():
    """Autograd's is another in torch 2.14: the gradient of tokens behind a class token has strides that it misreads."""

    def tokens(s: Any, x: Tensor) -> Tensor:
        x = s.norm(s.stem(x)).flatten(2).transpose(1, 2)
        return torch.cat([s.token.expand(x.shape[0], -1, -1), x], 1)

    parts = {"stem": nn.Conv2d(3, 4, 3, padding=1), "norm": nn.BatchNorm2d(4), "token": nn.Parameter(normal(1, 1, 4))}
    model, x = net(tokens, **parts), normal(2, 3, 4, 4)
    weights = normal(1, 17, 4, seed=2)
    f = rf.lrp(model, GRADIENT, example_inputs=x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad((model(leaf) * weights).sum(), leaf)
    found = rf.gradient(f)(x[:1], lambda y: weights)[1]
    torch.testing.assert_close(found, expected[:1], rtol=1e-10, atol=1e-12)
