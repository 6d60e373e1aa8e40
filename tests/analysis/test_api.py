"""The public names, and what importing them costs."""

import subprocess
import sys
from pathlib import Path

import analysis


def test_every_public_name_exists_and_is_documented() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__, name
    assert sorted(analysis.__all__) == sorted(set(analysis.__all__))


def test_import_does_not_import_torch() -> None:
    program = "import sys, analysis; print('torch' in sys.modules)"
    root = str(Path(__file__).parents[2])
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout == "False\n"
