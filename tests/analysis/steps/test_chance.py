"""Groups that stand apart and their chance level: against slow oracles, on maps without groups, at the edges."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.metrics import f1_score

import analysis
from analysis import DataError, chain, each, step
from analysis._kernels import apart as kernel
from analysis._kernels.near import originals
from analysis.results.chance import chance
from analysis.steps.chance import GROUPS
from relfunc import storage

STEPS = [step(one) for one in (analysis.sum_channels, analysis.absolute, analysis.square_root, analysis.flatten)]
SCORES = each(step(analysis.chance), step(analysis.separability), step(analysis.size))
PLAN = chain(*STEPS, step(analysis.apart), SCORES)


def dataset(x: NDArray, **clusterings: NDArray) -> xr.Dataset:
    found = xr.Dataset({"features": (("sample", "feature"), x)})
    return found.assign({name: ("sample", label, {"role": "clustering"}) for name, label in clusterings.items()})


def normal(n: int = 60, d: int = 20, seed: int = 0) -> NDArray:
    return np.random.default_rng(seed).normal(size=(n, d))


def scored(x: NDArray, **options: Any) -> xr.Dataset:
    return analysis.chance(dataset(x, apart=analysis.apart(dataset(x))["apart"].values), **options)


# --- the margin, by fitting anew without each sample --------------------------------------------------


def by_refitting(x: NDArray, inside: NDArray, ridge: float) -> float:
    """The margin of a group: a ridge regression of who is inside, fitted anew without each sample it projects."""
    x = x.astype(np.float64)
    n = len(x)
    strength = ridge * np.square(x - x.mean(0)).sum() / min(x.shape)
    projection = np.empty(n)
    for i in range(n):
        rest = np.arange(n) != i
        mean, y = x[rest].mean(0), inside[rest].astype(float)
        centred = x[rest] - mean
        weight = np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
        projection[i] = y.mean() + (x[i] - mean) @ weight
    inner, outer = np.sort(projection[inside]), np.sort(projection[~inside])[::-1]
    erring = round(0.1 * len(inner))
    spread = np.sqrt((np.square(inner - inner.mean()).sum() + np.square(outer - outer.mean()).sum()) / (n - 2))
    share = len(inner) / (len(inner) + 20)
    return float((inner[erring] - outer[erring]) / spread * share**0.5 * min(1, (2 * share) ** 0.5))


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
@pytest.mark.parametrize(("n", "d", "size"), [(40, 6, 12), (40, 6, 20), (30, 50, 7), (25, 25, 5), (33, 1, 9)])
def test_the_margin_is_that_of_discriminants_without_each_sample(n: int, d: int, size: int, ridge: float) -> None:
    x, inside = normal(n, d, seed=n + d), np.arange(n) < size
    x[inside] += 0.8
    found = analysis.chance(dataset(x, given=inside.astype(int)), ridge=ridge, surrogates=0, subsamples=0)
    expected = by_refitting(x, inside, ridge)
    np.testing.assert_allclose(found["margin"].values, [[expected, expected]], rtol=2e-3, atol=2e-3)


FITTING_ALL = [(30, 50, 0.0), (30, 50, 1e-8), (30, 50, 1e-6), (25, 25, 1e-7), (20, 19, 0.0), (40, 300, 1e-9)]


@pytest.mark.parametrize(("n", "d", "ridge"), [*FITTING_ALL, (40, 6, 0.0), (40, 20, 1e-6)])
def test_a_ridge_too_weak_for_single_precision_gives_no_rounding_errors(n: int, d: int, ridge: float) -> None:
    x, inside = normal(n, d, seed=n), np.arange(n) < 9
    x[inside] += 0.8
    least = max(ridge, kernel.LEAST_RIDGE) if (n, d, ridge) in FITTING_ALL else ridge
    found = kernel.margins_of(x, inside[:, None], ridge=ridge, smallest=5)
    np.testing.assert_allclose(found, by_refitting(x, inside, least), rtol=5e-3, atol=5e-3)


def test_a_group_and_its_rest_have_the_margin_of_the_smaller() -> None:
    label = (np.arange(60) < 45).astype(int)
    margin = analysis.chance(dataset(normal(), given=label), surrogates=0, subsamples=0)["margin"].values[0]
    assert margin[0] == margin[1]


# --- surrogates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(30, 8), (12, 40)])
def test_surrogates_have_the_mean_and_the_covariance_of_the_samples(n: int, d: int) -> None:
    x = normal(n, d) @ normal(d, d, seed=1) + 3
    drawn = kernel.rotated(x, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(0), x.mean(0))
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=1e-12 * np.abs(np.cov(x.T)).max())
    assert np.abs(drawn - x).max() > x.std()


@pytest.mark.parametrize(("n", "at"), [(4, 2), (6, 1), (6, 5), (11, 1), (11, 7)])
def test_a_surrogate_and_its_mirror_image_are_as_likely(n: int, at: int) -> None:
    rng = np.random.default_rng(n + at)
    drawn = np.stack([kernel.rotated(np.eye(n)[:, [at]], rng)[:, 0] for _ in range(600)]) - 1 / n
    np.testing.assert_allclose((drawn > 0).mean(0), 0.5, atol=0.1)  # five standard deviations
    np.testing.assert_allclose(drawn.std(0), np.sqrt((1 - 1 / n) / n), rtol=0.15)


# --- what is found, and what is not -------------------------------------------------------------------


def mapped(*maps: NDArray) -> xr.Dataset:
    label = np.repeat(np.arange(len(maps)), [len(one) for one in maps])
    dims = "sample", "channel", "y", "x"
    return xr.Dataset({"attribution": (dims, np.concatenate(maps)[:, None]), "label": ("sample", label)})


def without_groups(kind: str, n: int, seed: int) -> NDArray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.normal(size=(n, 16, 16))
    if kind == "smooth":
        return ndimage.gaussian_filter(rng.normal(size=(n, 16, 16)), (0, 2, 2))
    if kind == "template":
        template = ndimage.gaussian_filter(rng.normal(size=(16, 16)), 2)
        return template / template.std() * rng.uniform(0.5, 2, (n, 1, 1)) + 0.5 * rng.normal(size=(n, 16, 16))
    y, x = np.mgrid[:16, :16]
    (at_x, at_y), width = rng.uniform(0, 16, (2, n, 1, 1)), rng.uniform(1.5, 4, (n, 1, 1))
    return np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 2 / width**2) + 0.02 * rng.normal(size=(n, 16, 16))


def ranked_without_groups(kind: str, seed: int) -> xr.Dataset:
    data = mapped(*(without_groups(kind, n, seed + k) for k, n in enumerate((30, 60, 120))))
    return analysis.ranking(analysis.run(PLAN, data, progress=False))


@pytest.mark.parametrize("kind", ["noise", "smooth", "template", "bumps"])
def test_maps_without_groups_are_no_more_than_chance(kind: str) -> None:
    table = ranked_without_groups(kind, 3)
    assert not table["significant"].any()
    assert not (table["p_adjusted"] <= 0.05).any()
    assert not (table["strategies"] > 1).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "smooth", "template", "bumps"])
def test_of_many_trees_without_groups_few_have_one_that_is_named(kind: str) -> None:
    named = sum(bool(ranked_without_groups(kind, 3 * k)["significant"].any()) for k in range(20))
    assert named <= 3  # at a level of 0.05 there are more in 1 of 60 tests


@pytest.mark.parametrize("where", [(slice(1, 4), slice(12, 15)), (slice(0, 2), slice(0, 16))], ids=["patch", "border"])
def test_a_planted_mark_is_found_whole_and_named_alone(where: tuple[slice, slice]) -> None:
    maps = [without_groups("smooth", 120, seed) for seed in range(3)]
    planted = np.arange(120) % 6 == 0
    maps[1][(planted, *where)] += 12 * maps[1].std()
    tree = analysis.run(PLAN, mapped(*maps), progress=False)
    table = analysis.ranking(tree)
    first = table.isel(category=0)
    assert table["category"].values[0] == "1"
    assert table["significant"].values.tolist() == [True, False, False]
    assert first["p_adjusted"] < 0.01
    assert first["strategies"] == 2
    assert f1_score(planted, tree["1/cluster/apart"].values == first["cluster"].item()) == 1
    assert first["replication"] > 0.7


@pytest.mark.slow
def test_p_values_do_not_depend_on_the_number_of_samples() -> None:
    sizes = np.repeat([30, 60, 120, 240], 6)
    maps = [without_groups("smooth", n, seed)[:, ::2, ::2] for seed, n in enumerate(sizes)]
    found = [scored(np.sqrt(np.abs(one.reshape(len(one), -1))), subsamples=0) for one in maps]
    margin = np.array([scores["margin"].max() for scores in found])
    p = chance(margin, np.stack([scores["margin_chance"] for scores in found])).p_value(margin)
    judged = np.isfinite(p)
    assert judged.sum() >= 12
    # without any relation, it is below this in 19 of 20 draws of 24; of separabilities, it is above 0.9
    assert abs(np.corrcoef(rankdata(sizes[judged]), rankdata(p[judged]))[0, 1]) < 0.41


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [7, 10, 12, 20, 25])
def test_a_group_is_found_by_what_is_zero_in_all_others(size: int, sign: int) -> None:
    """A cut between equal values has all samples on one side; it would take the place of the cut that is sought."""
    rng = np.random.default_rng(size)
    planted = rng.permutation(60) < size
    mark = np.where(planted, rng.uniform(1.4, 2, 60), 0)
    x = np.column_stack([3 * normal(60, 20, seed=size), sign * mark, np.zeros((60, 24))])
    label = analysis.apart(dataset(x), ridge=1e-3)["apart"].values
    assert max(f1_score(planted, label == k) for k in range(1, label.max() + 1)) >= 0.95


@pytest.mark.parametrize(("high", "low"), [(11, 0), (10, 50), (31, 29), (0, 60), (4, 0), (12, 20)])
def test_samples_of_the_same_value_are_on_the_same_side_of_a_gap(high: int, low: int) -> None:
    x = np.repeat([2.0, 0.0, 1.0], [high, low, 60 - high - low])[:, None]
    margin, inside = kernel._beyond_gaps(np.concatenate([x, -x], axis=1), 5)
    sizes = {int((x <= value).sum()) for value in (0, 1)} | {60 - int((x <= value).sum()) for value in (0, 1)}
    proper = any(5 <= size <= 30 for size in sizes)
    assert (margin > 0).tolist() == [proper] * 2
    assert all(int(count) in (sizes if proper else {60}) for count in inside.sum(0))


@pytest.mark.parametrize("n", [10, 24, 60])
def test_two_halves_are_one_group_and_the_rest(n: int) -> None:
    x, half = normal(n), np.random.default_rng(n).permutation(n) % 2 == 0
    x[half, :3] += 14
    found = kernel.disjoint(kernel.search(x, ridge=1.0, smallest=5), most=GROUPS, least=2.0)
    assert found.inside.sum(0).tolist() == [n // 2]
    assert (found.inside[:, 0] == half).all() or (found.inside[:, 0] != half).all()
    assert set(kernel.labels(found)) == {0, 1}


# --- more samples than are searched, more groups than are told apart ----------------------------------


def test_samples_that_were_not_drawn_are_on_their_side_of_the_discriminant() -> None:
    x = normal(400)
    x[:80, 3] += 12
    data = dataset(x)
    found = analysis.apart(data, most=100)["apart"].values
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(80))
    scores = analysis.chance(dataset(x, apart=found), most=100)
    assert scores["margin"].values[0, 1] > scores["margin_chance"].max()


def test_at_most_eight_groups_are_told_apart() -> None:
    x = normal(300, 30)
    for k in range(10):
        x[20 * k : 20 * k + 20, k] += 25
    label = analysis.apart(dataset(x))["apart"].values
    assert 6 <= label.max() <= GROUPS
    for k in range(1, label.max() + 1):
        inside = np.flatnonzero(label == k)
        assert inside.size == 20
        assert inside[0] % 20 == 0
        assert inside[-1] == inside[0] + 19


# --- edges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_fewer_than_ten_samples_are_one_cluster_without_scores(n: int) -> None:
    label = analysis.apart(dataset(normal(n)))["apart"].values
    assert label.tolist() == [0] * n
    scores = analysis.chance(dataset(normal(n), apart=label, halves=np.arange(n) % 2))
    assert all(np.isnan(values).all() for values in scores.data_vars.values())


EQUAL: dict[str, NDArray] = {
    "zeros": np.zeros((30, 5)),
    "single": np.full((30, 5), 0.1, np.float32),
    "double": np.repeat(normal(1, 300), 30, axis=0),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_samples_that_coincide_are_one_cluster_without_scores(kind: str) -> None:
    x = EQUAL[kind]
    assert not analysis.apart(dataset(x))["apart"].any()
    scores = analysis.chance(dataset(x, halves=np.arange(30) % 2))
    assert np.isnan(scores["margin"]).all()
    assert np.isnan(scores["margin_chance"]).all()


def test_copies_of_two_samples_cannot_be_judged() -> None:
    assert np.isnan(scored(np.repeat(normal(2, 5), 20, axis=0), subsamples=0)["margin"]).all()


def test_groups_that_coincide_stand_apart_by_a_finite_margin() -> None:
    inside = np.arange(40)[:, None] < 20
    assert 1e6 < kernel.margins(inside.astype(float), inside)[0] < 1e9


def test_constant_features_change_nothing() -> None:
    x = normal()
    x[:9, 3] += 12
    wide = np.concatenate([x, np.full((60, 7), 4.0)], axis=1)
    np.testing.assert_array_equal(analysis.apart(dataset(wide))["apart"], analysis.apart(dataset(x))["apart"])


def test_one_feature_is_enough() -> None:
    x = normal(40, 1)
    x[:10] += 12
    assert np.flatnonzero(analysis.apart(dataset(x))["apart"]).tolist() == list(range(10))


def test_more_features_than_are_compared_are_averaged() -> None:
    x = normal(40, 9000)
    x[:10, 500:540] += 6
    assert np.flatnonzero(analysis.apart(dataset(x))["apart"]).tolist() == list(range(10))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("function", [analysis.apart, analysis.chance])
def test_features_that_are_not_finite_are_refused(function: Any, value: float) -> None:
    x = normal()
    x[3, 4] = value
    with pytest.raises(DataError, match="a feature is NaN or infinite"):
        function(dataset(x, halves=np.arange(60) % 2))


def test_the_same_seed_gives_the_same_bits_and_another_one_other_surrogates() -> None:
    x = normal(80)
    first, again, other = scored(x), scored(x), scored(x, seed=1)
    assert first.identical(again)
    np.testing.assert_array_equal(first["margin"], other["margin"])
    assert not np.array_equal(first["margin_chance"], other["margin_chance"])


@pytest.mark.parametrize(("surrogates", "subsamples"), [(0, 0), (0, 2), (2, 0), (1, 1)])
def test_none_of_them_can_be_written_and_read(surrogates: int, subsamples: int, tmp_path: Any) -> None:
    scores = each(step(analysis.chance, surrogates=surrogates, subsamples=subsamples), *SCORES.plans[1:])
    tree = analysis.run(
        chain(*STEPS, step(analysis.apart), scores), mapped(normal(30).reshape(30, 4, 5)), progress=False
    )
    assert tree["0/score/margin_chance"].shape == (surrogates,)
    assert tree["0/score/margin_subsample"].shape[0] == subsamples
    assert np.isfinite(tree["0/score/replication"]).any() == (subsamples > 0)
    storage.save(tree, tmp_path / "analysis.nc")
    with storage.open_analysis(tmp_path / "analysis.nc") as read:
        xr.testing.assert_equal(read.load(), tree)
    assert np.isnan(analysis.ranking(tree)["p_value"]).all() == (surrogates == 0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a negative ridge": ({"ridge": -0.1}, r"ridge=-0\.1 is no strength"),
    "no ridge at all": ({"ridge": np.nan}, "ridge=nan is no strength"),
    "a ridge without end": ({"ridge": np.inf}, "ridge=inf is no strength: it must be finite"),
    "groups of one": ({"smallest": 1}, "smallest=1 must be at least 2"),
    "too few to search": ({"most": 9}, "most=9 leaves no two groups of 5: give at least 10"),
    "surrogates below none": ({"surrogates": -1}, "surrogates=-1 must be at least 0"),
    "halves below none": ({"subsamples": -2}, "subsamples=-2 must be at least 0"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_options_that_cannot_be_met_are_refused(kind: str) -> None:
    options, message = REFUSED[kind]
    with pytest.raises(DataError, match=f"chance: {message}"):
        analysis.chance(dataset(normal(), halves=np.arange(60) % 2), **options)
    if not {"surrogates", "subsamples"} & set(options):
        with pytest.raises(DataError, match=f"apart: {message}"):
            analysis.apart(dataset(normal()), **options)


def test_without_a_clustering_there_is_nothing_to_score() -> None:
    with pytest.raises(DataError, match="there is no clustering to score"):
        analysis.chance(dataset(normal()))


@pytest.mark.parametrize("copies", [5, 10, 20])
def test_copies_of_one_sample_are_no_strategy(copies):
    x = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(100, 16, 16)), (0, 2, 2)).reshape(100, -1)
    x[:copies] = x[0]
    once = scored(x[copies - 1 :])
    assert float(scored(x)["margin"].max()) == pytest.approx(float(once["margin"].max()), rel=1e-3)


@pytest.mark.parametrize("most", [1000, 60])
def test_copies_are_in_the_cluster_of_their_sample(most: int) -> None:
    """A group may have samples that the discriminant, fitted with them, has on the other side."""
    for seed in range(12):
        x = normal(50, seed=seed)
        x[:12, 0] += 3
        data = dataset(np.concatenate([x, x]))
        label = analysis.apart(data, most=most)["apart"].values
        seen = np.sort(np.random.default_rng(0).permutation(100)[:most]) if most < 100 else np.arange(100)
        both = np.intersect1d(seen[seen < 50], seen[seen >= 50] - 50)
        np.testing.assert_array_equal(label[both], label[both + 50])


@pytest.mark.parametrize("error", [1e-8, 1e-6, 1e-5])
@pytest.mark.parametrize("copies", [5, 20])
def test_copies_that_differ_by_rounding_errors_are_no_strategy_either(copies: int, error: float) -> None:
    rng = np.random.default_rng(1)
    x = ndimage.gaussian_filter(rng.normal(size=(100, 16, 16)), (0, 2, 2)).reshape(100, -1)
    x[:copies] = x[0] * (1 + error * rng.normal(size=(copies, 256)))
    once = scored(x[copies - 1 :], surrogates=0, subsamples=0)["margin"].max()
    assert float(scored(x, surrogates=0, subsamples=0)["margin"].max()) == pytest.approx(float(once), rel=1e-3)


DISTINCT: dict[str, tuple[NDArray, list[int]]] = {
    "small": (1e-200 * normal(5, 6)[[0, 1, 1, 2, 3, 4]] * [[1], [1], [1 + 1e-6], [1], [1], [1]], [0, 1, 3, 4, 5]),
    "large": (1e200 * normal(5, 6)[[0, 1, 1, 2, 3, 4]] * [[1], [1], [1 + 1e-6], [1], [1], [1]], [0, 1, 3, 4, 5]),
    "far away": (1e6 + normal(4, 9)[[0, 1, 0, 2]], [0, 1, 3]),
    "beside a huge one": (normal(1, 5) * [[1], [1e5], [1 + 1e-2], [-1]], [0, 1, 2, 3]),
    "in the middle": (np.array([[-1.0], [0], [1], [0]]), [0, 1, 2]),
    "equal": (np.full((3, 4), 0.1), [0]),
    "many": (normal(700, 3)[np.arange(1400) % 700], list(range(700))),
    "near": (normal(4, 9) * 1e-2 + normal(1, 9, seed=1), [0, 1, 2, 3]),
}


@pytest.mark.parametrize("kind", DISTINCT)
def test_of_copies_the_first_is_kept(kind: str) -> None:
    x, expected = DISTINCT[kind]
    assert np.unique(originals(x)).tolist() == expected
