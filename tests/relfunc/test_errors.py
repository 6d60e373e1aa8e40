"""What a user can get wrong when attributing: the message says what was wrong, what came, and what to do."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from .reference import cnn, images


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def images_model(*layers):
    return nn.Sequential(nn.Conv2d(3, 4, 3), *layers).eval()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (10, "target 10 is out of range: the model has classes 0 … 9"),
        (-1, "target -1 is out of range"),
        (torch.tensor([3, 12]), "out of range"),
        (torch.tensor([3, 7, 1]), "one class index for each of the 2 samples"),
        (torch.tensor([0.5, 0.5]), "fits no output of shape \\(2, 10\\)"),
        ("seven", "a target is an int, a tensor, a function"),
        (True, "a target is an int, a tensor, a function"),
    ],
)
def test_target_that_does_not_fit(target, message):
    with pytest.raises(rf.attribution.TargetError, match=message):
        rf.gradient(rf.lrp(cnn(), rf.composites.epsilon_plus()))(images(), target)


def test_output_that_is_no_sample_by_class():
    model = images_model(nn.ReLU())
    with pytest.raises(rf.attribution.TargetError, match=r"output has shape \(2, 4, 30, 30\), not \(sample, class\)"):
        rf.gradient(rf.lrp(model, rf.composites.epsilon_plus()))(images().float(), 1)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images().long(), r"convert it, as with x.float\(\)"),
        (images().numpy(), "not a tensor"),
        (torch.full((1, 3, 32, 32), torch.inf, dtype=torch.float64), "inf at"),
        (torch.zeros(1, 3, 32, 32, device="meta"), "the input is on meta and the model on cpu"),
    ],
)
def test_input_that_cannot_be_explained(x, message):
    with pytest.raises(rf.attribution.InputError, match=message):
        rf.gradient(rf.lrp(cnn(), rf.composites.epsilon_plus()))(x, 0)


def test_model_in_training_mode():
    with pytest.raises(rf.errors.CaptureError, match=r"training mode.*call model.eval\(\) first"):
        rf.lrp(cnn().train(), rf.composites.epsilon_plus())


def test_model_that_cannot_be_traced_names_the_line_and_the_way_out():
    with pytest.raises(rf.errors.CaptureError, match=r"test_errors.py:\d+: .*x.sum\(\) > 0.*example_inputs"):
        rf.lrp(Branching().eval(), rf.composites.epsilon_plus())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.cumprod(x, 1), r"no rule for 'cumprod' \(node 'cumprod', test_errors.py:\d+\)"),
        (lambda x: torch.fmod(x, 2.0), "no rule for 'fmod'.*relfunc has no rule for this operation yet"),
        (lambda x: torch.logcumsumexp(x, 1), "no rule for 'logcumsumexp'"),
    ],
)
def test_operation_without_a_rule_is_named(function, message):
    with pytest.raises(rf.composites.CompositeError, match=message):
        rf.lrp(images_model(Function(function)), rf.composites.epsilon_plus())


def test_active_dropout_is_no_function():
    with pytest.raises(rf.canonize.CanonizeError, match="relevance would be random"):
        rf.lrp(images_model(Function(lambda x: F.dropout(x, 0.5))), rf.composites.epsilon_plus())


def test_composite_that_matches_nothing_warns():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).eval()
    with pytest.warns(rf.composites.CompositeWarning, match="guided_backprop matches no operation.*has no relu"):
        rf.lrp(model, rf.composites.guided_backprop())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rf.rules.alpha_beta(2, 2), "alpha - beta must be 1"),
        (lambda: rf.rules.alpha_beta(0.5, -0.5), "must be 0 or more"),
        (lambda: rf.rules.zbox(1, -1), "above"),
        (lambda: rf.rules.epsilon(-1), "finite number of 0 or more"),
        (lambda: rf.rules.gamma(float("nan")), "finite number of 0 or more"),
        (lambda: rf.rules.zplus(zero_params="unbiased"), "zero_params names 'unbiased'"),
    ],
)
def test_rule_parameters_that_have_no_meaning(make, message):
    with pytest.raises(rf.rules.RuleError, match=message):
        make()
