from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from viewer.opening import opened
from viewer.project.project import Project

from .chromium import browser, visit
from .synthetic import write_project


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("projects") / "shapes")


@pytest.fixture(scope="session")
def unanalysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("projects") / "unanalysed", analysis=False)


@pytest.fixture(scope="session")
def project(folder: Path) -> Project:
    # The one that the pages of the other tests hold: netCDF-C crashes where a file of strings is open twice and one of
    # the two is closed, https://github.com/pydata/xarray/issues/8289.
    held = opened(folder)
    assert isinstance(held, Project)
    return held


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """A page on what the module's own fixture ``address`` serves."""
    with visit(chromium, address) as opened:
        yield opened


def close(held: Project) -> None:
    held.attributions.close()
    if held.analysis is not None:
        held.analysis.close()
