"""Small projects of samples that are no pictures: features with names, and texts."""

from pathlib import Path

import numpy as np
import xarray as xr

from relfunc.files.netcdf import save

N = 40
FEATURES = ("age", "income", "smoker", "dose")
WORDS = ("the", "film", "was", "not", "good", "<b>", "superb", "dull")


def write_features(folder: Path) -> Path:
    """Write a project in which the first half of the samples is explained by ``income``."""
    rng = np.random.default_rng(0)
    relevance = rng.normal(0, 0.1, (N, len(FEATURES)))
    relevance[: N // 2, 1] = 1
    return _write(
        folder,
        {
            "attribution": (("sample", "feature"), relevance),
            "input": (("sample", "feature"), rng.normal(size=relevance.shape)),
        },
        {"feature": list(FEATURES)},
    )


def write_texts(folder: Path) -> Path:
    """Write a project of texts of at most nine words, several of which have both labels."""
    rng = np.random.default_rng(0)
    words = rng.choice(WORDS, (N, 9))
    words[:, 7:] = np.where(rng.random((N, 1)) < 0.5, "", words[:, 7:])
    several = np.eye(2, dtype=bool)[np.arange(N) % 2] | (np.arange(N) % 5 == 0)[:, None]
    variables = {
        "attribution": (("sample", "token"), rng.normal(size=words.shape)),
        "input": (("sample", "token"), words),
        "label": (("sample", "class"), several),
    }
    return _write(folder, variables, {})


def _write(folder: Path, variables: dict, coords: dict) -> Path:
    rng = np.random.default_rng(1)
    label = np.arange(N) % 2
    data = {
        "prediction": (("sample", "class"), np.eye(2)[label] + rng.normal(0, 0.4, (N, 2))),
        "label": (("sample",), label),
    }
    save(
        xr.Dataset({**data, **variables}, {"sample": [f"s{k}" for k in range(N)], "class": ["no", "yes"], **coords}),
        folder / "attributions.nc",
    )
    cluster = np.arange(N) // (N // 2)
    nodes = {
        "/all": xr.Dataset(
            {"index": ("sample", np.arange(N, dtype=np.uint32))},
            {"sample": [f"s{k}" for k in range(N)], "component": np.arange(2)},
        ),
        "/all/embedding": xr.Dataset(
            {"umap": (("sample", "component"), rng.normal(size=(N, 2)) + cluster[:, None] * 8)}
        ),
        "/all/cluster": xr.Dataset({"halves": ("sample", cluster)}),
    }
    save(xr.DataTree.from_dict(nodes), folder / "analysis.nc")
    return folder
