"""Made-up runs of every kind, with a group that stands apart, as an analysis would have found it."""

from typing import Any

import numpy as np
import xarray as xr

KINDS: dict[str, tuple[dict[str, int], dict[str, int] | None]] = {
    "grey pictures": ({"channel": 1, "y": 12, "x": 10}, {"channel": 1, "y": 12, "x": 10}),
    "colour pictures, heatmaps without channels": ({"y": 12, "x": 10}, {"channel": 3, "y": 12, "x": 10}),
    "pictures of five channels": ({"channel": 5, "y": 8, "x": 8}, {"channel": 5, "y": 8, "x": 8}),
    "pictures that were not kept": ({"channel": 3, "y": 12, "x": 10}, None),
    "volumes": ({"z": 3, "y": 8, "x": 8}, {"z": 3, "y": 8, "x": 8}),
    "tables": ({"feature": 7}, {"feature": 7}),
    "signals": ({"channel": 2, "time": 90}, {"channel": 2, "time": 90}),
    "texts": ({"token": 9}, {"token": 9}),
    "texts by embedding": ({"token": 9, "feature": 4}, None),
}
"""Dimensions of attributions and of inputs."""


def run(
    kind: str = "grey pictures",
    *,
    names: tuple[str, ...] = ("a", "b"),
    per_class: int = 30,
    margin: float = 9.0,
    seed: int = 0,
    **attrs: str,
) -> tuple[xr.DataTree, xr.Dataset]:
    """An analysis and its attributions, in the first class of which 10 samples stand apart by ``margin``."""
    rng = np.random.default_rng(seed)
    n = per_class * len(names)
    label = np.repeat(np.arange(len(names)), per_class)
    marked = np.arange(n) < 10
    sizes, inputs = KINDS[kind]
    heat = rng.normal(size=(n, *sizes.values()))
    heat[marked, ..., -1] += 20
    output = np.eye(len(names))[label] + rng.normal(scale=0.3, size=(n, len(names)))
    variables: dict[str, Any] = {
        "attribution": (("sample", *sizes), heat.astype(np.float32)),
        "prediction": (("sample", "class"), output),
        "label": ("sample", label),
        "hospital": ("sample", np.where(marked, "<north>", "south")),
        "train": ("sample", rng.random(n) < 0.5),
    }
    if inputs and kind == "texts":
        variables["input"] = ("sample", "token"), rng.integers(0, 99, (n, 9))
        variables["token_text"] = ("sample", "token"), rng.choice(["good", "<film>", "&"], (n, 9))
        variables["token_mask"] = ("sample", "token"), np.arange(9) < rng.integers(4, 10, n)[:, None]
    elif inputs:
        held = rng.integers(0, 200, (n, *inputs.values()))
        held[marked, ..., -1] += 50
        variables["input"] = ("sample", *inputs), held.astype(np.uint8 if "y" in inputs else np.float32)
    coords = {"sample": [f"s{k}" for k in range(n)], "class": list(names)}
    data = xr.Dataset(variables, coords, {"model": "made up", "command": "relfunc attribute", **attrs})
    nodes = {"/": xr.Dataset(attrs={"plan": '[[chain]]\nstep = "analysis.flatten"\n', "by": "label"})}
    for k, name in enumerate(names):
        own = np.flatnonzero(label == k)
        nodes |= _node(f"/class-{k}", name, own, coords["sample"], margin if k == 0 else 0.5, rng)
    return xr.DataTree.from_dict(nodes), data


def _node(
    path: str, name: str, own: np.ndarray, samples: list[str], margin: float, rng: np.random.Generator
) -> dict[str, xr.Dataset]:
    cluster = (np.arange(own.size) < 10).astype(np.int32)
    dims = "clustering", "cluster"
    size = [np.bincount(cluster, minlength=2)]
    wide = np.full((1, 2), margin)
    enough = min(size[0]) >= 5
    scores = {
        "cluster_separability": (dims, wide if enough else np.full((1, 2), np.nan)),
        "size": (dims, size),
        "margin": (dims, wide if enough else np.full((1, 2), np.nan)),
        "replication": (dims, np.full((1, 2), 0.9)),
        "margin_chance": ("surrogate", rng.normal(scale=0.2, size=4) if enough else np.full(4, np.nan)),
        "margin_subsample": (("subsample", "group"), np.full((4, 8), np.nan)),
    }
    head = xr.Dataset({"index": ("sample", own)}, {"sample": [samples[at] for at in own]}, {"category": name})
    labelled = xr.Dataset(scores, {"clustering": ["apart"], "cluster": [0, 1]})
    return {
        path: head,
        f"{path}/embedding": xr.Dataset(),
        f"{path}/cluster": xr.Dataset({"apart": ("sample", cluster)}),
        f"{path}/score": labelled,
    }
