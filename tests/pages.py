"""Pages of documentation, whose code runs as it stands, block after block."""

import doctest
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Python blocks of a page in order, as one module that has the page's name and lines."""
    module, text = ModuleType(page.stem.lower()), page.read_text(encoding="utf-8")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for found in re.finditer(r"```python\n(.*?)```", text, flags=re.DOTALL):
        block, above = found[1], text.count("\n", 0, found.start(1))
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, vars(module), page.name, str(page), above)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
        else:
            exec(compile("\n" * above + block, str(page), "exec"), vars(module))
