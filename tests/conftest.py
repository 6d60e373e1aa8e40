"""What tests of all parts share: the folder that the demo leaves."""

from pathlib import Path

import pytest

from relfunc.command.cli import main


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--no-serve", "--out", str(folder)]) == 0
    return folder
