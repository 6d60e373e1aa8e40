"""The README's code runs as it stands, block after block."""

import doctest
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_blocks_run_in_order(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relfunc-demo").symlink_to(demo)
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, namespace, "README", str(README), 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
        else:
            exec(compile(block, str(README), "exec"), namespace)
    printed = capsys.readouterr().out.splitlines()
    ranking = next(i for i, line in enumerate(printed) if line.startswith("category"))
    assert printed[ranking + 1].startswith("3 ")


@pytest.mark.parametrize("command", ["pip install . && relfunc demo", 'pip install ".[test]" && pytest'])
def test_the_two_commands_are_there(command):
    assert command in README.read_text(encoding="utf-8").splitlines()
