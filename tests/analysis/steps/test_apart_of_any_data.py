"""Groups that stand apart, in classes of any size and data of any scale: nothing fails, and nothing is made up."""

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis._kernels.multiple import benjamini_hochberg, holm


def _planted(n: int = 60) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(n, 30))
    x[:9, 3] += 12
    return x


def _scores(x: np.ndarray) -> xr.Dataset:
    data = xr.Dataset({"features": (("sample", "feature"), x)})
    clusters = analysis.apart(data)
    return clusters.merge(analysis.chance(data.merge(clusters, combine_attrs="override")), combine_attrs="override")


@pytest.mark.parametrize("n", [1, 4, 9, 10, 19])
def test_a_class_too_small_for_groups_does_not_stop_the_others(n: int) -> None:
    label = np.repeat([0, 1], [n, 40])
    heat = np.random.default_rng(n).exponential(size=(label.size, 6, 6))
    data = xr.Dataset({"attribution": (("sample", "y", "x"), heat), "label": ("sample", label)})
    table = analysis.ranking(analysis.run(analysis.spray(tsne=False), data, by="label", progress=False))
    small = table.sel(category="0")
    assert small["n"].item() == n
    assert not small["significant"].item()
    assert np.isnan(small["p_value"].item()) or n >= 10
    assert np.isfinite(table.sel(category="1")["p_value"].item())
    assert n >= 10 or table["category"].values.tolist() == ["1", "0"]


@pytest.mark.parametrize("factor", [1e-25, 1e-12, 1e12, 1e25])
def test_the_unit_of_the_relevance_changes_nothing(factor: float) -> None:
    expected, found = _scores(_planted()), _scores(_planted() * factor)
    assert expected["apart"].values.sum() == 9
    np.testing.assert_array_equal(found["apart"], expected["apart"])
    for name in ("margin", "margin_chance", "margin_subsample"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3)


def test_of_one_feature_groups_are_found_too() -> None:
    found = _scores(_planted()[:, 3:4])
    np.testing.assert_array_equal(found["apart"].values, np.arange(60) < 9)


def test_what_halves_are_too_small_to_show_is_not_called_unstable() -> None:
    found = _scores(_planted(18))
    assert np.isfinite(found["margin"].values).any()
    assert np.isnan(found["replication"].values).all()


def _tree(margins: list[float], chance: list[list[float]]) -> xr.DataTree:
    dims = "clustering", "cluster"
    nodes: dict[str, xr.Dataset] = {}
    for k, (margin, surrogates) in enumerate(zip(margins, chance, strict=True)):
        nodes[f"/{k}"] = xr.Dataset({"index": ("sample", np.arange(100))}, {"sample": np.arange(100)})
        scores = {
            "cluster_separability": (dims, [[3.0, 3.0]]),
            "size": (dims, [[80, 20]]),
            "margin": (dims, [[margin, margin]]),
            "replication": (dims, [[1.0, 1.0]]),
            "margin_chance": ("surrogate", surrogates),
            "margin_subsample": (("subsample", "group"), [[margin]]),
        }
        nodes[f"/{k}/score"] = xr.Dataset(scores, {"clustering": ["apart"], "cluster": [0, 1]})
    return xr.DataTree.from_dict(nodes)


def test_a_category_without_a_chance_level_does_not_disturb_the_order() -> None:
    none = [np.nan, np.nan]
    table = analysis.ranking(_tree([2.0, 1.0, 9.0, 1.5, 8.0], [[1.0, 1.2], none, [1.0, 1.2], none, [1.0, 1.2]]))
    assert table["category"].values[:3].tolist() == ["2", "4", "0"]
    assert np.isnan(table["p_value"].values[3:]).all()


@pytest.mark.parametrize("correction", ["holm", "benjamini-hochberg"])
def test_a_category_is_significant_where_it_has_strategies(correction: str) -> None:
    seen = set()
    for scale in np.linspace(0.4, 1.8, 29):
        margins = scale * np.array([1, 1, 1, 1.2, 1, 1, 3, 3.1, 3.2, 3.3])
        table = analysis.ranking(_tree(list(margins), [[1.0, 1.2]] * 10), correction=correction)
        np.testing.assert_array_equal(table["strategies"] > 1, table["significant"])
        adjusted = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}[correction](table["p_value"].values)
        np.testing.assert_array_equal(table["significant"], adjusted <= 0.05)
        bonferroni = table["p_value"].values * 10 <= 0.05
        seen.add(bool((bonferroni != table["significant"].values).any()))
    assert True in seen  # else it would be the same as to divide the level
