"""What chance does over categories: against a direct computation, and rankings where some cannot be judged."""

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

import analysis
from analysis import DataError
from analysis.results.chance import BEYOND, FREEDOM, USUAL, WEIGHT, chance

DIMS = "clustering", "cluster"


def directly(margin: NDArray, surrogates: NDArray, here: int) -> float:
    """The p-value of one category, term by term."""
    excess = []
    for k, own in enumerate(surrogates):
        if k != here and np.isfinite(margin[k]) and np.isfinite(own).any():
            drawn = [np.log(1 + np.exp(m)) for m in own if np.isfinite(m)]
            excess.append(np.log(1 + np.exp(margin[k])) - sum(drawn) / len(drawn))
    spreads = []
    for own in surrogates:
        drawn = np.log(1 + np.exp(own[np.isfinite(own)]))
        if drawn.size > 1:
            spreads.append(np.square(drawn - drawn.mean()).sum() / (drawn.size - 1))
    mean, deviation = USUAL
    share = len(excess) / (WEIGHT + len(excess))
    usual, variance = mean, deviation**2
    if excess:
        middle = np.median(excess)
        below = [min(one - middle, 0) ** 2 for one in excess]
        usual = (1 - share) * mean + share * min(middle, mean + BEYOND)
        variance = (1 - share) * deviation**2 + share * 2 * sum(below) / len(below)
    weight = WEIGHT + len(excess)
    scale = np.sqrt(variance * (1 + 1 / weight) + (np.mean(spreads) if spreads else 0))
    level = np.mean(np.log(1 + np.exp(surrogates[here][np.isfinite(surrogates[here])])))
    return float(stats.t.sf((np.log(1 + np.exp(margin[here])) - level - usual) / scale, min(weight, FREEDOM)))


@pytest.mark.parametrize("categories", [1, 2, 5, 30])
@pytest.mark.parametrize("gaps", [False, True], ids=["all", "some are missing"])
def test_p_values_are_those_of_a_direct_computation(categories: int, gaps: bool) -> None:
    rng = np.random.default_rng(categories)
    margin, surrogates = rng.normal(1.5, 1, categories), rng.normal(1, 0.5, (categories, 4))
    if gaps:
        surrogates[rng.random(surrogates.shape) < 0.2] = np.nan
        surrogates[:, 0] = 1.0
        margin[2::3] = np.nan
    expected = [directly(margin, surrogates, here) for here in range(categories)]
    np.testing.assert_allclose(chance(margin, surrogates).p_value(margin), expected, rtol=1e-9)


def test_a_larger_margin_is_less_likely_and_a_larger_chance_level_makes_it_more_so() -> None:
    margin, surrogates = np.linspace(-3, 12, 16), np.random.default_rng(0).normal(1, 0.3, (16, 4))
    by_chance = chance(margin, surrogates)
    p = [by_chance.p_value(np.full(16, m)) for m in margin]
    assert (np.diff(p, axis=0) < 0).all()
    assert (chance(margin, surrogates + 1).p_value(margin) > by_chance.p_value(margin)).all()


def test_strategies_in_some_categories_do_not_hide_one_in_another() -> None:
    margin = np.r_[np.full(10, 9.0), np.full(20, 1.0)] + np.random.default_rng(0).normal(0, 0.1, 30)
    p = chance(margin, np.random.default_rng(1).normal(1, 0.3, (30, 4))).p_value(margin)
    assert p[:10].max() < 0.05 / 30 < 0.05 < p[10:].min()


@pytest.mark.parametrize("surrogates", [np.empty((3, 0)), np.full((3, 2), np.nan)], ids=["none", "without groups"])
def test_without_surrogates_there_is_no_p_value(surrogates: NDArray) -> None:
    assert np.isnan(chance(np.ones(3), surrogates).p_value(np.ones(3))).all()


def test_of_a_thousand_categories_with_a_few_far_out_none_is_named() -> None:
    """Maps without groups are rarely far out, but of many some are: more often than normal numbers would be."""
    margin = 2 + 0.4 * np.random.default_rng(0).standard_t(8, 1000)
    p = chance(margin, np.random.default_rng(1).normal(1, 0.1, (1000, 2))).p_value(margin)
    assert p.min() * 1000 > 0.05
    margin[0] = 9.0
    assert chance(margin, np.full((1000, 2), 1.0)).p_value(margin)[0] * 1000 < 0.05


def test_without_a_margin_there_is_no_p_value_and_others_keep_theirs() -> None:
    margin, surrogates = np.array([1.0, np.nan, 9.0, 1.2]), np.ones((4, 3))
    p = chance(margin, surrogates).p_value(margin)
    there = [0, 2, 3]
    assert np.isnan(p).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(p[there], chance(margin[there], surrogates[there]).p_value(margin[there]))


# --- rankings -----------------------------------------------------------------------------------------


def tree(**categories: dict[str, list[float]]) -> xr.DataTree:
    """A tree of clusterings in two, by the margin, separability and size of the smaller one."""
    groups = {}
    for name, about in categories.items():
        (margin,), (tau,), (size,), n = (about[key] for key in ("margin", "tau", "size", "n"))
        scores = {
            "cluster_separability": (DIMS, [[tau, tau]]),
            "size": (DIMS, [[n[0] - size, size]]),
            "margin": (DIMS, [[margin, margin]]),
            "replication": (DIMS, [[0.9, 0.9]]),
            "margin_chance": ("surrogate", about.get("chance", [1.0, 1.2, 0.9, 1.1])),
            "margin_subsample": (("subsample", "group"), np.full((4, 8), 0.5)),
        }
        groups[f"/{name}"] = xr.Dataset({"index": ("sample", np.arange(n[0]))})
        groups[f"/{name}/score"] = xr.Dataset(scores, {"clustering": ["apart"], "cluster": [0, 1]})
    return xr.DataTree.from_dict(groups)


def one(margin: float, tau: float, size: int = 10, n: int = 50, **more: list[float]) -> dict[str, list[float]]:
    return {"margin": [margin], "tau": [tau], "size": [size], "n": [n], **more}


NAN = np.nan
TREE = tree(
    weak=one(1.0, 8.0), tiny=one(NAN, NAN, 2, 6), strong=one(20.0, 3.0), unjudged=one(NAN, 9.0), also=one(1.1, 1)
)


def test_evidence_ranks_before_separability_and_what_cannot_be_judged_after() -> None:
    table = analysis.ranking(TREE)
    assert table["category"].values.tolist() == ["strong", "also", "weak", "unjudged", "tiny"]
    assert table["significant"].values.tolist() == [True, False, False, False, False]
    for name in ("p_value", "p_adjusted", "strategies", "strategies_low", "strategies_high"):
        assert np.isnan(table[name]).values.tolist() == [False, False, False, True, True]
    assert table["separability"].sel(category="unjudged") == 9
    assert table["clustering"].sel(category="tiny") == ""


def test_the_order_does_not_depend_on_that_of_the_tree() -> None:
    expected = analysis.ranking(TREE)["category"].values.tolist()
    for seed in range(10):
        names = np.random.default_rng(seed).permutation(list(TREE.children))
        shuffled = xr.DataTree(children={name: TREE[name].copy() for name in names})
        assert analysis.ranking(shuffled)["category"].values.tolist() == expected


def test_a_tree_of_an_older_analysis_ranks_by_separability() -> None:
    older = TREE.copy()
    for node in older.children.values():
        held = node["score"].to_dataset().drop_vars(["margin", "replication", "margin_chance", "margin_subsample"])
        node["score"] = xr.DataTree(held)
    table = analysis.ranking(older)
    assert table["category"].values.tolist() == ["unjudged", "weak", "strong", "also", "tiny"]
    assert not {"p_value", "significant", "margin", "strategies"} & set(table.data_vars)


def test_a_tree_of_which_some_are_older_ranks_by_separability() -> None:
    mixed = TREE.copy()
    mixed["weak"]["score"] = xr.DataTree(mixed["weak/score"].to_dataset().drop_vars("margin_chance"))
    assert analysis.ranking(mixed)["category"].values[0] == "unjudged"


def test_categories_may_have_several_numbers_of_surrogates() -> None:
    mixed = tree(a=one(9.0, 1, chance=[1.0, 1.1]), b=one(1.0, 1, chance=[1.0, 0.8, 1.2]), c=one(1.0, 2, chance=[]))
    table = analysis.ranking(mixed)
    assert table["category"].values.tolist() == ["a", "b", "c"]
    assert np.isnan(table["p_value"].values).tolist() == [False, False, True]


def test_corrections_are_ordered_and_what_is_significant_has_more_than_one_strategy() -> None:
    many = tree(**{f"c{k}": one(m, m) for k, m in enumerate([*np.linspace(3.5, 8, 10), *np.linspace(0.5, 1.2, 10)])})
    holm, expected = (analysis.ranking(many, correction=name) for name in ("holm", "benjamini-hochberg"))
    assert (expected["p_adjusted"] <= holm["p_adjusted"]).all()
    assert (holm["p_adjusted"] >= holm["p_value"]).all()
    assert expected["significant"].sum() >= holm["significant"].sum() > 0
    for table in (holm, expected):
        assert (table["strategies"].values > 1)[table["significant"].values].all()
        assert (table["strategies_low"] <= table["strategies"]).all()
        assert (table["strategies"] <= table["strategies_high"]).all()


def test_no_other_correction_is_known() -> None:
    with pytest.raises(DataError, match="correction='bonferroni' is none of 'holm', 'benjamini-hochberg'"):
        analysis.ranking(TREE, correction="bonferroni")


def test_a_ranking_is_read_without_turning_the_head() -> None:
    lines = analysis.text(analysis.ranking(TREE)).splitlines()
    assert max(map(len, lines)) <= 100
    assert {"significant", "p_adjusted", "margin", "strategies"} <= set(lines[0].split())
