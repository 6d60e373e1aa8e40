"""Every convolutional model of torchvision runs without code of its own, and conserves relevance."""

import pytest
import torch

import relfunc as rf
from benchmarks import conservation
from benchmarks.conservation import CLASSIFICATION, COMPOSITE, SEGMENTATION, SMOOTH, bias_free, image, start

QUICK = (
    "resnet18",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "googlenet",
    "lraspp_mobilenet_v3_large",
)
LARGE = ("regnet_y_128gf",)  # 645 million parameters: 5 GB in float64, as often again for its z-plus
ALL = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (*CLASSIFICATION, *SEGMENTATION)
    if name not in LARGE
]


@pytest.mark.parametrize("name", ALL)
def test_bias_free_model_conserves_relevance(name):
    model, x = bias_free(name), image(name)
    y, relevance = rf.gradient(rf.lrp(model, COMPOSITE))(x, start)
    with torch.no_grad():
        torch.testing.assert_close(y, dict(model(x)) if name in SEGMENTATION else model(x), rtol=1e-9, atol=0)
    missing = 1 - float(relevance.sum())
    if name.startswith(SMOOTH) or "mobilenet_v3" in name:
        total = rf.audit(model, COMPOSITE, x, start).loc["total"]
        missing -= total[["bias", "stabilizer", "dropped"]].sum()
    assert abs(missing) <= 1e-3


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_plain_gradient_of_the_zoo(name):
    model, x = bias_free(name), image(name)
    _, attribution = rf.gradient(rf.lrp(model, lambda operation: rf.rules.gradient()))(x, 1)
    torch.testing.assert_close(attribution, rf.gradient(model)(x, 1)[1], rtol=1e-9, atol=0)


def test_z_plus_loses_what_neurons_without_positive_contribution_get():
    """Why the zoo's weights have a positive mean: shufflenet's depthwise corners see only four of nine weights."""
    table = rf.audit(bias_free("shufflenet_v2_x0_5", std=2.0), COMPOSITE, image("shufflenet_v2_x0_5"), start)
    operations = table.drop(index="total")
    lost = operations[(operations["relevance"] - operations["passed"]).abs() > 1e-9]
    assert table.loc["total", "stabilizer"] > 1e-3
    assert all(rule.startswith("zplus") for rule in lost["rule"])


def test_table_of_the_report():
    (row,) = conservation.run(("resnet18",))
    assert row["name"] == "resnet18"
    assert row["conserved"] == pytest.approx(1, abs=1e-6)
    assert row["remark"] == ""
