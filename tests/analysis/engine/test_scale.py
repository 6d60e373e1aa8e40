"""Beyond one process and beyond memory: the same results from a Dask cluster, and from data read in blocks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import analysis
from analysis import DataError, PlanError, Store, chain, each, place, run, spray, step
from analysis.plan import Step
from analysis.roles import is_per_sample
from relfunc import storage
from relfunc.keys import blocks

from ..data import attributions

distributed = pytest.importorskip("distributed")

PLAN = chain(
    spray(n_neighbors=4, n_eigenvalues=5, clusters=(2, 3), seed=1),
    each(
        chain(step(analysis.pool), step(analysis.flatten), step(analysis.pca, name="pooled")),
        step(analysis.stability, clusters=(2, 3)),
    ),
    step(analysis.kmeans, embedding="pooled", name="pooled-kmeans"),
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes of one thread each."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, protocol="tcp"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return run(PLAN, attributions())


@pytest.mark.slow
def test_a_cluster_computes_the_same(client: Any, tree: xr.DataTree) -> None:
    assert run(PLAN, attributions(), client=client).identical(tree)


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_named_places_change_nothing_of_the_results(
    where: str, request: pytest.FixtureRequest, tree: xr.DataTree
) -> None:
    *before, branches, last = PLAN.plans
    named = chain(place("relevance", chain(*before[:4])), *before[4:], place("more", branches), place("last", last))
    options = {"client": request.getfixturevalue("client")} if where == "cluster" else {"workers": 2}
    found = run(named, attributions(), **options)
    assert all(found.children[name].identical(tree.children[name]) for name in tree.children)


@pytest.mark.slow
def test_workers_read_a_lazily_opened_file_and_share_the_store(client: Any, tree: xr.DataTree, tmp_path: Path) -> None:
    storage.save(attributions(), tmp_path / "attributions.nc")
    with storage.open_attributions(tmp_path / "attributions.nc") as data:
        for _ in range(2):
            found = run(PLAN, data, client=client, store=Store(tmp_path / "store"))
            xr.testing.assert_equal(found, tree)
    written = len(Store(tmp_path / "store").ls())
    assert run(PLAN, attributions(), store=Store(tmp_path / "store")).identical(found)
    assert len(Store(tmp_path / "store").ls()) == written


def dying(data: xr.Dataset, *, mark: str) -> xr.Dataset:
    """Kill the first process that computes it."""
    import os
    import signal

    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return xr.Dataset()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_loss_of_a_worker_loses_no_result(client: Any, tree: xr.DataTree, tmp_path: Path) -> None:
    before = set(client.scheduler_info()["workers"])
    plan = chain(PLAN, step(dying, mark=str(tmp_path / "mark")))
    found = run(plan, attributions(), client=client)
    assert (tmp_path / "mark").exists()
    assert set(client.scheduler_info()["workers"]) != before
    for name in tree.children:
        assert found[name].identical(tree[name])


def test_errors_of_a_worker_arrive(client: Any) -> None:
    data = attributions()
    data["attribution"][17, 0, 3, 3] = np.inf
    with pytest.raises(DataError, match="the attribution of sample 's17' holds NaN or infinity"):
        run(PLAN, data, client=client)


ROWWISE = chain(
    step(analysis.sum_channels),
    step(analysis.absolute),
    step(analysis.normalize),
    step(analysis.square_root),
    step(analysis.pool),
    step(analysis.resize, height=4, width=3),
    step(analysis.flatten),
    step(analysis.pca),
)


@pytest.mark.parametrize("block", [1, 700, 5000])
def test_blocks_do_not_matter(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(ROWWISE, attributions(), store=Store(tmp_path / "store"))
    storage.save(attributions(), tmp_path / "attributions.nc")
    monkeypatch.setattr(blocks, "BYTES", block)
    assert run(ROWWISE, attributions(), store=Store(tmp_path / str(block))).identical(whole)
    with storage.open_attributions(tmp_path / "attributions.nc") as data:
        assert run(ROWWISE, data, store=Store(tmp_path / "lazy")).identical(whole)


def test_no_step_doubles_the_memory_of_single_precision() -> None:
    data = attributions().astype(np.float32)
    per_sample = [part for part in ROWWISE.plans if isinstance(part, Step) and is_per_sample(part.function)]
    for one in (*per_sample, step(analysis.positive), step(analysis.normalize, by="max")):
        made = one.function(data, **dict(one.params))
        assert {str(variable.dtype) for variable in made.data_vars.values()} == {"float32"}, one


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_in_any_block(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BYTES", 5000)
    data = attributions()
    data["attribution"][61, 0, 3, 3] = wrong
    with pytest.raises(DataError, match="the attribution of sample 's61' holds NaN or infinity"):
        run(ROWWISE, data, by=None)


def test_finite_values_whose_sum_overflows_are_finite() -> None:
    data = attributions()
    data["attribution"][:] = 1e36
    run(ROWWISE, data, by=None)


@analysis.per_sample
def without_samples(data: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"mean": data["attribution"].mean()})


def test_a_step_per_sample_makes_something_of_each() -> None:
    with pytest.raises(PlanError, match=r"without_samples.*'mean' has dimensions \(\): 'sample' must be the first"):
        run(chain(step(without_samples), step(analysis.pca, features="mean")), attributions())


PEAK = """
import sys
from pathlib import Path

import analysis, relfunc.storage

def peak():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

with relfunc.storage.open_attributions(sys.argv[1]) as data:
    pooled = analysis.chain(
        analysis.step(analysis.pool, window=16), analysis.step(analysis.flatten), analysis.step(analysis.pca)
    )
    run, store = analysis.run, analysis.Store(sys.argv[2])
    before = peak()  # with all libraries, which are loaded when they are first used
    run(pooled, data, by=None, store=store)
    print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_attributions_larger_than_a_block_are_never_whole_in_memory(tmp_path: Path) -> None:
    n, size = 1000, (3, 128, 128)
    values = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, *size))
    data = xr.Dataset(
        {
            "attribution": (("sample", "channel", "y", "x"), values),
            "prediction": (("sample", "class"), np.eye(n)[:, :2]),
            "label": ("sample", np.zeros(n, int)),
        },
        coords={"sample": np.arange(n), "class": ["a", "b"]},
    )
    encoding = {"attribution": {"zlib": True, "complevel": 1, "chunksizes": (50, *size)}}
    storage.save(data, tmp_path / "attributions.nc", encoding=encoding)
    command = [sys.executable, "-c", PEAK, str(tmp_path), str(tmp_path / "store")]
    root = str(Path(__file__).parents[3])
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout)
    assert kilobytes < 150_000 < values.nbytes / 1024
