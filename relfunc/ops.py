"""The operations relfunc knows: a literal table from an operation's name to what kind it is.

``F.relu``, ``torch.relu_``, ``Tensor.relu`` and ``aten.relu.default`` are all the operation ``relu``; a module is the
operation its forward calls. To teach relfunc another operation, pass ``ops={**OPS, my_function: Op(...)}``, or let a
callable say what it is by an attribute ``op``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch

Kind: TypeAlias = Literal["affine", "combination", "scaling", "activation", "product", "pool", "move", "static"]
Sign: TypeAlias = Literal["unknown", "kept", "always"]


@dataclass(frozen=True)
class Op:
    """What is known of an operation.

    Parameters
    ----------
    kind : str
        ``affine``: linear in its first argument, with a weight and bias. ``combination``: linear in its tensors
        together. ``scaling``: multiplies by a constant. ``activation``: elementwise. ``product``: of two tensors.
        ``pool``: picks the greatest of several values. ``move``: moves, copies or drops values. ``static``: a shape,
        a size, a number; no relevance goes there.
    sign : {"unknown", "kept", "always"}
        Whether the output is never negative: ``kept`` if that holds for the inputs, ``always`` for any input.
    gate : bool
        Whether it gates a product: its output lies between 0 and 1.
    type : str
        What composites match: a group of operations, such as ``convolution``.
    """

    kind: Kind
    sign: Sign = "unknown"
    gate: bool = False
    type: str = ""


def _named(kind: Kind, names: str, sign: Sign = "unknown", *, gate: bool = False, group: str = "") -> dict[str, Op]:
    return dict.fromkeys(names.split(), Op(kind, sign, gate, group or kind))


Ops: TypeAlias = Mapping[str | Callable[..., Any], Op]

OPS: Final[Ops] = {
    **_named("affine", "linear", group="linear"),
    **_named("affine", "conv1d conv2d conv3d", group="convolution"),
    **_named("affine", "conv_transpose1d conv_transpose2d conv_transpose3d", group="convolution"),
    **_named("affine", "batch_norm scale_shift", group="batch_norm"),
    **_named("affine", "_native_batch_norm_legit_no_training _native_batch_norm_legit", group="batch_norm"),
    **_named("affine", "native_batch_norm", group="batch_norm"),
    **_named("combination", "add iadd radd sum mean", "kept", group="sum"),
    **_named("combination", "sub isub rsub neg", group="sum"),
    **_named("combination", "avg_pool1d avg_pool2d avg_pool3d", "kept", group="average_pool"),
    **_named(
        "combination", "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", "kept", group="average_pool"
    ),
    **_named(
        "combination", "interpolate upsample upsample_linear1d upsample_bilinear2d", "kept", group="interpolation"
    ),
    **_named("combination", "upsample_nearest1d upsample_nearest2d upsample_nearest3d", "kept", group="interpolation"),
    **_named("combination", "upsample_trilinear3d", "kept", group="interpolation"),
    **_named("combination", "upsample_bicubic2d", group="interpolation"),
    **_named("scaling", "div truediv itruediv divide", "kept"),
    **_named("activation", "relu", "always", group="relu"),
    **_named("activation", "relu6 softplus", "always"),
    **_named("activation", "sigmoid hardsigmoid", "always", gate=True),
    **_named("activation", "gelu silu mish hardswish leaky_relu prelu rrelu elu selu celu tanh", "kept"),
    **_named("activation", "softsign tanhshrink hardshrink softshrink", "kept"),
    **_named("activation", "hardtanh clamp clip clamp_min", "kept"),
    **_named("activation", "threshold logsigmoid log_sigmoid"),
    **_named("product", "mul imul multiply", "kept"),
    **_named("product", "matmul bmm mm einsum"),
    **_named("pool", "max_pool1d max_pool2d max_pool3d", "kept", group="max_pool"),
    **_named("pool", "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax", "kept", group="max_pool"),
    **_named("move", "view reshape flatten unflatten permute transpose swapaxes movedim t squeeze unsqueeze", "kept"),
    **_named("move", "chunk split tensor_split unbind getitem select narrow index_select expand expand_as", "kept"),
    **_named("move", "slice split_with_sizes constant_pad_nd of_shape cat concat concatenate stack", "kept"),
    **_named("move", "repeat roll flip pixel_shuffle pixel_unshuffle channel_shuffle view_as reshape_as", "kept"),
    **_named(
        "move", "contiguous clone alias to _to_copy float double type type_as _unsafe_view pad two_dimensional", "kept"
    ),
    **_named("move", "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout", "kept", group="dropout"),
    **_named("move", "feature_alpha_dropout stochastic_depth", "kept", group="dropout"),
    **_named("static", "size dim ndimension numel getattr len is_contiguous batch_statistics sym_size sym_numel"),
}

LATER: Final = frozenset(
    {"softmax", "log_softmax", "layer_norm", "group_norm", "instance_norm"}
    | {"scaled_dot_product_attention", "multi_head_attention_forward"}
)
"""Operations that need a rule of their own, which relfunc does not have yet."""

_BUILT_IN = ("torch", "_operator", "operator", "builtins", "torchvision", "relfunc")


def name_of(target: Callable[..., Any] | str) -> str:
    """Canonical name of a function: without its overload and the underscore of the in-place form.

    Parameters
    ----------
    target : callable
        The target of an FX node.

    Returns
    -------
    str

    Examples
    --------
    >>> name_of(torch.relu_), name_of(torch.Tensor.add_), name_of(torch.ops.aten.conv2d.default)
    ('relu', 'add', 'conv2d')
    """
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
    else:
        name = getattr(target, "__name__", type(target).__name__)
    return name if name.startswith("_") else name.rstrip("_")


def find(target: Callable[..., Any] | str, ops: Ops = OPS) -> Op | None:
    """Look up an operation by function, by its own attribute ``op``, or by name if it is torch's.

    Parameters
    ----------
    target : callable
        The target of an FX node.
    ops : mapping
        From function or name to :class:`Op`.

    Returns
    -------
    Op or None
        None for an operation the table does not have.

    Examples
    --------
    >>> find(torch.nn.functional.conv2d).type
    'convolution'
    >>> find(torch.cumsum) is None
    True
    """
    if target in ops:
        return ops[target]
    if isinstance(own := getattr(target, "op", None), Op):
        return own
    module = getattr(target, "__module__", None) or getattr(
        getattr(target, "__objclass__", None), "__module__", "torch"
    )
    return ops.get(name_of(target)) if module.partition(".")[0] in _BUILT_IN else None
