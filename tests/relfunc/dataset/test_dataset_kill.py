"""Runs over a dataset that are killed, and workers that are: what comes out is what would have come out."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import relfunc as rf

KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np, torch
import relfunc as rf
from relfunc import demo

SAMPLES, BATCH, SHARD, KILLS = 2_000, 20, 100, 20
torch.set_num_threads(1)  # a forked process has no other threads
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
data = demo.digits(demo.Setting()).isel(sample=np.arange(SAMPLES) % 1797).assign_coords(sample=np.arange(SAMPLES))
data["input"].values[:, 0, 0, 0], data["input"].values[:, 0, 0, 1] = np.divmod(np.arange(SAMPLES), 256)
torch.manual_seed(0)
gradient = rf.gradient(rf.lrp(demo.network().eval(), rf.composites.epsilon_plus_flat()))

def attribute(out, attempt):
    os.environ["ATTEMPT"] = str(attempt)  # not captured, as each would be another run then
    def explain(x, target):
        high, low = ((x[:, 0, 0, :2] + 1) * 127.5).round().int().T
        with log.open("a") as file:
            print(os.environ["ATTEMPT"], *(256 * high + low).tolist(), file=file)
        return gradient(x, target)
    def progress(done, total):
        os.write(pipe, b".")
    return rf.attribute_dataset(
        explain, data, out, batch_size=BATCH, shard_size=SHARD, transform=demo.as_input, progress=progress
    )

rng = random.Random(0)
whole_before = []
for attempt in range(KILLS):
    whole_before.append(sorted(path.name for path in folder.glob("attributions-*.nc")))
    reader, pipe = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        attribute(folder, attempt)
        os._exit(9)
    os.close(pipe)
    for _ in range(rng.randrange(10)):
        os.read(reader, 1)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the run was over before it was killed"
    os.close(reader)
whole_before.append(sorted(path.name for path in folder.glob("attributions-*.nc")))
pipe = os.open(os.devnull, os.O_WRONLY)
attribute(folder, KILLS)
attribute(sys.argv[3], KILLS + 1)
print(json.dumps(whole_before))
"""


def run_code(code: str, *arguments: Path) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[3]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout


@pytest.mark.slow
def test_a_run_killed_twenty_times_gives_what_an_undisturbed_one_does(tmp_path):
    killed, undisturbed, log = tmp_path / "killed", tmp_path / "undisturbed", tmp_path / "log"
    whole_before = json.loads(run_code(KILLER, killed, log, undisturbed))
    with rf.open_attributions(killed) as results, rf.open_attributions(undisturbed) as expected:
        assert results.sizes["sample"] == 2_000
        xr.testing.assert_identical(results.load(), expected.load())
    names = [f"attributions-{i:05d}.nc" for i in range(20)]
    assert sorted(path.name for path in killed.iterdir()) == [*names, "manifest.json"]
    assert len(whole_before[-1]) < 20
    for line in log.read_text().splitlines()[:-100]:
        attempt, *samples = map(int, line.split())
        for sample in samples:
            assert names[sample // 100] not in whole_before[attempt]


TEXTS = """
import os, random, signal, sys, time
import torch
import relfunc as rf
from tests.relfunc.texts import Texts, explanation, spelled

torch.set_num_threads(1)
explain, data = explanation(), Texts()
data.ids = data.ids * 10

def attribute(out, progress=False):
    return rf.attribute_dataset(explain, data, out, batch_size=4, shard_size=10, progress=progress, tokens=spelled)

rng = random.Random(0)
for _ in range(6):
    reader, pipe = os.pipe()
    child = os.fork()
    if not child:
        attribute(sys.argv[1], lambda done, total: os.write(pipe, b"."))
        os._exit(9)
    os.close(pipe)
    for _ in range(rng.randrange(3, 10)):
        os.read(reader, 1)
    time.sleep(rng.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the run was over before it was killed"
    os.close(reader)
attribute(sys.argv[1])
attribute(sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_of_texts_killed_six_times_gives_what_an_undisturbed_one_does(tmp_path):
    run_code(TEXTS, tmp_path / "killed", tmp_path / "undisturbed")
    with (
        rf.open_attributions(tmp_path / "killed") as results,
        rf.open_attributions(tmp_path / "undisturbed") as expected,
    ):
        assert results.sizes["sample"] == 200
        xr.testing.assert_identical(results.load(), expected.load())


# --- a Dask cluster -----------------------------------------------------------------------------------


def explanation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 5)).eval()
    return rf.smoothgrad(rf.lrp(model, rf.composites.epsilon_plus()), samples=20, seed=0)


@pytest.fixture
def _one_thread():
    """As many as a cluster's workers have here: sums over more threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_a_cluster_that_loses_a_worker_gives_what_one_process_does(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.rand(96, 1, 28, 28, generator=generator), torch.arange(96) % 5)
    options = {"batch_size": 4, "shard_size": 8}
    rf.attribute_dataset(explanation(), data, tmp_path / "one", **options)
    killed = []
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):

        def kill_once(done: int, total: int | None) -> None:
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        rf.attribute_dataset(explanation(), data, tmp_path / "cluster", client=client, progress=kill_once, **options)
        assert killed[0] not in client.run(os.getpid).values()
    names = [f"attributions-{i:05d}.nc" for i in range(12)]
    assert sorted(path.name for path in (tmp_path / "cluster").iterdir()) == [*names, "manifest.json"]
    with rf.open_attributions(tmp_path / "one") as one, rf.open_attributions(tmp_path / "cluster") as cluster:
        xr.testing.assert_identical(one.load(), cluster.load())


# --- no space, no permission --------------------------------------------------------------------------

FULL = """
import resource, sys
import numpy as np, torch, xarray as xr
import relfunc as rf

images = np.zeros((24, 1, 64, 64), np.uint8)
images[8:] = np.random.default_rng(0).integers(0, 256, images[8:].shape)
data = xr.Dataset({"input": (("sample", "channel", "y", "x"), images), "label": ("sample", np.arange(24) % 3)})
torch.manual_seed(0)
explain = rf.input_x_gradient(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * 64, 3)).eval())
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    rf.attribute_dataset(explain, data, sys.argv[1], batch_size=4, shard_size=8)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_whole_shards_stay(tmp_path):
    """A limit on the size of files stands for the full disk; the first shard, nearly all zeros, fits."""
    said = run_code(FULL, tmp_path / "run")
    assert said.startswith(f"cannot write {tmp_path / 'run'}: ")
    assert said.rstrip().endswith("is the disk full?")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["attributions-00000.nc", "manifest.json"]
    with rf.open_attributions(tmp_path / "run") as results:
        np.testing.assert_array_equal(results["sample"], range(8))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_is_a_clear_error():
    data = TensorDataset(torch.rand(4, 1, 28, 28), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(OSError, match="/sys/kernel/relfunc"):
        rf.attribute_dataset(explanation(), data, "/sys/kernel/relfunc")
