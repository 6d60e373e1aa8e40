"""Running plans: what comes out, in which layout, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import adjusted_rand_score

import analysis
from analysis import DataError, PlanError, Store, chain, each, run, spray, step
from relfunc import schema, storage

from ..data import attributions

SMALL = spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 3), seed=1)
PCA = chain(step(analysis.flatten), step(analysis.pca))


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return run(SMALL, attributions())


def test_the_tree_follows_the_contract(tree: xr.DataTree) -> None:
    schema.check_analysis(tree)
    assert list(tree.children) == ["class 0", "class 1", "class 2"]
    for node in tree.children.values():
        assert list(schema.embeddings(node)) == ["spectral", "tsne"]
        assert list(schema.clusterings(node)) == ["kmeans-02", "kmeans-03", "apart"]
        assert node["eigenvalue"].dims == ("eigen",)
        assert node["embedding/spectral"].shape == (24, 5)
        assert node["embedding/tsne"].shape == (24, 2)
        assert node["cluster/kmeans-03"].dtype == np.int32
        assert node["score/separability"].dims == ("clustering",)
        for group in ("embedding", "cluster"):
            assert not node[group].to_dataset(inherit=False).coords


def test_steps_get_the_very_values_and_the_input_keeps_its_attributes() -> None:
    data = attributions().drop_vars("label")
    data["attribution"].attrs["unit"] = data["sample"].attrs["unit"] = "logit"
    seen: list[xr.Dataset] = []

    def look(given: xr.Dataset) -> xr.Dataset:
        seen.append(given)
        return xr.Dataset()

    run(chain(step(look), PCA), data, by=None)
    assert np.shares_memory(seen[0]["attribution"].values, data["attribution"].values)
    assert not seen[0]["attribution"].attrs
    assert data["attribution"].attrs == data["sample"].attrs == {"unit": "logit"}


def test_samples_are_where_their_index_says(tree: xr.DataTree) -> None:
    data = attributions()
    together = np.concatenate([node["index"].values for node in tree.children.values()])
    assert sorted(together) == list(range(72))
    for label, node in enumerate(tree.children.values()):
        assert (data["label"].values[node["index"]] == label).all()
        assert (data["sample"].values[node["index"]] == node["sample"]).all()


def test_results_tell_what_made_them(tree: xr.DataTree) -> None:
    attrs = tree["class 1/cluster/kmeans-03"].attrs
    assert attrs["step"] == "analysis.steps.cluster.kmeans"
    assert '"seed": 1' in attrs["parameters"]
    assert '"n_init": 10' in attrs["parameters"]
    assert attrs["k"] == 3
    assert analysis.plan.from_toml(tree.attrs["plan"]) == SMALL


def test_the_tree_survives_netcdf(tree: xr.DataTree, tmp_path: Path) -> None:
    storage.save(tree, tmp_path / "analysis.nc")
    with storage.open_analysis(tmp_path / "analysis.nc") as read:
        xr.testing.assert_equal(read.load(), tree)


@pytest.mark.slow
def test_twice_the_same_bits_alone_and_side_by_side(tree: xr.DataTree) -> None:
    for workers in (1, 2):
        assert run(SMALL, attributions(), workers=workers).identical(tree)


def test_nothing_is_written_to_the_data() -> None:
    data = attributions()
    run(SMALL, data)
    xr.testing.assert_identical(data, attributions())


def test_a_lazily_opened_file_gives_the_same(tree: xr.DataTree, tmp_path: Path) -> None:
    storage.save(attributions(), tmp_path / "attributions.nc")
    with storage.open_attributions(tmp_path / "attributions.nc") as data:
        assert run(SMALL, data).identical(tree)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (None, ["all"]),
        ("label", ["class 0", "class 1", "class 2"]),
        ("prediction", ["class 0", "class 1", "class 2"]),
        ("artifact", ["False", "True"]),
        ("kind", ["a/b", "c"]),
        ("many", ["class 0", "class 2"]),
    ],
)
def test_categories(by: str | None, names: list[str]) -> None:
    data = attributions(planted=1)
    many = np.arange(72)[:, None] % np.array([2, 100, 3]) == 0
    many[0] = [True, False, True]
    data = data.assign(
        kind=("sample", np.where(np.arange(72) < 30, "a/b", "c")),
        many=(("sample", "class"), many),
    )
    tree = run(PCA, data, by=by)
    assert list(schema.categories(tree)) == names
    expected: dict[str | None, Any] = {
        None: lambda name: np.full(72, True),
        "label": lambda name: data["label"].values == int(name[-1]),
        "prediction": lambda name: data["prediction"].values.argmax(1) == int(name[-1]),
        "artifact": lambda name: data["artifact"].values == (name == "True"),
        "kind": lambda name: (data["kind"] == name).values,
        "many": lambda name: many[:, int(name[-1])],
    }
    for name, node in schema.categories(tree).items():
        np.testing.assert_array_equal(node["index"], np.flatnonzero(expected[by](name)))
    assert tree.attrs["without_samples"] == ("class 1" if by == "many" else "")


def test_only_some_categories() -> None:
    assert list(run(PCA, attributions(), categories=["class 2", "class 0"]).children) == ["class 2", "class 0"]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 11])
@pytest.mark.parametrize("same", [False, True], ids=["distinct", "all alike"])
def test_tiny_categories_have_results(n: int, same: bool) -> None:
    data = attributions().isel(sample=slice(n))
    if same:
        data = data.isel(sample=[0] * n).assign_coords(sample=np.arange(n))
    tree = schema.check_analysis(run(spray(), data, by=None))
    node = tree["all"]
    assert node["eigenvalue"].sizes["eigen"] == min(16, n)
    assert node["eigenvalue"][0] == 0
    assert list(schema.clusterings(node)) == [*(f"kmeans-{k:02d}" for k in range(2, 9)), "apart"]
    assert np.isfinite(node["embedding/tsne"]).all()
    assert (node["score/size"].sum("cluster") == n).all()
    assert analysis.text(analysis.ranking(tree))


def test_branches_do_not_disturb_each_other() -> None:
    plan = chain(
        each(
            chain(step(analysis.absolute), step(analysis.flatten), step(analysis.pca, name="absolute")),
            chain(step(analysis.flatten), step(analysis.pca, name="signed")),
        ),
        step(analysis.kmeans, embedding="signed"),
    )
    data = attributions()
    data["attribution"] = data["attribution"] - 0.5
    together = run(plan, data, by=None)
    alone = run(chain(step(analysis.flatten), step(analysis.pca, name="signed")), data, by=None)
    assert together["all/embedding/signed"].identical(alone["all/embedding/signed"])
    assert not together["all/embedding/absolute"].equals(alone["all/embedding/signed"])


def test_a_function_of_ones_own_is_a_step() -> None:
    def brightest(data: xr.Dataset, *, rank: int = 1) -> xr.Dataset:
        heat = data["attribution"].max(["channel", "y"]).values
        return xr.Dataset({"columns": (("sample", "component"), np.sort(heat)[:, -rank:], {"role": "embedding"})})

    tree = run(chain(step(brightest, rank=2)), attributions(), by=None)
    assert tree["all/embedding/columns"].shape == (72, 2)
    assert tree["all/embedding/columns"].attrs["parameters"] == '{"rank": 2}'


def spoiled(value: float) -> xr.Dataset:
    data = attributions()
    data["attribution"][17, 0, 3, 3] = value
    return data


def returns_nothing(data: xr.Dataset) -> Any:
    return None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: run(SMALL, spoiled(np.nan)),
            DataError,
            "category 'class .': the attribution of sample 's17' holds NaN",
        ),
        (lambda: run(SMALL, spoiled(np.inf), by=None), DataError, "sample 's17' holds NaN or infinity"),
        (lambda: run(SMALL, attributions(), by="race"), DataError, "by='race' is none of the dataset's variables"),
        (lambda: run(SMALL, attributions(), by="input"), DataError, "by='input' has dimensions"),
        (lambda: run(SMALL, attributions(), categories=["cat"]), DataError, "no category 'cat' by 'label'; there are"),
        (lambda: run(SMALL, xr.Dataset({"a": 1})), DataError, "has no variable 'attribution', only 'a'"),
        (lambda: run(SMALL, attributions().isel(sample=[])), DataError, "no category has any samples"),
        (lambda: run(analysis.pca, attributions()), PlanError, "is not a plan"),
        (lambda: run(step(analysis.pca), attributions()), DataError, "pca: no variable 'features'; there are"),
        (lambda: run(step(analysis.flatten), attributions()), PlanError, "yields no embedding"),
        (lambda: run(step(returns_nothing), attributions()), PlanError, "returned a NoneType, not a Dataset"),
        (
            lambda: run(chain(step(analysis.flatten), each(step(analysis.pca), step(analysis.pca))), attributions()),
            PlanError,
            "two steps make 'pca'",
        ),
        (
            lambda: run(chain(step(analysis.flatten), step(analysis.neighbor_graph, metric="no")), attributions()),
            DataError,
            "metric='no'",
        ),
    ],
)
def test_errors_say_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.33, 0.05])
def test_planted_artifact_ranks_its_class_first(share: float) -> None:
    """In nine of ten seeds at least; the artefact is in a third, and in a twentieth of one class of ten."""
    first, found = 0, 0
    plan = spray(n_neighbors=None, tsne=False)
    for seed in range(10):
        planted = (3 * seed) % 10
        data = attributions(120, 10, planted=planted, share=share, seed=seed)
        tree = run(plan, data)
        best = analysis.ranking(tree).isel(category=0)
        name = str(best["category"].values)
        first += name == f"class {planted}"
        node = tree[name]
        members = node["cluster"][str(best["clustering"].values)] == best["cluster"].values
        found += adjusted_rand_score(data["artifact"].values[node["index"]], members) >= 0.9
    assert first >= 9
    assert found >= 9


def test_without_its_artifact_the_class_does_not_stand_out() -> None:
    plan = spray(n_neighbors=None, clusters=(2, 3, 4), tsne=False)
    clean, marked = (
        analysis.ranking(run(plan, attributions(120, 3, planted=planted)))["separability"].sel(category="class 1")
        for planted in (None, 1)
    )
    assert marked > 3 * clean


def test_store_keeps_what_a_run_without_one_computes(tmp_path: Path, tree: xr.DataTree) -> None:
    stored = run(SMALL, attributions(), store=Store(tmp_path))
    xr.testing.assert_equal(stored, tree)
    assert "key" in stored["class 0/embedding/tsne"].attrs
