"""Attribution methods: parity, completeness, invariance to chunking, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import nn

import relfunc as rf

from ..reference import COTANGENTS, DATA, cnn, images

ONE_HOT = nn.functional.one_hot(COTANGENTS["one_hot"], 10).double()


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "cnn.npz") as arrays:
        return dict(arrays)


def smooth():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)).double().eval()


def relative_error(found, expected):
    return float((found - torch.as_tensor(expected)).abs().max() / torch.as_tensor(expected).abs().max())


def test_riemann_sum_equals_reference(model, golden):
    _, attribution = rf.integrated_gradients(model, rule="riemann")(images(), COTANGENTS["one_hot"])
    assert relative_error(attribution, golden["integrated_gradients/one_hot"]) <= 1e-12


def test_keeping_the_window_equals_reference(model, golden):
    # The reference's score is what its function returns, here a constant, so that every window scores 1.
    def constant(x):
        return model(x) * 0 + ONE_HOT.repeat(len(x) // 2, 1)

    _, attribution = rf.occlusion(constant, mode="keep")(images(), None)
    assert relative_error(attribution, golden["occlusion/one_hot"]) <= 1e-12


def test_occlusion_is_the_fall_of_the_score(model):
    x, target = images(), COTANGENTS["one_hot"]
    output, attribution = rf.occlusion(model, window=(8, 16), stride=(8, 16))(x, target)
    hidden = x.clone()
    hidden[:, :, 8:16, 16:32] = 0
    fall = (output - model(hidden).detach()).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(attribution[:, :, 8:16, 16:32], fall.view(2, 1, 1, 1).expand(2, 3, 8, 16))


def test_overlapping_windows_are_averaged():
    model = nn.Linear(5, 1, bias=False).double().eval()
    x = torch.ones(1, 5, dtype=torch.float64)
    _, attribution = rf.occlusion(model, window=2, stride=1)(x, 0)
    w = model.weight[0].detach()
    fall = torch.stack([w[0] + w[1], w[1] + w[2], w[2] + w[3], w[3] + w[4], w[4]])
    expected = torch.stack([fall[0], *((fall[i] + fall[i - 1]) / 2 for i in range(1, 5))])
    torch.testing.assert_close(attribution[0], expected)


@pytest.mark.parametrize(("rule", "most"), [("gauss_legendre", 1e-5), ("riemann", 1e-1)])
def test_integrated_gradients_are_complete(rule, most):
    model, x = smooth(), torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    output, attribution = rf.integrated_gradients(model, rule=rule, steps=20)(x, 1)
    difference = (output - model(torch.zeros_like(x)))[:, 1].detach()
    assert float((attribution.sum(1) - difference).abs().max()) <= most


def test_completeness_error_of_the_riemann_sum_is_larger():
    model, x = smooth(), torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    difference = (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    errors = [
        float((rf.integrated_gradients(model, rule=rule)(x, 1)[1].sum(1) - difference).abs().max())
        for rule in ("gauss_legendre", "riemann")
    ]
    assert errors[0] < 1e-3 * errors[1]


@pytest.mark.parametrize("baseline", [0.5, torch.full((3, 1, 1), 0.5, dtype=torch.float64), lambda x: x * 0 + 0.5])
def test_baselines_broadcast(model, baseline):
    x = images()
    _, attribution = rf.integrated_gradients(model, baseline=baseline, steps=3)(x, 1)
    _, expected = rf.integrated_gradients(model, baseline=torch.full_like(x, 0.5), steps=3)(x, 1)
    assert torch.equal(attribution, expected)


@pytest.mark.parametrize(
    "method",
    [
        lambda f, **o: rf.smoothgrad(f, samples=5, **o),
        lambda f, **o: rf.integrated_gradients(f, steps=5, **o),
        lambda f, **o: rf.occlusion(f, window=16, stride=16, **o),
    ],
)
@pytest.mark.parametrize("make", [lambda m: m, lambda m: rf.lrp(m, rf.composites.epsilon_plus_flat())])
@pytest.mark.parametrize("target", [COTANGENTS["one_hot"], COTANGENTS["signed"], lambda y: y * 2, None])
def test_chunks_change_nothing_and_progress_is_told(model, method, make, target):
    seen = []
    x = images()
    _, whole = method(make(model))(x, target)
    _, chunked = method(make(model), chunk_size=4, progress=lambda *at: seen.append(at))(x, target)
    torch.testing.assert_close(chunked, whole, rtol=1e-9, atol=1e-12)
    assert whole.abs().max() > 0
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(set(done))
    assert done[-1] == totals[-1]


def test_smoothgrad_without_noise_is_the_gradient(model):
    _, expected = rf.gradient(model)(images(), 3)
    _, found = rf.smoothgrad(model, samples=3, noise=0.0)(images(), 3)
    torch.testing.assert_close(found, expected)


def test_smoothgrad_repeats_with_its_seed(model):
    found = [rf.smoothgrad(model, samples=2, seed=seed)(images(), 3)[1] for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_input_x_gradient(model):
    x = images()
    assert torch.equal(rf.input_x_gradient(model)(x, 3)[1], x * rf.gradient(model)(x, 3)[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: rf.smoothgrad(m, samples=0), "samples is 0: give at least 1"),
        (lambda m: rf.smoothgrad(m, noise=-1), "noise is -1"),
        (lambda m: rf.integrated_gradients(m, steps=0), "steps is 0"),
        (lambda m: rf.integrated_gradients(m, rule="simpson"), "rule is 'simpson'"),
        (lambda m: rf.integrated_gradients(m, baseline=torch.zeros(4, 1, 1))(images()), "does not broadcast"),
        (lambda m: rf.occlusion(m, mode="hide"), "mode is 'hide'"),
        (lambda m: rf.occlusion(m, window=(8,))(images()), r"window is \(8,\) for axes of sizes \(32, 32\)"),
        (lambda m: rf.occlusion(m, stride=0)(images()), "stride is 0"),
    ],
)
def test_options_without_meaning(model, make, message):
    with pytest.raises(rf.errors.RelfuncError, match=message):
        make(model)
