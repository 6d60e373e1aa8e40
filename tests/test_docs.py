"""The pages of the documentation: their code runs, and what they name and say of the tree is there."""

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from .pages import ROOT, run

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("relfunc", "analysis", "viewer")
ABSENT = {"relfunc/plan.py"}
"""What a page names because it must not be there."""


def _stem(page: Path) -> str:
    return page.stem


every_page = pytest.mark.parametrize("page", PAGES, ids=_stem)
every_package = pytest.mark.parametrize("package", PACKAGES)


@pytest.mark.parametrize("page", [page for page in DOCS if "```python" in page.read_text(encoding="utf-8")], ids=_stem)
def test_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, monkeypatch)


@pytest.mark.parametrize("block", ["assert x == 2", ">>> x\n2"])
def test_a_page_whose_code_is_wrong_is_noticed(block, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"```python\nx = 1\n```\n\n```python\n{block}\n```\n")
    with pytest.raises(AssertionError) as raised:
        run(page, monkeypatch)
    assert raised.traceback[-1].lineno == 5 or 'page.md", line 6' in capsys.readouterr().out


@every_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_files_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)}|tests|docs|benchmarks|\.ci)/[\w./-]*)`", text)
    assert {name for name in named if not (ROOT / name).exists()} == ABSENT.intersection(named)


@every_page
def test_names_of_the_packages_that_are_named_are_there(page):
    names = re.findall(rf"`((?:rf|{'|'.join(PACKAGES)})\.(?!nc`)\w[\w.]*)[`(]", page.read_text(encoding="utf-8"))
    for name in names:
        resolve_name(re.sub(r"^rf\.", "relfunc.", name))


# --- architecture -------------------------------------------------------------------------------------------


@every_package
def test_the_rooms_are_the_folders(package):
    (table,) = re.findall(rf"^\| `{package}/` \| holds \|\n(.*?)\n\n", ARCHITECTURE, flags=re.DOTALL | re.MULTILINE)
    holds = [name for row in table.splitlines() for name in re.findall(r"`([\w/]+)`", row.split("|")[1])]
    assert len(set(holds)) == len(holds)
    rooms = {f"{init.parent.name}/" for init in (ROOT / package).glob("*/__init__.py")}
    assert {name for name in holds if name.endswith("/")} == rooms
    assert [name for name in holds if name not in rooms and not (ROOT / package / f"{name}.py").exists()] == []


@every_package
def test_who_may_import_whom_is_what_the_contract_says(package):
    (said,) = re.findall(rf"^- `{package}`: (.*?)\n(?=\n|-)", ARCHITECTURE, flags=re.DOTALL | re.MULTILINE)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [one["layers"] for one in settings["contracts"] if one.get("containers") == [package]]
    assert [set(floor.split(", ")) for floor in " ".join(said.split()).split(" < ")] == [
        set(layer.split(" | ")) for layer in reversed(layers)
    ]
