"""Composites are values: they compare, hash, pickle, print, and go through TOML; rows match as they say."""

import copy
import pickle

import pytest
import torch
from torch import nn

import relfunc as rf
from relfunc import composites, rules
from relfunc.composites.toml import from_toml, to_toml

from ..reference import cnn

ALL = [
    composites.epsilon_gamma_box(-2.0, [[[1.0]], [[2.0]], [[3.0]]]),
    composites.epsilon_plus(zero_params="bias"),
    composites.epsilon_plus_flat(epsilon=0.25, stabilizer=rules.Clipping(1e-3)),
    composites.epsilon_alpha2_beta1(stabilizer=rules.NormScaled(1e-3, dim=(1, 2))),
    composites.epsilon_alpha2_beta1_flat(),
    composites.excitation_backprop(),
    composites.guided_backprop(),
    composites.deconvnet(),
    composites.beta_smooth(5.0),
    composites.by_name({"features.*": rules.wsquare()}),
    composites.mixed(composites.first(rules.flat()), composites.by_type({"max_pool": rules.proportional()})),
]


@pytest.mark.parametrize("composite", ALL, ids=lambda c: c.name)
def test_composites_are_values(composite):
    twins = [pickle.loads(pickle.dumps(composite)), copy.deepcopy(composite), from_toml(to_toml(composite))]
    assert twins == [composite] * 3
    assert {hash(twin) for twin in twins} == {hash(composite)}
    assert str(composite).startswith(composite.name + "\n  ")
    assert len(str(composite).splitlines()) == 1 + len(composite.rows) + len(composite.base)


def test_all_composites_differ():
    assert len(set(ALL)) == len(ALL)


@pytest.mark.parametrize("composite", ALL[:9], ids=lambda c: c.name)
def test_composites_from_toml_give_the_same_relevance(composite):
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    found, expected = (rf.gradient(rf.lrp(cnn(), c))(x, 1)[1] for c in (from_toml(to_toml(composite)), composite))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not TOML"),
        ("rows = []", "has no name"),
        ('name = "a"\ncolour = 1', "has the key 'colour'"),
        ('name = "a"\n[[rows]]\nby = "type"', "is no row"),
        ('name = "a"\n[[rows]]\nby = "size"\npattern = "*"\nrule = {name = "flat"}', "is no row"),
        ('name = "a"\n[[rows]]\nby = "type"\npattern = "*"\nrule = {name = "eval"}', "no rule 'eval'"),
        ('name = "a"\n[[rows]]\nby = "type"\npattern = "*"\nrule = {name = "flat", size = 1}', "rule 'flat'.*size"),
        ('name = "a"\n[[rows]]\nby = "type"\npattern = "*"\nrule = {name = "flat", stabilizer = {kind = "x"}}', "kind"),
    ],
)
def test_toml_that_is_no_composite(text, message):
    with pytest.raises(composites.CompositeError, match=message):
        from_toml(text)


@pytest.mark.parametrize(
    "composite",
    [
        composites.by_type({"*": lambda *a: a}),
        composites.epsilon_plus(stabilizer=torch.sign),
        composites.by_type({"*": rules.Rule("mine", ())}),
    ],
)
def test_functions_cannot_be_written_as_toml(composite):
    with pytest.raises(composites.CompositeError, match="TOML cannot hold"):
        to_toml(composite)


class Backwards(nn.Module):
    """Runs the layer that is defined last first."""

    def __init__(self):
        super().__init__()
        self.last, self.early = nn.Linear(4, 2), nn.Linear(3, 4)

    def forward(self, x):
        return self.last(torch.relu(self.early(x)))


def rules_of(model, composite):
    table = rf.plan(model.eval(), composite)
    return dict(zip(table["module"], table["rule"].str.partition("(")[0], strict=True))


def test_first_means_first_to_run():
    table = rules_of(Backwards(), composites.epsilon_plus_flat())
    assert (table["early"], table["last"]) == ("flat", "epsilon")


def test_names_match_paths_and_earlier_rows_win():
    composite = composites.mixed(
        composites.by_name({"la*": rules.wsquare()}),
        composites.by_name({"last": rules.flat()}),
        composites.by_type({"*": rules.gradient()}),
    )
    table = rules_of(Backwards(), composite)
    assert (table["early"], table["last"]) == ("gradient", "wsquare")


def test_any_function_is_a_composite():
    def composite(operation):
        return rules.epsilon(0.5) if operation.kind == "affine" else rules.pass_()

    assert rules_of(Backwards(), composite)["early"] == "epsilon"
