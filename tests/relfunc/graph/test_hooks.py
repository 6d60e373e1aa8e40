"""Hooks, replaced forwards, weights that hooks compute: what a module does beside its forward is captured."""

import warnings
from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as all_modules
from torch.nn.utils import prune

import relfunc as rf
from relfunc.errors import CaptureError

from ..kinds import GRADIENT, assert_is_the_model, normal
from ..reference import filled

# --- hooks ------------------------------------------------------------------------------------------


def nested() -> nn.Module:
    return filled(nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 2)), seed=6)


def doubled(module, args, output):
    return 2 * output


class Two(nn.Module):
    """A layer that returns two tensors, and one that takes a keyword."""

    def forward(self, x, scale=1.0):
        return x * scale, x.relu()


class TakesTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.two, self.out = Two(), nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.two(x, scale=3.0)
        return self.out(a + b)


def hooked_two(hook, **options):
    model = filled(TakesTwo(), seed=2)
    model.two.register_forward_hook(hook, **options)
    return model


def with_hook(path, hook, *, kind="forward_hook", **options):
    model = nested()
    getattr(model.get_submodule(path), f"register_{kind}")(hook, **options)
    return model


def several_hooks():
    model = nested()
    for factor in (2.0, -3.0):
        model[1].register_forward_hook(lambda m, args, y, factor=factor: factor * y + 1)
    model[1].register_forward_hook(doubled, prepend=True)
    return model


def removed_hook():
    model = nested()
    model[1].register_forward_hook(doubled).remove()
    return model


def hook_on_keyword_module():
    model = filled(TakesTwo(), seed=2)
    model.two.register_forward_pre_hook(lambda m, args, kwargs: (args, {"scale": -2.0}), with_kwargs=True)
    return model


def hook_of_the_model():
    model = nested()
    model.factor = nn.Parameter(torch.tensor(1.7, dtype=torch.float64))
    model[0].register_forward_hook(lambda m, args, y: y * model.factor)
    return model


def hook_that_calls_a_layer():
    model = nested()
    side = filled(nn.Linear(5, 5), seed=8)
    model.add_module("side", side)
    del model._modules["side"]
    model[0].side = side
    model[0].register_forward_hook(lambda m, args, y: y + m.side(y))
    return model


def shared_layer_with_hook():
    layer = nn.Linear(4, 4)
    model = filled(nn.Sequential(layer, nn.ReLU(), layer), seed=4)
    layer.register_forward_hook(lambda m, args, y: y * y)
    return model


def method_as_a_hook():
    class Scaled(nn.Linear):
        def scale(self, module, args, output):
            return output * self.bias

    model = filled(nn.Sequential(Scaled(4, 5), nn.Linear(5, 2)), seed=4)
    model[0].register_forward_hook(model[0].scale)
    return model


HOOKS = {
    "leaf": lambda: with_hook("0.0", doubled),
    "activation": lambda: with_hook("0.1", lambda m, args, y: y - 0.5),
    "container": lambda: with_hook("0", lambda m, args, y: y[:, [1, 0, 2, 4, 3]]),
    "the model itself": lambda: with_hook("", lambda m, args, y: torch.cat([y, -y], 1)),
    "in-place": lambda: with_hook("0.0", lambda m, args, y: y.mul_(3)),
    "pre-hook of a leaf": lambda: with_hook("1", lambda m, args: args[0] * 3, kind="forward_pre_hook"),
    "pre-hook with a tuple": lambda: with_hook("0", lambda m, args: (args[0].flip(1),), kind="forward_pre_hook"),
    "pre-hook of the model": lambda: with_hook("", lambda m, args: (args[0].tanh(),), kind="forward_pre_hook"),
    "pre-hook with keywords": lambda: with_hook(
        "1", lambda m, args, kwargs: ((args[0] * 3,), kwargs), kind="forward_pre_hook", with_kwargs=True
    ),
    "keyword replaced": hook_on_keyword_module,
    "hook with keywords": lambda: hooked_two(
        lambda m, args, kwargs, y: (y[0] * kwargs["scale"], y[1]), with_kwargs=True
    ),
    "tuple replaced": lambda: hooked_two(lambda m, args, y: (y[1], y[0] * 2)),
    "tuple replaced by a list": lambda: hooked_two(lambda m, args, y: [a.exp() for a in y]),
    "always called": lambda: with_hook("0.0", doubled, always_call=True),
    "several, one of them first": several_hooks,
    "removed again": removed_hook,
    "reads a parameter of the model": hook_of_the_model,
    "calls another layer": hook_that_calls_a_layer,
    "layer that is used twice": shared_layer_with_hook,
    "reads the layer's own input": lambda: with_hook("0", lambda m, args, y: y + args[0].sum(1, keepdim=True)),
    "bound method": method_as_a_hook,
}


@pytest.mark.parametrize("case", HOOKS)
def test_hooks_run(case):
    assert_is_the_model(HOOKS[case]())


def test_backward_hooks_are_left_out_and_said_to_be():
    model = with_hook("0", lambda m, grads: None, kind="full_backward_pre_hook")
    with pytest.warns(UserWarning, match="module '0' has backward hooks"):
        assert_is_the_model(model)


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "forward_hook_always"])
def test_hooks_on_all_modules_run(kind):
    def scale(m, args, y=None):
        if isinstance(m, nn.Linear):
            return (args[0] * 2,) if y is None else y * 2
        return None

    options = {"always_call": True} if kind.endswith("always") else {}
    register = getattr(all_modules, f"register_module_{kind.removesuffix('_always')}")
    handle = register(scale, **options)
    try:
        assert_is_the_model(nested())
    finally:
        handle.remove()


def test_a_hook_that_measures_keeps_nothing_from_being_captured():
    seen = []
    model = with_hook("0", lambda m, args, y: seen.append(float(y.detach().mean())))
    assert_is_the_model(model)
    assert all(isinstance(value, float) for value in seen)


def test_a_hook_that_keeps_the_output_keeps_tensors():
    kept = {}
    model = with_hook("0", lambda m, args, y: kept.update(y=y.detach()))
    model(normal())
    rf.gradient(rf.lrp(model, GRADIENT))(normal(), 0)
    assert type(kept["y"]) is torch.Tensor
    assert kept["y"].shape == (3, 5)


def test_a_hook_that_is_added_behind_capture_is_noticed():
    model = nested()
    f = rf.lrp(model, GRADIENT)
    model[0].register_forward_hook(doubled)
    with pytest.raises(CaptureError, match="is not the model: its output is off by"):
        f(normal())


def test_a_hook_whose_change_depends_on_values_is_refused():
    model = with_hook("0", lambda m, args, y: y * 2 if float(y.sum()) > 0 else y * 3)
    with pytest.raises(CaptureError, match="is not the model"):
        rf.lrp(model, GRADIENT)(normal())


# --- replaced forwards --------------------------------------------------------------------------------


def replaced(path, forward):
    model = nested()
    layer = model.get_submodule(path)
    layer.forward = forward(layer)
    return model


def replaced_method(layer):
    return MethodType(lambda self, x: 2 * F.linear(x, self.weight), layer)


def wrapping(layer):
    before = layer.forward
    return lambda x: before(x).tanh() + before(x)


def of_the_class(layer):
    return lambda x: type(layer).forward(layer, x).square()


REPLACED = {
    "closure": lambda: replaced("0.0", lambda layer: lambda x: 2 * F.linear(x, layer.weight)),
    "bound method": lambda: replaced("1", replaced_method),
    "wraps the forward before": lambda: replaced("0.0", wrapping),
    "calls the class's": lambda: replaced("1", of_the_class),
    "of a container": lambda: replaced("0", wrapping),
    "of an activation": lambda: replaced("0.1", lambda layer: lambda x: x.clamp(min=-0.1)),
    "of the model": lambda: replaced("", lambda model: lambda x: model[1](model[0](x) * 2)),
}


@pytest.mark.parametrize("case", REPLACED)
def test_replaced_forwards_run(case):
    assert_is_the_model(REPLACED[case]())


# --- weights that hooks compute ---------------------------------------------------------------------


def old(name, layer, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # these functions are deprecated, and in many models
        return getattr(nn.utils, name)(layer, **options)


def small(layer, shape=(4,)):
    return nn.Sequential(layer, nn.ReLU(), nn.Flatten(1)).double().eval(), normal(3, *shape)


NORMED = {
    "weight_norm of a linear layer": lambda: small(old("weight_norm", nn.Linear(4, 5))),
    "weight_norm over another axis": lambda: small(old("weight_norm", nn.Linear(4, 5), dim=1)),
    "weight_norm over all": lambda: small(old("weight_norm", nn.Linear(4, 5), dim=None)),
    "weight_norm of a convolution": lambda: small(old("weight_norm", nn.Conv1d(2, 3, 3)), (2, 6)),
    "weight_norm, transposed": lambda: small(old("weight_norm", nn.ConvTranspose2d(2, 3, 2)), (2, 4, 4)),
    "spectral_norm of a linear layer": lambda: small(old("spectral_norm", nn.Linear(4, 5))),
    "spectral_norm of a convolution": lambda: small(old("spectral_norm", nn.Conv2d(2, 3, 3)), (2, 5, 5)),
    "random pruning": lambda: small(prune.random_unstructured(nn.Linear(4, 5), "weight", 0.5)),
    "structured pruning": lambda: small(prune.ln_structured(nn.Conv2d(2, 4, 3), "weight", 0.5, n=2, dim=0), (2, 5, 5)),
    "pruned bias": lambda: small(prune.l1_unstructured(nn.Linear(4, 5), "bias", 2)),
    "pruned twice": lambda: small(
        prune.l1_unstructured(prune.l1_unstructured(nn.Linear(4, 5), "weight", 5), "weight", 5)
    ),
}


@pytest.mark.parametrize("change", ["load_state_dict", "optimiser", "in place"])
@pytest.mark.parametrize("case", NORMED)
def test_weights_of_hooks_are_current(case, change):
    torch.manual_seed(0)
    model, x = NORMED[case]()
    before = rf.lrp(model, GRADIENT)
    before(x)
    if change == "load_state_dict":
        model.load_state_dict({k: v * 3 if k.endswith(("_g", "_orig")) else v for k, v in model.state_dict().items()})
    elif change == "optimiser":
        model.train()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
        model(x).square().sum().backward()
        optimiser.step()
        model.eval()
    else:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    output = before(x)
    torch.testing.assert_close(output.detach(), model(x).detach(), rtol=1e-10, atol=1e-12)
    assert_is_the_model(model, x)


def test_weight_norm_inside_of_a_block_that_is_used_twice():
    block = nn.Sequential(old("weight_norm", nn.Linear(4, 4)), nn.Tanh())
    model = filled(nn.Sequential(block, block), seed=1)
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})
    assert_is_the_model(model)
