"""Every rule over every affine operation equals the dense oracle; facts about the graph never change a relevance."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

import relfunc as rf
from relfunc.rules import ALL, NEGATIVE, NONE, POSITIVE, Branch, Clipping, NormScaled, Plain, Rule, Term, simplify
from relfunc.rules.propagate import Call, Propagate, PropagateError, Slot

from .. import oracle
from ..oracle import assert_close

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"  # torch's remark on its own speed
)

# --- operations -------------------------------------------------------------------------------------

OPERATIONS = {
    "linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "linear, no bias": (lambda: nn.Linear(4, 3, bias=False), (2, 4)),
    "linear, sequence": (lambda: nn.Linear(3, 2), (2, 3, 3)),
    "linear, one sample": (lambda: nn.Linear(4, 3), (4,)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3), (2, 2, 6)),
    "conv1d, stride, padding, no bias": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=2, bias=False), (2, 2, 6)),
    "conv1d, dilation, groups": (lambda: nn.Conv1d(4, 2, 2, dilation=2, groups=2), (2, 4, 5)),
    "conv1d, same": (lambda: nn.Conv1d(2, 2, 3, padding="same"), (2, 2, 4)),
    "conv1d, same, even kernel": (lambda: nn.Conv1d(2, 2, 4, padding="same"), (2, 2, 5)),
    "conv1d, valid": (lambda: nn.Conv1d(2, 2, 3, padding="valid"), (2, 2, 4)),
    "conv1d, reflect": (lambda: nn.Conv1d(2, 2, 3, padding=2, padding_mode="reflect"), (2, 2, 4)),
    "conv1d, circular": (lambda: nn.Conv1d(2, 2, 3, padding=1, stride=2, padding_mode="circular"), (2, 2, 4)),
    "conv1d, replicate": (lambda: nn.Conv1d(2, 2, 2, padding=1, padding_mode="replicate"), (2, 2, 4)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 2), (2, 2, 3, 4)),
    "conv2d, stride, padding": (lambda: nn.Conv2d(2, 2, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 2, 4, 3)),
    "conv2d, dilation, no bias": (lambda: nn.Conv2d(2, 2, 2, dilation=(1, 2), bias=False), (1, 2, 4, 4)),
    "conv2d, groups": (lambda: nn.Conv2d(4, 2, 2, groups=2, stride=2), (1, 4, 4, 3)),
    "conv2d, depthwise": (lambda: nn.Conv2d(3, 6, 2, groups=3, padding=1), (1, 3, 3, 2)),
    "conv2d, same": (lambda: nn.Conv2d(2, 2, 3, padding="same", dilation=2), (1, 2, 4, 3)),
    "conv2d, same, even kernel": (lambda: nn.Conv2d(2, 2, (2, 3), padding="same"), (1, 2, 4, 3)),
    "conv2d, valid": (lambda: nn.Conv2d(2, 2, 2, padding="valid", stride=2), (1, 2, 4, 4)),
    "conv2d, reflect": (lambda: nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="reflect"), (1, 2, 3, 3)),
    "conv2d, reflect, same": (lambda: nn.Conv2d(1, 2, (2, 3), padding="same", padding_mode="reflect"), (1, 1, 3, 3)),
    "conv2d, circular": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular", bias=False), (1, 2, 3, 3)),
    "conv2d, replicate": (lambda: nn.Conv2d(2, 2, 3, padding=1, groups=2, padding_mode="replicate"), (1, 2, 3, 3)),
    "conv2d, one sample": (lambda: nn.Conv2d(2, 3, 2, stride=2, padding=1), (2, 3, 3)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, padding=(0, 1, 0)), (1, 2, 2, 2, 3)),
    "conv3d, stride, groups": (lambda: nn.Conv3d(2, 2, 2, stride=(1, 2, 1), groups=2, bias=False), (2, 2, 2, 3, 2)),
    "conv3d, same, even kernel": (lambda: nn.Conv3d(1, 2, (2, 1, 3), padding="same"), (1, 1, 2, 3, 2)),
    "conv3d, circular": (lambda: nn.Conv3d(1, 2, 2, padding=1, padding_mode="circular"), (1, 1, 2, 2, 2)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(2, 3, 3), (2, 2, 4)),
    "conv_transpose1d, stride, padding": (
        lambda: nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 2, 4),
    ),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(2, 2, 2, bias=False), (1, 2, 3, 3)),
    "conv_transpose2d, all options": (
        lambda: nn.ConvTranspose2d(
            4, 2, (2, 3), stride=(2, 1), padding=(0, 1), output_padding=(1, 0), groups=2, dilation=(1, 2)
        ),
        (1, 4, 2, 3),
    ),
    "conv_transpose2d, one sample": (lambda: nn.ConvTranspose2d(2, 2, 2, stride=2), (2, 2, 3)),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 1, 2, padding=1), (1, 2, 2, 3, 2)),
    "conv_transpose3d, stride, groups": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, groups=2), (1, 2, 1, 2, 2)),
}


@cache
def operation(name, values):
    """A module, an input, a relevance that is not its output, and the same as matrices.

    Integers make outputs that are exactly zero, by cancellation and by zero weights.
    """
    make, shape = OPERATIONS[name]
    rng = np.random.default_rng(len(name))
    module = make().double().eval()

    def draw(size):
        return torch.tensor(rng.integers(-2, 3, size).astype(float) if values == "integers" else rng.normal(size=size))

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(draw(tuple(parameter.shape)))
        if values == "integers" and module.bias is not None:
            module.bias[0] = 0
    module.requires_grad_(False)
    x, W = draw(shape), module.weight
    R = draw(tuple(module(x).shape))
    bias = module.bias is not None

    def f(x, W, b):
        return functional_call(module, {"weight": W, "bias": b} if bias else {"weight": W}, (x,))

    b = module.bias if bias else torch.zeros(1, dtype=torch.float64)
    return module, x, R, oracle.affine(f, W, b, x)


def relevance(model, x, R, rule):
    """What the whole pipeline makes of one rule."""
    composite = rf.composites.by_type({"affine": rule, "move": rf.rules.gradient()})
    return rf.gradient(rf.lrp(nn.Sequential(model).eval(), composite))(x, R)[1].numpy()


# --- rules ------------------------------------------------------------------------------------------


def cubic(z):
    """A stabilizer of a user's own, for arrays and tensors."""
    return z**3 + z + 0.1


LOW, HIGH = torch.tensor(-3.0).double(), torch.tensor(2.5).double()
RULES = {
    "epsilon": (rf.rules.epsilon(), oracle.epsilon(oracle.plain())),
    "epsilon 0.3": (rf.rules.epsilon(0.3), oracle.epsilon(oracle.plain(0.3))),
    "epsilon, clipping": (rf.rules.epsilon(Clipping(0.7)), oracle.epsilon(oracle.clipping(0.7))),
    "epsilon, norm": (rf.rules.epsilon(NormScaled(0.2, dim=(-1,))), oracle.epsilon(oracle.norm_scaled(0.2, (-1,)))),
    "epsilon, function": (rf.rules.epsilon(cubic), oracle.epsilon(cubic)),
    "epsilon, zero bias": (
        rf.rules.epsilon(0.1, zero_params="bias"),
        oracle.epsilon(oracle.plain(0.1), zero=("bias",)),
    ),
    "gamma": (rf.rules.gamma(), oracle.gamma(0.25, oracle.plain())),
    "gamma 0": (rf.rules.gamma(0), oracle.gamma(0, oracle.plain())),
    "gamma 2, clipping, zero bias": (
        rf.rules.gamma(2, stabilizer=Clipping(0.1), zero_params="bias"),
        oracle.gamma(2, oracle.clipping(0.1), zero=("bias",)),
    ),
    "zplus": (rf.rules.zplus(), oracle.zplus(oracle.plain())),
    "zplus, norm": (
        rf.rules.zplus(stabilizer=NormScaled(0.2, dim=(-1,), clip=True), zero_params=("bias",)),
        oracle.zplus(lambda z: oracle.norm_scaled(0.2, (-1,), clip=True)(z), zero=("bias",)),
    ),
    "alpha_beta": (rf.rules.alpha_beta(), oracle.alpha_beta(2, 1, oracle.plain())),
    "alpha_beta 2.2": (
        rf.rules.alpha_beta(2.2, 1.2, stabilizer=0.2, zero_params="bias"),
        oracle.alpha_beta(2.2, 1.2, oracle.plain(0.2), zero=("bias",)),
    ),
    "zbox": (rf.rules.zbox(-3, 2.5), oracle.zbox(LOW, HIGH, oracle.plain())),
    "zbox, clipping, zero bias": (
        rf.rules.zbox(-3, 2.5, stabilizer=Clipping(0.1), zero_params="bias"),
        oracle.zbox(LOW, HIGH, oracle.clipping(0.1), zero=("bias",)),
    ),
    "wsquare": (rf.rules.wsquare(), oracle.wsquare(oracle.plain())),
    "wsquare, zero bias": (
        rf.rules.wsquare(stabilizer=0.1, zero_params="bias"),
        oracle.wsquare(oracle.plain(0.1), zero=("bias",)),
    ),
    "flat": (rf.rules.flat(), oracle.flat(oracle.plain())),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("rule", RULES)
def test_rule_equals_the_dense_oracle(rule, name):
    given_rule, formula = RULES[rule]
    for values in ("normal", "integers"):
        module, x, R, matrices = operation(name, values)
        assert_close(relevance(module, x, R, given_rule), oracle.relevance(formula, matrices, x, R))


def test_integers_make_outputs_that_are_zero():
    outputs = [operation(name, "integers")[0](operation(name, "integers")[1]) for name in OPERATIONS]
    assert sum(bool((y == 0).any()) for y in outputs) > len(OPERATIONS) / 2


@pytest.mark.parametrize("make", [rf.rules.epsilon, rf.rules.zplus, rf.rules.gamma, rf.rules.wsquare])
def test_without_weights_no_relevance_arrives(make):
    module, x, R, _ = operation("conv2d", "normal")
    rule = make(zero_params=("weight", "bias"))
    assert not relevance(module, x, R, rule).any()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_convolution_of_any_shape_equals_the_dense_oracle(data):
    n, transposed = data.draw(st.integers(1, 3), "dimensions"), data.draw(st.booleans(), "transposed")
    groups = data.draw(st.integers(1, 2), "groups")

    def each(least, most, label):
        return tuple(data.draw(st.integers(least, most), label) for _ in range(n))

    kernel, stride, dilation, padding = (
        each(1, 3, "kernel"),
        each(1, 2, "stride"),
        each(1, 2, "dilation"),
        each(0, 2, "p"),
    )
    size = each(1, 4 if n < 3 else 3, "size")
    kind = ("ConvTranspose" if transposed else "Conv") + f"{n}d"
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    if transposed:
        options["output_padding"] = tuple(
            data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        sizes = zip(size, stride, padding, reach, options["output_padding"], strict=True)
        assume(all((i - 1) * s - 2 * p + r + o >= 1 for i, s, p, r, o in sizes))
    else:
        assume(all(i + 2 * p >= r for i, p, r in zip(size, padding, reach, strict=True)))
    module = getattr(nn, kind)(groups, 2 * groups, kernel, bias=data.draw(st.booleans(), "bias"), **options).double()
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape))))
    module.requires_grad_(False).eval()
    x = torch.tensor(rng.normal(size=(1, groups, *size)))
    R = torch.tensor(rng.normal(size=tuple(module(x).shape)))
    b = torch.zeros(1, dtype=torch.float64) if module.bias is None else module.bias

    def f(x, W, b):
        parameters = {"weight": W} if module.bias is None else {"weight": W, "bias": b}
        return functional_call(module, parameters, (x,))

    matrices = oracle.affine(f, module.weight, b, x)
    for rule in ("gamma", "zbox"):
        assert_close(relevance(module, x, R, RULES[rule][0]), oracle.relevance(RULES[rule][1], matrices, x, R))


class OneOutput(nn.Module):
    """A linear operation whose weight has one dimension."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]).double())

    def forward(self, x):
        return F.linear(x, self.weight)


@pytest.mark.parametrize("rule", [rule for rule in RULES if "norm" not in rule])  # a norm over another dimension
def test_weight_of_one_dimension_equals_a_single_output(rule):
    model, row = OneOutput(), nn.Linear(3, 1, bias=False).double()
    row.load_state_dict({"weight": model.weight[None]})
    rng = np.random.default_rng(2)
    x, R = torch.tensor(rng.normal(size=(2, 5, 3))), torch.tensor(rng.normal(size=(2, 5)))
    assert_close(relevance(model, x, R, RULES[rule][0]), relevance(row, x, R[..., None], RULES[rule][0]))


# --- box bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1, 1), (2, 1, 1), (3, 4), (2, 3, 4), (2, 2, 3, 4), (2, 1, 1, 1)])
def test_box_bounds_broadcast_as_torch_does(shape):
    module, x, R, matrices = operation("conv2d", "normal")
    rng = np.random.default_rng(3)
    low, high = torch.tensor(-rng.uniform(2, 4, shape)), torch.tensor(rng.uniform(2, 4, shape))
    expected = oracle.relevance(oracle.zbox(low, high, oracle.plain()), matrices, x, R)
    assert_close(relevance(module, x, R, rf.rules.zbox(low, high)), expected)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 3, 4), (1, 2, 2, 3, 4)])
def test_box_bounds_that_fit_no_input_are_an_error(shape):
    module, x, R, _ = operation("conv2d", "normal")
    with pytest.raises(PropagateError, match="does not broadcast to an input of shape"):
        relevance(module, x, R, rf.rules.zbox(-torch.ones(shape), torch.ones(shape)))


# --- stabilizers ------------------------------------------------------------------------------------

STABILIZERS = {
    "plain": (Plain(0.5), oracle.plain(0.5)),
    "clipping": (Clipping(0.5), oracle.clipping(0.5)),
    "norm": (NormScaled(0.5), oracle.norm_scaled(0.5)),
    "norm of one dimension": (NormScaled(0.5, dim=(0,)), oracle.norm_scaled(0.5, (0,))),
    "norm, clipping": (NormScaled(0.5, clip=True), oracle.norm_scaled(0.5, clip=True)),
}


@pytest.mark.parametrize("name", STABILIZERS)
def test_stabilizer_equals_its_formula(name):
    stabilizer, formula = STABILIZERS[name]
    z = torch.tensor(np.random.default_rng(0).normal(size=(3, 4, 2)))
    z[0, 0, 0], z[1, 1, 1], z[2, 2, 0] = 0.0, -0.0, 0.25
    np.testing.assert_allclose(stabilizer(z).numpy(), formula(z.numpy()), rtol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", STABILIZERS)
def test_stabilizer_divides_any_finite_value(name, dtype):
    z = torch.zeros(3, 4, dtype=dtype)
    z[1], z[2, 0] = 300, -0.001
    assert torch.isfinite(1 / STABILIZERS[name][0](z)).all()


# --- facts simplify ---------------------------------------------------------------------------------

TABLES = {name: rule for name, (rule, _) in RULES.items()}
TABLES |= {
    "epsilon 0": rf.rules.epsilon(0),
    "gamma, norm over all": rf.rules.gamma(stabilizer=NormScaled(0.3, dim=(0, 1))),
    "epsilon, norm over all": rf.rules.epsilon(NormScaled(0.3)),
    "own": Rule(
        "own",
        (
            Branch((Term(POSITIVE, (2.0, 1.0), NONE), Term(NEGATIVE, ALL, POSITIVE)), scale=0.5, gate=1),
            Branch((Term(NEGATIVE, NEGATIVE, NONE),), scale=2.0),
            Branch((Term((0.5, 2.0), ALL, ALL, -1),), gate=-1),
        ),
    ),
}


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("rule", TABLES)
def test_simplify_never_changes_the_relevance(rule, nonnegative, dead):
    """Where inputs are not negative, or relevance vanishes behind a ReLU of which only the output is kept."""
    rng = np.random.default_rng(8)
    x, W, b = (torch.tensor(rng.normal(size=size)) for size in ((5, 4), (6, 4), (6,)))
    x = x.clamp(min=0) if nonnegative else x
    z = F.linear(x, W, b)
    R = torch.tensor(rng.normal(size=(5, 6)))
    R = R * (z > 0) if dead else R
    call = Call(F.linear, (Slot(0), Slot(1), Slot(2)), {}, (0,))
    (full,) = Propagate(TABLES[rule], call, (0,), False)(R, z, x, W, b)
    simple = simplify(TABLES[rule], nonnegative=nonnegative, dead_below_zero=dead)
    (short,) = Propagate(simple, call, (0,), dead)(R, z.relu() if dead else z, x, W, b)
    assert torch.isfinite(full).all()
    torch.testing.assert_close(short, full, rtol=1e-12, atol=1e-13)


def test_simplify_does_less():
    terms = [len(b.terms) for b in simplify(rf.rules.gamma(), nonnegative=True, dead_below_zero=True).branches]
    assert terms == [1]
    assert simplify(rf.rules.alpha_beta(1, 0), nonnegative=False, dead_below_zero=False).branches[1:] == ()


@pytest.mark.parametrize("rule", ["epsilon 0", "epsilon, norm over all", "gamma, norm over all", "gamma"])
def test_relu_behind_an_operation_does_not_change_its_rule(rule):
    """The graph's facts, as used by the whole pipeline, against the same operations explained one by one."""
    torch.manual_seed(0)
    head, tail = nn.Linear(4, 6).double(), nn.Linear(6, 3).double()
    x, R = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    composite = rf.composites.by_type({"linear": TABLES[rule], "relu": rf.rules.pass_()})
    _, together = rf.gradient(rf.lrp(nn.Sequential(head, nn.ReLU(), tail).eval(), composite))(x, R)
    z = head(x).detach()
    _, upper = rf.gradient(rf.lrp(nn.Sequential(tail).eval(), composite))(z.relu(), R)
    _, alone = rf.gradient(rf.lrp(nn.Sequential(head).eval(), composite))(x, upper)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


# --- rules of a user's own --------------------------------------------------------------------------


def test_own_rule_as_a_function_gets_the_call_its_values_its_output_and_relevance():
    def mine(call, values, output, relevance):
        share = relevance / (output + 0.1 * output.sign())
        return tuple(values[slot] * grad for slot, grad in zip(call.data, call.transpose(share, *values), strict=True))

    module, x, R, matrices = operation("conv2d", "normal")
    expected = oracle.relevance(oracle.epsilon(oracle.plain(0.1)), matrices, x, R)
    assert_close(relevance(module, x, R, mine), expected)


def test_own_rule_sees_the_output_of_its_operation_not_of_the_relu_behind_it():
    seen = []

    def watching(call, values, output, relevance):
        seen.append(output)
        return call.transpose(relevance, *values)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    rules = {"relu": rf.rules.pass_(), "*": rf.rules.epsilon()}
    composite = rf.composites.mixed(rf.composites.by_name({"0": watching}), rf.composites.by_type(rules))
    rf.gradient(rf.lrp(model, composite))(x, 1)
    torch.testing.assert_close(seen[0], model[0](x).detach())
    assert (seen[0] < 0).any()


def test_own_rule_as_a_table():
    """Negative inputs ignored, weights of any sign kept."""
    table = Rule("positive_input", (Branch((Term(POSITIVE, ALL, NONE),)),), Plain(0.1))
    module, x, R, matrices = operation("conv2d, groups", "normal")

    def formula(op, x, R):
        A = op.matrix(op.W)
        z = A @ oracle.pos(x)
        return oracle.pos(x) * (A.T @ (R / oracle.plain(0.1)(z)))

    assert_close(relevance(module, x, R, table), oracle.relevance(formula, matrices, x, R))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("first", [nn.ReLU(), nn.Identity()], ids=["mirrored", "as written"])
def test_gamma_gives_nothing_to_an_output_of_zero(first, dtype):
    """Neither gate of its table is on there, however it is read."""
    model = nn.Sequential(first, nn.Linear(2, 1, bias=False)).eval().to(dtype)
    model[1].weight.data = torch.tensor([[1.0, -1.0]], dtype=dtype)
    composite = rf.composites.by_type({"linear": rf.rules.gamma(1.0), "relu": rf.rules.pass_()})
    _, relevance = rf.gradient(rf.lrp(model, composite))(torch.ones(1, 2, dtype=dtype), torch.ones(1, 1, dtype=dtype))
    assert relevance.tolist() == [[0.0, 0.0]]
