"""What is said of an operation is said of that operation: indices, attributes, names of functions, declared kinds."""

import inspect
import operator
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf
from relfunc.errors import RelfuncError
from relfunc.ops.table import OPS, Op

from ..kinds import GRADIENT, assert_is_the_model, by_autograd, mlp, net, normal, ones

INDEX = torch.tensor([3, 1, 0, 2])
MASK = torch.tensor([True, False, True, True])

# --- indices, and attributes that are tensors ---------------------------------------------------------------

READS = {
    "permutation": lambda s, x: s.a(x[:, s.i]),
    "permutation of samples": lambda s, x: s.a(x)[s.i[:2] - 1],
    "negative indices": lambda s, x: s.a(x[:, s.i - 4]),
    "repeated indices": lambda s, x: s.a(x[:, s.i * 0 + 1]),
    "two tensors": lambda s, x: s.a(x)[s.i[1:3], s.i[:2] - 1],
    "tensor and slice": lambda s, x: s.a(x)[1:, s.i[:3]],
    "tensor and None": lambda s, x: s.a(x)[:, None, s.i[1:]],
    "tensor behind an ellipsis": lambda s, x: s.a(x)[..., s.i[1:]],
    "two dimensions": lambda s, x: s.a(x)[:, s.i.view(2, 2)],
    "mask": lambda s, x: s.a(x)[:, :4][:, s.m],
    "mask of samples": lambda s, x: s.a(x)[s.m[:3]],
    "mask over both axes": lambda s, x: s.a(x)[:, :4][s.m[:3, None] & s.m],
    "mask made of the input": lambda s, x: s.a(x)[x[:, 0] > -9.0],
    "mask of bytes made bool": lambda s, x: s.a(x[:, s.m.byte().bool().repeat(2)[:4]].repeat(1, 2)[:, :4]),
    "inverted mask": lambda s, x: s.a(x)[:, :4][:, ~s.m],
    "list": lambda s, x: s.a(x[:, [3, 1, 0, -2]]),
    "list of bools": lambda s, x: s.a(x)[[True, False, True]],
    "nested list": lambda s, x: s.a(x)[:, [[0, 1], [2, 3]]],
    "range": lambda s, x: s.a(x[:, list(range(3, -1, -1))]),
    "array": lambda s, x: s.a(x[:, np.array([3, 1, 0, 2])]),
    "tensor made in the forward": lambda s, x: s.a(x[:, torch.tensor([1, 1, 0, 3])]),
    "arange": lambda s, x: s.a(x[:, torch.arange(x.shape[1] - 1, -1, -1)]),
    "sample by sample": lambda s, x: s.a(x)[torch.arange(x.shape[0]), s.i[:3]],
    "negative": lambda s, x: s.a(x)[..., -1],
    "None": lambda s, x: s.a(x[None, :, None])[0, :, 0],
    "step": lambda s, x: s.a(x)[:, ::2],
    "slice to a size": lambda s, x: s.a(x)[: x.shape[0] - 1, : x.shape[1]],
    "ellipsis": lambda s, x: s.a(x)[..., None][..., 0],
    "tuple made before": lambda s, x: s.a(x)[(slice(None), slice(1, 3))],
    "index_select": lambda s, x: s.a(x.index_select(1, s.i)),
    "index_select of a constant": lambda s, x: s.a(x) @ s.a.weight.index_select(1, s.i),
    "gather": lambda s, x: s.a(x).gather(1, s.i.expand(3, 4)),
    "gather by keyword": lambda s, x: torch.gather(input=s.a(x), dim=1, index=s.i.expand(3, 4)),
    "take": lambda s, x: torch.take(s.a(x), s.i),
    "take_along_dim": lambda s, x: torch.take_along_dim(s.a(x), s.i[None], 1),
    "masked_select": lambda s, x: torch.masked_select(s.a(x)[:, :4], s.m),
    "masked_fill": lambda s, x: s.a(x)[:, :4].masked_fill(s.m, 2.0),
    "where": lambda s, x: torch.where(s.m, s.a(x)[:, :4], x),
    "where of the input's own mask": lambda s, x: torch.where(x > 0, x, 0.1 * x),
    "index_fill": lambda s, x: s.a(x).index_fill(1, s.i[:2], 0.0),
    "index_add": lambda s, x: s.a(x).index_add(1, s.i, x),
    "index_put": lambda s, x: s.a(x).index_put((s.i[1:3], s.i[:2] - 1), x[0, :2]),
    "scatter": lambda s, x: s.a(x).scatter(1, s.i[None, :2].expand(3, 2), x[:, :2]),
    "scatter_add": lambda s, x: torch.zeros(3, 5, dtype=x.dtype).scatter_add(1, s.i.expand(3, 4), x),
    "set by a slice": lambda s, x: assigned(s.a(x), (slice(None), 0), x[:, 1] * 2),
    "set by a tensor": lambda s, x: assigned(s.a(x), (slice(None), s.i[:2]), x[:, 2:]),
    "set by a mask": lambda s, x: assigned(s.a(x)[:, :4].clone(), (slice(None), s.m), 0.5),
    "set by the input's mask": lambda s, x: assigned(s.a(x)[:, :4].clone(), x > 0, 0.0),
    "T": lambda s, x: (s.a.weight @ x.T).T,
    "T twice": lambda s, x: s.a(x.T.T),
    "mT": lambda s, x: (s.a.weight @ x.mT).mT,
    "H": lambda s, x: (s.a.weight @ x.H).H,
    "mH": lambda s, x: (s.a.weight @ x.mH).mH,
    "adjoint": lambda s, x: (s.a.weight @ x.adjoint()).adjoint(),
    "real": lambda s, x: s.a(x.real),
    "T of a weight": lambda s, x: x @ s.a.weight.T,
    "getattr": lambda s, x: (s.a.weight @ getattr(x, "T")).T,  # noqa: B009
    "values of max": lambda s, x: s.a(x).max(1).values,
    "indices beside values": lambda s, x: (lambda m: m.values * (m.indices + 1))(s.a(x).max(1)),
    "values of min": lambda s, x: torch.min(s.a(x), dim=1, keepdim=True).values,
    "values of a sort": lambda s, x: s.a(x).sort(1, descending=True).values,
    "values of topk": lambda s, x: s.a(x).topk(2).values,
    "values of the median": lambda s, x: s.a(x).median(1).values,
    "values of kthvalue": lambda s, x: s.a(x).kthvalue(2, 1).values,
    "values of cummax": lambda s, x: s.a(x).cummax(1).values,
    "first of max": lambda s, x: torch.max(s.a(x), 1)[0],
    "gather at the greatest": lambda s, x: (lambda h: h.gather(1, h.argmax(1, keepdim=True)))(s.a(x)),
    "gather at the sorted": lambda s, x: (lambda h: h.gather(1, h.sort(1).indices))(s.a(x)),
    "detached": lambda s, x: s.a(x) * x.detach()[:, :1],
    "data": lambda s, x: s.a(x) * x.data[:, :1],
    "size as a number": lambda s, x: s.a(x) * x.shape[1] / x.size(-1) + x.ndim,
    "last chunks": lambda s, x: torch.cat(s.a(x).chunk(3, 1)[1:], 1),
    "reversed chunks": lambda s, x: torch.cat(s.a(x).split(2, 1)[::-1], 1),
    "unbound": lambda s, x: torch.stack(s.a(x).unbind(1)[1:], 1),
    "mean over an axis": lambda s, x: s.a(x).mean(axis=1, keepdim=True),
    "sum over axes": lambda s, x: torch.sum(s.a(x)[:, None], axis=(1, 2), keepdims=True),
    "greatest over an axis": lambda s, x: s.a(x).amax(axis=-1),
    "concatenated over an axis": lambda s, x: torch.cat([s.a(x), x], axis=1),
    "flattened from": lambda s, x: s.a(x)[:, None].flatten(start_dim=1),
}


def assigned(h, index, value):
    h[index] = value
    return h


@pytest.mark.parametrize("case", READS)
def test_reading_parts_of_a_tensor(case):
    assert_is_the_model(net(READS[case], a=nn.Linear(4, 5), i=INDEX.clone(), m=MASK.clone()))


# --- functions of the user's --------------------------------------------------------------------------------


def of(function, op):
    """Model with a user's function of any name behind its first layer."""
    ops = {**OPS, function: op}
    return rf.intervene(mlp(), {"0": function}, ops=ops), {"ops": ops}


def named(name, function):
    function.__name__ = function.__qualname__ = name
    return function


def half(v):
    return 0.5 * v


def mixing(v):
    return 0.5 * v + 0.25 * v.roll(1, -1)


def halved(v):
    return v.tanh() + v


NAMED = {
    **{name: (mixing, Op("activation")) for name in ("relu", "sigmoid", "softmax", "layer_norm", "abs", "linear")},
    **{name: (half, Op("scaling", type="scaling")) for name in ("mean", "half_", "float", "mul", "dropout", "to")},
    **{name: (mixing, Op("combination", type="sum")) for name in ("add", "sum", "cat", "matmul", "mm", "stack")},
    **{
        name: (lambda v: v.flip(-1), Op("move", type="move")) for name in ("getitem", "size", "view", "clone", "detach")
    },
    **{
        name: (halved, Op("activation")) for name in ("max_pool2d", "batch_norm", "conv2d", "randn", "getattr", "zeros")
    },
    **{name: (halved, Op("other", type="other")) for name in ("lstm", "div", "pow", "scale_shift", "written")},
}


@pytest.mark.parametrize("name", NAMED)
def test_a_function_of_the_users_may_have_any_name(name):
    function, op = NAMED[name]
    model, options = of(named(name, lambda v, function=function: function(v)), op)
    layers = list(mlp())

    def by_hand(x):
        return layers[2](F.relu(function(layers[0](x))))

    expected = by_autograd(by_hand, normal())
    output, relevance = rf.gradient(rf.lrp(model, GRADIENT, **options))(normal(), ones)
    torch.testing.assert_close((output, (relevance,)), expected, rtol=1e-10, atol=1e-12)


# --- what is declared of one spelling is declared of all ------------------------------------------------------

SPELLED = {
    "erf": (
        [torch.erf, torch.Tensor.erf, torch.erf_, torch.special.erf, "erf", torch.ops.aten.erf.default],
        [torch.erf, lambda h: h.erf(), lambda h: h.erf_(), torch.special.erf, torch.ops.aten.erf.default],
    ),
    "abs": (
        [torch.abs, torch.absolute, torch.Tensor.abs, torch.Tensor.abs_, operator.abs, "abs", torch.ops.aten.abs],
        [torch.abs, lambda h: h.abs(), abs, lambda h: h.absolute(), lambda h: h.abs_()],
    ),
    "neg": (
        [torch.neg, torch.negative, operator.neg, torch.Tensor.neg, "neg", torch.ops.aten.neg.default],
        [torch.neg, lambda h: -h, lambda h: h.negative(), lambda h: h.neg_()],
    ),
    "silu": ([F.silu, "silu", torch.ops.aten.silu.default], [F.silu, nn.SiLU(), nn.SiLU(inplace=True)]),
    "softmax": (
        [F.softmax, torch.softmax, torch.Tensor.softmax, "softmax", torch.special.softmax],
        [lambda h: F.softmax(h, 1), lambda h: h.softmax(1), nn.Softmax(1), lambda h: torch.softmax(h, dim=-1)],
    ),
    "clamp": (
        [torch.clamp, torch.clip, torch.Tensor.clip_, "clamp"],
        [lambda h: h.clamp(0, 1), lambda h: h.clip(min=0), lambda h: torch.clamp(h, max=1)],
    ),
    "cumprod": (
        [torch.cumprod, torch.Tensor.cumprod, "cumprod"],
        [lambda h: h.cumprod(1), lambda h: torch.cumprod(h, 1)],
    ),
}
DECLARED = [
    pytest.param(key, call, id=f"{name}-{i}-{j}")
    for name, (keys, calls) in SPELLED.items()
    for i, key in enumerate(keys)
    for j, call in enumerate(calls)
]


@pytest.mark.parametrize(("key", "call"), DECLARED)
def test_what_is_declared_of_one_spelling_is_declared_of_all(key, call):
    model = net(lambda s, x: call(s.a(x)), a=nn.Linear(4, 3))
    composite = rf.composites.by_type({"mine|linear": rf.rules.gradient()})
    options = {"ops": {**OPS, key: Op("activation", type="mine")}}
    expected = by_autograd(model, normal())
    output, relevance = rf.gradient(rf.lrp(model, composite, **options))(normal(), ones)
    torch.testing.assert_close((output, (relevance,)), expected, rtol=1e-9, atol=1e-12)


BILINEAR = {
    "matmul": lambda s, x: torch.matmul(s.a(x).unsqueeze(1), s.a(x).unsqueeze(2)).flatten(1),
    "operator": lambda s, x: (s.a(x).unsqueeze(1) @ s.b(x).unsqueeze(2)).flatten(1),
    "bmm": lambda s, x: torch.bmm(s.a(x).unsqueeze(1), s.b(x).unsqueeze(2)).flatten(1),
    "einsum": lambda s, x: torch.einsum("bi,bi->b", s.a(x), s.b(x))[:, None],
    "mul": lambda s, x: s.a(x) * s.b(x),
    "square": lambda s, x: (lambda h: h * h)(s.a(x)),
    "mm": lambda s, x: torch.mm(s.a(x), s.b(x).t()),
}
KINDS = {
    "product": Op("product", type="product"),
    "sum": Op("combination", type="sum"),
    "matrix product": Op("product", type="matrix_product"),
}
PRODUCTS = [(case, kind) for case in BILINEAR for kind in KINDS if kind != "sum" or case not in {"mul", "square"}]


@pytest.mark.parametrize(("case", "kind"), PRODUCTS)
def test_a_product_of_two_activations_never_doubles_relevance(case, kind):
    model = net(BILINEAR[case], a=nn.Linear(4, 5, bias=False), b=nn.Linear(4, 5, bias=False))
    names = {"operator": "matmul", "square": "mul"}
    ops = {**OPS, names.get(case, case): KINDS[kind]}
    try:
        f = rf.lrp(model, rf.composites.epsilon_plus(epsilon=1e-12, stabilizer=1e-12), ops=ops)
    except RelfuncError as error:
        if "ops=" in str(error):  # that is what was just followed
            raise
        return
    y, relevance = rf.gradient(f)(normal())
    torch.testing.assert_close(relevance.sum(), y.sum(), rtol=1e-6, atol=1e-9)


OF_WEIGHTS = {
    "linear": lambda s, x: F.linear(s.a(x), s.b(x)),
    "linear of a constant": lambda s, x: F.linear(s.b.weight.t(), s.b(x)),
    "conv1d": lambda s, x: F.conv1d(s.a(x)[None], s.b(x)[..., None, :2].transpose(1, 2)[:, :1].expand(3, 3, 2)),
}


@pytest.mark.parametrize("case", OF_WEIGHTS)
def test_a_layer_whose_weights_depend_on_the_input_is_a_product(case):
    model = net(OF_WEIGHTS[case], a=nn.Linear(4, 5, bias=False), b=nn.Linear(4, 5, bias=False))
    f = rf.lrp(model, rf.composites.epsilon_plus(epsilon=1e-12, stabilizer=1e-12))
    y, relevance = rf.gradient(f)(normal())
    torch.testing.assert_close(relevance.sum(), y.sum(), rtol=1e-6, atol=1e-9)


def test_a_layer_of_which_weights_and_bias_depend_on_the_input_is_refused_with_advice():
    model = net(lambda s, x: F.linear(s.a(x), s.a(x), x[:, 0]), a=nn.Linear(4, 5))
    with pytest.raises(rf.composites.CompositeError, match=r"the weights of 'linear'.*write it as a product"):
        rf.lrp(model, rf.composites.epsilon_plus())


# --- operations without a rule say what to do ----------------------------------------------------------------


class Last(nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers_ask_for_an_example_and_take_it(kind, bidirectional):
    rnn = kind(4, 3 if bidirectional else 6, batch_first=True, bidirectional=bidirectional)
    model = Last(rnn).double().eval()
    x = normal(2, 5, 4)
    with pytest.raises(RelfuncError, match="example_inputs") as caught:
        rf.lrp(model, rf.composites.epsilon_plus())
    assert "ops=" not in str(caught.value)
    assert rf.gradient(rf.lrp(model, rf.composites.epsilon_plus(), example_inputs=(x,)))(x, 0)[1].any()


# --- rules by name, and the line that a warning names -------------------------------------------------------------


def image_model():
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 2)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("name", "rule", "operation", "wanted"),
    [
        ("2", rf.rules.proportional(), "max_pool2d", "proportional"),
        ("[2]", rf.rules.proportional(), "max_pool2d", "proportional"),
        ("2*", rf.rules.proportional(), "max_pool2d", "proportional"),
        ("3", rf.rules.norm(), "avg_pool2d", "norm"),
        ("3", rf.rules.gradient(), "avg_pool2d", "gradient"),
        ("1", rf.rules.gradient(), "relu", "gradient"),
        ("1", rf.rules.deconvnet(), "relu", "deconvnet"),
        ("5", rf.rules.flat(), "linear", "flat"),
        ("*", rf.rules.gamma(0.5), "conv2d", "gamma"),
    ],
)
def test_rules_by_name_reach_what_they_are_for(name, rule, operation, wanted):
    composite = rf.composites.mixed(rf.composites.by_name({name: rule}), rf.composites.epsilon_plus())
    table = rf.plan(image_model(), composite)
    assert table.query("operation == @operation")["rule"].item().startswith(wanted)


@pytest.mark.parametrize("name", ["featuers.0", "6", "conv", "0.*", "Conv2d", "module.0"])
@pytest.mark.parametrize("of", ["lrp", "plan", "audit"])
def test_rules_by_name_that_match_nothing_warn_at_the_line_that_asked(name, of):
    composite = rf.composites.mixed(rf.composites.by_name({name: rf.rules.flat()}), rf.composites.epsilon_plus())
    x = torch.rand(1, 3, 6, 6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arguments = (x, 0) if of == "audit" else ()
        line = inspect.currentframe().f_lineno + 1
        getattr(rf, of)(image_model(), composite, *arguments)
    assert [(w.lineno, w.filename) for w in caught] == [(line, __file__)]
    assert repr(name) in str(caught[0].message)


@pytest.mark.parametrize(
    ("name", "rule", "message"),
    [
        ("2", rf.rules.flat(), "no operation that flat"),
        ("0", rf.rules.proportional(), "no operation that prop"),
    ],
)
def test_rules_by_name_that_do_not_suit_the_module_warn(name, rule, message):
    composite = rf.composites.mixed(rf.composites.by_name({name: rule}), rf.composites.epsilon_plus())
    with pytest.warns(rf.composites.CompositeWarning, match=message):
        rf.lrp(image_model(), composite)
