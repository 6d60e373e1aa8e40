"""Complex arithmetic that is linear: relevance as of the real matrix that it is."""

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf

pytestmark = pytest.mark.filterwarnings("ignore:composite attnlrp matches no operation")


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fftn(x, dim=(1, 2)).real


class Rotating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.tensor([0.3, 1.2])).to(torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * self.turn).flatten(2)


class Filtering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=-1) * torch.view_as_complex(self.weight)
        return torch.fft.irfft(spectrum, n=4, dim=-1)


class Promoting(Rotating):
    """A real value that meets complex constants, of which both parts are read."""

    def forward(self, x: Tensor) -> Tensor:
        turned = (x.unflatten(-1, (-1, 2)) * self.turn).conj() / (1 + self.turn)
        return torch.view_as_real(turned.resolve_conj()).flatten(1)


class Multiplying(Rotating):
    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.complex(x[..., :2], x[..., 2:])
        return (pairs @ self.turn[:, None] @ self.turn[None]).imag


@pytest.mark.parametrize("via", ["trace", "export"])
@pytest.mark.parametrize("kind", [Mixing, Rotating, Filtering, Promoting, Multiplying])
def test_linear_complex_arithmetic_shares_in_proportion(kind, via):
    model, x = kind().eval(), torch.randn(2, 3, 4, dtype=torch.float64)
    captured = rf.capture(model, via=via, example_inputs=x)
    composite = rf.composites.attnlrp(stabilizer=1e-14)
    y, relevance = rf.gradient(rf.lrp(captured, composite))(x, lambda y: y.square())
    jacobian = torch.func.jacrev(model)(x)  # type: ignore[arg-type]
    wanted = x * torch.tensordot(y, jacobian, y.ndim)
    assert (relevance - wanted).abs().max() <= 1e-10


def test_complex_products_of_values_are_refused_by_name():
    class Squared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spectrum = torch.fft.fft(x)
            return (spectrum * spectrum).real

    with pytest.raises(rf.composites.CompositeError, match=r"'fft[._]fft.*test_complex_numbers"):
        rf.lrp(Squared().eval(), rf.composites.attnlrp(), example_inputs=torch.randn(2, 4))
