"""Mixtures of experts: the weights by which experts are mixed are gates, however a model routes and dispatches."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relfunc as rf

WIDTH, EXPERTS, CHOSEN = 8, 4, 2


class Mixture(nn.Module):
    """A token's experts, chosen and weighed in one of the usual ways."""

    def __init__(self, routing: str, dispatch: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.routing, self.dispatch = routing, dispatch
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))
        self.down = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))
        self.detached = False
        self.double().eval()

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.router(x)
        if self.routing == "softmax of the chosen":
            chosen, index = scores.topk(CHOSEN, -1)
            return chosen.softmax(-1), index
        if self.routing == "chosen of a softmax, over their sum":
            chosen, index = scores.softmax(-1).topk(CHOSEN, -1)
            return chosen / chosen.sum(-1, keepdim=True), index
        weights = scores.sigmoid()
        index = torch.topk(weights, CHOSEN, -1)[1]
        chosen = weights.gather(-1, index)
        return chosen / (chosen.sum(-1, keepdim=True) + 1e-20) * 2.5, index

    def forward(self, x: Tensor) -> Tensor:
        weights, index = self.weights(x)
        weights = weights.detach() if self.detached else weights
        if self.dispatch == "matrices of each row":
            up, down = self.up[index], self.down[index]
            hidden = self.act((x[:, None, None] @ up)[:, :, 0])
            return ((hidden[:, :, None] @ down)[:, :, 0] * weights[..., None]).sum(1)
        if self.dispatch == "scattered weights":
            dense = torch.zeros(len(x), EXPERTS, dtype=x.dtype).scatter(1, index, weights)
            parts = [
                self.act(x @ u) @ d * dense[:, i, None] for i, (u, d) in enumerate(zip(self.up, self.down, strict=True))
            ]
            return torch.stack(parts).sum(0)
        flat, places = index.flatten().sort()
        ends = torch.bincount(flat, minlength=EXPERTS).cumsum(0).to(torch.int32)
        hidden = self.act(torch._grouped_mm(x[places // CHOSEN].float(), self.up.float(), offs=ends))
        found = torch._grouped_mm(hidden, self.down.float(), offs=ends).to(x.dtype) * weights.flatten()[places, None]
        return torch.zeros_like(x).index_add(0, places // CHOSEN, found)

    def act(self, x: Tensor) -> Tensor:
        return x * (F.silu(x) / x).detach() if self.detached else F.silu(x)


ROUTINGS = [
    "softmax of the chosen",
    "chosen of a softmax, over their sum",
    "chosen of sigmoids, over their sum, scaled",
]


DISPATCHES = ["matrices of each row", "scattered weights", "rows sorted by expert"]
WAYS = [
    *((dispatch, "trace") for dispatch in DISPATCHES),
    *(pytest.param(dispatch, "export", marks=pytest.mark.slow) for dispatch in DISPATCHES[:2]),
]


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize(("dispatch", "via"), WAYS)
def test_experts_take_all(routing, dispatch, via):
    model, x = Mixture(routing, dispatch), torch.randn(3, WIDTH, dtype=torch.float64)
    tolerance = 1e-5 if dispatch == "rows sorted by expert" else 1e-10
    composite = rf.composites.attnlrp(epsilon=1e-14, stabilizer=1e-14)
    captured = rf.capture(model, via=via, example_inputs=x)
    output, relevance = rf.gradient(rf.lrp(captured, composite))(x, lambda y: y)
    model.detached, leaf = True, x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(model(leaf), leaf, torch.ones_like(output))
    assert (relevance - x * wanted).abs().max() <= tolerance * (x * wanted).abs().max()


def test_equal_shares_show_what_the_router_would_have_received():
    model, x = Mixture(ROUTINGS[0], "matrices of each row"), torch.randn(3, WIDTH, dtype=torch.float64)
    captured = rf.capture(model, example_inputs=x)
    shared = rf.composites.mixed(rf.composites.by_type({"product": rf.rules.bilinear()}), rf.composites.attnlrp())
    seen = []
    for composite in (rf.composites.attnlrp(), shared):
        f = rf.lrp(captured, composite)
        y, (router,) = f.relevance(x, lambda y: y, f.program_at(["softmax"]))
        seen.append(router.sum() / y.sum())
    assert abs(seen[0]) <= 1e-12
    assert abs(seen[1] - 1 / 2) <= 1e-4


def test_layers_of_experts_get_the_rules_of_linear_layers():
    model, x = Mixture(ROUTINGS[0], "rows sorted by expert"), torch.randn(3, WIDTH, dtype=torch.float64)
    captured = rf.capture(model, example_inputs=x)
    plan = rf.plan(captured, rf.composites.attnlrp(0.25))
    assert plan["rule"][plan["operation"] == "grouped_linear"].str.startswith("gamma").tolist() == [True, True]
