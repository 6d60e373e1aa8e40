"""Several inputs in every method, and inference mode, against loops over samples with autograd by hand."""

from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import relfunc as rf
from relfunc.attribution.methods import MethodError
from relfunc.relevance.inputs import InputError
from relfunc.relevance.target import TargetError

GRADIENT = rf.composites.by_type({"*": rf.rules.gradient()})
Pair = namedtuple("Pair", "a b")


def samples(*shape, key=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(key))


A, B, IDS = samples(3, 4), samples(3, 2, 5, key=2), torch.tensor([[0, 1], [2, 2], [1, 0]])


class Two(nn.Module):
    """Smooth in vectors ``a (sample, 4)`` and sequences ``b (sample, 2, 5)``, and scaled by tokens if there are any."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(10, 6), nn.Linear(6, 3)
        self.tokens = nn.Embedding(3, 6)
        self.double().eval()

    def forward(self, a, b, ids=None):
        h = torch.tanh(self.a(a)) * torch.tanh(self.b(b.flatten(1)))
        return self.head(h if ids is None else h + self.tokens(ids).sum(1))


class Nested(Two):
    """Takes the same tensors in other structures."""

    def forward(self, parts, *, options=None, scale=1.0):
        a, rest = parts["a"], parts["rest"]
        return scale * super().forward(a, rest[0], rest[1] if len(rest) > 1 else None)


class Without(Two):
    """Takes no tokens, so that it is captured with two inputs."""

    def forward(self, a, b):
        return super().forward(a, b)


@pytest.fixture(scope="module")
def model():
    return Two()


# each form of the inputs: the model, the inputs, the attribution in their structure, and whether there are tokens
FORMS = {
    "tuple": (Two, (A, B), lambda a, b: (a, b), False),
    "named tuple": (Two, Pair(A, B), Pair, False),
    "tokens": (Two, (A, B, IDS), lambda a, b: (a, b, None), True),
    "no tokens": (Two, (A, B, None), lambda a, b: (a, b, None), False),
    "by name": (Two, {"a": A, "b": B}, lambda a, b: {"a": a, "b": b}, False),
    "by name in another order": (Two, {"ids": IDS, "a": A, "b": B}, lambda a, b: {"ids": None, "a": a, "b": b}, True),
    "ordered by name": (Two, OrderedDict(a=A, b=B), lambda a, b: OrderedDict(a=a, b=b), False),
    "mapping": (Two, UserDict(a=A, b=B), lambda a, b: {"a": a, "b": b}, False),
    "nested": (Nested, ({"a": A, "rest": [B, IDS]},), lambda a, b: ({"a": a, "rest": [b, None]},), True),
    "nested by name, with options": (
        Nested,
        {"options": "none", "parts": {"a": A, "rest": (B,)}, "scale": 1},
        lambda a, b: {"options": None, "parts": {"a": a, "rest": (b,)}, "scale": None},
        False,
    ),
}
TARGETS = {
    "int": (1, [1, 1, 1]),
    "list": ([2, 0, 1], [2, 0, 1]),
    "array": (np.array([2, 0, 1]), [2, 0, 1]),
    "tuple": ((torch.tensor([2, 0, 1]),), [2, 0, 1]),
    "function": (lambda y: torch.eye(3, dtype=y.dtype)[torch.tensor([2, 0, 1])], [2, 0, 1]),
}


# --- slow computations ------------------------------------------------------------------------------


def class_output(i, a, b, tokens, classes):
    return Two()(a[None], b[None], IDS[i : i + 1] if tokens else None)[0, classes[i]]


def slow_gradient(a, b, tokens, classes):
    pairs = []
    for i in range(3):
        leaves = (a[i].clone().requires_grad_(), b[i].clone().requires_grad_())
        pairs.append(torch.autograd.grad(class_output(i, *leaves, tokens, classes), leaves))
    return tuple(torch.stack(parts) for parts in zip(*pairs, strict=True))


def slow_integral(tokens, classes, starts=(0.0, 0.0), steps=4):
    points, weights = np.polynomial.legendre.leggauss(steps)
    lines, means = (A - starts[0], B - starts[1]), [0, 0]
    for point, weight in zip(points, weights, strict=True):
        at = [start + (point + 1) / 2 * line for start, line in zip(starts, lines, strict=True)]
        means = [m + weight / 2 * g for m, g in zip(means, slow_gradient(*at, tokens, classes), strict=True)]
    return tuple(line * mean for line, mean in zip(lines, means, strict=True))


def slow_occlusion(tokens, classes):
    found = (torch.zeros_like(A), torch.zeros_like(B))
    for i in range(3):
        whole = class_output(i, A[i], B[i], tokens, classes)
        for j in range(4):
            hidden = A[i].clone()
            hidden[j] = 0
            found[0][i, j] = (whole - class_output(i, hidden, B[i], tokens, classes)).detach()
        for j in range(5):
            hidden = B[i].clone()
            hidden[:, j] = 0
            found[1][i, :, j] = (whole - class_output(i, A[i], hidden, tokens, classes)).detach()
    return found


def slow_smoothgrad(tokens, classes, count=3, noise=0.2, seed=5):
    generator = torch.Generator().manual_seed(seed)
    axes = ((1,), (1, 2))
    scales = [noise * (x.amax(at, keepdim=True) - x.amin(at, keepdim=True)) for x, at in zip((A, B), axes, strict=True)]
    found = []
    for _ in range(count):
        noisy = [
            x + scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            for x, scale in zip((A, B), scales, strict=True)
        ]
        found.append(slow_gradient(*noisy, tokens, classes))
    return tuple(torch.stack(parts).mean(0) for parts in zip(*found, strict=True))


def slow_product(tokens, classes):
    return tuple(x * g for x, g in zip((A, B), slow_gradient(A, B, tokens, classes), strict=True))


METHODS = {
    "gradient": (rf.gradient, lambda tokens, classes: slow_gradient(A, B, tokens, classes)),
    "input_x_gradient": (rf.input_x_gradient, slow_product),
    "smoothgrad": (lambda f, **o: rf.smoothgrad(f, samples=3, noise=0.2, seed=5, **o), slow_smoothgrad),
    "integrated_gradients": (lambda f, **o: rf.integrated_gradients(f, steps=4, **o), slow_integral),
    "occlusion": (lambda f, **o: rf.occlusion(f, window=1, stride=1, **o), slow_occlusion),
}


def assert_same(found, expected):
    """Compare structures, their types, and values."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = tuple(found.values()), tuple(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif expected is None:
        assert found is None
    else:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert found.abs().max() > 0


# --- every form in every method ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_attributions_have_the_structure_of_the_inputs(form, method):
    make, x, arrange, tokens = FORMS[form]
    explain, slow = METHODS[method]
    output, found = explain(make())(x, [2, 0, 1])
    torch.testing.assert_close(output, Two()(A, B, IDS if tokens else None).detach())
    assert_same(found, arrange(*slow(tokens, [2, 0, 1])))


@pytest.mark.parametrize("lrp", [False, True], ids=["plain", "lrp"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", TARGETS)
def test_targets_and_chunks_of_two_inputs(target, method, lrp):
    explain, slow = METHODS[method]
    f = rf.lrp(Without(), GRADIENT) if lrp else Without()
    given, classes = TARGETS[target]
    expected = slow(False, classes)
    assert_same(explain(f)((A, B), given)[1], expected)
    if method in {"smoothgrad", "integrated_gradients", "occlusion"}:
        for chunk_size in (1, 7, 12):
            assert_same(explain(f, chunk_size=chunk_size)((A, B), given)[1], expected)


@pytest.mark.parametrize("method", METHODS)
def test_other_classes_and_no_tokens_are_other_attributions(method):
    """Negative control."""
    explain, slow = METHODS[method]
    _, (found, _, _) = explain(Two())((A, B, IDS), [2, 0, 1])
    others = (slow(True, [1, 0, 2]), explain(Two())((A, B.roll(1, 0)), [2, 0, 1])[1])
    for other, _ in others:
        assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_names_may_come_in_another_order(method):
    explain = METHODS[method][0] if method != "smoothgrad" else rf.gradient
    _, found = explain(Two())({"b": B, "ids": IDS, "a": A}, 1)
    _, (a, b, _) = explain(Two())((A, B, IDS), 1)
    assert_same(found, {"b": b, "ids": None, "a": a})


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_class_of_several_inputs(form, create_graph):
    make, x, arrange, tokens = FORMS[form]
    pairs = [slow_gradient(A, B, tokens, [c] * 3) for c in range(3)]
    _, found = rf.per_class(make(), create_graph=create_graph)(x)
    assert_same(found, arrange(*(torch.stack(parts) for parts in zip(*pairs, strict=True))))


def test_a_tensor_that_all_samples_share():
    """Copies are not stacked: the table would not be that of one copy."""
    table = samples(2, 4, key=8)

    def shares(a, table):
        return torch.tanh(a[:, None] * table).sum(2)

    def by_hand(a, table):
        return torch.autograd.grad(shares(a, table)[:, 1].sum(), (a, table))

    for x in ((A, table), (A[:1], table)):
        leaves = tuple(value.clone().requires_grad_() for value in x)
        assert_same(rf.gradient(shares)(x, 1)[1], by_hand(*leaves))
        assert_same(rf.smoothgrad(shares, noise=0)(x, 1)[1], by_hand(*leaves))
        y = shares(*x)[:, 1]
        _, (_, found) = rf.occlusion(shares, window=1, stride=1)(x, 1)
        for j in range(4):
            hidden = table.clone()
            hidden[:, j] = 0
            torch.testing.assert_close(found[:, j], (y - shares(x[0], hidden)[:, 1]).sum().expand(2))
        _, (a, t) = rf.integrated_gradients(shares, steps=40)(x, 1)
        torch.testing.assert_close(a.sum() + t.sum(), y.sum())


def test_one_tensor_given_twice_has_two_attributions():
    x = A.clone().requires_grad_()

    def difference(a, b):
        return a - 2 * b

    for create_graph in (False, True):
        _, (a, b) = rf.gradient(difference, create_graph=create_graph)((x, x), 1)
        assert_same((a[:, 1], b[:, 1]), (torch.ones(3).double(), -2 * torch.ones(3).double()))


def test_an_input_that_the_model_ignores_has_no_relevance():
    _, (a, b) = rf.gradient(lambda a, b: a)((A, B), 1)
    assert a.abs().max() == 1
    assert torch.equal(b, torch.zeros_like(B))


def test_attributions_of_two_inputs_can_be_differentiated_again(model):
    def product(a, b):
        _, (r, s) = rf.gradient(model, create_graph=True)((a, b), 1)
        return r.sum() + s.sum()

    assert torch.autograd.gradcheck(product, (A.clone().requires_grad_(), B.clone().requires_grad_()))


@pytest.mark.parametrize(
    ("baseline", "starts"),
    [
        (0.5, (0.5, 0.5)),
        (None, (0.0, 0.0)),
        ((0.5, None), (0.5, 0.0)),
        ((A.mean(0), 1), (A.mean(0), 1.0)),
        (lambda x: (0.1 * x[0], x[1].mean(2, keepdim=True)), (0.1 * A, B.mean(2, keepdim=True))),
    ],
)
def test_baselines_of_two_inputs(model, baseline, starts):
    starts = [torch.as_tensor(start).double().expand_as(x) for start, x in zip(starts, (A, B), strict=True)]
    _, found = rf.integrated_gradients(model, baseline=baseline, steps=4)((A, B), [2, 0, 1])
    assert_same(found, slow_integral(False, [2, 0, 1], starts))


def test_baselines_by_name(model):
    x = {"b": B, "ids": IDS, "a": A}
    _, found = rf.integrated_gradients(model, baseline={"b": 0.5, "ids": None, "a": 0.0}, steps=4)(x, [2, 0, 1])
    a, b = slow_integral(True, [2, 0, 1], [torch.zeros_like(A), torch.full_like(B, 0.5)])
    assert_same(found, {"b": b, "ids": None, "a": a})


def test_relevance_at_operations_between_two_inputs():
    f = rf.lrp(Without(), GRADIENT)
    _, at = rf.relevance_at(f, ["head"])((A, B), [2, 0, 1])
    assert torch.equal(at["head"], torch.eye(3, dtype=torch.float64)[[2, 0, 1]])


# --- inference mode ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lrp", [False, True], ids=["plain", "lrp"])
@pytest.mark.parametrize("method", [*METHODS, "per_class"])
def test_inference_mode_changes_nothing(method, lrp):
    explain = rf.per_class if method == "per_class" else METHODS[method][0]
    f = rf.lrp(Without(), GRADIENT) if lrp else Two()
    every = [()] if method == "per_class" else [([2, 0, 1],), (None,), (lambda y: y.exp(),), (EYE,)]
    for target in every:
        expected = explain(f)((A, B), *target)
        with torch.inference_mode():
            made = (A.clone(), B.clone())
            inside = explain(f)((A, B), *target)
            of_made = explain(f)(made, *target)
        assert_same(inside, expected)
        assert_same(of_made, expected)
        if not lrp:
            assert_same(explain(f)(made, *target), expected)


EYE = torch.eye(3, dtype=torch.float64)


@pytest.mark.parametrize("method", [*METHODS, "per_class"])
def test_a_model_and_tokens_made_in_inference_mode(method):
    explain = rf.per_class if method == "per_class" else METHODS[method][0]
    target = () if method == "per_class" else ([2, 0, 1],)
    expected = explain(Two())((A, B, IDS), *target)
    with torch.inference_mode():
        assert_same(explain(Two())((A, B, IDS.clone()), *target), expected)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*(make for make, _ in METHODS.values()), rf.per_class])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ((IDS, IDS > 0), r"no input is a floating-point tensor.*torch.int64 \(3, 2\), torch.bool \(3, 2\)"),
        ((), "the inputs are nothing"),
        ({"a": None}, "no input is a floating-point tensor.*the inputs are None"),
        ([A, B], "an input is a list, not a tensor"),
        ((A, B.numpy()), r"the input\[1\] is a ndarray, not a tensor"),
        ({"a": A, "b": [B * torch.inf]}, r"the input\['b'\]\[0\] is -?inf at \(0, 0, 0\)"),
        ((A, B.to("meta")), r"the input\[1\] is on meta and the model on cpu"),
    ],
)
def test_inputs_that_cannot_be_explained(model, method, x, message):
    with pytest.raises(InputError, match=message):
        method(model)(x)


def test_options_that_do_not_fit_several_inputs(model):
    with pytest.raises(InputError, match=r"does not broadcast to an input of shape \(3, 2, 5\)"):
        rf.integrated_gradients(model, baseline=A)((A, B))
    with pytest.raises(InputError, match="the baseline is a tuple without the structure"):
        rf.integrated_gradients(model, baseline=(0.0,))((A, B))
    with pytest.raises(InputError, match=r"does not broadcast to an input of shape \(3, 2, 5\)"):
        rf.integrated_gradients(model, baseline=(0.0, A))((A, B))
    with pytest.raises(MethodError, match=r"window is \(1, 1\) for axes of sizes \(4,\)"):
        rf.occlusion(model, window=(1, 1))((A, B), 0)
    with pytest.raises(TargetError, match="out of range"):
        rf.smoothgrad(model)((A, B), 3)


def test_a_model_without_autograd_is_told():
    with pytest.raises(InputError, match=r"does not depend on its input: does it compute with torch.no_grad\(\)"):
        rf.gradient(torch.no_grad()(Two()))((A, B), 0)
