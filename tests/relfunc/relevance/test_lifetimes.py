"""What a program lets go of or overwrites early: nothing that anybody still reads."""

import pytest
import torch
from torch import nn

import relfunc as rf
from relfunc.graph.lifetimes import shape_of
from relfunc.graph.memory import rectified

COMPOSITE = rf.composites.epsilon_plus()


class Net(nn.Module):
    """A convolution, a ReLU, and what ``read`` makes of both."""

    def __init__(self, read):
        super().__init__()
        self.conv, self.read = nn.Conv2d(1, 2, 3, padding=1), read

    def forward(self, x):
        z = self.conv(x)
        return self.read(z, torch.relu(z))


OVERWRITTEN = {
    "the ReLU alone is read": (lambda z, h: h.flatten(1), True),
    "its input is read before": (lambda z, h: (z + 0.0 * h).flatten(1), False),
    "its input is read behind": (lambda z, h: (h + z).flatten(1), False),
    "its input is returned": (lambda z, h: (z, h), False),
    "only its input's shape is read": (lambda z, h: h.reshape(z.shape[0], -1), None),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_a_relu_overwrites_only_what_nobody_else_reads(name):
    read, expected = OVERWRITTEN[name]
    model = Net(read).eval()
    f, x = rf.lrp(model, COMPOSITE), torch.randn(2, 1, 4, 4)
    if expected is not None:
        assert any(node.target is rectified for node in f._lrp.program.run.graph.nodes) == expected
    output, relevance = rf.gradient(f)(x, lambda y: y)
    torch.testing.assert_close(output, model(x))
    torch.testing.assert_close(relevance, torch.func.vjp(f, x)[1](output)[0])


def test_a_relu_of_the_input_leaves_it():
    x = torch.randn(2, 3)
    before = x.clone()
    rf.gradient(rf.lrp(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)).eval(), COMPOSITE))(x, 0)
    assert torch.equal(x, before)


def test_values_that_only_give_their_shape_are_not_kept():
    """Every ReLU's input would be kept until relevance has passed it, which doubles the peak memory."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    nodes = list(rf.lrp(model.eval(), COMPOSITE)._lrp.program.run.graph.nodes)
    passes = [node for node in nodes if node.name.startswith(("pass_relu", "gradient_flatten"))]
    assert len(passes) == 3
    for node in passes:
        assert [value.target for value in node.args[2:]] == [shape_of]


def test_a_stand_in_takes_no_memory():
    stand_in = shape_of((torch.randn(5, 7, dtype=torch.float64), 3))
    assert (stand_in[0].shape, stand_in[0].dtype, stand_in[1]) == ((5, 7), torch.float64, 3)
    assert stand_in[0].untyped_storage().nbytes() == 8
