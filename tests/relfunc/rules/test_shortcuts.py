"""Short cuts of the rules: rows without relevance are left out, large tensors are read block by block; same results."""

import pytest
import torch
from torch import Tensor, nn

import relfunc as rf
from relfunc.graph import memory
from relfunc.graph.memory import in_blocks
from relfunc.rules import read
from relfunc.rules.tables import AnyRule

RULES = {
    "epsilon": rf.rules.epsilon(0.1),
    "gamma": rf.rules.gamma(0.25),
    "alpha_beta": rf.rules.alpha_beta(),
    "zplus": rf.rules.zplus(),
    "wsquare": rf.rules.wsquare(),
    "flat": rf.rules.flat(),
    "zbox": rf.rules.zbox(torch.full((24, 5), -3.0), torch.full((24, 5), 3.0)),
    "norm scaled": rf.rules.epsilon(rf.rules.NormScaled(0.1)),
    "clipping": rf.rules.zplus(stabilizer=rf.rules.Clipping(0.1)),
}


def _attributed(rule: AnyRule, layer: nn.Module, x: Tensor, seed: Tensor) -> Tensor:
    return rf.gradient(rf.lrp(layer, lambda *_: rule))(x, seed)[1]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("tokens", [(), (3,), (0, 7, 23)], ids=str)
def test_rows_without_relevance_are_left_out(
    rule: AnyRule, tokens: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = nn.Linear(5, 7).double().eval(), torch.randn(2, 24, 5, dtype=torch.float64)
    seed = torch.zeros(2, 24, 7, dtype=torch.float64)
    seed[1, list(tokens), 2:] = 1.0
    found = _attributed(rule, layer, x, seed)
    monkeypatch.setattr(read, "_MANY", float("inf"))
    torch.testing.assert_close(found, _attributed(rule, layer, x, seed), rtol=1e-12, atol=1e-12)


def test_fewer_rows_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    transpose = read.each_transposed

    def counted(name: str, share: Tensor, *others: object) -> list[Tensor]:
        rows.append(share.shape[:-1].numel())
        return transpose(name, share, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(read, "each_transposed", counted)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)).eval()
    rf.gradient(rf.lrp(model, rf.composites.attnlrp()))(torch.randn(2, 30, 4), (-1, 1))
    assert rows == [2, 2]


def test_denominators_that_depend_on_each_other_or_may_be_zero_are_read_in_full() -> None:
    """Negative control: 0 / 0 stays what the rule says it is."""
    layer, x = nn.Linear(5, 7, bias=False).eval(), torch.zeros(1, 24, 5)
    seed = torch.zeros(1, 24, 7)
    seed[0, 3] = 1.0
    assert bool(_attributed(rf.rules.epsilon(0.0), layer, x, seed)[0, 0].isnan().all())


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("shape", [(3, 50), (7, 11, 13), (1, 1000), (64,)], ids=str)
def test_blocks_give_what_the_whole_gives(shape: tuple[int, ...], owned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_BLOCK", 30)
    a, b = torch.randn(shape), torch.randn(shape)

    def of_rows(a: Tensor, b: Tensor) -> Tensor:
        return a * b.softmax(-1)

    with torch.no_grad():
        expected, before = of_rows(a, b), a.clone()
        found = in_blocks(of_rows, a, b, owned=owned)
        assert torch.equal(found, expected)
        assert (found is a) is owned
        assert owned or torch.equal(a, before)
