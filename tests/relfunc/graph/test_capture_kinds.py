"""What runs is the model: type checks, noise, modes, swallowed errors, and what a forward writes."""

import contextlib
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import Normalize, v2

import relfunc as rf
from relfunc.errors import CaptureError, RelfuncError

from ..kinds import GRADIENT, assert_is_the_model, net, normal
from ..reference import filled

# --- types ------------------------------------------------------------------------------------------

TYPES = {
    "isinstance": lambda s, x: s.a(x) * (3 if isinstance(s.a(x), torch.Tensor) else 1),
    "isinstance of the input": lambda s, x: s.a(x) * (3 if isinstance(x, torch.Tensor) else 1),
    "isinstance of several": lambda s, x: s.a(x if isinstance(x, (list, tuple)) else 2 * x),
    "is_tensor": lambda s, x: s.a(x) if torch.is_tensor(x) else s.a(x) * 2,
    "not a parameter": lambda s, x: s.a(x) * (2 if isinstance(s.a(x), nn.Parameter) else 1),
    "of a parameter's class": lambda s, x: s.a(x) * (2 if isinstance(s.a.weight, torch.Tensor) else 1),
    "is_floating_point": lambda s, x: s.a(x) * (2 if torch.is_floating_point(s.a.weight) else 1),
    "module's class": lambda s, x: s.a(x) * (2 if type(s.a) is nn.Linear else 1),
    "issubclass": lambda s, x: s.a(x) * (2 if issubclass(type(s.a(x)), torch.Tensor) else 1),
    "match statement": lambda s, x: matched(s.a(x)),
    "hasattr": lambda s, x: s.a(x) if hasattr(x, "shape") else s.a(x) * 2,
    "callable": lambda s, x: s.a(x) * (2 if callable(x) else 1),
    "is None": lambda s, x: s.a(x) * 2 if x is not None else s.a(x),
}


def matched(h):
    match h:
        case torch.Tensor():
            return h * 3
        case _:
            return h


@pytest.mark.parametrize("case", TYPES)
def test_questions_about_types_are_answered(case):
    assert_is_the_model(net(TYPES[case], a=nn.Linear(4, 2)))


REFUSED_OR_RIGHT = {
    "type is": lambda s, x: s.a(x) * (3 if type(s.a(x)) is torch.Tensor else 1),
    "type is not": lambda s, x: s.a(x) if type(x) is not torch.Tensor else s.a(x) * 2,
    "type in": lambda s, x: s.a(x) * (3 if type(x) in (torch.Tensor, nn.Parameter) else 1),
    "class": lambda s, x: s.a(x) * (3 if x.__class__ is torch.Tensor else 1),
    "name of the class": lambda s, x: s.a(x) * (3 if type(x).__name__ == "Tensor" else 1),
    "dictionary of classes": lambda s, x: s.a(x) * {torch.Tensor: 3}.get(type(x), 1),
    "type of a parameter": lambda s, x: s.a(x) * (3 if type(s.a.weight) is nn.Parameter else 1),
    "type of a size": lambda s, x: s.a(x) * (3 if type(x.shape[1]) is int else 1),
    "requires_grad": lambda s, x: s.a(x) * (2 if x.requires_grad else 1),
    "in inference mode": lambda s, x: s.a(x) * (2 if torch.is_inference_mode_enabled() else 1),
}


@pytest.mark.parametrize("case", REFUSED_OR_RIGHT)
def test_types_that_cannot_be_answered_are_refused(case):
    with contextlib.suppress(CaptureError):
        assert_is_the_model(net(REFUSED_OR_RIGHT[case], a=nn.Linear(4, 2)))


@pytest.mark.parametrize(
    "normalize",
    [
        lambda: Normalize([0.5] * 3, [0.2] * 3),
        lambda: v2.Normalize([0.1, 0.5, 0.7], [0.2, 0.4, 0.3]),
        lambda: v2.Compose([v2.Normalize([0.5] * 3, [0.2] * 3)]),
    ],
)
def test_normalisation_of_torchvision_normalises(normalize):
    model = filled(nn.Sequential(normalize(), nn.Conv2d(3, 4, 3)), seed=1)
    x = normal(2, 3, 8, 8)
    assert_is_the_model(model, x, example_inputs=(x,))
    with contextlib.suppress(CaptureError):
        assert_is_the_model(model, x)


# --- noise, modes, swallowed exceptions -------------------------------------------------------------------

NOISE = {
    "randn": lambda s, x: s.a(x) + torch.randn(2, dtype=x.dtype),
    "rand of a size": lambda s, x: s.a(x) + torch.rand(s.a.weight.shape[0], dtype=x.dtype),
    "randn_like": lambda s, x: s.a(x + 0.1 * torch.randn_like(x)),
    "rand_like": lambda s, x: s.a(x) * torch.rand_like(s.a(x)),
    "randint": lambda s, x: s.a(x) * torch.randint(1, 9, (2,)),
    "randperm": lambda s, x: s.a(x[:, torch.randperm(4)]),
    "bernoulli": lambda s, x: s.a(x) * torch.bernoulli(torch.full((2,), 0.5)),
    "bernoulli_": lambda s, x: s.a(x) * torch.empty(2).bernoulli_(0.5),
    "normal_": lambda s, x: s.a(x) + torch.empty(2).normal_(),
    "normal_ of the data": lambda s, x: s.a(x) + torch.empty_like(x)[:, :2].normal_(),
    "uniform_": lambda s, x: s.a(x) + x.new_empty(2).uniform_(),
    "normal": lambda s, x: s.a(x) + torch.normal(0.0, 1.0, (2,)),
    "initialiser": lambda s, x: s.a(x) + nn.init.normal_(torch.empty(2)),
    "distribution": lambda s, x: s.a(x) + torch.distributions.Normal(0.0, 1.0).sample((2,)),
    "dropout": lambda s, x: F.dropout(s.a(x), training=True),
    "dropout as torch's": lambda s, x: torch.dropout(s.a(x), 0.5, True),
    "dropout of channels": lambda s, x: F.dropout1d(s.a(x)[None], 0.5, training=True)[0],
    "alpha dropout": lambda s, x: F.alpha_dropout(s.a(x), 0.5, training=True),
    "multinomial": lambda s, x: s.a(x)[:, torch.multinomial(torch.ones(2), 1)],
    "rrelu": lambda s, x: F.rrelu(s.a(x), training=True),
    "gumbel softmax": lambda s, x: F.gumbel_softmax(s.a(x)),
    "fractional pooling": lambda s, x: F.fractional_max_pool2d(s.a(x).repeat(5, 8).cumsum(0)[None], 2, 7),
    "Python's": lambda s, x: s.a(x) * random.random(),
}


@pytest.mark.parametrize("case", NOISE)
def test_noise_in_the_forward_is_refused(case):
    torch.manual_seed(0)
    with pytest.raises(RelfuncError, match=r"random|is not the model"):
        rf.lrp(net(NOISE[case], a=nn.Linear(4, 2)), GRADIENT)(normal())


def with_autocast(s, x):
    with torch.autocast("cpu", torch.bfloat16):
        h = s.a(x.float())
    return s.b(h.to(x))


def without_autocast(s, x):
    with torch.autocast("cpu", enabled=False):
        return s.b(s.a(x))


def in_no_grad(s, x):
    with torch.no_grad():
        h = s.a(x)
    return s.b(h)


def in_inference_mode(s, x):
    with torch.inference_mode():
        return s.b(s.a(x))


def no_grad_for_a_gate(s, x):
    with torch.no_grad():
        gate = s.a(x).sigmoid()
    return s.b(s.a(x) * gate)


@torch.no_grad()
def decorated(s, x):
    return s.b(s.a(x))


MODES = {
    "autocast": (with_autocast, "autocast"),
    "no_grad": (in_no_grad, "gradients off"),
    "inference mode": (in_inference_mode, "gradients off|inference"),
    "no_grad for a part": (no_grad_for_a_gate, "gradients off"),
    "decorator": (decorated, "gradients off"),
    "set_grad_enabled": (lambda s, x: s.b(grad_disabled(s.a, x)), "gradients off"),
}


def grad_disabled(layer, x):
    with torch.set_grad_enabled(False):
        return layer(x)


@pytest.mark.parametrize("case", MODES)
def test_modes_that_no_graph_holds_are_refused_by_name(case):
    function, message = MODES[case]
    with pytest.raises(CaptureError, match=message):
        rf.lrp(net(function, a=nn.Linear(4, 64), b=nn.Linear(64, 2)), GRADIENT)(normal())


def constants_in_no_grad(s, x):
    with torch.no_grad():
        scale = s.a.weight.abs().sum()
    return s.a(x) * scale


def gradients_on(s, x):
    with torch.enable_grad():
        return s.a(x) * 2


HARMLESS = {"no_grad around constants": constants_in_no_grad, "enable_grad": gradients_on}


@pytest.mark.parametrize("case", HARMLESS)
def test_modes_that_change_nothing_are_captured(case):
    assert_is_the_model(net(HARMLESS[case], a=nn.Linear(4, 2)))


def swallowing(question, error=Exception):
    def forward(s, x):
        h = s.a(x)
        with contextlib.suppress(error):
            if question(h):
                h = h * 3
        return h

    return forward


SWALLOWED = {
    "size": swallowing(lambda h: h.shape[1] == 2),
    "value": swallowing(lambda h: h.sum() > -1e9),
    "item": swallowing(lambda h: h.sum().item() > -1e9),
    "length": swallowing(lambda h: len(h) == 3),
    "bare": swallowing(lambda h: bool((h == h).all()), BaseException),
    "numpy": swallowing(lambda h: h.detach().numpy().sum() > -1e9),
    "list": swallowing(lambda h: h.tolist()[0][0] > -1e9),
    "range": swallowing(lambda h: sum(1 for _ in range(h.shape[0])) > 0),
}


@pytest.mark.parametrize("case", SWALLOWED)
def test_an_error_that_the_forward_catches_takes_no_other_branch(case):
    model = net(SWALLOWED[case], a=nn.Linear(4, 2))
    with contextlib.suppress(CaptureError):
        assert_is_the_model(model)
    with contextlib.suppress(CaptureError):
        assert_is_the_model(model, example_inputs=(normal(),))


# --- what a forward writes to the model -------------------------------------------------------------------


class Keeps(nn.Module):
    """Writes to itself, to what it holds, and to a child, whenever it runs."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 2))
        self.features, self.calls, self.sizes, self.table, self.names = None, 0, [], {}, set()

    def forward(self, x):
        self.calls += 1
        self.features = self.a(x)
        self.sizes.append(x.shape[0])
        self.table["input"] = x
        self.names.add(len(self.names))
        self.b[0].seen = self.features
        self.b.last_input = x
        self.fresh = x * 2
        return self.b(self.features.relu())


def written(model):
    kept = {name: vars(model)[name] for name in ("features", "calls", "fresh") if name in vars(model)}
    held = (list(model.sizes), list(model.table.values()), set(model.names))
    return kept, held, vars(model.b[0]).get("seen"), vars(model.b).get("last_input")


@pytest.mark.parametrize("step", ["capture", "first call", "explanation", "example"])
@pytest.mark.parametrize("called", [False, True])
def test_what_a_forward_writes_stays_as_it_was(step, called):
    model = filled(Keeps(), seed=1)
    if called:
        model(normal())
    before, identities = written(model), [id(c) for c in (model.sizes, model.table, model.names)]
    if step == "example":
        rf.capture(model, example_inputs=(normal(),))
    else:
        f = rf.lrp(model, GRADIENT)
        if step != "capture":
            f(normal()) if step == "first call" else rf.gradient(f)(normal(), 0)
    after = written(model)
    assert str(after) == str(before)
    assert all(a is b for a, b in zip(before[0].values(), after[0].values(), strict=True))
    assert after[2] is before[2]
    assert after[3] is before[3]
    assert identities == [id(c) for c in (model.sizes, model.table, model.names)]


class Counts(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 2)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        self.count += 1
        return self.a(x)


@pytest.mark.parametrize("write", ["augmented", "in place", "assigned", "copied"])
def test_a_counter_in_a_buffer_is_not_advanced(write):
    def forward(s, x):
        if write == "augmented":
            s.count += 1
        elif write == "in place":
            s.count.add_(1)
        elif write == "assigned":
            s.count = s.count + 1
        else:
            s.count.copy_(s.count + 1)
        return s.a(x)

    model = net(forward, a=nn.Linear(4, 2), count=torch.zeros(()))
    buffer = model.count
    with contextlib.suppress(RelfuncError):
        f = rf.lrp(model, GRADIENT)
        torch.testing.assert_close(f(normal()).detach(), F.linear(normal(), model.a.weight, model.a.bias).detach())
    assert float(model.count) == 0
    assert model.count is buffer


class Sized(nn.Module):
    """Asks for the shape of its input, in one of several ways."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, x):
        self.ask(x)
        return x * 2


def unpack(x):
    sizes = tuple(x.shape)
    assert sizes[1] == 3


def count(x):
    assert len(x.shape) == 2


def say(x):
    torch._assert(x.dim() == 2, f"expected two axes, got {x.shape} and {x.shape!s}")


@pytest.mark.parametrize("ask", [unpack, count, say])
def test_samples_stay_free_where_a_model_asks_for_the_shape(ask):
    captured = rf.capture(Sized(ask).eval(), example_inputs=torch.ones(2, 3))
    assert captured(torch.ones(5, 3)).shape == (5, 3)


def test_text_of_a_shape_holds_all_but_the_samples():
    captured = rf.capture(Sized(say).eval(), example_inputs=torch.ones(2, 3))
    with pytest.raises(CaptureError, match="Size"):
        captured(torch.ones(5, 4))
