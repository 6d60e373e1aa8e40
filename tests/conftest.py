"""What tests of all parts share: processes that do not fight for cores, and the folder that the demo leaves."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from relfunc.command.cli import main


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of tests, and those that it starts, one thread: said before they begin and import torch."""
    if config.getoption("numprocesses"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same numbers in a test whatever ran before it, which differs from run to run."""
    import torch  # not by the process that hands out tests

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that the demo leaves, made once: each process has a copy, which its tests may write to."""
    folder, base = tmp_path_factory.mktemp("demo") / "out", tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "made-demo"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            assert main(["demo", "--no-serve", "--out", str(folder)]) == 0
            folder.rename(made)
    return shutil.copytree(made, folder)
