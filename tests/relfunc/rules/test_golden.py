"""Parity with the published Zennit 1.0.0 in float64, composite by composite."""

import numpy as np
import pytest
import torch

import relfunc as rf

from ..reference import COTANGENTS, DATA, MODELS, images

COMPOSITES = {
    "epsilon_gamma_box": rf.composites.epsilon_gamma_box(-2.0, 2.5),
    "epsilon_plus": rf.composites.epsilon_plus(),
    "epsilon_plus_flat": rf.composites.epsilon_plus_flat(),
    "epsilon_alpha2_beta1": rf.composites.epsilon_alpha2_beta1(),
    "epsilon_alpha2_beta1_flat": rf.composites.epsilon_alpha2_beta1_flat(),
    "guided_backprop": rf.composites.guided_backprop(),
    "deconvnet": rf.composites.deconvnet(),
    "excitation_backprop": rf.composites.excitation_backprop(),
    "beta_smooth": rf.composites.beta_smooth(),
}
CASES = [
    (model, name, cotangent)
    for model in MODELS
    for name in COMPOSITES
    for cotangent in COTANGENTS
    if (model, name) != ("resnet18", "beta_smooth")
]


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


@pytest.mark.parametrize(("model", "name", "cotangent"), CASES)
def test_composite_equals_reference(models, model, name, cotangent):
    with np.load(DATA / f"{model}.npz") as golden:
        expected, output = golden[f"{name}/{cotangent}"], golden["output"]
    y, relevance = rf.gradient(rf.lrp(models[model], COMPOSITES[name]))(images(), COTANGENTS[cotangent])
    assert np.abs(y.numpy() - output).max() <= 1e-10 * np.abs(output).max()
    assert np.abs(relevance.numpy() - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("model", MODELS)
def test_plain_gradient_equals_reference(models, model):
    with np.load(DATA / f"{model}.npz") as golden:
        expected = golden["gradient/one_hot"]
    _, attribution = rf.gradient(models[model])(images(), COTANGENTS["one_hot"])
    assert np.abs(attribution.numpy() - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("name", COMPOSITES)
def test_vjp_is_the_relevance(models, name):
    f = rf.lrp(models["cnn"], COMPOSITES[name])
    x, seed = images(), COTANGENTS["signed"]
    expected = rf.gradient(f)(x, seed)[1]
    y, vjp = torch.func.vjp(f, x)
    leaf = x.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(f(leaf), leaf, seed)
    assert torch.equal(y, f(x))
    torch.testing.assert_close(vjp(seed)[0], expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(by_autograd, expected, rtol=1e-12, atol=1e-14)
