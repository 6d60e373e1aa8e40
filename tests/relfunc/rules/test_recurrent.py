"""Recurrent networks are what their cells are, written out by hand; gates leave all relevance to the signal."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relfunc as rf

from ..kinds import net, normal, ones
from .test_attention import close

ATTNLRP = rf.composites.attnlrp(epsilon=1e-9, stabilizer=1e-9)


def lstm_cell(x, state, w, u, b, c, project=None):
    h, m = state
    i, f, g, o = (F.linear(x, w, b) + F.linear(h, u, c)).chunk(4, -1)
    m = f.sigmoid() * m + i.sigmoid() * g.tanh()
    h = o.sigmoid() * m.tanh()
    return (h if project is None else F.linear(h, project)), m


def gru_cell(x, state, w, u, b, c):
    r, z, n = F.linear(x, w, b).chunk(3, -1)
    s, y, k = F.linear(state[0], u, c).chunk(3, -1)
    z = (z + y).sigmoid()
    return ((1 - z) * (n + (r + s).sigmoid() * k).tanh() + z * state[0],)


def rnn_cell(x, state, w, u, b, c):
    return (torch.tanh(F.linear(x, w, b) + F.linear(state[0], u, c)),)


class ByHand(nn.Module):
    """The same network with the parameters of a module of torch's, as a loop over cells."""

    def __init__(self, module, cell, states):
        super().__init__()
        self.module, self.cell, self.states = module, cell, states
        self.eval()

    def forward(self, x):
        m = self.module
        steps = list(x.unbind(1))
        for layer in range(m.num_layers):
            found = []
            for suffix in ["", "_reverse"][: 1 + m.bidirectional]:
                names = [f"{name}_l{layer}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
                weights = [getattr(m, name, None) for name in names]
                weights += [getattr(m, f"weight_hr_l{layer}{suffix}")] if getattr(m, "proj_size", 0) else []
                sizes = [getattr(m, "proj_size", 0) or m.hidden_size, m.hidden_size][: self.states]
                state = tuple(torch.zeros(2, size, dtype=torch.float64) for size in sizes)
                outputs = []
                for step in steps[:: -1 if suffix else 1]:
                    state = self.cell(step, state, *weights)
                    outputs.append(state[0])
                found.append(outputs[:: -1 if suffix else 1])
            steps = [torch.cat(parts, -1) for parts in zip(*found, strict=True)]
        return torch.stack(steps, 1)


KINDS = {"lstm": (nn.LSTM, lstm_cell, 2), "gru": (nn.GRU, gru_cell, 1), "rnn": (nn.RNN, rnn_cell, 1)}
OPTIONS = {
    "one layer": {},
    "stacked": {"num_layers": 2},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "no biases": {"bias": False},
    "projected": {"proj_size": 2},
    "projected, no biases": {"proj_size": 2, "bias": False},
}
CASES = [(kind, how) for kind, how in itertools.product(KINDS, OPTIONS) if kind == "lstm" or "projected" not in how]


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch's, about its own modules
@pytest.mark.parametrize("via", ["trace", pytest.param("export", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "how"), CASES)
def test_a_recurrent_network_is_that_by_hand(kind, how, via):
    make, cell, states = KINDS[kind]
    model = net(lambda s, x: s.m(x)[0], m=make(3, 4, batch_first=True, **OPTIONS[how]))
    by_hand, x = ByHand(model.m, cell, states), normal(2, 3, 3)
    torch.testing.assert_close(model(x), by_hand(x))
    captured = rf.capture(model, via=via, example_inputs=x)
    expected = rf.gradient(rf.lrp(by_hand, ATTNLRP, example_inputs=x))(x, ones)[1]
    found = rf.gradient(rf.lrp(captured, ATTNLRP))(x, ones)[1]
    close(found, expected, 1e-8)


def test_cells_are_written_out_too():
    model = net(lambda s, x: s.c(x, (x, x))[0], c=nn.LSTMCell(4, 4))
    x = normal()
    found = rf.gradient(rf.lrp(model, ATTNLRP, example_inputs=x))(x, ones)[1]
    cell = model.c

    def written(s, x):
        return lstm_cell(x, (x, x), cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)[0]

    expected = rf.gradient(rf.lrp(net(written), ATTNLRP))(x, ones)[1]
    close(found, expected, 1e-8)


def test_steps_that_are_not_known_are_an_error_that_says_what_to_do():
    model = net(lambda s, x: torch.lstm(x, (s.h, s.h), [s.w, s.u], False, 1, 0.0, False, False, True)[0])
    model.register_buffer("h", torch.zeros(1, 2, 4).double())
    model.register_buffer("w", normal(16, 3))
    model.register_buffer("u", normal(16, 4))
    with pytest.raises(rf.errors.RelfuncError, match="give example_inputs, and no packed sequence"):
        rf.lrp(model, ATTNLRP)
    f = rf.gradient(rf.lrp(model, ATTNLRP, example_inputs=normal(2, 3, 3)))
    assert f(normal(2, 3, 3), ones)[1].isfinite().all()
    with pytest.raises(rf.errors.RelfuncError, match="a size that was 3"):
        f(normal(2, 5, 3), ones)
