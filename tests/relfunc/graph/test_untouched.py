"""Attribution leaves the model as it was, also when it fails."""

import pytest
import torch

import relfunc as rf

from ..reference import cnn, images


def state(model):
    """All that could change in a model: values bit for bit, identities, hooks, mode, attributes."""
    return {
        "values": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "identities": [(name, id(tensor)) for name, tensor in [*model.named_parameters(), *model.named_buffers()]],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [p.grad for p in model.parameters()],
        "hooks": [
            len(getattr(module, name)) for module in model.modules() for name in vars(module) if name.endswith("_hooks")
        ],
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def assert_same(before, after):
    values, now = before.pop("values"), after.pop("values")
    assert list(values) == list(now)
    assert all(torch.equal(values[name], now[name]) for name in values)
    assert before == after


@pytest.mark.parametrize("composite", [rf.composites.epsilon_plus_flat(), rf.composites.guided_backprop()])
def test_attribution_leaves_the_model_untouched(composite):
    model = cnn()
    before = state(model)
    explain = rf.gradient(rf.lrp(model, composite))
    explain(images(), torch.tensor([3, 7]))
    explain(images(), torch.tensor([3, 7]))
    assert_same(before, state(model))


@pytest.mark.parametrize(
    ("x", "target", "error"),
    [
        (torch.zeros(2, 3, 32, 32, dtype=torch.float64), 10, "out of range"),
        (torch.zeros(2, 4, 32, 32, dtype=torch.float64), 1, "channels"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.int64), 1, "int64"),
        (torch.full((2, 3, 32, 32), torch.nan, dtype=torch.float64), 1, "nan"),
    ],
)
def test_a_call_that_raises_leaves_the_model_untouched(x, target, error):
    model = cnn()
    before = state(model)
    with pytest.raises((rf.errors.RelfuncError, RuntimeError), match=error):
        rf.gradient(rf.lrp(model, rf.composites.epsilon_plus_flat()))(x, target)
    assert_same(before, state(model))


def test_a_composite_that_raises_leaves_the_model_untouched():
    model = cnn()
    before = state(model)

    def broken(operation):
        raise LookupError(operation.name)

    with pytest.raises(LookupError):
        rf.lrp(model, broken)
    assert_same(before, state(model))


def test_training_goes_on_through_the_same_function():
    model = cnn()
    explain = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus_flat()))
    x, target = images(), torch.tensor([3, 7])
    _, before = explain(x, target)
    with torch.no_grad():
        model[-1].weight.mul_(2)
    y, after = explain(x, target)
    _, fresh = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus_flat()))(x, target)
    torch.testing.assert_close(y, model(x).detach())
    assert torch.equal(after, fresh)
    assert not torch.equal(after, before)


def test_state_dict_and_parameters_are_the_models():
    model = cnn()
    f = rf.lrp(model, rf.composites.epsilon_plus_flat())
    assert list(f.state_dict()) == list(model.state_dict())
    assert [id(p) for p in f.parameters()] == [id(p) for p in model.parameters()]


class WithConstant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x * torch.tensor([1.0, 2.0, 3.0]))


def test_a_constant_made_in_the_forward_is_not_written_to_the_model():
    model = WithConstant().eval()
    before = state(model)
    x = torch.rand(2, 3)
    y, relevance = rf.gradient(rf.lrp(model, rf.composites.epsilon_plus(epsilon=1e-12)))(x, 1)
    assert_same(before, state(model))
    torch.testing.assert_close(y, model(x).detach())
    torch.testing.assert_close(relevance, x * torch.tensor([1.0, 2.0, 3.0]) * model.linear.weight[1] / y[:, 1:])
