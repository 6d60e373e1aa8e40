"""Tests have the same names in the same order in every process: else they cannot be run in several at once."""

import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

from .pages import ROOT


def collected(folder: Path, *options: str) -> list[list[str]]:
    """Return the names of the tests of a folder as two processes see them, whose sets are in another order."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-n0", "-p", "no:cacheprovider"]
    processes = [
        subprocess.Popen(
            [*command, *options],
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return [[line for line in lines.splitlines() if "::" in line] for lines in said]


def differing(one: list[str], other: list[str]) -> list[tuple[str | None, str | None]]:
    return [pair for pair in zip_longest(one, other) if pair[0] != pair[1]]


@pytest.mark.slow
def test_every_process_collects_the_same_tests():
    one, other = collected(ROOT)
    assert len(one) > 10_000
    assert differing(one, other)[:5] == []


PARAMETERS = {
    "sorted": "sorted(set('abcdefgh'))",
    "set": "set('abcdefgh')",
    "address": "[object()], ids=str",
    "time": "[time.time_ns()]",
    "random": "[random.random()]",
}


def test_what_differs_between_processes_is_noticed(tmp_path):
    """Negative control."""
    lines = ["import random, time, pytest"]
    for name, given in PARAMETERS.items():
        lines += [f"@pytest.mark.parametrize('it', {given})", f"def test_{name}(it): pass"]
    (tmp_path / "test_it.py").write_text("\n".join(lines))
    one, other = collected(tmp_path, "-c", os.devnull, "--rootdir", ".")
    assert len(one) == len(other) == 8 + 8 + 3
    noticed = {name for name in PARAMETERS if any(f"test_{name}[" in str(pair) for pair in differing(one, other))}
    assert noticed == PARAMETERS.keys() - {"sorted"}
