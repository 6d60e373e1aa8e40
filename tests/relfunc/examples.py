"""An example call of every operation in the table, by its name there."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relfunc.ops.spellings import spelling

from .kinds import net

Call = Callable[[Callable[..., Any], Any, Tensor], Any]


@dataclass(frozen=True)
class Example:
    """A model of one call: of the function, the model with its constants, and the input.

    Parameters
    ----------
    call : callable
        ``(function, model, x) -> result``.
    shape : tuple of int
        Of the input, whose values lie between 0 and 1.
    """

    call: Call
    shape: tuple[int, ...] = (2, 3, 4)

    def model(self, name: str) -> nn.Module:
        """Make the model, which returns a multiple of its input beside the result."""
        f = function(name)
        return net(lambda s, x: (x * 2, self.call(f, s, x)), **CONSTANTS)

    def input(self) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        return torch.rand(self.shape, dtype=torch.float64, generator=generator) * 0.8 + 0.1


def _noise(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 0.2


CONSTANTS: Final = {
    "c": _noise(4),
    "three": _noise(3),
    "w": _noise(4, 4),
    "full": _noise(2, 3, 4),
    "mask": torch.tensor([True, False, True, True]),
    "i": torch.tensor([2, 0, 1]),
    "places": torch.tensor([[[2, 0, 1, 1], [1, 1, 0, 2], [0, 2, 2, 1]]] * 2),
    "k1": _noise(5, 3, 2),
    "k2": _noise(5, 3, 2, 2),
    "k3": _noise(5, 3, 2, 2, 2),
    "t1": _noise(3, 5, 2),
    "t2": _noise(3, 5, 2, 2),
    "t3": _noise(3, 5, 2, 2, 2),
    "bias": _noise(5),
    "gates": _noise(16, 4),
    "four": _noise(2, 4),
}

LINE, IMAGE, VOLUME, MATRIX, VECTOR = (2, 3, 6), (2, 3, 4, 4), (1, 3, 4, 4, 4), (4, 4), (4,)


def _alone(f: Any, s: Any, x: Tensor) -> Any:
    return f(x)


def _pair(f: Any, s: Any, x: Tensor) -> Any:
    return f(x, s.full)


def _with(*args: Any, **kwargs: Any) -> Call:
    return lambda f, s, x: f(x, *args, **kwargs)


def _batch_norm(f: Any, s: Any, x: Tensor) -> Any:
    return f(x, s.three, s.three, s.three, s.three, False, 0.1, 1e-5)[0]


_GROUPS: Final[list[tuple[str, tuple[int, ...], Call]]] = [
    # --- affine
    ("linear", (2, 3, 4), lambda f, s, x: f(x, s.w, s.c)),
    ("conv1d", LINE, lambda f, s, x: f(x, s.k1, s.bias)),
    ("conv2d", IMAGE, lambda f, s, x: f(x, s.k2, s.bias)),
    ("conv3d", VOLUME, lambda f, s, x: f(x, s.k3, s.bias)),
    ("conv_transpose1d", LINE, lambda f, s, x: f(x, s.t1, s.bias)),
    ("conv_transpose2d", IMAGE, lambda f, s, x: f(x, s.t2, s.bias)),
    ("conv_transpose3d", VOLUME, lambda f, s, x: f(x, s.t3, s.bias)),
    ("batch_norm", IMAGE, lambda f, s, x: f(x, s.three, s.three, s.three, s.three)),
    ("native_batch_norm _native_batch_norm_legit cudnn_batch_norm", IMAGE, _batch_norm),
    (
        "_native_batch_norm_legit_no_training",
        IMAGE,
        lambda f, s, x: f(x, s.three, s.three, s.three, s.three, 0.1, 1e-5)[0],
    ),
    # --- linear in all tensors together
    ("add sub rsub", (2, 3, 4), lambda f, s, x: f(x.cos(), x)),
    ("sum mean nansum nanmean neg", (2, 3, 4), _alone),
    ("diff", (2, 3, 4), _with(dim=1)),
    ("cumsum", (2, 3, 4), _with(1)),
    ("trace", MATRIX, _alone),
    ("avg_pool1d adaptive_avg_pool1d", LINE, _with(2)),
    ("avg_pool2d adaptive_avg_pool2d", IMAGE, _with(2)),
    ("avg_pool3d adaptive_avg_pool3d", VOLUME, _with(2)),
    ("fold", (2, 12, 9), _with((4, 4), (2, 2))),
    ("col2im", (2, 12, 9), _with((4, 4), (2, 2), (1, 1), (0, 0), (1, 1))),
    ("interpolate upsample upsample_nearest", IMAGE, _with(scale_factor=2)),
    ("upsample_bilinear", IMAGE, _with(scale_factor=2)),
    ("upsample_nearest1d _upsample_nearest_exact1d", LINE, _with([12])),
    ("upsample_nearest2d _upsample_nearest_exact2d", IMAGE, _with([8, 8])),
    ("upsample_nearest3d", VOLUME, _with([8, 8, 8])),
    ("upsample_linear1d", LINE, _with([12], False)),
    ("upsample_bilinear2d upsample_bicubic2d", IMAGE, _with([8, 8], False)),
    ("upsample_trilinear3d", VOLUME, _with([8, 8, 8], False)),
    # --- elementwise
    (
        "relu relu6 softplus exp exp2 cosh square abs sqrt rsqrt sigmoid hardsigmoid gelu silu mish hardswish "
        "leaky_relu rrelu elu selu celu tanh softsign tanhshrink hardshrink softshrink expm1 log1p sinh asinh erf atan "
        "hardtanh reciprocal deg2rad rad2deg logsigmoid log log2 log10 logit nan_to_num sin cos tan asin acos atanh "
        "erfc erfinv lgamma digamma sinc",
        (2, 3, 4),
        _alone,
    ),
    ("acosh", (2, 3, 4), lambda f, s, x: f(x + 1)),
    ("prelu _prelu_kernel", (2, 3, 4), lambda f, s, x: f(x, s.full[0, 0, 0])),
    ("clamp", (2, 3, 4), _with(0.2, 0.8)),
    ("clamp_min clamp_max", (2, 3, 4), _with(0.4)),
    ("threshold", (2, 3, 4), _with(0.5, 0.1)),
    # --- products
    ("mul", (2, 3, 4), lambda f, s, x: f(x, x.flip(1))),
    ("matmul bmm", (2, 3, 4), lambda f, s, x: f(x, x.cos().transpose(1, 2))),
    ("mm", MATRIX, lambda f, s, x: f(x, x.cos())),
    ("einsum", MATRIX, lambda f, s, x: f("ij,kj->ik", x, x.cos())),
    ("mv", MATRIX, lambda f, s, x: f(x, x[0].cos())),
    ("dot vdot inner outer linalg.vecdot", VECTOR, lambda f, s, x: f(x, x.cos())),
    ("kron", MATRIX, lambda f, s, x: f(x, x[:2].cos())),
    ("tensordot", MATRIX, lambda f, s, x: f(x, x.cos(), 1)),
    ("linalg.multi_dot", MATRIX, lambda f, s, x: f([x, x.cos(), x.sin()])),
    ("chain_matmul", MATRIX, lambda f, s, x: f(x, x.cos())),
    ("bilinear", MATRIX, lambda f, s, x: f(x, x.cos()[:, :3], s.k1[:, :, :1].expand(5, 3, 4).transpose(1, 2))),
    # --- choosing
    ("max_pool1d max_pool1d_with_indices adaptive_max_pool1d adaptive_max_pool1d_with_indices", LINE, _with(2)),
    ("max_pool2d max_pool2d_with_indices adaptive_max_pool2d adaptive_max_pool2d_with_indices", IMAGE, _with(2)),
    ("max_pool3d max_pool3d_with_indices adaptive_max_pool3d adaptive_max_pool3d_with_indices", VOLUME, _with(2)),
    ("amax amin max min median nanmedian mode cummax cummin", (2, 3, 4), _with(1)),
    ("aminmax", (2, 3, 4), _with(dim=1)),
    ("maximum minimum fmax fmin", (2, 3, 4), lambda f, s, x: f(x, x.cos())),
    ("topk kthvalue", (2, 3, 4), _with(2)),
    ("sort msort", (2, 3, 4), _alone),
    # --- moving
    ("view reshape", (2, 3, 4), _with((2, 12))),
    ("_unsafe_view", (2, 3, 4), _with([2, 12])),
    ("flatten squeeze adjoint ravel alias contiguous float double half bfloat16 clone positive", (2, 3, 4), _alone),
    ("atleast_1d atleast_2d atleast_3d cpu fliplr flipud rot90 tril triu diag_embed", (2, 3, 4), _alone),
    ("unflatten", (2, 3, 4), _with(2, (2, 2))),
    ("permute", (2, 3, 4), _with((0, 2, 1))),
    ("transpose movedim", (2, 3, 4), _with(1, 2)),
    ("t diag", MATRIX, _alone),
    ("unsqueeze unbind", (2, 3, 4), _with(1)),
    ("view_as reshape_as expand_as type_as", (2, 3, 4), _pair),
    ("narrow", (2, 3, 4), _with(1, 0, 2)),
    ("select", (2, 3, 4), _with(1, 0)),
    ("slice", (2, 3, 4), _with(1, 0, 2)),
    ("expand broadcast_to", (2, 3, 4), _with((5, 2, 3, 4))),
    ("diagonal", (2, 3, 4), _with(0, 1, 2)),
    ("unfold", IMAGE, _with(2)),
    ("as_strided", (2, 3, 4), _with((2, 2), (1, 2))),
    ("getitem", (2, 3, 4), _with(1)),
    ("chunk tensor_split hsplit", (2, 3, 4), _with(1)),
    ("split dsplit", (2, 3, 4), _with(2)),
    ("vsplit", (2, 3, 4), _with(2)),
    ("split_with_sizes", (2, 3, 4), _with([1, 2], 1)),
    ("broadcast_tensors", (2, 3, 4), lambda f, s, x: f(x, s.full)),
    ("meshgrid", VECTOR, lambda f, s, x: f(x, s.c, indexing="ij")),
    ("to", (2, 3, 4), _with(torch.float32)),
    ("_to_copy", (2, 3, 4), _with(dtype=torch.float32)),
    ("type", (2, 3, 4), _with(torch.float32)),
    ("view_as_real real", (2, 3, 4), lambda f, s, x: f(x.to(torch.complex128))),
    ("cuda", (2, 3, 4), _alone),
    ("repeat tile", (2, 3, 4), _with((2, 1, 1))),
    ("repeat_interleave", (2, 3, 4), _with(2, 1)),
    ("roll", (2, 3, 4), _with(1, 1)),
    ("flip", (2, 3, 4), _with((1,))),
    ("pad", (2, 3, 4), _with((1, 1))),
    ("constant_pad_nd", (2, 3, 4), _with([1, 1])),
    ("cat stack hstack vstack dstack column_stack", (2, 3, 4), lambda f, s, x: f([x, s.full])),
    ("block_diag", MATRIX, lambda f, s, x: f(x, s.w)),
    ("index_select", (2, 3, 4), lambda f, s, x: f(x, 1, s.i)),
    ("gather", (2, 3, 4), lambda f, s, x: f(x, 1, s.places)),
    ("take", (2, 3, 4), lambda f, s, x: f(x, s.i)),
    ("take_along_dim", (2, 3, 4), lambda f, s, x: f(x, s.places, 1)),
    ("masked_select", (2, 3, 4), lambda f, s, x: f(x, s.mask)),
    ("index", (2, 3, 4), lambda f, s, x: f(x, [None, s.i])),
    ("where", (2, 3, 4), lambda f, s, x: f(s.mask, x, s.full)),
    ("masked_fill", (2, 3, 4), lambda f, s, x: f(x, s.mask, 0.5)),
    ("index_fill", (2, 3, 4), lambda f, s, x: f(x, 1, s.i[:2], 0.5)),
    ("masked_scatter", (2, 3, 4), lambda f, s, x: f(x, s.mask, s.full)),
    ("scatter scatter_add", (2, 3, 4), lambda f, s, x: f(x, 1, s.places, s.full)),
    ("index_add", (2, 3, 4), lambda f, s, x: f(x, 1, s.i, s.full)),
    ("grouped_mm", (2, 4), lambda f, s, x: f(x, s.w[None], offs=s.i[:1].int())),
    ("index_copy", (2, 3, 4), lambda f, s, x: f(x, 1, s.i, s.full)),
    ("index_put", (2, 3, 4), lambda f, s, x: f(x, (s.i[1:] * 0,), s.full[0])),
    ("slice_scatter", (2, 3, 4), lambda f, s, x: f(x, s.full[:, :2], 1, 0, 2)),
    ("select_scatter", (2, 3, 4), lambda f, s, x: f(x, s.full[:, 0], 1, 0)),
    ("diagonal_scatter", MATRIX, lambda f, s, x: f(x, s.c)),
    ("im2col", IMAGE, _with((2, 2), (1, 1), (0, 0), (1, 1))),
    ("pixel_shuffle", (2, 4, 3, 3), _with(2)),
    ("pixel_unshuffle channel_shuffle", (2, 4, 4, 4), _with(2)),
    ("reflection_pad1d replication_pad1d", LINE, _with([1, 1])),
    ("reflection_pad2d replication_pad2d", IMAGE, _with([1, 1, 1, 1])),
    ("reflection_pad3d replication_pad3d", VOLUME, _with([1, 1, 1, 1, 1, 1])),
    ("embedding", MATRIX, lambda f, s, x: f(s.i, x)),
    ("dropout alpha_dropout feature_dropout feature_alpha_dropout", IMAGE, _with(0.5, False)),
    ("native_dropout", IMAGE, lambda f, s, x: f(x, 0.5, False)[0]),
    ("dropout1d", LINE, _with(0.5, False)),
    ("dropout2d", IMAGE, _with(0.5, False)),
    ("dropout3d", VOLUME, _with(0.5, False)),
    # --- carrying no relevance
    (
        "size dim ndimension numel len stride is_floating_point is_complex is_contiguous is_tensor element_size "
        "get_device",
        (2, 3, 4),
        _alone,
    ),
    ("is_nonzero", (1,), _alone),
    ("sym_numel", (2, 3, 4), _alone),
    ("sym_size", (2, 3, 4), _with(1)),
    ("getattr", (2, 3, 4), _with("shape")),
    ("is_same_size equal allclose result_type", (2, 3, 4), _pair),
    ("gt ge lt le eq ne isclose logical_and logical_or logical_xor heaviside floor_divide", (2, 3, 4), _pair),
    ("isnan isinf isfinite isposinf isneginf signbit argmax argmin argsort count_nonzero any all", (2, 3, 4), _alone),
    ("nonzero argwhere logical_not floor ceil round trunc sign sgn long int bool short byte", (2, 3, 4), _alone),
    ("zeros_like ones_like detach", (2, 3, 4), _alone),
    ("histc", (2, 3, 4), _with(4, 0, 1)),
    ("bincount", (2, 3, 4), lambda f, s, x: f(x.flatten().argsort())),
    ("bucketize", (2, 3, 4), lambda f, s, x: f(x, s.c)),
    ("searchsorted", (2, 3, 4), lambda f, s, x: f(s.c, x)),
    ("bitwise_not invert", (2, 3, 4), lambda f, s, x: f(x > 0.5)),
    ("bitwise_and bitwise_or and or xor", (2, 3, 4), lambda f, s, x: f(x > 0.5, x > 0.2)),
    ("full_like", (2, 3, 4), _with(0.5)),
    ("new_zeros new_ones", (2, 3, 4), _with((2,))),
    ("new_full", (2, 3, 4), _with((2,), 0.5)),
    ("new_tensor", (2, 3, 4), _with([0.5])),
    ("empty_like", (2, 3, 4), lambda f, s, x: torch.zeros_like(f(x))),
    ("new_empty", (2, 3, 4), lambda f, s, x: torch.zeros_like(f(x, (2,)))),
    ("empty", (2, 3, 4), lambda f, s, x: torch.zeros_like(f(x.size(0)))),
    ("zeros ones arange eye", (2, 3, 4), lambda f, s, x: f(x.size(0))),
    ("full", (2, 3, 4), lambda f, s, x: f((x.size(0),), 0.5)),
    ("linspace", (2, 3, 4), lambda f, s, x: f(0, 1, x.size(0))),
    ("scalar_tensor", (2, 3, 4), lambda f, s, x: f(x.size(0))),
    ("tril_indices triu_indices", (2, 3, 4), lambda f, s, x: f(x.size(0), 2)),
    ("one_hot", (2, 3, 4), lambda f, s, x: f(x.argmax(1), 3)),
    # --- drawing random numbers
    ("rand_like randn_like bernoulli poisson", (2, 3, 4), _alone),
    ("randint_like", (2, 3, 4), _with(3)),
    ("multinomial", MATRIX, _with(2)),
    ("gumbel_softmax", (2, 3, 4), _alone),
    ("normal", (2, 3, 4), _pair),
    ("rand randn randperm", (2, 3, 4), lambda f, s, x: f(x.size(0))),
    ("randint", (2, 3, 4), lambda f, s, x: f(3, (x.size(0),))),
    ("uniform exponential cauchy log_normal random", (2, 3, 4), lambda f, s, x: f(x.clone())),
    ("geometric", (2, 3, 4), lambda f, s, x: f(x.clone(), 0.5)),
    # --- without a rule
    ("pow float_power", (2, 3, 4), lambda f, s, x: f(x, x.cos())),
    ("div", (2, 3, 4), lambda f, s, x: f(x, x.flip(1))),
    ("softmax log_softmax softmin cumprod prod logsumexp logcumsumexp", (2, 3, 4), _with(1)),
    ("layer_norm rms_norm", (2, 3, 4), _with((4,))),
    ("group_norm", IMAGE, _with(3)),
    ("instance_norm", IMAGE, _alone),
    ("local_response_norm", IMAGE, _with(2)),
    ("normalize std var norm frac", (2, 3, 4), _alone),
    ("linalg.norm linalg.vector_norm linalg.matrix_norm", (2, 3, 4), _alone),
    ("scaled_dot_product_attention", (2, 3, 4), lambda f, s, x: f(x, x, x)),
    ("cdist cosine_similarity pairwise_distance atan2 hypot logaddexp fmod remainder", (2, 3, 4), _pair),
    ("cross", (2, 4, 3), lambda f, s, x: f(x, x.cos())),
    ("grid_sample", IMAGE, lambda f, s, x: f(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)),
    ("grid_sampler", IMAGE, lambda f, s, x: f(x, x[:, :2].permute(0, 2, 3, 1), 0, 0, False)),
    ("addcdiv", (2, 3, 4), lambda f, s, x: f(x, x, s.full)),
    ("addbmm", (2, 3, 3), lambda f, s, x: f(x[0], x, x)),
    ("addr", MATRIX, lambda f, s, x: f(x, x[0], x[1])),
    ("_softmax _log_softmax", (2, 3, 4), _with(1, False)),
    ("_weight_norm", MATRIX, lambda f, s, x: f(x, x[:, :1])),
    ("renorm", (2, 3, 4), _with(2, 0, 1.0)),
    ("gru_cell", (2, 4), lambda f, s, x: f(x, x, s.gates[:12], s.gates[:12])),
    ("rnn_tanh_cell rnn_relu_cell", (2, 4), lambda f, s, x: f(x, x, s.w, s.w)),
    ("lstm_cell", (2, 4), lambda f, s, x: f(x, (x, x), s.gates, s.gates)),
    ("lstm", (2, 3, 4), lambda f, s, x: f(x, (s.full[:1, :1].expand(1, 2, 4),) * 2, [s.gates] * 2, *_RECURRENT)),
    ("gru", (2, 3, 4), lambda f, s, x: f(x, s.full[:1, :1].expand(1, 2, 4), [s.gates[:12]] * 2, *_RECURRENT)),
    ("rnn_tanh rnn_relu", (2, 3, 4), lambda f, s, x: f(x, s.full[:1, :1].expand(1, 2, 4), [s.w] * 2, *_RECURRENT)),
    (
        "multi_head_attention_forward",
        (3, 2, 4),
        lambda f, s, x: f(x, x, x, 4, 2, s.gates[:12], None, None, None, False, 0.0, s.w, None, training=False),
    ),
    ("native_layer_norm", (2, 3, 4), _with((4,), None, None, 1e-5)),
    ("native_group_norm", IMAGE, lambda f, s, x: f(x, None, None, 2, 3, 16, 3, 1e-5)[0]),
    ("std_mean var_mean frexp", (2, 3, 4), _alone),
]

_RECURRENT: Final = (False, 1, 0.0, False, False, True)

EXAMPLES: Final = {name: Example(call, shape) for names, shape, call in _GROUPS for name in names.split()}


def function(name: str) -> Callable[..., Any]:
    """Return a function of torch's by its canonical name."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    for home in (F, torch, Tensor, torch.special, torch.linalg, operator, torch.ops.aten):
        for attribute in (name, name.removeprefix("linalg."), f"{name}_"):
            found = getattr(home, attribute, None)
            if found is not None and spelling(found) == name:
                return found
    raise LookupError(f"torch has no function '{name}'")


_ELSEWHERE: Final[dict[str, Callable[..., Any]]] = {
    "getattr": getattr,
    "len": len,
    "index": torch.ops.aten.index.Tensor,
    "_native_batch_norm_legit_no_training": torch.ops.aten._native_batch_norm_legit_no_training.default,
    "and": operator.and_,
    "or": operator.or_,
}
