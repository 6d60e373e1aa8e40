"""Every operation of the table, from its row alone: it is torch's, is captured as what it is, and every pass knows it.

A new row needs one line: an example call (:mod:`tests.relfunc.examples`).
"""

from typing import get_args

import pytest
import torch

import relfunc as rf
from relfunc.errors import CaptureError, RelfuncError
from relfunc.graph import (
    affine,
    attention,
    bounds,
    canonize,
    complex_maps,
    detached,
    exporting,
    graphs,
    grouped,
    in_place,
    meaning,
    normalization,
    recomputed,
    sharing,
    softmax,
    written,
)
from relfunc.graph.transposes import TRANSPOSES
from relfunc.ops.adjoints import ADJOINTS
from relfunc.ops.spellings import plain
from relfunc.ops.table import OPS, Kind, Op, find, name_of

from ..examples import EXAMPLES, function
from ..kinds import ones

OURS = {
    "as_captured": written.as_captured,
    "attention_scale": attention.attention_scale,
    "both_masks": attention.both_masks,
    "causal_mask": attention.causal_mask,
    "centred": normalization.centred,
    "complex_map": complex_maps.ComplexMap,
    "copied_onto": in_place.copied_onto,
    "group_size": attention.group_size,
    "grouped_linear": grouped.grouped_linear,
    "head_mask": attention.head_mask,
    "identity": graphs.identity,
    "inverse_deviation": normalization.inverse_deviation,
    "key_mask": attention.key_mask,
    "masked_scores": attention.masked_scores,
    "hidden_scores": attention.hidden_scores,
    "of_shape": exporting.of_shape,
    "one_more_token": attention.one_more_token,
    "safe_softmax": attention.safe_softmax,
    "scale_shift": affine.scale_shift,
    "softmax_over": softmax.softmax_over,
    "two_dimensional": affine.two_dimensional,
    "weighted_softmax": softmax.weighted_softmax,
    "written": in_place.written,
}
"""Functions of relfunc's own, which canonical graphs call."""

ELSEWHERE = {"cuda", "cudnn_batch_norm", "grouped_mm"}
"""Which run on a GPU alone, or not in double precision."""

BECOMES = {
    **dict.fromkeys(("upsample", "upsample_nearest", "upsample_bilinear"), "interpolate"),  # torch's own wrappers
    **{name: "identity" for name, op in OPS.items() if op.type == "dropout"},
    "ndimension": "dim",
    "len": "getattr",  # of the shape
    "is_tensor": "mul",  # what it says is known
}
"""What a captured graph has in the place of an operation."""

DRAWN = [name for name, op in OPS.items() if op.random]
RUN = [name for name, op in OPS.items() if name in EXAMPLES and not op.random and name not in ELSEWHERE]


def names_in(captured):
    return [name_of(node.target) for node in captured.graph.nodes if node.op == "call_function"]


# --- rows, and lists that must agree with them --------------------------------------------------------------


def test_every_row_has_an_example_and_every_example_a_row():
    assert set(EXAMPLES) | set(OURS) == set(OPS)
    assert not set(EXAMPLES) & set(OURS)


@pytest.mark.parametrize("name", OPS)
def test_a_row_is_found_by_its_function_and_printed_by_its_name(name):
    target = OURS[name] if name in OURS else function(name)
    assert find(target) is OPS[name]
    assert name_of(target) == OPS[name].name == name == plain(name)
    assert OPS[name].kind in get_args(Kind)
    assert isinstance(OPS[name], Op)


LISTS = {
    "adjoints": ADJOINTS,
    "transposes": TRANSPOSES,
    "arguments of affine operations": affine._ARGUMENTS,
    "proofs of bounds": bounds._PROOFS,
    "joining": bounds._JOINING,
    "indices beside values": canonize._WITH_INDICES,
    "statistics beside values": canonize._WITH_STATISTICS,
    "steps of chains": meaning._STEPS,
    "moves behind attention": meaning._MOVES,
    "products of which a factor may be detached": detached._PRODUCTS,
    "reductions": detached._REDUCTIONS,
    "what only gives another shape": detached._RESHAPING,
    "what chooses of two, or of all": detached._CHOICES,
    "products that sum up": detached._DOT_PRODUCTS,
    "what is elementwise beside activations": detached._ELEMENTWISE,
    "affine operations that take a bias": meaning._AFFINE,
    "sizes": sharing.SIZES,
    "cheap to compute again": recomputed._CHEAP,
    "reductions beside those by type": recomputed._REDUCING,
    "what masks scores": recomputed._MASKING,
    "what scores are shifted by": softmax._SHIFTS,
    "what lies around the sums of a softmax": softmax._AROUND,
}


@pytest.mark.parametrize("which", LISTS)
def test_every_list_by_name_names_rows(which):
    assert set(LISTS[which]) - set(OPS) == set()


def test_lists_of_affine_operations_agree():
    by_weight = {name for name, op in OPS.items() if op.kind == "affine" and op.type != "batch_norm"}
    by_weight -= {"grouped_linear"}  # which takes no bias, and has no spelling of torch's
    assert by_weight == set(meaning._AFFINE) == set(affine._ARGUMENTS) - {"batch_norm"}
    assert by_weight | {"scale_shift", "grouped_linear"} == set(TRANSPOSES)


def test_sizes_are_numbers():
    assert {OPS[name].returns for name in sharing.SIZES} == {"number"}


def test_every_adjoint_belongs_to_an_operation_that_carries_relevance():
    assert {OPS[name].kind for name in ADJOINTS} & {"static", "other"} == set()


# --- captured -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traced():
    found = {}

    def of(name):
        if name not in found:
            model = EXAMPLES[name].model(name)
            try:  # without an example, of which more would be known
                found[name] = rf.capture(model)
            except CaptureError:
                found[name] = rf.capture(model, example_inputs=EXAMPLES[name].input())
        return found[name]

    return of


@pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning")
@pytest.mark.parametrize("name", RUN)
def test_traced_it_is_what_it_is(name, traced):
    assert BECOMES.get(name, name) in names_in(traced(name))


@pytest.mark.parametrize("name", DRAWN)
def test_what_draws_random_numbers_is_refused(name):
    with pytest.raises(RelfuncError, match="random"):
        rf.capture(EXAMPLES[name].model(name), example_inputs=EXAMPLES[name].input())


NOT_EXPORTED = {
    "result_type": "returns no tensor",
    **dict.fromkeys(("equal", "allclose", "is_nonzero"), "depends on values"),
    "_native_batch_norm_legit": "writes to its statistics",
}
BY_SHAPE: dict[tuple[int, ...], list[str]] = {}
for name in RUN:
    if name not in NOT_EXPORTED:
        BY_SHAPE.setdefault(EXAMPLES[name].shape, []).append(name)


def of_all(names):
    """Model that calls all of several operations on one input."""
    parts = EXAMPLES[names[0]].model(names[0])
    parts.run = [lambda s, x: (x * 2, *(EXAMPLES[name].call(function(name), s, x) for name in names))]
    return parts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning")
@pytest.mark.parametrize("shape", BY_SHAPE, ids=str)
def test_exported_every_operation_has_a_row(shape):
    names = BY_SHAPE[shape]
    captured = rf.capture(of_all(names), via="export", example_inputs=EXAMPLES[names[0]].input())
    without = {node.name for node in captured.graph.nodes if node.op == "call_function" and node.meta["op"] is None}
    assert without - {"constant"} == set()


# --- what every pass needs ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # a composite that meets no layer says so
@pytest.mark.parametrize("name", RUN)
def test_it_passes_relevance_or_its_row_says_why_not(name, traced):
    op, composite, x = OPS[name], rf.composites.epsilon_plus(), EXAMPLES[name].input()
    if op.refused:
        with pytest.raises(RelfuncError) as caught:
            rf.lrp(traced(name), composite)
        assert op.refused in str(caught.value)
        return
    relevance = rf.gradient(rf.lrp(traced(name), composite))(x, ones)[1]
    assert relevance.isfinite().all()
    if op.kind == "static":
        assert torch.equal(relevance, torch.ones_like(x))  # of the multiple alone, which passes it unchanged
