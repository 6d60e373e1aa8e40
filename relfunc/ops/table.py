"""The operations relfunc knows: one row for each, with all that any pass asks of it.

A row is looked up once, by the identity of the function (:mod:`relfunc.ops.spellings`), and written on the node of the
graph as ``node.meta["op"]``; facts, composites, propagation and lifetimes read that row, never a name. To teach relfunc
another operation, or another meaning of one, pass ``ops={**OPS, my_function: Op(...)}``, or let a callable say what it
is by an attribute ``op``.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, TypeVar

from torch import fx

from .spellings import plain, spelling

Kind: TypeAlias = Literal[
    "affine", "combination", "scaling", "activation", "product", "pool", "move", "static", "composed", "other"
]
Sign: TypeAlias = Literal["unknown", "kept", "always"]
Memory: TypeAlias = Literal["", "own", "shared"]
Returns: TypeAlias = Literal["tensor", "several", "over an axis", "number"]


@dataclass(frozen=True)
class Op:
    """What is known of an operation.

    Parameters
    ----------
    kind : str
        ``affine``: linear in its first argument, with a weight and bias. ``combination``: linear in its tensors
        together. ``scaling``: multiplies by a constant. ``activation``: elementwise. ``product``: linear in each of
        its tensors. ``pool``: picks one of several values. ``move``: moves, copies or drops values. ``static``: a
        shape, a size, a number, a constant; no relevance goes there. ``composed``: written out in simpler operations
        when a graph is made canonical. ``other``: none of these.
    sign : {"unknown", "kept", "always"}
        Whether the output is never negative: ``kept`` if that holds for the inputs, ``always`` for any input.
    gate : bool
        Whether it gates a product: its output lies between 0 and 1.
    type : str
        What composites match: a group of operations, such as ``convolution``; the kind, if empty.
    alone : Op, optional
        What it is where only one of its tensors depends on the model's input.
    second : Op, optional
        What it is where only the second does, if that is something else.
    memory : {"own", "shared", ""}
        Whether its output has memory of its own, or may share that of its first argument; empty if nobody knows.
    matrix : bool
        Of a product: whether it sums products, as a matrix product does, rather than multiplying elementwise.
    bilinear : bool
        Whether it is linear in each of several tensors, so that it is not linear in them together.
    refused : str
        Why no composite of relfunc's has a rule for it: the end of an error's message.
    returns : {"tensor", "several", "over an axis", "number"}
        What it returns: a tensor; several; several if it is given an axis; or no tensor, if it is given a stand-in.
    random : bool
        Whether it draws random numbers, so that a model that uses it is no function of its input.
    name : str
        Its canonical name, which :data:`OPS` gives to torch's functions.
    """

    kind: Kind
    sign: Sign = "unknown"
    gate: bool = False
    type: str = ""
    alone: "Op | None" = None
    second: "Op | None" = None
    memory: Memory = ""
    matrix: bool = False
    bilinear: bool = False
    refused: str = ""
    returns: Returns = "tensor"
    random: bool = False
    name: str = ""


Function = TypeVar("Function", bound=Callable[..., Any])
Ops: TypeAlias = Mapping[str | Callable[..., Any], Op]


def _rows(kind: Kind, names: str, sign: Sign = "unknown", **columns: Any) -> dict[str, Op]:
    return {name: Op(kind, sign, name=name, **{"type": kind, **columns}) for name in names.split()}


def _others(names: str, returns: Returns = "tensor") -> dict[str, Op]:
    return {
        name: Op("other", type=name, memory="own", refused=_NO_RULE.format(name), returns=returns, name=name)
        for name in names.split()
    }


_SHIFT: Final = Op("scaling", "kept", type="shift")
_SCALING: Final = Op("scaling", "kept", type="scaling")
_LINEAR_MAP: Final = Op("combination", type="sum")

_NO_RULE: Final = (
    "relfunc has no rule for this operation yet: give it one in the composite, such as "
    "composites.by_type({{'{0}': rules.gradient()}}), or explain the part of the model before or behind it"
)

_NO_STEPS: Final = (
    "relfunc writes a recurrent network out as its cells where it knows how many steps there are: give example_inputs, "
    "and no packed sequence"
)

OPS: Final[Ops] = {
    # --- affine
    **_rows("affine", "linear", type="linear", memory="own"),
    **_rows("affine", "grouped_linear", type="linear", memory="own"),
    **_rows("affine", "conv1d conv2d conv3d", type="convolution", memory="own"),
    **_rows("affine", "conv_transpose1d conv_transpose2d conv_transpose3d", type="convolution", memory="own"),
    **_rows("affine", "batch_norm scale_shift", type="batch_norm", memory="own"),
    **_rows("affine", "_native_batch_norm_legit_no_training _native_batch_norm_legit", type="batch_norm"),
    **_rows("affine", "native_batch_norm cudnn_batch_norm", type="batch_norm"),
    # --- linear in all tensors together
    **_rows("combination", "add", "kept", type="sum", alone=_SHIFT, memory="own"),
    **_rows("combination", "sub rsub", type="sum", alone=Op("scaling", type="shift"), memory="own"),
    **_rows("combination", "sum mean nansum nanmean cumsum trace", "kept", type="sum"),
    **_rows("combination", "complex_map", type="sum", memory="own"),
    **_rows("combination", "index_add scatter_add", "kept", type="sum", memory="own"),
    **_rows("combination", "neg diff", type="sum", memory="own"),
    **_rows("combination", "avg_pool1d avg_pool2d avg_pool3d", "kept", type="average_pool", memory="own"),
    **_rows("combination", "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", "kept", type="average_pool"),
    **_rows("combination", "fold col2im", "kept", type="sum", memory="own"),
    **_rows("combination", "interpolate upsample upsample_linear1d upsample_bilinear2d", "kept", type="interpolation"),
    **_rows("combination", "upsample_nearest1d upsample_nearest2d upsample_nearest3d", "kept", type="interpolation"),
    **_rows("combination", "_upsample_nearest_exact1d _upsample_nearest_exact2d", "kept", type="interpolation"),
    **_rows("combination", "upsample_trilinear3d upsample_nearest upsample_bilinear", "kept", type="interpolation"),
    **_rows("combination", "upsample_bicubic2d", type="interpolation"),
    **_rows("combination", "centred", type="sum", memory="own"),
    **_rows("combination", "masked_scores both_masks", type="sum", alone=_SHIFT, memory="own"),
    **_rows("combination", "hidden_scores", type="sum", alone=_SCALING, memory="own"),
    # --- elementwise
    **_rows("activation", "relu", "always", type="relu"),
    **_rows("activation", "relu6 softplus exp exp2 cosh square abs sqrt rsqrt", "always"),
    **_rows("activation", "sigmoid hardsigmoid", "always", gate=True),
    **_rows("activation", "gelu silu mish hardswish leaky_relu prelu rrelu elu selu celu tanh", "kept"),
    **_rows("activation", "softsign tanhshrink hardshrink softshrink expm1 log1p sinh asinh erf atan", "kept"),
    **_rows("activation", "hardtanh clamp clamp_min reciprocal deg2rad rad2deg _prelu_kernel", "kept"),
    **_rows("activation", "threshold clamp_max logsigmoid log log2 log10 logit nan_to_num"),
    **_rows("activation", "sin cos tan asin acos acosh atanh erfc erfinv lgamma digamma sinc"),
    **_rows("activation", "normalize rms_norm local_response_norm", "kept", type="normalization"),
    # --- products
    **_rows("product", "mul", "kept", alone=_SCALING, memory="own"),
    **_rows("product", "div", alone=_SCALING, second=Op("activation"), memory="own"),
    **_rows(
        "product",
        "matmul bmm mm einsum mv dot vdot inner outer kron tensordot linalg.vecdot linalg.multi_dot",
        type="matrix_product",
        alone=_LINEAR_MAP,
        memory="own",
        matrix=True,
    ),
    **_rows(
        "product",
        "chain_matmul bilinear grouped_mm",
        type="matrix_product",
        alone=_LINEAR_MAP,
        memory="own",
        matrix=True,
    ),
    # --- choosing
    **_rows("pool", "max_pool1d max_pool2d max_pool3d", "kept", type="max_pool", memory="own"),
    **_rows("pool", "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", "kept", type="max_pool"),
    **_rows("pool", "amax amin maximum minimum fmax fmin msort", "kept", type="max_pool"),
    **_rows(
        "pool",
        "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices "
        "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices",
        "kept",
        type="max_pool",
        returns="several",
    ),
    **_rows("pool", "topk kthvalue cummax cummin sort aminmax", "kept", type="max_pool", returns="several"),
    **_rows("pool", "max min median nanmedian mode", "kept", type="max_pool", returns="over an axis"),
    # --- moving
    **_rows(
        "move", "view reshape flatten unflatten permute transpose movedim t squeeze unsqueeze", "kept", memory="shared"
    ),
    **_rows(
        "move",
        "adjoint ravel view_as reshape_as _unsafe_view alias narrow select slice expand expand_as",
        "kept",
        memory="shared",
    ),
    **_rows(
        "move",
        "broadcast_to diagonal unfold as_strided atleast_1d atleast_2d atleast_3d getitem",
        "kept",
        memory="shared",
    ),
    **_rows(
        "move",
        "chunk split tensor_split hsplit vsplit dsplit unbind split_with_sizes broadcast_tensors meshgrid",
        "kept",
        memory="shared",
        returns="several",
    ),
    **_rows(
        "move",
        "contiguous to _to_copy float double half bfloat16 type type_as",
        "kept",
        memory="shared",
    ),
    **_rows(
        "move",
        "two_dimensional of_shape identity view_as_real real positive cpu cuda",
        "kept",
        memory="shared",
    ),
    **_rows("move", "key_mask head_mask", memory="shared"),
    **_rows("move", "clone repeat tile repeat_interleave roll flip fliplr flipud rot90 pad", "kept", memory="own"),
    **_rows("move", "cat stack hstack vstack dstack column_stack block_diag", "kept", memory="own"),
    **_rows(
        "move",
        "index_select gather take take_along_dim masked_select index where constant_pad_nd",
        "kept",
        memory="own",
    ),
    **_rows("move", "masked_fill index_fill masked_scatter scatter index_copy index_put slice_scatter", memory="own"),
    **_rows("move", "select_scatter diagonal_scatter written copied_onto", memory="own"),
    **_rows(
        "move", "tril triu im2col diag diag_embed pixel_shuffle pixel_unshuffle channel_shuffle", "kept", memory="own"
    ),
    **_rows("move", "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d", "kept", memory="own"),
    **_rows("move", "replication_pad2d replication_pad3d", "kept", memory="own"),
    **_rows("move", "embedding", memory="own"),
    **_rows("move", "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout", "kept", type="dropout"),
    **_rows("move", "feature_alpha_dropout", "kept", type="dropout"),
    **_rows("move", "native_dropout", "kept", type="dropout", returns="several"),
    # --- carrying no relevance
    **_rows("static", "size dim ndimension numel getattr len stride sym_size sym_numel", returns="number"),
    **_rows("static", "is_floating_point is_complex is_contiguous is_nonzero is_same_size is_tensor", returns="number"),
    **_rows("static", "element_size get_device result_type equal allclose", returns="number"),
    **_rows("static", "gt ge lt le eq ne isnan isinf isfinite isposinf isneginf isclose signbit as_captured"),
    **_rows("static", "histc bincount"),
    **_rows("static", "argmax argmin argsort bucketize searchsorted count_nonzero any all nonzero argwhere"),
    **_rows("static", "logical_and logical_or logical_not logical_xor bitwise_not bitwise_and bitwise_or and or xor"),
    **_rows("static", "invert floor ceil round trunc sign sgn heaviside floor_divide long int bool short byte"),
    **_rows("static", "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor"),
    **_rows("static", "zeros ones full empty arange eye linspace scalar_tensor tril_indices triu_indices one_hot"),
    **_rows("static", "detach", memory="shared"),
    **_rows("static", "attention_scale", returns="number"),
    **_rows("static", "causal_mask group_size one_more_token"),
    # --- reductions and softmax
    **_rows("other", "softmax log_softmax", type="softmax", memory="own"),
    **_rows("other", "safe_softmax softmax_over", type="softmax", memory="own", gate=True),
    **_rows("other", "std var norm prod logsumexp inverse_deviation", type="reduction", memory="own"),
    **_rows("other", "linalg.norm linalg.vector_norm linalg.matrix_norm", type="reduction", memory="own"),
    # --- written out in simpler operations
    **_rows("composed", "softmin _softmax _log_softmax layer_norm group_norm instance_norm"),
    **_rows("composed", "scaled_dot_product_attention gru_cell rnn_tanh_cell rnn_relu_cell"),
    **_rows(
        "composed",
        "lstm_cell native_layer_norm native_group_norm multi_head_attention_forward std_mean var_mean",
        returns="several",
    ),
    # --- drawing random numbers
    **_rows(
        "static",
        "rand_like randn_like randint_like bernoulli multinomial normal poisson gumbel_softmax rand randn",
        random=True,
    ),
    **_rows("static", "uniform exponential geometric cauchy log_normal random randint randperm", random=True),
    # --- without a rule
    **_rows(
        "other", "pow float_power", type="pow", memory="own", alone=Op("activation"), refused=_NO_RULE.format("pow")
    ),
    **_others("cumprod cdist cosine_similarity cross pairwise_distance atan2 hypot grid_sampler"),
    **_others("grid_sample logaddexp logcumsumexp addcdiv addbmm addr remainder fmod frac"),
    **_others("_weight_norm renorm"),
    **_others("frexp", "several"),
    **{name: replace(op, refused=_NO_STEPS) for name, op in _others("lstm gru rnn_tanh rnn_relu", "several").items()},
}
"""By canonical name (:func:`relfunc.ops.spellings.spelling`); rows of a user's stand under his functions themselves."""


def table(ops: Ops) -> dict[Any, Op]:
    """Arrange a table for :func:`find`: what is said of any spelling of torch's function is said of all of them.

    Parameters
    ----------
    ops : mapping
        From name or function to :class:`Op`; of several rows for one operation the last counts.

    Returns
    -------
    dict
        From canonical name, or a function that is not torch's, to its row. A row of the user's for a function of
        torch's keeps what ours says of memory, of what it returns, and of its name.
    """
    arranged: dict[Any, Op] = {}
    for key, op in ops.items():
        name = plain(key) if isinstance(key, str) else spelling(key)
        if name is None:
            arranged[key] = op if op.name else replace(op, name=getattr(key, "__name__", type(key).__name__))
        elif op != OPS.get(name):
            arranged[name] = _declared(name, op)
        else:
            arranged.setdefault(name, op)
    return arranged


def _declared(name: str, op: Op) -> Op:
    """Row of the user's for one of torch's functions: how that function is made stays as it is."""
    ours = OPS.get(name)
    if ours is None:
        return replace(op, name=name)
    same = op.kind == ours.kind
    kept = {
        "memory": op.memory or ours.memory,
        "matrix": op.matrix or ours.matrix,
        "alone": op.alone or (ours.alone if same else None),
        "second": op.second or (ours.second if same else None),
        "bilinear": op.bilinear or ours.kind == "product",
        "returns": ours.returns,
    }
    return replace(op, name=name, **kept)


def find(target: Any, rows: Mapping[Any, Op] = OPS) -> Op | None:
    """Look up an operation by its own attribute ``op``, by the function itself, or as one of torch's.

    Parameters
    ----------
    target : callable
        The target of an FX node.
    rows : mapping
        From :func:`table`, or :data:`OPS`.

    Returns
    -------
    Op or None
        None for an operation the table does not have.

    Examples
    --------
    >>> import torch
    >>> find(torch.nn.functional.conv2d).type, find(torch.Tensor.relu_).name
    ('convolution', 'relu')
    >>> find(torch.polar) is None
    True
    """
    name = spelling(target)
    if name is not None:
        return rows.get(name)
    if isinstance(target, Hashable) and target in rows:
        return rows[target]
    own = getattr(target, "op", None)
    return (own if own.name else replace(own, name=name_of(target))) if isinstance(own, Op) else None


def known_as(name: str) -> Callable[[Function], Function]:
    """Give a function of relfunc's own, which canonical graphs call, its row in :data:`OPS`."""

    def named(function: Function) -> Function:
        function.__dict__["op"] = OPS[name]
        return function

    return named


def name_of(target: Any) -> str:
    """Canonical name of a function, for people: torch's spelling, or what it is called.

    Parameters
    ----------
    target : callable
        The target of an FX node.

    Returns
    -------
    str

    Examples
    --------
    >>> import torch
    >>> name_of(torch.relu_), name_of(torch.Tensor.add_), name_of(torch.ops.aten.conv2d.default)
    ('relu', 'add', 'conv2d')
    """
    own = getattr(target, "op", None)
    name = own.name if isinstance(own, Op) else spelling(target)
    return name or getattr(target, "__name__", type(target).__name__)


def op_of(node: fx.Node) -> Op | None:
    """Row of a node of a canonical graph, as canonization wrote it there.

    Parameters
    ----------
    node : torch.fx.Node
        A call.

    Returns
    -------
    Op or None
    """
    return node.meta.get("op")
