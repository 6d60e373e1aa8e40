"""One meaning of a target in every method, against loops over samples with autograd by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf
from relfunc.relevance.target import TargetError, score, seed

GRADIENT = rf.composites.by_type({"*": rf.rules.gradient()})
CLASSES = torch.tensor([2, 0, 4])


def samples(*shape, key=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(key))


X, WEIGHTS = samples(3, 4), samples(3, 5, key=2)
HOT = F.one_hot(torch.tensor([1, 1, 1]), 5).double()


def network(*shape, activation=nn.Tanh):
    """Return a smooth model from ``(sample, 4)`` to ``(sample, *shape)``."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), activation(), nn.Linear(6, int(np.prod(shape)))]
    return nn.Sequential(*layers, nn.Unflatten(1, shape) if shape else nn.Flatten(0)).double().eval()


# --- slow computations ------------------------------------------------------------------------------


def slow_gradient(model, x, weights):
    """Differentiate the weighted output, sample by sample."""
    rows = []
    for i in range(len(x)):
        leaf = x[i : i + 1].clone().requires_grad_()
        total = (weights[i] * model(leaf)[0]).sum()
        rows.append(torch.autograd.grad(total, leaf)[0][0])
    return torch.stack(rows)


def slow_integral(model, x, scored, steps=8):
    """Integrate the derivative of each sample's score, ``scored(i, its output)``, along the way from zero."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    rows = []
    for i in range(len(x)):
        total = torch.zeros_like(x[i])
        for point, weight in zip(points, weights, strict=True):
            leaf = (x[i] * (point + 1) / 2).requires_grad_()
            total += weight / 2 * torch.autograd.grad(scored(i, model(leaf[None])[0]), leaf)[0]
        rows.append(x[i] * total)
    return torch.stack(rows)


def slow_occlusion(model, x, scored):
    """Hide one value after the other."""
    found = torch.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            hidden = x[i].clone()
            hidden[j] = 0
            found[i, j] = (scored(i, model(x[i][None])[0]) - scored(i, model(hidden[None])[0])).detach()
    return found


def rows_of(classes):
    return lambda y: F.one_hot(torch.as_tensor(classes), y.shape[1]).to(y)


# --- targets that are weights -----------------------------------------------------------------------

# each target of an output ``(3, *shape)``, with the weights that it means, written out
BLOCK = torch.zeros(3, 3, 2, dtype=torch.float64)
BLOCK[:, 2, 1] = 1
PLANE = torch.zeros(3, 3, 2, dtype=torch.float64)
PLANE[:, 1] = 1
MIXED = torch.zeros(3, 3, 2, dtype=torch.float64)
MIXED[0, 2, 1] = MIXED[1, 0, 1] = MIXED[2, 1, 1] = 1
ONE = torch.zeros(3, 5, dtype=torch.float64)
ONE[:, 1] = 1
EACH = torch.zeros(3, 5, dtype=torch.float64)
EACH[0, 2] = EACH[1, 0] = EACH[2, 4] = 1
FEW = torch.zeros(3, 5, dtype=torch.float64)
FEW[:, 1:3] = 1

TARGETS = {
    "int": ((5,), 1, ONE),
    "NumPy int": ((5,), np.int64(1), ONE),
    "unsigned NumPy int": ((5,), np.uint16(1), ONE),
    "NumPy array without axes": ((5,), np.array(1), ONE),
    "tensor without axes": ((5,), torch.tensor(1), ONE),
    "list": ((5,), [2, 0, 4], EACH),
    "list of NumPy ints": ((5,), [np.int64(2), np.int64(0), np.int64(4)], EACH),
    "list of tensors": ((5,), list(CLASSES), EACH),
    "NumPy array": ((5,), np.array([2, 0, 4]), EACH),
    "unsigned bytes": ((5,), np.array([2, 0, 4], dtype=np.uint8), EACH),
    "reversed NumPy array": ((5,), np.array([4, 0, 2])[::-1], EACH),
    "tensor": ((5,), CLASSES, EACH),
    "tensor of bytes": ((5,), CLASSES.to(torch.uint8), EACH),
    "tuple of one": ((5,), (1,), ONE),
    "tuple of an array": ((5,), (np.array([2, 0, 4]),), EACH),
    "tuple of a slice": ((5,), (slice(1, 3),), FEW),
    "weights": ((5,), WEIGHTS, WEIGHTS),
    "single precision": ((5,), ONE.float(), ONE),
    "NumPy weights": ((5,), WEIGHTS.numpy(), WEIGHTS),
    "nested list of weights": ((5,), WEIGHTS.tolist(), WEIGHTS),
    "function of weights": ((5,), lambda y: WEIGHTS, WEIGHTS),
    "function of a class": ((5,), lambda y: HOT, ONE),
    "function by formula": ((5,), lambda y: y * 0 + HOT, ONE),
    "function of an int": ((5,), lambda y: 1, ONE),
    "function of a list": ((5,), lambda y: [2, 0, 4], EACH),
    "function of an array": ((5,), lambda y: np.array([2, 0, 4]), EACH),
    "function of a tuple": ((5,), lambda y: (CLASSES,), EACH),
    "function of the batch": ((5,), lambda y: CLASSES[: len(y)], EACH),
    "indices of two axes": ((3, 2), (2, 1), BLOCK),
    "NumPy indices of two axes": ((3, 2), (np.int64(2), np.array(1)), BLOCK),
    "index and slice": ((3, 2), (1, slice(None)), PLANE),
    "index by sample": ((3, 2), ([2, 0, 1], 1), MIXED),
    "indices by sample": ((3, 2), (np.array([2, 0, 1]), torch.tensor([1, 1, 1])), MIXED),
    "number of each sample": ((), (), torch.ones(3, dtype=torch.float64)),
    "weights of numbers": ((), samples(3, key=5), samples(3, key=5)),
    "function of ones": ((), torch.ones_like, torch.ones(3, dtype=torch.float64)),
}


@pytest.mark.parametrize("lrp", [False, True], ids=["plain", "lrp"])
@pytest.mark.parametrize("case", TARGETS)
def test_weights_mean_the_same_in_every_method(case, lrp):
    shape, target, weights = TARGETS[case]
    model = network(*shape)
    f = rf.lrp(model, GRADIENT) if lrp else model

    def scored(i, y):
        return (weights[i] * y).sum()

    gradient = slow_gradient(model, X, weights)
    expected = {
        rf.gradient(f): gradient,
        rf.input_x_gradient(f): X * gradient,
        rf.smoothgrad(f, noise=0, samples=3, chunk_size=6): gradient,
        rf.integrated_gradients(f, steps=8, chunk_size=7): slow_integral(model, X, scored),
        rf.occlusion(f, window=1, stride=1, chunk_size=6): slow_occlusion(model, X, scored),
    }
    for explain, wanted in expected.items():
        output, found = explain(X, target)
        torch.testing.assert_close(output, model(X).detach(), msg=lambda m, e=explain: f"{e}: {m}")
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12, msg=lambda m, e=explain: f"{e}: {m}")
        assert found.abs().max() > 0
    wanted = (model(X).detach() * 0 + weights).sum().item()
    assert rf.audit(model, GRADIENT, X, target).loc["total", "relevance"] == pytest.approx(wanted)


@pytest.mark.parametrize("case", TARGETS)
def test_weights_are_the_same_in_a_target_function(case):
    shape, target, weights = TARGETS[case]
    if callable(target):
        assert seed(target)(samples(3, *shape)).double().equal(weights)
    else:
        assert seed(lambda y: target)(samples(3, *shape)).double().equal(weights)


# --- targets that are scores ------------------------------------------------------------------------

SCORES = {
    "none": ((5,), None, lambda i, y: y.sum()),
    "output": ((5,), lambda y: y, lambda i, y: y.sum()),
    "copy": ((5,), lambda y: y.clone(), lambda i, y: y.sum()),
    "minus": ((5,), lambda y: -2 * y, lambda i, y: -2 * y.sum()),
    "one class's output": ((5,), lambda y: y * HOT, lambda i, y: y[1]),
    "probability": ((5,), lambda y: y.softmax(1) * HOT, lambda i, y: y.softmax(0)[1]),
    "log-probability": ((5,), lambda y: y.log_softmax(1) * HOT, lambda i, y: y.log_softmax(0)[1]),
    "column": ((5,), lambda y: y[:, 1], lambda i, y: y[1]),
    "narrow": ((5,), lambda y: y[:, 1:3], lambda i, y: y[1:3].sum()),
    "number, none": ((), None, lambda i, y: y),
    "number": ((), lambda y: y, lambda i, y: y),
    "number, one class": ((1,), None, lambda i, y: y[0]),
    "map": ((3, 2), lambda y: y[:, 1], lambda i, y: y[1].sum()),
}


@pytest.mark.parametrize("lrp", [False, True], ids=["plain", "lrp"])
@pytest.mark.parametrize("case", SCORES)
def test_scores_are_compared_and_their_attributions_complete(case, lrp):
    shape, target, scored = SCORES[case]
    model = network(*shape)
    f = rf.lrp(model, GRADIENT) if lrp else model
    for chunk_size in (None, 3, 7):
        _, found = rf.occlusion(f, window=1, stride=1, chunk_size=chunk_size)(X, target)
        torch.testing.assert_close(found, slow_occlusion(model, X, scored))
        _, found = rf.integrated_gradients(f, steps=24, chunk_size=chunk_size)(X, target)
        torch.testing.assert_close(found, slow_integral(model, X, scored, steps=24))
        change = [scored(i, model(X)[i]) - scored(i, model(0 * X)[i]) for i in range(3)]
        torch.testing.assert_close(found.sum(1), torch.stack(change).detach(), rtol=0, atol=1e-6)


def test_relevance_starts_with_the_output_where_no_target_is_given():
    model = network(5)
    y = model(X).detach()
    expected = slow_gradient(model, X, y)
    for target in (None, lambda y: y, y):
        torch.testing.assert_close(rf.gradient(model)(X, target)[1], expected)
        torch.testing.assert_close(rf.input_x_gradient(model)(X, target)[1], X * expected)
        torch.testing.assert_close(rf.smoothgrad(model, noise=0)(X, target)[1], expected)


def test_targets_are_read_at_the_input_itself():
    """The class that the model predicts for noisy, hidden or shrunk inputs is another one."""
    model = network(5)
    predicted = model(X).argmax(1)
    assert not torch.equal(predicted, model(0.3 * X).argmax(1))
    for make in (
        lambda f: rf.smoothgrad(f, noise=1.0, samples=20, chunk_size=9),
        lambda f: rf.integrated_gradients(f, steps=6, chunk_size=9),
        lambda f: rf.occlusion(f, window=2, stride=1, chunk_size=9),
    ):
        _, expected = make(model)(X, predicted)
        for target in (
            lambda y: y.argmax(1),
            lambda y: y.detach().numpy().argmax(1),
            lambda y: rows_of(y.argmax(1))(y),
        ):
            torch.testing.assert_close(make(model)(X, target)[1], expected)


def test_noise_is_averaged_by_hand():
    model, generator = network(5), torch.Generator().manual_seed(7)
    scale = 0.2 * (X.amax(1, keepdim=True) - X.amin(1, keepdim=True))
    noisy = [X + scale * torch.randn(X.shape, generator=generator, dtype=X.dtype) for _ in range(5)]
    for target, weights in ((CLASSES.tolist(), EACH), (None, model(X).detach())):
        expected = torch.stack([slow_gradient(model, x, weights) for x in noisy]).mean(0)
        for chunk_size in (None, 1, 6, 8):
            _, found = rf.smoothgrad(model, samples=5, noise=0.2, seed=7, chunk_size=chunk_size)(X, target)
            torch.testing.assert_close(found, expected)


def test_functions_of_numpy_work_in_every_method():
    model = network(5)
    for make in (rf.gradient, rf.input_x_gradient, rf.smoothgrad, rf.integrated_gradients, rf.occlusion):
        for f in (model, rf.lrp(model, GRADIENT)):
            _, found = make(f)(X, lambda y: y.numpy().argmax(1))
            torch.testing.assert_close(found, make(f)(X, model(X).argmax(1))[1])


@pytest.mark.parametrize("method", [rf.smoothgrad, rf.integrated_gradients, rf.occlusion])
def test_outputs_of_several_tensors_have_scores(method):
    model = network(5)

    class Pair(nn.Module):
        def forward(self, x):
            return {"twice": 2 * model(x), "label": model(x).argmax(1), "rest": [x.exp()]}

    _, found = method(Pair().eval(), chunk_size=6)(X, lambda y: {"twice": HOT, "label": None, "rest": [None]})
    torch.testing.assert_close(found, 2 * method(model)(X, 1)[1])


def test_the_mistake_that_was_made_is_found():
    """Negative control: the weights of another class, and of other samples, do not give the same."""
    model = network(5)
    for make in (rf.gradient, rf.smoothgrad, rf.integrated_gradients, lambda f: rf.occlusion(f, window=1, stride=1)):
        _, expected = make(model)(X, CLASSES)
        for target in (1, CLASSES.flip(0), lambda y: CLASSES.flip(0)):
            assert (make(model)(X, target)[1] - expected).abs().max() > 1e-2


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((5,), True, "a target is an int, .* or None, not True"),
        ((5,), np.True_, "a target is an int"),
        ((5,), [True, False, True], "a target is an int"),
        ((5,), np.array([True, False, True]), "a target is an int"),
        ((5,), (True,), "a target is an int"),
        ((5,), torch.tensor([True, False, True]), "fits no output"),
        ((5,), 1.0, "a target is an int"),
        ((5,), "cat", "not 'cat'"),
        ((5,), ["cat", "dog", "cat"], "a target is an int"),
        ((5,), {"class": 1}, "a target is an int"),
        ((5,), [], "a target is an int"),
        ((5,), [[1], [2, 3]], "a target is an int"),
        ((5,), 5, "target 5 is out of range: the model has classes 0 … 4"),
        ((5,), np.array([0, 1, -1]), r"target \[0, 1, -1\] is out of range"),
        ((5,), [0, 1], r"target \[0, 1\] fits no output of shape \(3, 5\).*each of the 3 samples"),
        ((5,), [0.5, 0.5, 0.5], "floating-point tensor of the output's shape"),
        ((5,), WEIGHTS[:2], "fits no output"),
        ((5,), HOT.long(), "fits no output"),
        ((5,), (1, 2), r"target \(1, 2\) has 2 entries, and the model's output has shape \(3, 5\)"),
        ((3, 2), 1, r"output has shape \(3, 3, 2\), not \(sample, class\).*give a tuple of 2 indices"),
        ((3, 2), (1,), r"has 1 entries.*slice\(None\)"),
        ((3, 2), (1, 2), "out of range: axis 2 of the model's output has places 0 … 1"),
        ((3, 2), ([0, 1], 1), "fits no output"),
        ((), 0, r"output has shape \(3,\), not \(sample, class\).*give None for the output itself"),
        ((), [0, 0, 0], "give None for the output itself"),
        ((5,), lambda y: None, "the target function returned None"),
        ((5,), lambda y: 5, "out of range"),
        ((5,), lambda y: True, "a target is an int"),
        ((5,), lambda y: HOT[:2], "fits no output"),
    ],
)
@pytest.mark.parametrize(
    "method", [rf.gradient, rf.input_x_gradient, rf.smoothgrad, rf.integrated_gradients, rf.occlusion]
)
def test_targets_without_meaning(method, shape, target, message):
    with pytest.raises(TargetError, match=message):
        method(network(*shape))(X, target)


def test_methods_that_compare_outputs_need_samples():
    with pytest.raises(TargetError, match="no axis of samples"):
        rf.occlusion(lambda x: x.sum())(X)
    with pytest.raises(TargetError, match="keep the sample's axis"):
        rf.occlusion(network(5))(X, lambda y: y.sum())
    with pytest.raises(TargetError, match="names no part: give a function"):
        rf.gradient(lambda x: (x, x))(X, 1)


def test_target_functions_in_transforms():
    model = network(5)

    def integrated(x, target):
        return rf.integrated_gradients(model, steps=3)(x[None], target)[1][0]

    expected = rf.integrated_gradients(model, steps=3)(X, 1)[1]
    torch.testing.assert_close(torch.vmap(lambda x: integrated(x, 1))(X), expected)
    torch.testing.assert_close(torch.vmap(lambda x: integrated(x, (1,)))(X), expected)
    with pytest.raises(TargetError, match="inside a transform"):
        torch.vmap(lambda x: integrated(x, lambda y: y))(X)
    every = torch.vmap(lambda c: rf.gradient(model)(X, (c,))[1])(torch.arange(5))
    torch.testing.assert_close(every, rf.per_class(model)(X)[1])


def test_score_is_its_derivative_times_the_output_where_it_weighs():
    y = samples(3, 5, key=9)
    for target in (1, [2, 0, 4], WEIGHTS, None, lambda y: HOT, lambda y: 2 * y):
        number, slope = score(target, y)
        torch.testing.assert_close(number(3 * y), (slope(3 * y) * 3 * y).sum(1))
