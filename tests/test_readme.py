"""The README's code runs as it stands, block after block."""

import pytest

from .pages import ROOT, run

README = ROOT / "README.md"


def test_blocks_run_in_order(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relfunc-demo").symlink_to(demo)
    run(README, monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    ranking = next(i for i, line in enumerate(printed) if line.startswith("category"))
    assert printed[ranking + 1].startswith("3 ")


@pytest.mark.parametrize("command", ["pip install . && relfunc demo", 'pip install ".[test]" && pytest'])
def test_the_two_commands_are_there(command):
    assert command in README.read_text(encoding="utf-8").splitlines()
