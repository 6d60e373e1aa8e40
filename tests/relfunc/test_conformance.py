"""Every module of torch.nn and every differentiable function: right, or an error with a name. Nothing is silent."""

from collections import Counter

import pytest

from .conformance import (
    COMPOSITES,
    DIFFERENT,
    EQUAL,
    UNNAMED,
    VIA,
    Outcome,
    agreement_of,
    cases,
    counts,
    outcome_of,
)
from .conformance_modules import WITHOUT_CASE, classes

FLOORS = {
    "nn.linear": (8, 8),
    "nn.conv": (42, 43),
    "nn.fold": (4, 4),
    "nn.pooling": (53, 45),
    "nn.batchnorm": (15, 16),
    "nn.instancenorm": (0, 13),
    "nn.normalization": (12, 12),
    "nn.activation": (54, 58),
    "nn.transformer": (0, 9),
    "nn.rnn": (0, 7),
    "nn.dropout": (11, 11),
    "nn.flatten": (5, 5),
    "nn.channelshuffle": (1, 1),
    "nn.pixelshuffle": (2, 2),
    "nn.padding": (20, 20),
    "nn.upsampling": (12, 12),
    "nn.sparse": (6, 5),
    "nn.container": (2, 2),
    "nn.data_parallel": (1, 1),
    "nn.distance": (5, 5),
    "nn.loss": (70, 62),
    "nn.adaptive": (0, 0),
    "functions of one tensor": (49, 49),
    "methods of one tensor": (32, 32),
    "in-place methods": (29, 29),
    "torch.special": (27, 27),
    "activations": (62, 60),
    "clamping and rounding": (18, 18),
    "operators": (44, 45),
    "operators of two tensors": (10, 11),
    "indices": (22, 28),
    "writing to parts": (1, 3),
    "reductions": (42, 42),
    "several outputs": (12, 22),
    "shapes": (79, 80),
    "attributes": (10, 20),
    "joining": (61, 62),
    "products": (21, 29),
    "products with constants": (20, 20),
    "torch.linalg": (11, 24),
    "torch.fft": (7, 12),
    "scattering": (26, 26),
    "layers of lines": (23, 22),
    "layers of images": (39, 38),
    "layers of volumes": (9, 8),
}
"""How many cases of each kind are equal, at least, traced and exported: of the others, an error says so."""

CASES = cases()
MODULES = [index for index, case in enumerate(CASES) if case.make is not None]
FUNCTIONS = [index for index, case in enumerate(CASES) if case.make is None]
FIRST = {CASES[index].name.partition("(")[0]: index for index in reversed(MODULES)}
"""The first case of each class: exporting takes long."""


def _parameters(indices, *, slow):
    return [
        pytest.param(
            index, id=f"{CASES[index].kind}-{CASES[index].name}", marks=pytest.mark.slow if slow(index) else ()
        )
        for index in indices
    ]


EXPORTED = _parameters(range(len(CASES)), slow=lambda index: index not in FIRST.values())
COMPARED = _parameters(MODULES, slow=lambda index: index not in FIRST.values())


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
