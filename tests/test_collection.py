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


@pytest.mark.parametrize(
    ("parameters", "differs"),
    [
        ("sorted({'one', 'two', 'three', 'four', 'five', 'six'})", False),
        ("{'one', 'two', 'three', 'four', 'five', 'six'}", True),
        ("[object()], ids=str", True),
        ("[time.time_ns()]", True),
        ("[random.random()]", True),
    ],
)
def test_what_differs_between_processes_is_noticed(parameters, differs, tmp_path):
    (tmp_path / "test_it.py").write_text(
        f"import random, time, pytest\n\n@pytest.mark.parametrize('it', {parameters})\ndef test_it(it): pass\n"
    )
    one, other = collected(tmp_path, "-c", os.devnull, "--rootdir", ".")
    assert len(one) == len(other) > 0
    assert bool(differing(one, other)) is differs
