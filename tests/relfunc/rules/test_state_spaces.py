"""State spaces: relevance is the input times the gradient of a model whose state's parameters are constants.

Jafari et al. 2024 (MambaLRP): SiLU by the factor f(x) / x, Δ, A, B and C constant, halves to a value and its gate, and
the deviation of a norm constant. Two models: a selective state space step by step, and one by chunks in which decayed
scores weigh values. Of the second the graph does not tell what is a parameter, and rows of a composite say it.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relfunc as rf

from ..efficient import activation, fraction

EXACT: dict[str, Any] = {"epsilon": 1e-14, "stabilizer": 1e-14}
WIDTH, STATE, RANK, HEADS = 6, 3, 2, 2


def constant(a: Tensor, modified: bool) -> Tensor:
    return a.detach() if modified else a


class Mixer(nn.Module):
    """The parts that both have: a projection, a causal convolution, a gate, and a projection."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.inlet = nn.Linear(WIDTH, WIDTH + features, bias=False)
        self.convolution = nn.Conv1d(features, features, 3, groups=features, padding=2)
        self.skip = nn.Parameter(torch.ones(WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, modified: bool) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        z, values = self.inlet(x * constant(scale, modified) * self.weight).split(
            [WIDTH, self.convolution.in_channels], -1
        )
        convolved = self.convolution(values.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        y = self.scan(activation(F.silu, convolved, modified), modified)
        gated = y * activation(F.silu, z, modified)
        return x + self.out(fraction(gated, 1 / 2, modified))

    def scan(self, u: Tensor, modified: bool) -> Tensor:
        raise NotImplementedError


class Selective(Mixer):
    """A selective state space, step by step."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.select = nn.Linear(WIDTH, RANK + 2 * STATE, bias=False)
        self.widen = nn.Linear(RANK, WIDTH)
        self.log_rate = nn.Parameter(torch.rand(WIDTH, STATE))

    def scan(self, u: Tensor, modified: bool) -> Tensor:
        narrow, b, c = self.select(u).split([RANK, STATE, STATE], -1)
        delta = constant(F.softplus(self.widen(narrow)), modified)
        b, c = constant(b, modified), constant(c, modified)
        decay = torch.exp(-self.log_rate.exp() * delta[..., None])
        write = delta[..., None] * b[:, :, None] * u[..., None]
        state = u.new_zeros(len(u), WIDTH, STATE)
        outputs = []
        for t in range(u.shape[1]):
            state = decay[:, t] * state + write[:, t]
            outputs.append((state @ c[:, t, :, None])[..., 0])
        return torch.stack(outputs, 1) + u * self.skip


class Chunked(Mixer):
    """A state space by one chunk: decayed products of what reads and what writes weigh the values."""

    def __init__(self) -> None:
        super().__init__(WIDTH + 2 * STATE)
        self.delta = nn.Linear(WIDTH, HEADS)
        self.log_rate = nn.Parameter(torch.rand(HEADS))

    def scan(self, u: Tensor, modified: bool) -> Tensor:
        x, b, c = u.split([WIDTH, STATE, STATE], -1)
        b, c = (constant(a[:, :, None].repeat_interleave(HEADS, 2), modified) for a in (b, c))
        delta = constant(F.softplus(self.delta(x)), modified)
        values = x.unflatten(-1, (HEADS, -1))
        total = (-self.log_rate.exp() * delta).cumsum(1)
        causal = torch.ones((u.shape[1], u.shape[1]), dtype=torch.bool).tril()[None, :, :, None]
        decay = torch.exp((total[:, :, None] - total[:, None]).masked_fill(~causal, -torch.inf))
        weights = torch.einsum("blhn,bshn->blsh", c, b) * decay
        y = torch.einsum("blsh,bshp->blhp", weights, values * delta[..., None])
        return y.flatten(2) + x * self.skip


class Network(nn.Module):
    def __init__(self, mixer: type[Selective] | type[Chunked]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixers = nn.ModuleList(mixer() for _ in range(2))
        self.head, self.modified = nn.Linear(WIDTH, 3, bias=False), False
        for parameter in self.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        for mixer in self.mixers:
            x = mixer(x, self.modified)
        return self.head(x[:, -1])


def example() -> Tensor:
    return torch.randn(2, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def efficient(model: Network, x: Tensor) -> Tensor:
    x, model.modified = x.clone().requires_grad_(), True
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    model.modified = False
    return x.detach() * gradient


def relevance(model: Network, composite: Any, x: Tensor, via: str = "trace") -> Tensor:
    captured = rf.capture(model, via=via, example_inputs=x)  # type: ignore[arg-type]
    return rf.gradient(rf.lrp(captured, composite))(x, lambda y: y * torch.eye(3, dtype=y.dtype)[1])[1]


VIA = pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])


@VIA
@pytest.mark.parametrize("composite", [rf.composites.attnlrp, rf.composites.cp_lrp])
def test_parameters_of_a_recurrent_state_are_constants(composite, via):
    model, x = Network(Selective), example()
    wanted = efficient(model, x)
    assert (relevance(model, composite(**EXACT), x, via) - wanted).abs().max() <= 1e-10 * wanted.abs().max()


PARAMETERS = rf.composites.by_where(
    {
        rf.composites.having(name="softplus"): rf.rules.constant(),
        rf.composites.having(name="repeat_interleave"): rf.rules.constant(),
    },
    name="state_parameters",
)


@VIA
def test_rows_name_the_parameters_of_a_scan_by_chunks(via):
    model, x = Network(Chunked), example()
    wanted, composite = efficient(model, x), rf.composites.mixed(PARAMETERS, rf.composites.attnlrp(**EXACT))
    assert (relevance(model, composite, x, via) - wanted).abs().max() <= 1e-10 * wanted.abs().max()
    unnamed = relevance(model, rf.composites.attnlrp(**EXACT), x, via)
    assert (unnamed - wanted).abs().max() > 1e-3 * wanted.abs().max()


class Gated(nn.Module):
    """No state space: a decayed value that is added once, and a state whose output a gate multiplies."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = recurrent
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        rate, value, gate = (layer(x) for layer in self.layers)
        decay = torch.exp(-F.softplus(rate))
        state = decay[:, 0] * value[:, 0] + value[:, 1]
        if self.recurrent:
            state = decay[:, 2] * state + value[:, 2]
        return state * gate[:, 0]


@pytest.mark.parametrize("recurrent", [False, True])
def test_neither_a_single_decay_nor_what_multiplies_elementwise_is_a_parameter(recurrent):
    f = rf.lrp(Gated(recurrent).eval(), rf.composites.attnlrp(), example_inputs=example())
    assert not f._lrp.known.state_parameters


def test_constant_sends_all_to_what_it_multiplies():
    class Product(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.tanh(a) * torch.sin(b)

    composite = rf.composites.mixed(
        rf.composites.by_where({rf.composites.having(name="tanh"): rf.rules.constant()}), rf.composites.attnlrp()
    )
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    y, found = rf.gradient(rf.lrp(Product().eval(), composite))((a, b), lambda y: y)
    assert not found[0].any()
    assert torch.equal(found[1], y)


class Shared(nn.Module):
    """A state whose decay and what is written to it are parts of one layer's output, or of two layers'."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.both = nn.Linear(WIDTH, 2 * WIDTH)
        self.layers = layers
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.layers == 1:
            rate, value = self.both(x).chunk(2, -1)
        else:
            halves = zip(self.both.weight.chunk(2), self.both.bias.chunk(2), strict=True)
            rate, value = (F.linear(x, weight, bias) for weight, bias in halves)
        state = torch.zeros_like(value[:, 0])
        for t in range(x.shape[1]):
            state = torch.exp(-rate[:, t]) * state + value[:, t]
        return state


def test_what_is_written_has_relevance_also_where_one_layer_makes_it_and_the_decay():
    x = example()
    one, two = (
        rf.gradient(rf.lrp(Shared(n), rf.composites.attnlrp(**EXACT), example_inputs=x))(x, lambda y: y)[1]
        for n in (1, 2)
    )
    assert (one - two).abs().max() <= 1e-9 * two.abs().max()
    assert two.abs().max() > 0.1
