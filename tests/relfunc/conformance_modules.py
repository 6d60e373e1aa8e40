"""Cases of conformance: the modules of torch.nn, but for distances and losses."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import torch
from torch import Tensor, nn

from .conformance import Case

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def classes() -> dict[str, type[nn.Module]]:
    """Every class of modules that torch.nn offers, by its name there."""
    names = sorted({*dir(nn), *nn.modules.__all__})
    found = {name: getattr(nn, name) for name in names}
    return {name: c for name, c in found.items() if isinstance(c, type) and issubclass(c, nn.Module)}


def args(*positional: Any, **named: Any) -> Arguments:
    return positional, named


def on(
    shapes: Any,
    of: Callable[..., nn.Module],
    *arguments: Arguments,
    forward: Callable[..., Any] | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    mixed: bool = False,
    remark: str = "",
    kind: str = "",
    **tensors: Tensor,
) -> list[Case]:
    """Make a case of each way to construct a module; its kind is the file of torch.nn that defines it."""
    shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    forward = forward or _FORWARD[len(shapes)]
    kind = kind or f"nn.{of.__module__.rpartition('.')[2]}"
    return [
        Case(
            kind, _written(of, a, remark), forward, shapes, lambda a=a: _made(of, *deepcopy(a)), tensors, domain, mixed
        )
        for a in arguments or (args(),)
    ]


def _made(of: Callable[..., nn.Module], positional: tuple[Any, ...], named: dict[str, Any]) -> nn.Module:
    return of(*positional, **named)


_FORWARD: Final = {
    1: lambda m, x: m.layer(x),
    2: lambda m, x, y: m.layer(x, y),
    3: lambda m, x, y, z: m.layer(x, y, z),
}


def _written(of: Callable[..., nn.Module], arguments: Arguments, remark: str) -> str:
    positional, named = arguments
    words = [_value(a) for a in positional] + [f"{key}={_value(value)}" for key, value in named.items()]
    return f"{of.__name__}({', '.join(words)}){remark and f' {remark}'}"


def _value(value: Any) -> str:
    return "…" if isinstance(value, Tensor | nn.Module | list) or callable(value) else repr(value)


def floats(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.1


ONE, TWO, THREE = (2, 4, 9), (2, 4, 6, 7), (2, 4, 5, 6, 5)
CONVOLUTIONS = (
    args(4, 6, 3),
    args(4, 6, 3, stride=2, padding=1, bias=False),
    args(4, 6, 3, padding="same", dilation=2),
    args(4, 6, 3, padding="valid", groups=2),
    args(4, 4, 1, groups=4),
    *(args(4, 6, 3, padding=1, padding_mode=mode) for mode in ("reflect", "replicate", "circular")),
    args(4, 6, 3, padding="same", padding_mode="circular"),
)
TRANSPOSED = (
    args(4, 6, 3),
    args(4, 6, 3, stride=2, padding=1, output_padding=1, bias=False),
    args(4, 6, 3, groups=2, dilation=2),
)
NORMS = (args(4), args(4, affine=False), args(4, eps=0.1), args(4, track_running_stats=False))
AVERAGES = (args(2), args(3, stride=2, padding=1), args(3, 2, 1, True), args(3, 2, 1, count_include_pad=False))
MAXIMA = (args(2), args(3, stride=2, padding=1), args(3, 2, 1, ceil_mode=True), args(2, 1, dilation=2))
INDICES = args(2, return_indices=True)
RECURRENT = (
    args(4, 3),
    args(4, 3, num_layers=2),
    args(4, 3, batch_first=True),
    args(4, 3, bidirectional=True),
    args(4, 3, bias=False),
    args(4, 3, dropout=0.5, num_layers=2),
)
ATTENTION = {"dim_feedforward": 8, "batch_first": True}


def _unpooled(pool: Callable[..., Any]) -> Callable[..., Any]:
    return lambda m, x: m.layer(*pool(x, 2, return_indices=True))


class _Lists(nn.Module):
    """Layers and parameters in lists and dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.named = nn.ModuleDict({"relu": nn.ReLU(), "out": nn.Linear(4, 3)})
        self.scales = nn.ParameterList([torch.ones(4), torch.ones(4)])
        self.shifts = nn.ParameterDict({"first": torch.ones(4)})


def _through_lists(m: nn.Module, x: Tensor) -> Tensor:
    lists: Any = m.layer
    for layer, scale in zip(lists.layers, lists.scales, strict=True):
        x = lists.named["relu"](layer(x) * scale + lists.shifts["first"])
    return lists.named["out"](x)


def _encoder_layer(**named: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(4, 2, **ATTENTION, **named)


def _decoder_layer(**named: Any) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(4, 2, **ATTENTION, **named)


def _dimensions(of: str, shapes: dict[int, tuple[int, ...]], *arguments: Arguments, **options: Any) -> list[Case]:
    """Make the cases of modules that differ in their number of dimensions only."""
    return [c for n, shape in shapes.items() for c in on(shape, getattr(nn, f"{of}{n}d"), *arguments, **options)]


ALL = {1: ONE, 2: TWO, 3: THREE}
POINTS = (2, 4)

MODULES: Final = [
    # linear
    *on(POINTS, nn.Identity, mixed=True),
    *on(POINTS, nn.Linear, args(4, 3), args(4, 3, bias=False)),
    *on((2, 3, 4), nn.Linear, args(4, 3), remark="of sequences"),
    *on((4,), nn.Linear, args(4, 3), remark="without batch"),
    *on((2, 4), nn.LazyLinear, args(3)),
    *on(((2, 4), (2, 3)), nn.Bilinear, args(4, 3, 5), args(4, 3, 5, bias=False)),
    # convolutions
    *_dimensions("Conv", ALL, *CONVOLUTIONS[:5]),
    *_dimensions("Conv", ALL, *(args(4, 6, 3, padding=1, padding_mode=m) for m in ("replicate", "circular"))),
    *_dimensions("Conv", {1: ONE, 2: TWO}, *CONVOLUTIONS[5::3]),
    *_dimensions("ConvTranspose", ALL, *TRANSPOSED),
    *on(ONE[1:], nn.Conv1d, args(4, 6, 3), remark="without batch"),
    *on(TWO[1:], nn.Conv2d, args(4, 6, 3), remark="without batch"),
    *on(TWO, nn.ConvTranspose2d, args(4, 6, 3, stride=2), forward=lambda m, x: m.layer(x, output_size=(14, 15))),
    *_dimensions("LazyConv", ALL, args(6, 3)),
    *_dimensions("LazyConvTranspose", ALL, args(6, 3)),
    *on(TWO, nn.Unfold, args(2), args(3, dilation=2, padding=1, stride=2)),
    *on((2, 12, 12), nn.Fold, args((4, 5), 2)),
    *on((2, 18, 8), nn.Fold, args((6, 6), (3, 3), stride=(2, 1))),
    # pools
    *_dimensions("AvgPool", ALL, *AVERAGES),
    *on(TWO, nn.AvgPool2d, args(2, divisor_override=3), args((2, 3), (1, 2))),
    *on(THREE, nn.AvgPool3d, args(2, divisor_override=3)),
    *_dimensions("MaxPool", ALL, *MAXIMA, INDICES),
    *_dimensions("MaxPool", ALL, INDICES, forward=lambda m, x: m.layer(x)[0], remark="[0]"),
    *on(TWO[1:], nn.MaxPool2d, args(2), remark="without batch"),
    *_dimensions("AdaptiveAvgPool", ALL, args(1), args(3)),
    *on(TWO, nn.AdaptiveAvgPool2d, args((None, 2)), args((5, 4))),
    *_dimensions("AdaptiveMaxPool", ALL, args(1), args(3), INDICES),
    *_dimensions("LPPool", ALL, args(2, 2), args(3, 2, stride=1, ceil_mode=True), domain=(0.1, 2.0)),
    *on(ONE, nn.MaxUnpool1d, args(2), forward=_unpooled(nn.functional.max_pool1d)),
    *on((2, 4, 6, 6), nn.MaxUnpool2d, args(2), forward=_unpooled(nn.functional.max_pool2d)),
    *on((2, 4, 4, 6, 4), nn.MaxUnpool3d, args(2), forward=_unpooled(nn.functional.max_pool3d)),
    *on(TWO, nn.FractionalMaxPool2d, args(2, output_size=3), args(2, output_size=3, _random_samples=floats(2, 4, 2))),
    *on(THREE, nn.FractionalMaxPool3d, args(2, output_size=3), args(2, output_size=3, _random_samples=floats(2, 4, 3))),
    # norms
    *_dimensions("BatchNorm", ALL, *NORMS),
    *on(POINTS, nn.BatchNorm1d, *NORMS, remark="of features"),
    *_dimensions("LazyBatchNorm", ALL),
    *on(TWO, nn.SyncBatchNorm, args(4)),
    *_dimensions("InstanceNorm", ALL, args(4), args(4, affine=True), args(4, track_running_stats=True)),
    *on(ONE[1:], nn.InstanceNorm1d, args(4), remark="without batch"),
    *_dimensions("LazyInstanceNorm", ALL, args(affine=True)),
    *on(TWO, nn.GroupNorm, args(2, 4), args(1, 4), args(4, 4, affine=False)),
    *on(
        (2, 3, 4), nn.LayerNorm, args(4), args((3, 4)), args(4, elementwise_affine=False), args(4, bias=False, eps=0.1)
    ),
    *on((2, 3, 4), nn.RMSNorm, args(4), args((3, 4), eps=1e-3), args(4, elementwise_affine=False)),
    *on(TWO, nn.LocalResponseNorm, args(2), args(3, alpha=0.1, beta=0.5, k=2.0)),
    *on(TWO, nn.CrossMapLRN2d, args(3)),
    # activations
    *(
        case
        for of in (nn.ReLU, nn.ReLU6, nn.SELU, nn.CELU, nn.ELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid)
        for case in (*on(POINTS, of), *on(POINTS, of, args(inplace=True), mixed=True))
    ),
    *(
        case
        for of in (nn.Sigmoid, nn.Tanh, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink, nn.GELU, nn.Softplus, nn.GLU)
        for case in on(POINTS, of)
    ),
    *on(POINTS, nn.GELU, args(approximate="tanh")),
    *on(POINTS, nn.GLU, args(0)),
    *on(POINTS, nn.CELU, args(0.5)),
    *on(POINTS, nn.ELU, args(0.5)),
    *on(POINTS, nn.Softplus, args(2.0, 1.0)),
    *on(POINTS, nn.Hardtanh, args(), args(-0.5, 0.7)),
    *on(POINTS, nn.Hardtanh, args(0.0, 1.0, inplace=True), mixed=True),
    *on(POINTS, nn.Hardshrink, args(), args(0.2)),
    *on(POINTS, nn.Softshrink, args(), args(0.2)),
    *on(POINTS, nn.LeakyReLU, args(), args(0.3)),
    *on(POINTS, nn.LeakyReLU, args(0.3, inplace=True), mixed=True),
    *on(POINTS, nn.RReLU, args(), args(0.2, 0.4)),
    *on(POINTS, nn.RReLU, args(inplace=True), mixed=True),
    *on(POINTS, nn.PReLU, args(), args(4)),
    *on(TWO, nn.PReLU, args(4), remark="of images"),
    *on(POINTS, nn.Threshold, args(0.1, 0.0), args(-0.5, 2.0)),
    *on(POINTS, nn.Threshold, args(0.1, 0.0, inplace=True), mixed=True),
    *on(POINTS, nn.Softmax, args(1), args(-1)),
    *on(POINTS, nn.LogSoftmax, args(1)),
    *on(POINTS, nn.Softmin, args(1)),
    *on(TWO, nn.Softmax2d),
    # attention and recurrence
    *on(
        (2, 3, 4),
        nn.MultiheadAttention,
        args(4, 2, batch_first=True),
        args(4, 2),
        forward=lambda m, x: m.layer(x, x, x),
    ),
    *on(
        (2, 3, 4),
        nn.MultiheadAttention,
        args(4, 2, bias=False),
        args(4, 2, add_bias_kv=True, add_zero_attn=True),
        args(4, 1, dropout=0.5, batch_first=True),
        forward=lambda m, x: m.layer(x, x, x, need_weights=False)[0],
        remark="need_weights=False",
    ),
    *on(
        ((2, 3, 4), (2, 5, 6), (2, 5, 3)),
        nn.MultiheadAttention,
        args(4, 2, kdim=6, vdim=3, batch_first=True),
        remark="of three inputs",
    ),
    *on(
        (2, 3, 4),
        nn.MultiheadAttention,
        args(4, 2, batch_first=True),
        forward=lambda m, x: m.layer(x, x, x, attn_mask=m.mask, key_padding_mask=m.padding)[0],
        mask=torch.tensor([[False, True, True], [False, False, True], [False, False, False]]),
        padding=torch.tensor([[False, False, True], [False, False, False]]),
        remark="with masks",
    ),
    *on((2, 3, 4), _encoder_layer, args(), args(norm_first=True), args(activation="gelu"), kind="nn.transformer"),
    *on(((2, 3, 4), (2, 5, 4)), _decoder_layer, args(), args(norm_first=True), kind="nn.transformer"),
    *on((2, 3, 4), nn.TransformerEncoder, args(_encoder_layer(), 2), args(_encoder_layer(), 1, nn.LayerNorm(4))),
    *on(((2, 3, 4), (2, 5, 4)), nn.TransformerDecoder, args(_decoder_layer(), 2)),
    *on(((2, 3, 4), (2, 5, 4)), nn.Transformer, args(4, 2, 1, 1, **ATTENTION)),
    *on((3, 2, 4), nn.RNN, *RECURRENT, args(4, 3, nonlinearity="relu")),
    *on((3, 2, 4), nn.LSTM, *RECURRENT, args(4, 3, proj_size=2)),
    *on((3, 2, 4), nn.GRU, *RECURRENT),
    *on((3, 4), nn.LSTM, args(4, 3), forward=lambda m, x: m.layer(x)[0], remark="without batch"),
    *on(((3, 2, 4), (1, 2, 3)), nn.GRU, args(4, 3), remark="with a state"),
    *on(POINTS, nn.RNNCell, args(4, 3), args(4, 3, bias=False, nonlinearity="relu")),
    *on(POINTS, nn.LSTMCell, args(4, 3), args(4, 3, bias=False)),
    *on(POINTS, nn.GRUCell, args(4, 3), args(4, 3, bias=False)),
    *on(((2, 4), (2, 3)), nn.GRUCell, args(4, 3), remark="with a state"),
    # dropout
    *_dimensions("Dropout", ALL, args(), args(0.3), mixed=True),
    *(case for of in (nn.Dropout, nn.AlphaDropout) for case in on(POINTS, of, mixed=True)),
    *on(TWO, nn.FeatureAlphaDropout, mixed=True),
    *on(POINTS, nn.Dropout, args(inplace=True), mixed=True),
    *on(POINTS, nn.AlphaDropout, args(inplace=True), mixed=True),
    # shapes
    *on(TWO, nn.Flatten, args(), args(2), args(0, 1)),
    *on(POINTS, nn.Unflatten, args(1, (2, 2)), args(1, (2, -1))),
    *on(TWO, nn.ChannelShuffle, args(2)),
    *on(TWO, nn.PixelShuffle, args(2)),
    *on((2, 3, 4, 6), nn.PixelUnshuffle, args(2)),
    *_dimensions("ConstantPad", ALL, args(1, 0.5), args((1, 0), -2.0)),
    *_dimensions("ZeroPad", ALL, args(2)),
    *on(TWO, nn.ZeroPad2d, args((1, -1, 0, 2))),
    *_dimensions("CircularPad", ALL, args(1)),
    *_dimensions("ReflectionPad", ALL, args(1)),
    *_dimensions("ReplicationPad", ALL, args(1)),
    *on(TWO, nn.ReflectionPad2d, args((1, 0, 2, 1))),
    *on(ONE, nn.Upsample, args(scale_factor=2), args(scale_factor=1.5, mode="linear")),
    *on(
        TWO,
        nn.Upsample,
        args((9, 8)),
        args(scale_factor=2, mode="bilinear", align_corners=True),
        args(scale_factor=(2, 1.5), mode="bilinear"),
        args(scale_factor=2, mode="bicubic"),
        args(scale_factor=1.7, mode="nearest-exact"),
        args(scale_factor=1.7, recompute_scale_factor=True),
    ),
    *on(THREE, nn.Upsample, args(scale_factor=2), args(scale_factor=2, mode="trilinear")),
    *on(TWO, nn.UpsamplingNearest2d, args(scale_factor=2)),
    *on(TWO, nn.UpsamplingBilinear2d, args(scale_factor=2)),
    # embeddings: the input scales or weights what they look up
    *on(
        (2, 3, 5),
        nn.Embedding,
        args(7, 5),
        args(7, 5, padding_idx=0, max_norm=None),
        forward=lambda m, x: m.layer(m.ids) * x,
        ids=torch.tensor([[0, 3, 6], [1, 1, 2]]),
    ),
    *on(
        (2, 5),
        nn.EmbeddingBag,
        args(7, 5),
        args(7, 5, mode="sum"),
        args(7, 5, mode="max"),
        forward=lambda m, x: m.layer(m.ids) * x,
        ids=torch.tensor([[0, 3, 6], [1, 1, 2]]),
    ),
    *on(
        (2, 3),
        nn.EmbeddingBag,
        args(7, 5, mode="sum"),
        remark="weighted",
        forward=lambda m, x: m.layer(m.ids, per_sample_weights=x),
        ids=torch.tensor([[0, 3, 6], [1, 1, 2]]),
    ),
    # containers
    *on(POINTS, nn.Sequential, args(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))),
    *on(POINTS, nn.DataParallel, args(nn.Linear(4, 5))),
    *on(POINTS, _Lists, forward=_through_lists, kind="nn.container"),
]

WITHOUT_CASE: Final = {
    "Module": "the base of all, without a forward",
    "Container": "the deprecated base of containers, without a forward",
    "RNNBase": "the base of RNN, LSTM and GRU, without a forward",
    "RNNCellBase": "the base of their cells, without a forward",
    "NLLLoss2d": "the deprecated name of NLLLoss",
    "ModuleList": "it has no forward, and is read in the case of _Lists",
    "ModuleDict": "it has no forward, and is read in the case of _Lists",
    "ParameterList": "it has no forward, and is read in the case of _Lists",
    "ParameterDict": "it has no forward, and is read in the case of _Lists",
}
"""Classes of torch.nn that are no function of an input by themselves, with the reason."""
