"""What users of other tools reported, each as a small test: that it does not happen here.

What is tested elsewhere: activations at exact zeros and half precision in ``rules/test_spellings_of_attention.py`` and
``relevance/test_transforms_of_transformers.py``; softmax along any axis in ``rules/test_softmax.py``; class tokens and
positions in ``relevance/test_accounts.py``.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf
from relfunc.errors import RelfuncError
from relfunc.rules import Clipping

from .kinds import net, normal, ones
from .rules.test_attention import close

pytestmark = pytest.mark.filterwarnings("ignore:composite .* matches no operation")

ATTNLRP, CP_LRP = rf.composites.attnlrp(), rf.composites.cp_lrp()


def relevance(model, x, composite=ATTNLRP, target=ones):
    return rf.gradient(rf.lrp(model, composite, example_inputs=x))(x, target)[1]


def audited(model, x, composite=ATTNLRP, target=ones):
    return rf.audit(model, composite, x, target, example_inputs=x)


class Attention(nn.Module):
    """One head, with keys and values that a strided convolution makes if ``stride`` is more than one."""

    def __init__(self, width=6, stride=1):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.reduce = nn.Conv1d(width, width, stride, stride) if stride > 1 else nn.Identity()
        self.double().eval()

    def forward(self, x):
        keys = self.reduce(x.mT).mT
        scores = torch.bmm(self.q(x), self.k(keys).mT) / x.shape[-1] ** 0.5
        return self.out(torch.einsum("bqk,bkd->bqd", scores.softmax(-1), self.v(keys))).mean(1)


# --- layers of other classes ----------------------------------------------------------------------------------


class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(x)


class InEightBits(nn.Module):
    """A linear layer whose weight is kept as integers."""

    def __init__(self, layer):
        super().__init__()
        scale = layer.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale.detach())
        self.register_buffer("weight", (layer.weight / scale).round().to(torch.int8))
        self.bias = layer.bias

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


@pytest.mark.parametrize("kind", ["subclass", "integers", "parametrized"])
def test_a_linear_layer_has_the_rule_of_one_whatever_its_class(kind):
    """A linear layer in eight bits was no nn.Linear, so it had no rule, and relevance was not a number."""
    model = net(lambda s, x: s.b(s.a(x)), a=Scaled(4, 4), b=nn.Linear(4, 3))
    if kind == "integers":
        model.a = InEightBits(model.a)
    if kind == "parametrized":
        nn.utils.parametrizations.weight_norm(model.a)
    model.eval()
    assert rf.plan(model, ATTNLRP, example_inputs=normal())["rule"].tolist() == ["epsilon(epsilon=1e-06)"] * 2
    x = normal()
    weight = model.a.weight.double() * (model.a.scale if kind == "integers" else 1)
    plain = net(lambda s, x: s.b(s.a(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 3))
    plain.a.weight.data, plain.a.bias.data = weight.detach(), model.a.bias.detach()
    plain.b.load_state_dict(model.b.state_dict())
    close(relevance(model, x), relevance(plain, x))


def test_an_operation_without_a_rule_is_an_error_that_names_it():
    """Registered on another class of layers, a composite silently did nothing."""
    with pytest.raises(RelfuncError, match=r"'cross'.*test_reports.py"):
        relevance(net(lambda s, x: torch.cross(x, s.a(x), dim=1), a=nn.Linear(3, 3)), normal(2, 3))


def test_the_plan_lists_every_matrix_product_and_the_audit_shows_a_wrong_rule():
    """ "How do I verify that I did not forget a matmul?"."""
    model, x = Attention(), normal(2, 4, 6)
    plan = rf.plan(model, ATTNLRP, example_inputs=x)
    products = plan[plan["type"] == "matrix_product"]
    assert products["operation"].tolist() == ["bmm", "einsum"]
    assert products["rule"].str.startswith("bilinear").all()
    with pytest.raises(RelfuncError, match="bmm"):
        rf.lrp(model, rf.composites.by_type({"linear": rf.rules.epsilon(), "move|scaling": rf.rules.pass_()}))
    as_gradient = rf.composites.mixed(rf.composites.by_type({"matrix_product": rf.rules.gradient()}), ATTNLRP)
    assert audited(model, x, as_gradient).loc[products.index, "dropped"].abs().min() > 1e-3
    assert audited(model, x).loc[products.index, "dropped"].abs().max() < 1e-9


def test_addmm_is_affine_with_a_parameter_and_bilinear_with_two_activations():
    affine = net(lambda s, x: torch.addmm(s.b, x, s.w), b=normal(3), w=normal(4, 3))
    assert rf.plan(affine, ATTNLRP)["rule"].tolist() == ["epsilon(epsilon=1e-06)"]
    both = net(lambda s, x: torch.addmm(s.b, x, s.a(x).t()), b=normal(3), a=nn.Linear(4, 4))
    assert rf.plan(both, ATTNLRP)["type"].tolist() == ["linear", "move", "matrix_product", "shift"]


# --- transformers ---------------------------------------------------------------------------------------------


def test_a_sink_of_attention_is_reported_and_a_contrast_of_classes_is_the_difference_of_both():
    """Relevance lay on the first token alone, where attention rests; contrasts were asked for."""
    model = Attention()
    x = normal(1, 5, 6)
    x[:, 0] *= 20
    each = [relevance(model, x, target=c) for c in range(2)]
    share = each[0][0].sum(-1).abs()
    assert share[0] > share[1:].max()
    contrast = relevance(model, x, target=torch.tensor([[1.0, -1, 0, 0, 0, 0]]).double())
    close(contrast, each[0] - each[1])


@pytest.mark.parametrize("stride", [1, 2])
def test_samples_that_share_a_graph_are_those_alone(stride):
    """Samples were looped over with one graph, which an attention of one's own broke."""
    model, x = Attention(stride=stride), normal(3, 4, 6)
    f = rf.gradient(rf.lrp(model, ATTNLRP, example_inputs=x))
    close(torch.cat([f(one[None], 1)[1] for one in x]), f(x, 1)[1])


def test_two_variants_in_one_process_are_those_alone_in_either_order():
    """What was patched first stayed for the next model."""
    models, x = [Attention(), Attention(stride=2)], normal(2, 4, 6)
    alone = {(i, c.name): relevance(models[i], x, c) for i in range(2) for c in (ATTNLRP, CP_LRP)}
    for order in itertools.permutations(alone):
        for i, name in order[:2]:
            found = relevance(models[i], x, ATTNLRP if name == "attnlrp" else CP_LRP)
            torch.testing.assert_close(found, alone[i, name], rtol=0, atol=0)
    assert not torch.allclose(alone[0, "attnlrp"], alone[0, "cp_lrp"])


def test_the_gradient_of_an_unrelated_model_stays_what_it_was():
    """Classes of torch's, such as GELU and LayerNorm, were patched for the whole process."""
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Dropout(), nn.Linear(4, 3)).double().eval()
    x = normal()
    before = torch.autograd.functional.jacobian(model, x)
    relevance(net(lambda s, x: s.n(s.g(s.a(x))), a=nn.Linear(4, 4), g=nn.GELU(), n=nn.LayerNorm(4)), x)
    torch.testing.assert_close(torch.autograd.functional.jacobian(model, x), before, rtol=0, atol=0)


# --- sums and stabilizers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [lambda s, x: x + x, lambda s, x: x + s.a(x), lambda s, x: s.a(x) - x.flip(1)])
def test_a_sum_of_two_values_conserves(function):
    total = audited(net(function, a=nn.Linear(4, 4, bias=False)), normal()).loc["total"]
    assert total["passed"] + total["stabilizer"] == pytest.approx(12, abs=1e-9)


@pytest.mark.parametrize("z", [-1e-6, -1e-8, 0.0, -0.0, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stabilizer_moves_away_from_zero(z, dtype):
    """Added whatever the sign, it made −ε a zero that was divided by."""
    x = torch.tensor([[z, 0.0]], dtype=dtype)
    model = net(lambda s, x: x.sum(1, keepdim=True)).to(dtype)
    found = relevance(model, x)
    assert found.isfinite().all()
    assert float(found.abs().sum()) <= 1


def test_relevance_of_small_outputs_is_bounded_by_a_stabilizer_that_clips():
    """Scores blew up where outputs are small and biases are left out."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 3)).double().eval()
    x = normal(8, 50) * 1e-3
    clipped = rf.composites.attnlrp(epsilon=Clipping(1e-2), zero_params="bias")
    assert relevance(model, x, clipped).abs().sum() < 8 * 3
    assert relevance(model, x, rf.composites.attnlrp(0.01, zero_params="bias")).isfinite().all()


@pytest.mark.parametrize("order", ["behind", "before"])
def test_a_folded_batch_norm_leaves_no_bias_where_biases_are_left_out(order):
    """A merged norm took relevance even with zero_params="bias"; behind a padding it may not be merged at all."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2, eps=0.1)
    norm.running_mean, norm.running_var = torch.tensor([0.3, -0.2]), torch.tensor([0.5, 2.0])
    layers = (conv, norm) if order == "behind" else (norm, conv)
    model, x = nn.Sequential(*layers, nn.ReLU()).double().eval(), normal(2, 2, 4, 4)
    table = audited(model, x, rf.composites.attnlrp(zero_params="bias"))
    assert abs(table.loc["total", "bias"]) < 1e-12
    assert abs(table.loc["total", "dropped"]) < 1e-9
    output, _ = rf.gradient(rf.lrp(model, ATTNLRP))(x, ones)
    torch.testing.assert_close(output, model(x))


def test_z_plus_of_negative_inputs_has_one_denominator():
    """Each sign had its own, so that relevance doubled."""
    model = nn.Linear(3, 1, bias=False).double().eval()
    model.weight.data = torch.tensor([[-2.0, 1.0, 3.0]]).double()
    x = torch.tensor([[-1.0, 4.0, -1.0]]).double()  # contributions 2, 4 and −3
    found = relevance(model, x, rf.composites.by_type({"linear": rf.rules.zplus(stabilizer=0)}))
    torch.testing.assert_close(found, torch.tensor([[2.0, 4.0, 0.0]]).double() / 6)


def test_branches_with_different_rules_sum_to_the_output():
    """f(x) + g(x) with a rule each depended on the order, and was normalised rather than summed."""
    parts = {name: nn.Linear(4, 3, bias=False).double() for name in "fg"}
    composite = rf.composites.mixed(rf.composites.by_name({"f": rf.rules.gamma(0.3), "g": rf.rules.epsilon()}), ATTNLRP)
    found = [
        relevance(net(function, **parts), normal(), composite, lambda y: y)
        for function in (lambda s, x: s.f(x) + s.g(x), lambda s, x: s.g(x) + s.f(x))
    ]
    close(found[0], found[1])
    model = net(lambda s, x: s.f(x) + s.g(x), **parts)
    assert float(found[0].sum()) == pytest.approx(float(model(normal()).detach().sum()), rel=1e-3)


def test_functions_and_modules_that_are_used_again_are_those_of_their_own():
    """Functional or reused activations and poolings were silently wrong."""
    layers = {"a": nn.Conv2d(1, 2, 3, padding=1), "b": nn.Conv2d(2, 2, 3, padding=1)}
    x, relu, pool = normal(2, 1, 8, 8), nn.ReLU(), nn.MaxPool2d(2)
    reused = net(lambda s, x: s.p(s.r(s.b(s.p(s.r(s.a(x)))))), **layers, r=relu, p=pool)
    functional = net(lambda s, x: F.max_pool2d(s.b(F.max_pool2d(s.a(x).relu_(), 2)).clamp(min=0), 2), **layers)
    own = nn.Sequential(layers["a"], nn.ReLU(), nn.MaxPool2d(2), layers["b"], nn.ReLU(), nn.MaxPool2d(2)).eval()
    for composite in (ATTNLRP, rf.composites.epsilon_plus()):
        expected = relevance(own, x, composite)
        close(relevance(reused, x, composite), expected)
        close(relevance(functional, x, composite), expected)
