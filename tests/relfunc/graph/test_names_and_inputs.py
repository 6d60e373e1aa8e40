"""Names of children, parameters and buffers are free, and inputs may have any structure."""

from collections import OrderedDict, namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import relfunc as rf
from relfunc.errors import CaptureError

from ..kinds import GRADIENT, assert_is_the_model, by_autograd, normal, ones
from ..reference import filled

# --- names ------------------------------------------------------------------------------------------

WORDS = """
    graph rules known program signature inputs relevance save load origin lrp captured model composite ops
    _origin _lrp _graph _code training_ made_by arguments check checked values at parameters_ state name x input
    args kwargs forward_ seed output node nodes meta target linear relu add getitem matmul self_ class def
    lambda None True import torch operator math device inf nan tensor nn F p0_a weight bias features
    call_function placeholder get_attr relfunc relfunc_affine a_b __x __class_x é T mT shape dtype data grad
    items keys update copy pop seeding getattr print zip
"""
NAMES = WORDS.split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["child", "parameter", "buffer"])
def test_parts_of_a_model_may_have_any_name(name, kind):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            if kind == "child":
                self.add_module(name, nn.Linear(4, 2))
            elif kind == "parameter":
                self.register_parameter(name, nn.Parameter(torch.empty(2, 4)))
            else:
                self.register_buffer(name, torch.ones(2, 4))

        def forward(self, x):
            part = (self._modules | self._parameters | self._buffers)[name]
            return part(x) if kind == "child" else F.linear(x, part)

    named = filled(Named(), seed=2)
    assert_is_the_model(named)
    f = rf.lrp(named, GRADIENT)
    assert list(f.state_dict()) == list(named.state_dict())
    captured = rf.capture(named)
    torch.testing.assert_close(captured(normal()).detach(), named(normal()).detach())


@pytest.mark.parametrize("name", ["linear", "relu", "add", "linear_1", "input", "output", "x", "getitem", "b"])
def test_a_module_is_what_its_path_means(name):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 6)
            self.add_module(name, nn.Linear(6, 2))

        def forward(self, h):
            return self._modules[name](self.first(h).relu() + 1.0) * 3.0

    model = filled(Named(), seed=2)
    output, found = rf.relevance_at(rf.lrp(model, GRADIENT), [name, "first"])(normal(), 0)
    wanted = 3.0 * F.one_hot(torch.tensor([0, 0, 0]), 2).double()
    torch.testing.assert_close(found[name], wanted)
    before = (wanted @ model._modules[name].weight) * (model.first(normal()) > 0)
    torch.testing.assert_close(found["first"], before.detach())
    torch.testing.assert_close(output, model(normal()).detach())
    values = rf.activations(model, [name])(normal())[1][name]
    torch.testing.assert_close(values.detach(), (model(normal()) / 3).detach())


# --- inputs -----------------------------------------------------------------------------------------


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)


class VarArgs(Takes):
    def forward(self, *xs):
        return sum((self.a(x) for x in xs[1:]), self.b(xs[0]))


class OneVarArg(Takes):
    def forward(self, *xs):
        return self.a(xs[0])


class FirstAndRest(Takes):
    def forward(self, x, *rest):
        return self.a(x) + sum(self.b(r) for r in rest)


class Kwargs(Takes):
    def forward(self, x, **kwargs):
        return self.a(x) + sum(self.b(v) for v in kwargs.values())


class ByKey(Takes):
    def forward(self, x, **kwargs):
        return self.a(x) + self.b(kwargs.get("y", x)) * kwargs.get("scale", 1.0)


class KeywordOnly(Takes):
    def forward(self, x, *, y=None, scale=2.0):
        return self.a(x) if y is None else self.a(x) + self.b(y) * scale


class Optional(Takes):
    def forward(self, x, y=None, flag=False):
        h = self.a(x) if y is None else self.a(x) + self.b(y)
        return -h if flag else h


class OptionalMask(Takes):
    def forward(self, x, mask=None):
        h = self.a(x)
        return h if mask is None else h.masked_fill(mask, 0.0)


class Listed(Takes):
    def forward(self, xs):
        return self.a(xs[0]) + self.b(xs[1])


class Looped(Takes):
    def forward(self, xs):
        return torch.stack([self.a(x) for x in xs]).sum(0)


class Mapping(Takes):
    def forward(self, batch):
        return self.a(batch["x"]) + self.b(batch["y"])


class Nested(Takes):
    def forward(self, batch, extra=()):
        return self.a(batch["x"][0]) + self.b(batch["x"][1]["z"]) + sum(extra)


class Indexed(Takes):
    def forward(self, x, index):
        return self.a(x)[:, index]


class Unused(Takes):
    def forward(self, x, y):
        return self.a(x)


class Attribute(Takes):
    def forward(self, pair):
        return self.a(pair.first) + self.b(pair.second)


Pair = namedtuple("Pair", ["first", "second"])
X, Y, Z = normal(seed=1), normal(seed=2), normal(seed=3)
I = torch.tensor([1, 0, 0])  # noqa: E741
INPUTS = {
    "one of *args": (OneVarArg, X, False),
    "*args, one": (VarArgs, X, True),
    "*args, two": (VarArgs, (X, Y), True),
    "*args, three": (VarArgs, (X, Y, Z), True),
    "rest": (FirstAndRest, (X, Y, Z), True),
    "**kwargs, none": (Kwargs, X, False),
    "**kwargs, two": (Kwargs, {"x": X, "y": Y, "z": Z}, True),
    "**kwargs, other order": (Kwargs, {"z": Z, "x": X}, True),
    "kwargs.get, none": (ByKey, X, False),
    "kwargs.get": (ByKey, {"x": X, "y": Y}, True),
    "kwargs.get, number": (ByKey, {"x": X, "y": Y, "scale": 3.0}, True),
    "keyword only, none": (KeywordOnly, X, False),
    "keyword only": (KeywordOnly, {"x": X, "y": Y}, True),
    "keyword only, number": (KeywordOnly, {"x": X, "y": Y, "scale": 0.5}, True),
    "optional, none": (Optional, X, False),
    "optional": (Optional, (X, Y), True),
    "optional by name": (Optional, {"x": X, "y": Y}, True),
    "optional, reversed names": (Optional, {"y": Y, "x": X}, True),
    "optional None given": (Optional, (X, None), True),
    "flag": (Optional, (X, Y, True), True),
    "flag by name": (Optional, {"x": X, "flag": True}, True),
    "mask": (OptionalMask, (X, torch.tensor([[True, False]] * 3)), True),
    "list": (Listed, [X, Y], False),
    "list with an example": (Listed, [X, Y], True),
    "tuple in a tuple": (Listed, ((X, Y),), True),
    "list in a tuple": (Listed, ([X, Y],), False),
    "list, looped": (Looped, [X, Y, Z], True),
    "mapping as an argument": (Mapping, ({"x": X, "y": Y},), False),
    "mapping with an example": (Mapping, ({"x": X, "y": Y},), True),
    "mapping by name": (Mapping, {"batch": {"x": X, "y": Y}}, True),
    "ordered mapping": (Mapping, (OrderedDict(x=X, y=Y),), True),
    "nested": (Nested, ({"x": [X, {"z": Y}]},), True),
    "nested, and a tuple": (Nested, ({"x": [X, {"z": Y}]}, (Z[:, :2], 1.0)), True),
    "indices": (Indexed, (X, I[:2]), False),
    "indices with an example": (Indexed, (X, I[:2]), True),
    "unused": (Unused, (X, Y), False),
    "named tuple": (Attribute, (Pair(X, Y),), True),
}


def called(model, x):
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def expected_relevance(model, x):
    """Output and autograd's gradient in the structure of the input; None for what is no floating-point tensor."""
    leaves, spec = pytree.tree_flatten(x)
    smooth = [isinstance(a, Tensor) and a.is_floating_point() for a in leaves]

    def of_leaves(*given):
        left = iter(given)
        return called(
            model, pytree.tree_unflatten([next(left) if s else a for a, s in zip(leaves, smooth, strict=True)], spec)
        )

    output, gradients = by_autograd(of_leaves, *(a for a, s in zip(leaves, smooth, strict=True) if s))
    left = iter(gradients)
    return output, pytree.tree_unflatten([next(left) if s else None for s in smooth], spec)


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_of_any_structure(case):
    make, x, example = INPUTS[case]
    model = filled(make(), seed=1)
    options = {"example_inputs": x} if example else {}
    f = rf.lrp(model, GRADIENT, **options)
    for given in (x, pytree.tree_map(lambda a: a[:2] if isinstance(a, Tensor) and a.ndim == 2 else a, x)):
        expected = expected_relevance(model, given)
        found = f.relevance(given, ones)
        assert pytree.tree_structure(found[1]) == pytree.tree_structure(expected[1])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(called(f, given).detach(), expected[0], rtol=1e-10, atol=1e-12)


OTHERS = {
    "optional that was left out": (Optional, X, (X, Y), "example_inputs that give this argument"),
    "flag": (Optional, (X, Y, True), (X, Y, False), "captured with flag=True"),
    "list of another length": (Looped, [X, Y], [X, Y, Z], "another structure"),
    "keys": (Mapping, ({"x": X, "y": Y},), ({"x": X, "y": Y, "z": Z},), "another structure"),
    "number": (ByKey, {"x": X, "y": Y, "scale": 3.0}, {"x": X, "y": Y, "scale": 2.0}, "captured with"),
    "more *args": (VarArgs, (X, Y), (X, Y, Z), "another structure"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_inputs_of_another_structure_are_refused(case):
    make, example, given, message = OTHERS[case]
    f = rf.lrp(filled(make(), seed=1), GRADIENT, example_inputs=example)
    with pytest.raises(CaptureError, match=message):
        called(f, given)


def test_arguments_that_do_not_fit_are_a_type_error_as_the_models():
    f = rf.lrp(filled(Unused(), seed=1), GRADIENT)
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        f(X)
    with pytest.raises(CaptureError, match=r"example_inputs do not fit Unused\.forward"):
        rf.lrp(filled(Unused(), seed=1), GRADIENT, example_inputs={"z": X})
