"""The store: what goes in comes out, whatever kills, truncates or races it."""

import logging
import multiprocessing
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import Store, StoreError, chain, run, spray, step
from analysis.engine import keys, lineage
from relfunc.keys import values

from ..data import attributions

PLAN = spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 3))


def counting(data: xr.Dataset, *, log: str = "") -> xr.Dataset:
    """Leave a line in a file whenever it is computed."""
    with Path(log).open("a") as file:
        file.write("computed\n")
    return xr.Dataset({"mean": (("sample", "component"), data["features"].mean("feature").values[:, None])}).assign(
        mean=lambda made: made["mean"].assign_attrs(role="embedding")
    )


RESULTS = {
    "floats": xr.Dataset({"a": (("x", "y"), np.random.default_rng(0).normal(size=(3, 2)))}),
    "not finite": xr.Dataset({"a": ("x", [np.nan, np.inf, -np.inf, -0.0])}),
    "single precision": xr.Dataset({"a": ("x", np.float32([1.5, np.nan]))}),
    "integers": xr.Dataset({name: ("x", np.array([0, 1], name)) for name in ("int8", "int32", "int64", "uint8")}),
    "bool": xr.Dataset({"a": ("x", [True, False])}),
    "text": xr.Dataset({"a": ("x", ["short", "longer Ω", ""])}),
    "time": xr.Dataset({"a": ("x", np.array(["2026-01-01", "NaT"], "datetime64[ns]"))}),
    "scalar": xr.Dataset({"a": 1.25}),
    "empty": xr.Dataset({"a": ("x", np.empty(0))}),
    "nothing": xr.Dataset(),
    "coordinates": xr.Dataset({"a": ("x", [1.0, 2.0])}, coords={"x": ["p", "q"], "z": ("x", [3, 4])}),
    "attributes": xr.Dataset({"a": ("x", [1.0], {"k": 3, "role": "score", "name": "ä"})}, attrs={"seed": 1}),
    "sparse graph": analysis.neighbor_graph(
        xr.Dataset({"features": (("sample", "feature"), np.random.default_rng(0).normal(size=(20, 3)))}), n_neighbors=3
    ),
    "graph without edges": analysis.neighbor_graph(xr.Dataset({"features": (("sample", "feature"), [[1.0]])})),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_kind_of_result_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put = store.put("abcd", RESULTS[name])
    got = store.get("abcd")
    assert got is not None
    xr.testing.assert_identical(got, RESULTS[name])
    xr.testing.assert_identical(put, got)
    if name != "text":
        assert {key: got[key].dtype for key in got} == {key: RESULTS[name][key].dtype for key in got}
    assert store.verify() == []


def test_absent_entry_is_none(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").get("abcd") is None
    assert Store(tmp_path / "nowhere").ls() == []
    assert not (tmp_path / "nowhere").exists()


def test_warm_run_reads_the_source_once_and_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = attributions()
    cold = run(PLAN, data, store=Store(tmp_path))
    hashed: Counter[str] = Counter()
    of_source = keys.of_source

    def watched(source: xr.Dataset) -> str:
        hashed.update({str(name): values.nbytes for name, values in source.variables.items()})
        return of_source(source)

    def refused(*_: Any) -> None:
        raise AssertionError("a step's input was put together")

    monkeypatch.setattr(keys, "of_source", watched)
    monkeypatch.setattr(lineage, "folded", refused)
    assert run(PLAN, data, store=Store(tmp_path)).identical(cold)
    assert hashed["attribution"] == data["attribution"].nbytes
    assert hashed["label"] == data["label"].nbytes
    assert "input" not in hashed


@pytest.mark.slow
def test_warm_run_of_ten_thousand_samples_hashes_each_array_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heat = np.abs(np.random.default_rng(0).normal(size=(10_000, 12, 12))).astype(np.float32)
    arrays = {"attribution": (("sample", "y", "x"), heat), "label": ("sample", np.arange(10_000) % 3)}
    data = xr.Dataset(arrays, {"sample": np.arange(10_000)})
    plan = spray(tsne=False)
    cold = run(plan, data, by=None, store=Store(tmp_path))
    hashed: list[tuple[int, ...]] = []
    of_array = values.of_array

    def watched(array: Any) -> str:
        hashed.append(array.shape)
        return of_array(array)

    def refused(*_: Any) -> None:
        raise AssertionError("a step was computed")

    monkeypatch.setattr(values, "of_array", watched)
    monkeypatch.setattr(lineage, "_called", refused)
    monkeypatch.setattr(lineage, "folded", refused)
    monkeypatch.setattr(Store, "put", refused)
    assert run(plan, data, by=None, store=Store(tmp_path)).identical(cold)
    assert sorted(hashed) == [(10_000,), (10_000,), (10_000, 12, 12)]


@pytest.mark.parametrize(
    ("plan", "computed"),
    [
        (spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 3)), set()),
        (spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 4)), {"kmeans", "eigengap", "separability", "silhouette"}),
        (spray(n_neighbors=4, n_eigenvalues=6, clusters=(2, 3)), {"spectral", "kmeans", "tsne"}),
        (spray(n_neighbors=5, n_eigenvalues=5, clusters=(2, 3)), {"neighbor_graph", "spectral", "kmeans", "tsne"}),
        (spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 3), seed=1), {"kmeans", "tsne"}),
    ],
    ids=["same", "another sweep", "more eigenvalues", "more neighbours", "another seed"],
)
def test_only_what_depends_on_a_change_is_computed(plan: Any, computed: set[str], tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(PLAN, attributions(), store=store, by=None)
    before = {entry.key for entry in store.ls()}
    run(plan, attributions(), store=store, by=None)
    steps = {entry.step.rpartition(".")[2] for entry in store.ls() if entry.key not in before}
    assert computed <= steps
    if not computed:
        assert not steps
    assert ("neighbor_graph" in steps) == ("neighbor_graph" in computed)
    assert ("spectral" in steps) == ("spectral" in computed)


def test_other_categories_keep_their_results_when_one_changes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = attributions()
    run(PLAN, data, store=store)
    count = len(store.ls())
    data["attribution"][int(np.flatnonzero(data["label"] == 1)[0])] += 1
    run(PLAN, data, store=store)
    assert len(store.ls()) - count == count // 3


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a flipped bit", "another key's entry"])
def test_damaged_entry_is_logged_and_computed_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    whole = run(PLAN, attributions(), store=store, by=None)
    entry = next(entry for entry in store.ls() if entry.step.endswith("spectral"))
    path = store.file(entry.key)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "a flipped bit":
        stored = whole["all/embedding/spectral"].values.tobytes()
        at = content.index(stored[64:128])
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        other = next(entry for entry in store.ls() if entry.step.endswith("kmeans"))
        path.write_bytes(store.file(other.key).read_bytes())
    assert store.verify() == [path]
    with caplog.at_level(logging.WARNING):
        again = run(PLAN, attributions(), store=store, by=None)
    assert again.identical(whole)
    assert [record.args[0] for record in caplog.records if record.args] == [path]
    assert store.verify() == []


def test_listing_pruning_and_size(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(PLAN, attributions(), store=store, by=None)
    entries = store.ls()
    assert [entry.step.rpartition(".")[2] for entry in entries][:2] == ["neighbor_graph", "spectral"]
    assert entries[1].variables == ("spectral", "eigenvalue")
    assert '"n_eigenvalues": 5' in entries[1].parameters
    assert sum(entry.nbytes for entry in entries) == store.nbytes
    assert store.prune(older_than=timedelta(days=1)) == 0
    keep = frozenset({entries[0].key})
    before = store.nbytes
    assert store.prune(keep=keep) == before - entries[0].nbytes
    assert [entry.key for entry in store.ls()] == [entries[0].key]
    store.file("00" * 20).parent.mkdir(exist_ok=True)
    store.file("00" * 20).write_bytes(b"damaged")
    assert store.prune() == len(b"damaged")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "ab").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "folder").put("abcd", xr.Dataset())


def _shared_run(path: str) -> list[bytes]:
    sweep = step(analysis.kmeans, embedding="pca", clusters=(2, 3, 4))
    tree = run(chain(step(analysis.flatten), step(analysis.pca), sweep), attributions(), store=Store(path))
    return [array.values.tobytes() for node in tree.subtree for array in node.to_dataset().data_vars.values()]


@pytest.mark.slow
def test_eight_processes_on_one_store(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        found = pool.map(_shared_run, [str(tmp_path)] * 8, chunksize=1)
    assert all(other == found[0] for other in found)
    assert Store(tmp_path).verify() == []


KILLER = """
import os, signal, sys, time
import numpy as np, xarray as xr
from analysis import Store

store = Store(sys.argv[1])
for writer in range(100):
    reader, pipe = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        for i in range(1_000_000):
            key = f"{i % 256:02x}{writer:04x}{i:06x}"
            store.put(key, xr.Dataset({"a": ("x", np.arange(20_000.0) + i)}))
            os.write(pipe, (key + chr(10)).encode())
    os.close(pipe)
    with os.fdopen(reader) as lines:
        print("".join(lines.readline() for _ in range(1 + writer % 4)), end="")
        time.sleep(0.0003 * writer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(lines.read(), end="")
"""


@pytest.mark.slow
def test_killed_writers_lose_nothing_they_completed(tmp_path: Path) -> None:
    """A hundred writers are killed, each after some entries; every entry they reported is there and whole."""
    command = [sys.executable, "-c", KILLER, str(tmp_path)]
    root = str(Path(__file__).parents[3])
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.split()
    store = Store(tmp_path)
    assert len(completed) >= 250
    assert store.verify() == []
    for key in completed:
        entry = store.get(key)
        assert entry is not None
        assert entry["a"].values[0] == int(key[6:], 16)


def test_a_step_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    plan = chain(step(analysis.flatten), step(analysis.pca), step(analysis.kmeans, embedding="absent"))
    with pytest.raises(analysis.DataError):
        run(plan, attributions(), store=Store(tmp_path), by=None)
    assert [entry.step for entry in Store(tmp_path).ls()] == ["analysis.steps.embed.pca"]


def test_one_shared_step_is_computed_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sweeps = [step(analysis.kmeans, embedding="mean", clusters=(k,)) for k in (2, 3, 4)]
    plan = chain(step(analysis.flatten), step(counting, log=str(log)), analysis.each(*sweeps))
    for _ in range(2):
        run(plan, attributions(), by=None, store=Store(tmp_path / "store"))
    assert log.read_text() == "computed\n"
    log.unlink()
    run(plan, attributions(), by=None)
    assert log.read_text() == "computed\n"
