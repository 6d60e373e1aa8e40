"""Relevance at any node, of every class, of other parameters; accounts of where it went."""

import pytest
import torch
from torch import nn

import relfunc as rf

from ..reference import COTANGENTS, cnn, images, resnet18

COMPOSITES = [
    rf.composites.epsilon_plus_flat(),
    rf.composites.epsilon_gamma_box(-2.0, 2.5),
    rf.composites.epsilon_alpha2_beta1(),
    rf.composites.excitation_backprop(),
    rf.composites.guided_backprop(),
]


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda c: c.name)
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_all_classes_at_once_equal_one_by_one(model, composite, chunk_size):
    f, x = rf.lrp(model, composite), images()
    output, together = rf.per_class(f, chunk_size=chunk_size)(x)
    torch.testing.assert_close(output, model(x).detach())
    for c in range(10):
        torch.testing.assert_close(together[c], rf.gradient(f)(x, c)[1], rtol=1e-9, atol=1e-12)


def test_all_classes_of_a_plain_model_are_its_jacobian(model):
    x = images()
    _, together = rf.per_class(model)(x)
    jacobian = torch.func.jacrev(model)(x)
    torch.testing.assert_close(together, torch.stack([jacobian[i, :, i] for i in range(2)], 1).detach())


@pytest.mark.parametrize("create_graph", [False, True])
def test_attributions_of_classes_keep_what_they_were_computed_from_only_if_asked(create_graph):
    f = rf.lrp(nn.Linear(3, 2).eval(), rf.composites.epsilon_plus())
    attributions = rf.per_class(f, create_graph=create_graph)(torch.rand(1, 3))[1]
    assert attributions.requires_grad == create_graph


def test_relevance_of_nodes_is_what_arrives_there(model):
    f, x, target = rf.lrp(model, rf.composites.epsilon_plus()), images(), COTANGENTS["one_hot"]
    _, at = rf.relevance_at(f, ["10", "conv2d", "linear_1"])(x, target)
    assert {name: tuple(r.shape) for name, r in at.items()} == {
        "10": (2, 64),
        "conv2d": (2, 8, 32, 32),
        "linear_1": (2, 10),
    }
    head = model[11:].eval()
    features = model[:11](x).detach()
    _, expected = rf.gradient(rf.lrp(head, rf.composites.epsilon_plus()))(features, target)
    torch.testing.assert_close(at["10"], expected)
    assert torch.equal(at["linear_1"], nn.functional.one_hot(target, 10).double())


def test_a_module_path_means_its_last_operation():
    f, x = rf.lrp(resnet18(), rf.composites.epsilon_plus()), images()
    _, at = rf.relevance_at(f, ["layer4", "layer4.1.relu", "layer1"])(x, 3)
    assert torch.equal(at["layer4"], at["layer4.1.relu"])
    assert at["layer1"].shape == (2, 64, 8, 8)


def test_a_node_that_does_not_exist_gets_a_suggestion(model):
    with pytest.raises(rf.errors.RelfuncError, match="no operation or module 'conv2d_9': did you mean 'conv2d"):
        rf.relevance_at(rf.lrp(model, rf.composites.epsilon_plus()), ["conv2d_9"])


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda c: c.name)
def test_functional_call_takes_other_parameters(model, composite):
    x, target = images(), COTANGENTS["signed"]
    f = rf.lrp(model, composite)
    other = {name: p.detach() * 1.1 for name, p in model.named_parameters()}
    _, found = rf.gradient(lambda x: torch.func.functional_call(f, other, (x,)))(x, target)
    changed = cnn()
    changed.load_state_dict({**changed.state_dict(), **other})
    _, expected = rf.gradient(rf.lrp(changed, composite))(x, target)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda c: c.name)
def test_audit_accounts_for_all_of_the_seed(model, composite):
    x, target = images(), COTANGENTS["signed"]
    table = rf.audit(model, composite, x, target)
    parts = table[["passed", "bias", "stabilizer", "dropped"]].sum(axis=1)
    torch.testing.assert_close(torch.tensor(parts.values), torch.tensor(table["relevance"].values), rtol=0, atol=1e-9)
    _, relevance = rf.gradient(rf.lrp(model, composite))(x, target)
    assert table.loc["total", "relevance"] == pytest.approx(float(target.sum()), abs=1e-12)
    assert table.loc["total", "passed"] == pytest.approx(float(relevance.sum()))


def test_audit_names_the_bias_and_the_stabilizer():
    model = nn.Linear(2, 1).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
        model.bias.fill_(3.0)
    x = torch.ones(1, 2, dtype=torch.float64)
    row = rf.audit(model, rf.composites.epsilon_plus(epsilon=2.0), x, 0).loc["linear"]
    assert row[["relevance", "passed", "bias", "stabilizer"]].tolist() == pytest.approx([1, 3 / 8, 3 / 8, 2 / 8])
    assert row["dropped"] == pytest.approx(0, abs=1e-15)


def test_plan_lists_every_operation_with_its_rule(model):
    table = rf.plan(model, rf.composites.epsilon_gamma_box(-2.0, 2.5))
    assert table.index.tolist()[:3] == ["conv2d", "relu", "max_pool2d"]
    assert table.loc["conv2d", "rule"].startswith("zbox(low=-2.0, high=2.5")
    assert table.loc["conv2d", "module"] == "0"
    assert table.loc["conv2d_1", "forwards"] == 1
    assert table.loc["linear", "forwards"] == 0
    assert table["rule"].str.len().min() > 0


def test_plan_costs_a_full_table_where_nothing_is_proved():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3)).eval()
    assert rf.plan(model, rf.composites.by_type({"*": rf.rules.gamma()})).loc["conv2d_1", "forwards"] == 4
