"""Whole runs in one entry of the store: what comes back is what was computed, and nothing else is taken for it."""

import copy
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analysis
import relfunc as rf
from analysis import DataError, KeyingError, Store, StoreError, chain, each, run, step
from analysis.engine import keys, whole
from analysis.engine.packed import packed, unpacked
from relfunc import schema, storage

from ..data import attributions
from .test_store import RESULTS


def plan(clusters: tuple[int, ...] = (2, 3)) -> analysis.plan.Plan:
    return chain(
        *map(step, [analysis.sum_channels, analysis.absolute, analysis.flatten]),
        step(analysis.neighbor_graph, n_neighbors=4),
        step(analysis.spectral, n_eigenvalues=5),
        step(analysis.kmeans, clusters=clusters),
        each(*map(step, [analysis.eigengap, analysis.separability, analysis.size])),
    )


PLAN = plan()
CHEAP = chain(step(analysis.flatten), step(analysis.pca), step(analysis.kmeans, embedding="pca", clusters=(2, 3)))


def wholes(store: Store) -> list[Path]:
    return [store.file(entry.key) for entry in store.ls() if entry.step == "analysis.run"]


def grouped() -> xr.Dataset:
    """Attributions with groups of every kind beside their labels."""
    at = np.arange(72)
    return attributions(planted=1).assign(
        kind=("sample", np.where(at < 30, "a/b", "Käse ")),
        day=("sample", np.array(["2026-01-01", "2026-01-02"], "datetime64[ns]")[at % 2]),
        twins=(("sample", "class"), np.stack([at < 20, at < 20, at >= 20], 1)),
        empty=(("sample", "class"), np.stack([at < 20, at < 0, at >= 20], 1)),
    )


def halved() -> xr.Dataset:
    data = attributions()
    data["attribution"] = data["attribution"].astype(np.float16)
    return data


RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "labels": (attributions, {}),
    "predictions": (attributions, {"by": "prediction"}),
    "text": (grouped, {"by": "kind"}),
    "times": (grouped, {"by": "day"}),
    "bools": (grouped, {"by": "artifact"}),
    "the same samples twice": (grouped, {"by": "twins"}),
    "a class without samples": (grouped, {"by": "empty"}),
    "some, in another order": (attributions, {"categories": ["class 2", "class 0"]}),
    "half precision": (halved, {}),
    "no identifiers": (lambda: attributions().drop_vars("sample"), {}),
    "two processes": (attributions, {"workers": 2}),
}


def exact(tree: xr.DataTree) -> Any:
    """All that tells one tree from another: order, types and attributes with theirs."""

    def attrs(held: Any) -> Any:
        return [(name, type(value), np.asarray(value).dtype, np.shape(value)) for name, value in held.attrs.items()]

    def variables(held: Any) -> Any:
        return [(name, one.dims, one.dtype, one.encoding, attrs(one)) for name, one in held.items()]

    return [
        (node.path, attrs(node), variables(node.data_vars), variables(node.coords), list(node.xindexes))
        for node in tree.subtree
    ]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of entries that are read and found."""
    found: list[str] = []
    get = Store.get

    def watched(store: Store, key: str, **options: Any) -> xr.Dataset | None:
        entry = get(store, key, **options)
        found.extend([key] if entry is not None else [])
        return entry

    monkeypatch.setattr(Store, "get", watched)
    return found


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * ("processes" in kind)) for kind in RUNS]
)
def test_a_run_comes_back_from_one_entry_as_it_was(kind: str, tmp_path: Path, opened: list[str]) -> None:
    make, options = RUNS[kind]
    store, data = Store(tmp_path), make()
    cold = run(PLAN, data, store=store, **options)
    (path,) = wholes(store)
    opened.clear()
    warm = run(PLAN, data, store=store, **options)
    assert opened == [path.stem]
    xr.testing.assert_identical(warm, cold)
    assert exact(warm) == exact(cold)
    assert wholes(store) == [path]


def test_a_lazily_opened_file_comes_back_as_what_is_in_memory(tmp_path: Path, opened: list[str]) -> None:
    storage.save(attributions(), tmp_path / "attributions.nc")
    cold = run(PLAN, attributions(), store=Store(tmp_path / "store"))
    opened.clear()
    with storage.open_attributions(tmp_path / "attributions.nc") as data:
        assert run(PLAN, data, store=Store(tmp_path / "store")).identical(cold)
    assert len(opened) == 1


def test_groups_of_other_names_and_other_order_have_theirs(tmp_path: Path, opened: list[str]) -> None:
    store = Store(tmp_path)
    data = attributions().assign(other=lambda held: held["label"] * 1, more=("sample", np.arange(72)))
    run(PLAN, data, store=store)
    again = run(PLAN, data, by="other", store=store)
    alone = run(PLAN, data, by="other", store=Store(tmp_path / "alone"))
    assert list(schema.categories(again)) == ["0", "1", "2"]
    assert again.attrs["by"] == "other"
    assert again.identical(alone)


# --- nothing is taken for something else -----------------------------------------------------------------


def nudged(name: str, at: int, by: Any) -> Any:
    def made(data: xr.Dataset) -> xr.Dataset:
        held = data.copy(deep=True)
        held[name].values[at] += by
        return held

    return made


def swapped(data: xr.Dataset) -> xr.Dataset:
    """Two samples of the last class change places, with all that is known of them."""
    order, last = np.arange(72), np.flatnonzero(data["label"] == 2)
    order[last[[3, 5]]] = last[[5, 3]]
    return data.isel(sample=order)


CHANGES: dict[str, Any] = {
    "a heatmap of the first class": nudged("attribution", 0, 0.5),
    "the last heatmap": nudged("attribution", 71, 0.5),
    "a prediction": nudged("prediction", 40, 0.5),
    "another variable": lambda data: data.assign(artifact=~data["artifact"]),
    "a further variable": lambda data: data.assign(scanner=("sample", np.arange(72))),
    "a variable less": lambda data: data.drop_vars("artifact"),
    "another type": lambda data: data.assign(attribution=data["attribution"].astype(float)),
    "other identifiers": lambda data: data.assign_coords(sample=np.arange(72)),
    "names of classes": lambda data: data.assign_coords({"class": ["p", "q", "r"]}),
    "names of dimensions": lambda data: data.rename(y="row", x="column"),
    "another order within a class": swapped,
    "a sample in another class": lambda data: data.assign(label=data["label"].where(data["sample"] != "s71", 0)),
    "a class less": lambda data: data.isel(sample=np.flatnonzero(data["label"] != 2)),
    "a sample less": lambda data: data.isel(sample=slice(71)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_have_their_own_results(change: str, tmp_path: Path) -> None:
    data = attributions()
    other = CHANGES[change](data)
    store = Store(tmp_path / "store")
    run(CHEAP, data, store=store)
    assert run(CHEAP, other, store=store).identical(run(CHEAP, other, store=Store(tmp_path / "alone")))
    assert run(CHEAP, data, store=store).identical(run(CHEAP, data, store=Store(tmp_path / "first")))


def score(value: float) -> xr.Dataset:
    return xr.Dataset({"v": xr.Variable((), float(value), {"role": "score"})})


def test_a_step_edited_between_runs_is_computed_again(tmp_path: Path) -> None:
    found = []
    for n in (1, 2, 1):
        held: dict[str, Any] = {"__name__": "__main__", "score": score}
        exec(f"def helper(): return {n}\ndef f(data): return score(helper())", held)
        tree = run(step(held["f"]), attributions(), store=Store(tmp_path))
        found.append(tree["class 1/score/v"].item())
    assert found == [1, 2, 1]


def test_what_a_branch_hides_is_hidden_from_the_steps_behind_it(tmp_path: Path) -> None:
    """A step that follows a branch sees only its results; its key is not that of one that sees all."""
    run(chain(step(analysis.flatten), step(analysis.pca)), attributions(), store=Store(tmp_path))
    with pytest.raises(DataError, match="pca: no variable 'features'"):
        run(chain(each(step(analysis.flatten)), step(analysis.pca)), attributions(), store=Store(tmp_path))


def test_code_is_looked_at_once_for_all_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    of_call = keys.of_call
    monkeypatch.setattr(keys, "of_call", lambda function, params: (seen.append(function), of_call(function, params))[1])
    run(CHEAP, attributions(), store=Store(tmp_path))
    assert seen == [analysis.flatten, analysis.pca, analysis.kmeans]


def test_what_has_no_key_is_refused_as_ever(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:

        def reads(data: xr.Dataset) -> xr.Dataset:
            return score(file.tell())

        with pytest.raises(KeyingError, match="reads captures"):
            run(step(reads), attributions(), store=Store(tmp_path / "store"))
        rf.versioned(reads, "1")
        for _ in range(2):
            run(step(reads), attributions(), store=Store(tmp_path / "store"))


# --- part of it is known ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_where_one_category_changed_the_others_are_known(workers: int, tmp_path: Path) -> None:
    store, data = Store(tmp_path), attributions()
    run(PLAN, data, store=store)
    (path,) = wholes(store)
    before = {entry.key for entry in store.ls()}
    data["attribution"][int(np.flatnonzero(data["label"] == 1)[2])] += 1
    changed = run(PLAN, data, store=store, workers=workers)
    assert changed.identical(run(PLAN, data, store=Store(tmp_path / "alone")))
    assert list(changed.children) == ["class 0", "class 1", "class 2"]
    made = [entry for entry in store.ls() if entry.key not in before]
    assert len({entry.step for entry in made}) == len(made)
    assert wholes(store) == [path]


def test_where_a_step_changed_those_before_it_are_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(PLAN, attributions(), store=store)
    before = {entry.key for entry in store.ls()}
    run(plan((2, 4)), attributions(), store=store)
    made = {entry.step.rpartition(".")[2] for entry in store.ls() if entry.key not in before}
    assert {"kmeans", "run"} <= made
    assert not {"neighbor_graph", "spectral"} & made


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a flipped bit", "another key's entry", "gone"])
def test_a_damaged_run_is_put_together_again(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    cold = run(PLAN, attributions(), store=store)
    (path,) = wholes(store)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "a flipped bit":
        at = content.index(np.asarray(cold["class 1/embedding/spectral"]).tobytes()[64:128])
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "another key's entry":
        path.write_bytes(store.file(store.ls()[0].key).read_bytes())
    else:
        path.unlink()
    assert store.verify() == ([] if damage == "gone" else [path])
    written = {entry.key: entry.written for entry in store.ls() if store.file(entry.key) != path}
    with caplog.at_level(logging.WARNING):
        assert run(PLAN, attributions(), store=store).identical(cold)
    assert [str(path) for path in (tmp_path.glob("*/*")) if str(path) in caplog.text] == (
        [] if damage == "gone" else [str(path)]
    )
    assert store.verify() == []
    assert wholes(store) == [path]
    assert {entry.key: entry.written for entry in store.ls() if store.file(entry.key) != path} == written


def test_a_store_that_cannot_be_written_gives_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    cold = run(PLAN, attributions(), store=store)
    for path in wholes(store):
        path.unlink()

    def refused(*_: Any, **__: Any) -> None:
        raise StoreError("the store cannot be written")

    monkeypatch.setattr(Store, "put", refused)
    assert run(PLAN, attributions(), store=store).identical(cold)
    assert "the next such run will be slower" in caplog.text


def test_what_is_large_stays_in_the_entries_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = attributions().assign(kind=("sample", np.where(np.arange(72) < 18, "few", "many")))
    cold = run(CHEAP, data, by="kind", store=Store(tmp_path / "all"))
    monkeypatch.setattr(whole, "LARGEST", sum(node.to_dataset(inherit=False).nbytes for node in cold["few"].subtree))
    store = Store(tmp_path / "some")
    for _ in range(2):
        assert run(CHEAP, data, by="kind", store=store).identical(cold)
        assert [entry.parameters for entry in store.ls() if entry.step == "analysis.run"] == ['{"categories": 1}']


def test_one_category_is_no_run_of_its_own(tmp_path: Path) -> None:
    run(CHEAP, attributions(), by=None, store=Store(tmp_path))
    assert wholes(Store(tmp_path)) == []


def test_pruning_knows_runs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cold = run(CHEAP, attributions(), store=store)
    (path,) = wholes(store)
    size = path.stat().st_size
    assert sum(entry.nbytes for entry in store.ls()) == store.nbytes
    steps = frozenset(entry.key for entry in store.ls() if entry.step != "analysis.run")
    assert store.prune(keep=steps) == size
    assert run(CHEAP, attributions(), store=store).identical(cold)
    store.prune(keep=frozenset({path.stem}))
    assert len(store.ls()) == 1
    assert run(CHEAP, attributions(), store=store).identical(cold)


# --- a tree of results ---------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path: Path) -> tuple[xr.DataTree, xr.DataTree, Store]:
    store = Store(tmp_path / "store")
    return run(CHEAP, attributions(), store=store), run(CHEAP, attributions(), store=store), store


def without_its_store(warm: xr.DataTree, store: Store) -> xr.DataTree:
    for path in store.path.glob("*/*"):
        path.unlink()
    return warm


def by_threads(warm: xr.DataTree, store: Store) -> xr.DataTree:
    seen: list[xr.DataTree] = []
    threads = [threading.Thread(target=lambda: seen.extend(warm.children.values())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(node) for node in seen}) == 3
    return warm


def closed(warm: xr.DataTree, store: Store) -> xr.DataTree:
    warm.close()
    return warm


USES: dict[str, Any] = {
    "the store is emptied": without_its_store,
    "pickled": lambda warm, store: pickle.loads(pickle.dumps(warm)),
    "copied": lambda warm, store: warm.copy(deep=True),
    "copied by copy": lambda warm, store: copy.deepcopy(warm),
    "asked by threads": by_threads,
    "closed": closed,
    "loaded": lambda warm, store: warm.load(),
    "mapped": lambda warm, store: warm.map_over_datasets(lambda data: data),
}


@pytest.mark.parametrize("use", USES)
def test_a_tree_from_the_store_is_used_as_one_that_was_computed(
    use: str, both: tuple[xr.DataTree, xr.DataTree, Store]
) -> None:
    cold, warm, store = both
    assert USES[use](warm, store).identical(cold)


def test_a_tree_from_the_store_is_written_as_one_that_was_computed(tmp_path: Path) -> None:
    for name in ("cold", "warm"):
        run(CHEAP, attributions(), store=Store(tmp_path / "store"), out=tmp_path / f"{name}.nc")
    with storage.open_analysis(tmp_path / "cold.nc") as cold, storage.open_analysis(tmp_path / "warm.nc") as warm:
        assert warm.load().identical(cold.load())


def test_trees_from_the_store_can_be_changed_and_share_nothing(
    both: tuple[xr.DataTree, xr.DataTree, Store],
) -> None:
    cold, warm, store = both
    np.asarray(warm["class 0/embedding/pca"])[:] = 0
    warm["class 1"] = xr.DataTree(xr.Dataset({"a": 1}))
    warm["new"] = xr.DataTree()
    del warm["class 2"]
    assert list(warm.children) == ["class 0", "class 1", "new"]
    assert run(CHEAP, attributions(), store=store).identical(cold)


def test_categories_of_the_same_samples_share_nothing(tmp_path: Path) -> None:
    run(CHEAP, grouped(), by="twins", store=Store(tmp_path))
    warm = run(CHEAP, grouped(), by="twins", store=Store(tmp_path))
    np.asarray(warm["class 0/embedding/pca"])[:] = 0
    assert np.asarray(warm["class 1/embedding/pca"]).any()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="open files are counted in /dev/fd")
def test_many_trees_hold_no_files(both: tuple[xr.DataTree, xr.DataTree, Store]) -> None:
    cold, _, store = both
    open_files = len(list(Path("/dev/fd").iterdir()))
    trees = [run(CHEAP, attributions(), store=store) for _ in range(9)]
    assert len(list(Path("/dev/fd").iterdir())) == open_files
    assert all(tree.identical(cold) for tree in trees)


# --- packing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESULTS)
def test_every_kind_of_result_is_unpacked_as_it_was(name: str, tmp_path: Path) -> None:
    """Whatever a store gives back, and the data that it is given."""
    for data in (RESULTS[name], Store(tmp_path).put("abcd", RESULTS[name])):
        held = packed(data)
        assert held is not None
        found = unpacked(held)
        xr.testing.assert_identical(found, data)
        assert [(key, each.dtype) for key, each in found.variables.items() if each.dtype.kind != "T"] == [
            (key, each.dtype) for name in (data.data_vars, data.coords) for key, each in name.items()
        ]
        assert list(found.xindexes) == list(data.xindexes)
        assert all(array.values.flags.writeable for array in found.data_vars.values())


ATTRIBUTES: list[Any] = [
    3,
    -0.1,
    float("inf"),
    "ä\0b",
    "",
    ["p", "q"],
    np.float32(0.1),
    np.int64(2**62),
    np.arange(3),
    np.array([0.1], np.float32),
]


@pytest.mark.parametrize("value", ATTRIBUTES, ids=repr)
def test_attributes_are_unpacked_as_they_were(value: Any) -> None:
    held = packed(xr.Dataset({"a": ("x", [1.0], {"k": value})}, attrs={"k": value}))
    assert held is not None
    for found in (unpacked(held).attrs["k"], unpacked(held)["a"].attrs["k"]):
        assert type(found) is type(value)
        assert np.asarray(found).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(found, value)


NOT_PACKED = {
    "objects": xr.Dataset({"a": ("x", np.array([object()], object))}),
    "an attribute": xr.Dataset({"a": ("x", [1], {"k": {"a": 1}})}),
    "an attribute of the whole": xr.Dataset(attrs={"k": None}),
    "objects in an attribute": xr.Dataset({"a": ("x", [1], {"k": np.array([None], object)})}),
}


@pytest.mark.parametrize("name", NOT_PACKED)
def test_what_json_cannot_hold_is_not_packed(name: str) -> None:
    assert packed(NOT_PACKED[name]) is None
