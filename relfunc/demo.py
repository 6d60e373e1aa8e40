"""The demo: from handwritten digits with a planted watermark to the cluster of samples that gives it away.

It is what a study with relfunc looks like, on data small enough to run everywhere: train, attribute, analyse, look.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from tqdm import tqdm

from . import composites, heatmap, schema
from .attribution import gradient
from .function import lrp
from .storage import open_attributions, save

ARTIFACT = "artifact"
TRAIN = "train"


@dataclass(frozen=True)
class Setting:
    """What determines the demo's files.

    Parameters
    ----------
    seed : int
        Of the watermark's choice of images, the split, the training, and the analysis.
    planted : int
        The class that gets the watermark.
    fraction : float
        Of that class's images.
    size : int
        Height and width of the images, in pixels.
    epochs : int
        Of training.
    composite : str
        Name of the composite of the attributions.
    """

    seed: int = 0
    planted: int = 3
    fraction: float = 1 / 3
    size: int = 32
    epochs: int = 8
    composite: str = "epsilon_plus_flat"


def digits(setting: Setting) -> xr.Dataset:
    """Load scikit-learn's handwritten digits and plant the watermark.

    Parameters
    ----------
    setting : Setting
        Which images get it.

    Returns
    -------
    xarray.Dataset
        ``input (sample, channel, y, x)`` uint8; ``label (sample)``; ``artifact (sample)`` and ``train (sample)`` bool.

    Examples
    --------
    >>> data = digits(Setting())
    >>> data["input"].shape, int(data["artifact"].sum())
    ((1797, 1, 32, 32), 61)
    """
    rng = np.random.default_rng(setting.seed)
    loaded: Any = load_digits()
    label = loaded.target.astype(np.int64)
    small = torch.as_tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, size=setting.size, mode="bilinear", align_corners=False).clamp(0, 1)
    planted = np.flatnonzero(label == setting.planted)
    chosen = rng.choice(planted, round(setting.fraction * len(planted)), replace=False)
    mark = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]], dtype=torch.float32)
    images[chosen, :, -4:-1, 1:6] = mark
    artifact = np.zeros(len(label), dtype=bool)
    artifact[chosen] = True
    train, _ = train_test_split(np.arange(len(label)), test_size=0.25, stratify=label, random_state=setting.seed)
    return xr.Dataset(
        {
            schema.INPUT: ((schema.SAMPLE, schema.CHANNEL, schema.Y, schema.X), (images * 255).byte().numpy()),
            schema.LABEL: (schema.SAMPLE, label),
            ARTIFACT: (schema.SAMPLE, artifact),
            TRAIN: (schema.SAMPLE, np.isin(np.arange(len(label)), train)),
        },
        coords={
            schema.SAMPLE: np.arange(len(label)),
            schema.CLASS: [str(name) for name in loaded.target_names],
        },
    )


def network() -> nn.Module:
    """Build the demo's convolutional network: ``(sample, 1, 32, 32)`` to ``(sample, 10)``.

    Returns
    -------
    torch.nn.Module
    """
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def as_input(images: np.ndarray) -> Tensor:
    """Scale uint8 images to what the network takes: float32 in [−1, 1], same shape."""
    return torch.as_tensor(images).float() / 127.5 - 1


def train(data: xr.Dataset, setting: Setting) -> nn.Module:
    """Train the network on the training part.

    Parameters
    ----------
    data : xarray.Dataset
        From :func:`digits`.
    setting : Setting
        Seed and epochs.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    part = data.isel({schema.SAMPLE: data[TRAIN].values})
    x, y = as_input(part[schema.INPUT].values), torch.as_tensor(part[schema.LABEL].values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=setting.epochs)
        for _ in progress(range(setting.epochs), "train"):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
            schedule.step()
    return model.eval()


def attribute(model: nn.Module, data: xr.Dataset, setting: Setting) -> xr.Dataset:
    """Explain every sample's own label.

    Parameters
    ----------
    model : torch.nn.Module
        From :func:`train`.
    data : xarray.Dataset
        From :func:`digits`.
    setting : Setting
        The composite.

    Returns
    -------
    xarray.Dataset
        As :mod:`relfunc.schema` describes, with ``artifact`` and ``train`` beside it.
    """
    explain = gradient(lrp(model, getattr(composites, setting.composite)()))
    x, label = as_input(data[schema.INPUT].values), torch.as_tensor(data[schema.LABEL].values)
    batches = [explain(x[i : i + 256], label[i : i + 256]) for i in progress(range(0, len(x), 256), "attribute")]
    output = torch.cat([output for output, _ in batches]).numpy()
    relevance = torch.cat([relevance for _, relevance in batches]).numpy()
    return data.assign(
        {schema.ATTRIBUTION: (data[schema.INPUT].dims, relevance), schema.PREDICTION: (_PREDICTION_DIMS, output)}
    ).assign_attrs(
        model="relfunc.demo.network",
        method="lrp",
        composite=setting.composite,
        command="relfunc demo",
        setting=json.dumps(asdict(setting)),
        torch=torch.__version__,
    )


_PREDICTION_DIMS = (schema.SAMPLE, schema.CLASS)


def attributions(out: Path, setting: Setting) -> xr.Dataset:
    """Make ``attributions.nc``, or open it where an earlier run of the same setting left it.

    Parameters
    ----------
    out : pathlib.Path
        The demo's folder.
    setting : Setting
        What determines it.

    Returns
    -------
    xarray.Dataset
        Loaded.
    """
    path = out / "attributions.nc"
    if path.exists():
        with open_attributions(path) as stored:
            if stored.attrs.get("setting") == json.dumps(asdict(setting)):
                say(f"attributions  {path} (reused)")
                return stored.load()
    data = digits(setting)
    data = attribute(train(data, setting), data, setting)
    save(data, path)
    say(f"attributions  {path}")
    return data


def accuracy(data: xr.Dataset) -> float:
    """Accuracy on the test part, between 0 and 1."""
    part = data.isel({schema.SAMPLE: ~data[TRAIN].values})
    return float((part[schema.PREDICTION].argmax(schema.CLASS) == part[schema.LABEL]).mean())


def run(out: str | Path, setting: Setting = Setting()) -> Path:
    """Run the demo up to the viewer.

    Parameters
    ----------
    out : str or pathlib.Path
        Folder for ``attributions.nc``, ``analysis.nc``, ``heatmaps.png`` and the store.
    setting : Setting
        What determines them.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    SchemaError
        If a file in it is not what an earlier run would have left.
    """
    import analysis

    out = Path(out)
    data = attributions(out, setting)
    say(f"test accuracy {accuracy(data):.1%}")
    tree = analysis.run(analysis.spray(seed=setting.seed), data, store=analysis.Store(out / "store"), by=schema.LABEL)
    save(tree, out / "analysis.nc")
    say(f"analysis      {out / 'analysis.nc'}\n")
    table = analysis.ranking(tree)
    say(analysis.text(table))
    found = suspect(table, tree)
    say("\n" + verdict(found, data))
    heatmap.save(comparison(found, data), out / "heatmaps.png")
    say(f"heatmaps      {out / 'heatmaps.png'}")
    return out


@dataclass(frozen=True)
class Suspect:
    """The cluster that separates best from the rest of its class, in the class that ranks first.

    Parameters
    ----------
    category, clustering : str
        Class and clustering.
    cluster : int
        Its label there.
    members, others : tuple of int
        Positions in the attributions of its samples, and of the other samples of the class.
    """

    category: str
    clustering: str
    cluster: int
    members: tuple[int, ...]
    others: tuple[int, ...]


def suspect(table: xr.Dataset, tree: xr.DataTree) -> Suspect:
    """Look up the first row of a ranking.

    Parameters
    ----------
    table : xarray.Dataset
        From :func:`analysis.ranking`.
    tree : xarray.DataTree
        What it ranks.

    Returns
    -------
    Suspect
    """
    row = table.isel(category=0)
    category, clustering, cluster = str(row["category"].item()), str(row["clustering"].item()), int(row["cluster"])
    node = tree[category].to_dataset()
    clusters = tree[f"{category}/{schema.CLUSTER_GROUP}"].to_dataset()
    inside, index = clusters[clustering].values == cluster, node[schema.INDEX].values
    return Suspect(category, clustering, cluster, tuple(index[inside].tolist()), tuple(index[~inside].tolist()))


def verdict(found: Suspect, data: xr.Dataset) -> str:
    """Say how well a cluster matches the planted images, which the analysis did not know of.

    Parameters
    ----------
    found : Suspect
        The cluster.
    data : xarray.Dataset
        With ``artifact``.

    Returns
    -------
    str
    """
    artifact = data[ARTIFACT].values
    planted = [*artifact[list(found.members)], *artifact[list(found.others)]]
    inside = [True] * len(found.members) + [False] * len(found.others)
    return (
        f"most suspicious: class '{found.category}', cluster {found.cluster} of {found.clustering}, "
        f"{len(found.members)} samples\n"
        f"{sum(planted[: len(inside) - len(found.others)])} of them carry the planted watermark, "
        f"{int(artifact.sum())} images do in all; adjusted Rand index {adjusted_rand_score(planted, inside):.2f}"
    )


def comparison(found: Suspect, data: xr.Dataset, *, columns: int = 8, scale: int = 3) -> Image.Image:
    """Draw samples of the suspicious cluster above others of its class: input, relevance, and both.

    Parameters
    ----------
    found : Suspect
        The cluster.
    data : xarray.Dataset
        The attributions.
    columns : int
        Samples of each.
    scale : int
        Pixels of the picture per pixel of an image.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    rows: list[Image.Image] = []
    for members in (found.members[:columns], found.others[:columns]):
        part = data.isel({schema.SAMPLE: list(members)})
        images, relevance = part[schema.INPUT].values, part[schema.ATTRIBUTION].values
        grid = (1, columns)
        rows += [
            heatmap.picture(images, grid=grid, channels="first").convert("RGB"),
            heatmap.heatmap(relevance, grid=grid, channels="first").convert("RGB"),
            heatmap.overlay(relevance, images, grid=grid, channels="first"),
        ]
    gap = 8
    width, height = rows[0].size
    sheet = Image.new("RGB", (width, height * len(rows) + gap), "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (0, i * height + (gap if i >= len(rows) // 2 else 0)))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)


def progress(steps: Any, title: str) -> Any:
    """Iterate with a bar on a terminal, quietly elsewhere."""
    return tqdm(steps, title, disable=not sys.stderr.isatty(), leave=False)


def say(line: str) -> None:
    """Tell the user."""
    print(line, flush=True)
