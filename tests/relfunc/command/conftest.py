"""Where the commands run."""

import sys
from urllib.error import URLError

import pytest
import torch
from PIL import Image

from .given import NETWORKS, pictures, trained


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a module of networks, a folder of pictures by class, and one without classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    for k, (name, image) in enumerate(zip("aabbccc", pictures(), strict=True)):
        for folder in (tmp_path / "photos" / name, tmp_path / "flat"):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{k}.png")
    torch.save(trained().state_dict(), "network.pt")
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
