"""Attention: written out as matrix products and a softmax.

``scaled_dot_product_attention`` and ``multi_head_attention_forward`` are spellings of the same few operations as an
attention that is written by hand. Whatever depends on sizes alone, such as a causal mask, is a function of the sizes,
so that the graph holds for inputs of any length.
"""

import math
import operator
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import CanonizeError
from ..ops.table import known_as
from .graphs import varying
from .written import Constant


@known_as("attention_scale")
def attention_scale(query: Tensor) -> float:
    """Return one over the root of the number of features."""
    return 1 / math.sqrt(query.shape[-1])


@known_as("causal_mask")
def causal_mask(query: Tensor, key: Tensor) -> Tensor:
    """Return which keys each query may see: those up to its own place."""
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()


@known_as("group_size")
def group_size(query: Tensor, key: Tensor) -> int:
    """Return how many heads of the query share one of the key."""
    return query.shape[-3] // key.shape[-3]


@known_as("masked_scores")
def masked_scores(scores: Tensor, mask: Tensor) -> Tensor:
    """Add a mask to scores; one of booleans says which of them are kept."""
    return hidden_scores(scores, ~mask) if mask.dtype is torch.bool else scores + mask


@known_as("hidden_scores")
def hidden_scores(scores: Tensor, hidden: Tensor) -> Tensor:
    """Make scores minus infinity; adding is several times as fast as filling, and a mask is smaller than scores."""
    return scores + torch.zeros(hidden.shape, dtype=scores.dtype, device=scores.device).masked_fill(hidden, -torch.inf)


@known_as("safe_softmax")
def safe_softmax(scores: Tensor, dim: int) -> Tensor:
    """Softmax, which is zero where all that it goes over is masked."""
    masked = scores.amax(dim, keepdim=True) == -torch.inf
    finite = torch.where(masked, 0.0, -torch.inf).to(scores.dtype)
    return torch.softmax(torch.maximum(scores, finite), dim) * (~masked).to(scores.dtype)


@known_as("key_mask")
def key_mask(mask: Tensor) -> Tensor:
    """Return a mask of keys for scores: of booleans, which are true for what is kept, if it was true for padding."""
    return (~mask if mask.dtype is torch.bool else mask).unsqueeze(-2)


@known_as("head_mask")
def head_mask(mask: Tensor, query: Tensor, heads: int) -> Tensor:
    """Return a mask of scores ``(head, sample, query, key)``, from one for all of them or one for each."""
    kept = ~mask if mask.dtype is torch.bool else mask
    return kept.unflatten(0, (-1, heads)).transpose(0, 1) if kept.ndim == query.ndim == 3 else kept


@known_as("both_masks")
def both_masks(a: Tensor, b: Tensor) -> Tensor:
    """Return one mask of two, each of booleans that are true for what is kept, or of what is added to scores."""
    a, b = (b, a) if b.dtype is torch.bool else (a, b)
    if a.dtype is not torch.bool:
        return a + b
    return a & b if b.dtype is torch.bool else torch.where(a, b, -torch.inf)


@known_as("one_more_token")
def one_more_token(x: Tensor, token: Tensor | None) -> Tensor:
    """Return a token to put behind those of ``x``, of shape ``(token, ..., feature)``; zeros if none is given."""
    shape = (1, *x.shape[1:])
    return x.new_zeros(shape) if token is None else token.reshape(-1).expand(shape)


# --- definitions --------------------------------------------------------------------------------------


def _softmax(call: Any, given: dict[str, Any]) -> fx.Node | None:
    return None if given.get("dim") is None else _softmax_of(call, torch.softmax, given)


def _log_softmax(call: Any, given: dict[str, Any]) -> fx.Node | None:
    return None if given.get("dim") is None else _softmax_of(call, torch.log_softmax, given)


def _softmax_of(call: Any, function: Any, given: dict[str, Any]) -> fx.Node:
    dtype = given.get("dtype") or (torch.float32 if given.get("half_to_float") else None)
    x = given["input"] if dtype is None else call(Tensor.to, given["input"], dtype)
    return call(function, x, given.get("dim"))


def _softmin(call: Any, given: dict[str, Any]) -> fx.Node:
    return _softmax_of(call, torch.softmax, {**given, "input": call(operator.neg, given["input"])})


def _attention(call: Any, given: dict[str, Any]) -> fx.Node:
    if given.get("dropout_p"):
        raise CanonizeError(
            "'scaled_dot_product_attention' drops weights at random, so that the model is no function of its input: "
            "pass it dropout_p=p if self.training else 0.0, and call model.eval()"
        )
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("enable_gqa"):
        size = call(group_size, query, key)
        key, value = (call(torch.repeat_interleave, a, size, -3) for a in (key, value))
    masks = [] if given.get("attn_mask") is None else [given["attn_mask"]]
    masks += [call(causal_mask, query, key)] if given.get("is_causal") else []
    return _attended(call, query, key, value, masks, given.get("scale"))[0]


def _attended(
    call: Any, query: Any, key: Any, value: Any, masks: list[Any], scale: Any = None
) -> tuple[fx.Node, fx.Node]:
    """Write the values that queries find, and the weights with which they do."""
    scale = call(attention_scale, query) if scale is None else scale
    query, key, value = (call(Tensor.contiguous, a) for a in (query, key, value))  # products would copy each of them
    scores = call(torch.matmul, call(operator.mul, query, scale), call(torch.transpose, key, -2, -1))
    for mask in masks:
        scores = _masked(call, scores, mask)
    weights = call(safe_softmax if masks else torch.softmax, scores, -1)
    return call(torch.matmul, weights, value), weights


def _masked(call: Any, scores: Any, mask: Any) -> fx.Node:
    """Write the masking as a model would, as far as it is known what kind of mask it is."""
    dtype = torch.bool if mask.target is causal_mask else _dtype_of(_source(mask))
    if dtype is torch.bool:
        return call(hidden_scores, scores, call(torch.logical_not, mask))
    return call(masked_scores if dtype is None else operator.add, scores, mask)


def _dtype_of(mask: fx.Node) -> torch.dtype | None:
    if isinstance(mask.target, Constant):
        return mask.target.value.dtype
    return mask.meta.get("dtype", getattr(mask.meta.get("val"), "dtype", None))


def _may_carry(mask: fx.Node) -> bool:
    """Whether a mask is a bias that is computed from the input, which takes relevance of its own."""
    source = _source(mask)
    return _dtype_of(source) is not torch.bool and source in varying(source.graph)


def _source(mask: fx.Node) -> fx.Node:
    while mask.target in (key_mask, head_mask, F.pad):
        mask = mask.all_input_nodes[0]
    return mask


def _multi_head_attention(call: Any, given: dict[str, Any]) -> tuple[fx.Node, fx.Node | None]:
    refused = [name for name in ("static_k", "static_v") if given.get(name) is not None]
    if refused or (given.get("training", True) and given.get("dropout_p")):
        what = f"with {refused[0]}" if refused else "that drops weights at random"
        raise CanonizeError(
            f"'multi_head_attention_forward' {what} is nothing that relfunc writes out: leave it out, or give the "
            "function a row and a rule of its own"
        )
    heads, (query, key, value) = given["num_heads"], _projected(call, given)
    further = [(given["bias_k"], given["bias_v"])] if given.get("bias_k") is not None else []
    further += [(None, None)] if given.get("add_zero_attn") else []
    for of_key, of_value in further:
        key = call(torch.cat, (key, call(one_more_token, key, of_key)))
        value = call(torch.cat, (value, call(one_more_token, value, of_value)))
    split = [call(torch.unflatten, a, -1, (heads, -1)) for a in (query, key, value)]
    q, k, v = (call(torch.transpose, a, 0, -2) for a in split)  # (head, sample, token, feature)
    masks = []
    if given.get("attn_mask") is not None:
        masks.append(call(head_mask, _widened(call, given["attn_mask"], len(further)), given["query"], heads))
    if given.get("key_padding_mask") is not None:
        masks.append(call(key_mask, _widened(call, given["key_padding_mask"], len(further))))
    if len(masks) == 2 and not any(map(_may_carry, masks)):
        masks = [call(both_masks, *masks)]
    found, weights = _attended(call, q, k, v, masks)
    found = call(torch.flatten, call(torch.transpose, found, 0, -2), -2)
    output = call(F.linear, found, given["out_proj_weight"], given.get("out_proj_bias"))
    if not given.get("need_weights", True):
        return output, None
    if given.get("average_attn_weights", True):
        return output, call(torch.mean, weights, 0)
    return output, call(torch.movedim, weights, 0, -3)


def _widened(call: Any, mask: Any, tokens: int) -> Any:
    """Let a mask, true or negative for what is not seen, show further tokens."""
    return call(F.pad, mask, (0, tokens)) if tokens else mask


def _projected(call: Any, given: dict[str, Any]) -> list[Any]:
    """Write query, key and value as the projections of the inputs."""
    bias = given.get("in_proj_bias")
    if given["query"] is given["key"] is given["value"] and not given.get("use_separate_proj_weight", False):
        return _thirds(call, call(F.linear, given["query"], given["in_proj_weight"], bias), -1)
    biases = [None] * 3 if bias is None else _thirds(call, bias)
    separate = given.get("use_separate_proj_weight", False)
    weights = [given[f"{name}_proj_weight"] for name in "qkv"] if separate else _thirds(call, given["in_proj_weight"])
    inputs = (given["query"], given["key"], given["value"])
    return [call(F.linear, x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _thirds(call: Any, a: Any, dim: int = 0) -> list[Any]:
    parts = call(torch.chunk, a, 3, dim)
    return [call(operator.getitem, parts, i) for i in range(3)]


_MULTI_HEAD: Final = (
    "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn dropout_p "
    "out_proj_weight out_proj_bias training key_padding_mask need_weights attn_mask use_separate_proj_weight "
    "q_proj_weight k_proj_weight v_proj_weight static_k static_v average_attn_weights is_causal"
)

ATTENTION: Final[dict[str, tuple[Any, Any]]] = {
    "softmax": ("input dim dtype", _softmax),
    "log_softmax": ("input dim dtype", _log_softmax),
    "softmin": ("input dim dtype", _softmin),
    "_softmax": ("input dim half_to_float", lambda call, given: _softmax_of(call, torch.softmax, given)),
    "_log_softmax": ("input dim half_to_float", lambda call, given: _softmax_of(call, torch.log_softmax, given)),
    "scaled_dot_product_attention": ("query key value attn_mask dropout_p is_causal scale enable_gqa", _attention),
    "multi_head_attention_forward": (_MULTI_HEAD, _multi_head_attention),
}
"""By canonical name: the names of the arguments, and what writes the definition."""
