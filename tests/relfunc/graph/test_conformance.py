"""Every module of torch.nn and every differentiable function: right, or an error with a name. Nothing is silent."""

from collections import Counter

import pytest

from ..conformance import COMPOSITES, DIFFERENT, EQUAL, UNNAMED, VIA, Outcome, agreement_of, cases, counts, outcome_of
from ..conformance_modules import WITHOUT_CASE, classes

FLOORS = {
    "nn.linear": (8, 8),
    "nn.conv": (42, 43),
    "nn.fold": (4, 4),
    "nn.pooling": (59, 62),
    "nn.batchnorm": (20, 20),
    "nn.instancenorm": (0, 13),
    "nn.normalization": (12, 12),
    "nn.activation": (54, 62),
    "nn.transformer": (0, 9),
    "nn.rnn": (0, 7),
    "nn.dropout": (11, 11),
    "nn.flatten": (5, 5),
    "nn.channelshuffle": (1, 1),
    "nn.pixelshuffle": (2, 2),
    "nn.padding": (20, 20),
    "nn.upsampling": (12, 12),
    "nn.sparse": (6, 6),
    "nn.container": (2, 2),
    "nn.data_parallel": (1, 1),
    "nn.distance": (5, 5),
    "nn.loss": (68, 65),
    "nn.adaptive": (1, 0),
    "functions of one tensor": (49, 49),
    "methods of one tensor": (32, 32),
    "in-place methods": (29, 29),
    "torch.special": (27, 27),
    "activations": (62, 62),
    "clamping and rounding": (19, 19),
    "operators": (56, 56),
    "operators of two tensors": (12, 12),
    "indices": (35, 36),
    "writing to parts": (7, 7),
    "reductions": (44, 43),
    "several outputs": (41, 40),
    "shapes": (78, 82),
    "attributes": (19, 20),
    "joining": (62, 63),
    "products": (29, 29),
    "products with constants": (20, 20),
    "torch.linalg": (22, 24),
    "torch.fft": (12, 12),
    "scattering": (30, 30),
    "layers of lines": (26, 26),
    "layers of images": (39, 40),
    "layers of volumes": (9, 9),
}
"""How many cases of each kind are equal, at least, traced and exported: of the others, an error says so."""

CASES = cases()
MODULES = [index for index, case in enumerate(CASES) if case.make is not None]
FUNCTIONS = [index for index, case in enumerate(CASES) if case.make is None]
FIRST = {CASES[index].name.partition("(")[0]: index for index in reversed(MODULES)}
"""The first case of each class."""
ONE = {
    CASES[index].kind: index
    for index in sorted(FIRST.values(), reverse=True)
    if CASES[index].kind != "nn.transformer"  # whose layers take longest, and are those of the other kinds
}
"""The first case of each kind: exporting takes long."""


def _parameters(indices, *, slow):
    return [
        pytest.param(
            index, id=f"{CASES[index].kind}-{CASES[index].name}", marks=pytest.mark.slow if slow(index) else ()
        )
        for index in indices
    ]


EXPORTED = _parameters(range(len(CASES)), slow=lambda index: index not in ONE.values())
COMPARED = _parameters(MODULES, slow=lambda index: index not in ONE.values())


def _is_not_silent(outcome: Outcome) -> None:
    if outcome.verdict in {DIFFERENT, UNNAMED}:
        pytest.fail(f"{outcome.verdict}: {outcome.said}", pytrace=False)


@pytest.mark.parametrize("index", _parameters(range(len(CASES)), slow=lambda index: False))
def test_traced_is_the_model_or_an_error_says_so(index):
    _is_not_silent(outcome_of(index, "trace"))


@pytest.mark.parametrize("index", EXPORTED)
def test_exported_is_the_model_or_an_error_says_so(index):
    _is_not_silent(outcome_of(index, "export"))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("index", COMPARED)
def test_exported_and_traced_modules_have_the_same_relevance(index, composite):
    _is_not_silent(agreement_of(index, composite))


@pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])
def test_as_many_as_ever_are_equal(via):
    counted = counts(range(len(CASES)), via)
    missing = {kind: floor[VIA.index(via)] - counted[kind][EQUAL] for kind, floor in FLOORS.items()}
    assert {kind: n for kind, n in missing.items() if n > 0} == {}
    assert set(counted) == set(FLOORS)


def test_every_module_of_torch_has_a_case():
    covered = set(FIRST) | {type(CASES[index].make()).__name__ for index in FIRST.values()}
    assert [f"no case for {name}" for name in classes() if name not in covered | set(WITHOUT_CASE)] == []
    assert [name for name in WITHOUT_CASE if name not in classes()] == []


def test_no_case_is_there_twice():
    names = Counter((case.kind, case.name, case.shapes) for case in CASES)
    assert [name for name, times in names.items() if times > 1] == []


def test_at_least_250_functions_and_both_front_ends():
    assert len({CASES[index].name for index in FUNCTIONS}) >= 250
    assert VIA == ("trace", "export")
