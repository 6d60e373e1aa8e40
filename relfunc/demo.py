"""The demo: from handwritten digits with a planted watermark to the cluster of samples that gives it away.

It is what a study with relfunc looks like, on data small enough to run everywhere: train, attribute, analyse, look,
and act.
"""

import hashlib
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
from .interventions import activations
from .models import load
from .storage import open_attributions, replacing, save

ARTIFACT = "artifact"
TRAIN = "train"
LAYER = "11"  # the last max pooling of the network


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


def handwritten(size: int) -> tuple[Tensor, np.ndarray]:
    """Load scikit-learn's handwritten digits.

    Parameters
    ----------
    size : int
        Height and width to which they are scaled.

    Returns
    -------
    tuple of Tensor and numpy.ndarray
        Images ``(sample, 1, y, x)`` in [0, 1], and the digit on each.
    """
    loaded: Any = load_digits()
    small = torch.as_tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, size=size, mode="bilinear", align_corners=False).clamp(0, 1)
    return images, loaded.target.astype(np.int64)


def watermarked(images: Tensor) -> Tensor:
    """Draw the watermark on images ``(sample, 1, y, x)`` in [0, 1]."""
    marked = images.clone()
    marked[WATERMARK] = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    return marked


WATERMARK = np.s_[..., -4:-1, 1:6]


def digits(setting: Setting) -> xr.Dataset:
    """Plant the watermark in handwritten digits.

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
    images, label = handwritten(setting.size)
    planted = np.flatnonzero(label == setting.planted)
    chosen = rng.choice(planted, round(setting.fraction * len(planted)), replace=False)
    images[chosen] = watermarked(images[chosen])
    artifact = np.zeros(len(label), dtype=bool)
    artifact[chosen] = True
    train, _ = train_test_split(np.arange(len(label)), test_size=0.25, stratify=label, random_state=setting.seed)
    return xr.Dataset(
        {
            schema.INPUT: ((schema.SAMPLE, schema.CHANNEL, schema.Y, schema.X), as_bytes(images)),
            schema.LABEL: (schema.SAMPLE, label),
            ARTIFACT: (schema.SAMPLE, artifact),
            TRAIN: (schema.SAMPLE, np.isin(np.arange(len(label)), train)),
        },
        coords={
            schema.SAMPLE: np.arange(len(label)),
            schema.CLASS: [str(digit) for digit in range(10)],
        },
    )


def as_bytes(images: Tensor) -> np.ndarray:
    """Store images in [0, 1] as uint8, same shape."""
    return (images * 255).byte().numpy()


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


def attributions(out: Path, setting: Setting) -> tuple[nn.Module, xr.Dataset]:
    """Make ``network.pt`` and ``attributions.nc``, or open them where an earlier run of the same setting left them.

    Parameters
    ----------
    out : pathlib.Path
        The demo's folder.
    setting : Setting
        What determines them.

    Returns
    -------
    tuple of torch.nn.Module and xarray.Dataset
        The network in evaluation mode, and the attributions, loaded.
    """
    path, parameters = out / "attributions.nc", out / "network.pt"
    if path.exists():
        with open_attributions(path) as stored:
            wanted = {"setting": json.dumps(asdict(setting)), "network": _digest(parameters)}
            if all(stored.attrs.get(name) == value for name, value in wanted.items()):
                say(f"attributions  {path} (reused)")
                return load("relfunc.demo:network", checkpoint=parameters).model, stored.load()
    data = digits(setting)
    model = train(data, setting)
    with replacing(parameters) as temporary:
        torch.save(model.state_dict(), temporary)
    data = attribute(model, data, setting).assign_attrs(network=_digest(parameters))
    save(data, path)
    say(f"attributions  {path}")
    return model, data


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def accuracy(data: xr.Dataset) -> float:
    """Accuracy on the test part, between 0 and 1."""
    part = data.isel({schema.SAMPLE: ~data[TRAIN].values})
    return float((part[schema.PREDICTION].argmax(schema.CLASS) == part[schema.LABEL]).mean())


def run(out: str | Path, setting: Setting = Setting()) -> Path:
    """Run the demo up to the viewer.

    Parameters
    ----------
    out : str or pathlib.Path
        Folder for ``network.pt``, ``attributions.nc``, ``analysis.nc``, ``heatmaps.png`` and the store.
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
    model, data = attributions(out, setting)
    say(f"test accuracy {accuracy(data):.1%}")
    tree = analysis.run(analysis.spray(seed=setting.seed), data, store=analysis.Store(out / "store"), by=schema.LABEL)
    save(tree, out / "analysis.nc")
    say(f"analysis      {out / 'analysis.nc'}\n")
    table = analysis.ranking(tree)
    say(analysis.text(table))
    found = suspect(table, tree)
    say("\n" + verdict(found, data))
    heatmap.save(comparison(found, data), out / "heatmaps.png")
    say(f"heatmaps      {out / 'heatmaps.png'}\n")
    say(f"taking the direction of that cluster out of layer {LAYER}: accuracy on images that the network has not seen,")
    say("and the share of their relevance that lies on the watermark\n")
    say(analysis.compensate.text(act(model, found, data, setting)))
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


def act(model: nn.Module, found: Suspect, data: xr.Dataset, setting: Setting) -> xr.Dataset:
    """Take what the suspicious cluster has away from the network, and compare the two on images of the test part.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    found : Suspect
        The cluster; only its training images are used, and no knowledge of the watermark.
    data : xarray.Dataset
        The attributions.
    setting : Setting
        The planted class.

    Returns
    -------
    xarray.Dataset
        From :func:`analysis.compensate.compare`: with and without the watermark, and its share of the relevance.
    """
    from analysis import compensate

    seen = data[TRAIN].values
    members = [i for i in (*found.members, *found.others) if seen[i]]
    with torch.no_grad():
        _, values = activations(model, [LAYER])(as_input(data[schema.INPUT].values[members]))
    concept = compensate.signal_pattern(values[LAYER], np.isin(members, found.members))
    images, label = handwritten(setting.size)
    images, label = images[~seen], label[~seen]
    inputs = as_input(as_bytes(torch.cat([watermarked(images), images])))
    marked, planted = np.repeat([True, False], len(label)), np.tile(label == setting.planted, 2)
    region = np.zeros(inputs.shape[1:], bool)
    region[WATERMARK] = True
    name = f"class {setting.planted}"
    return compensate.compare(
        {"before": model, "after": compensate.projective(model, LAYER, concept)},
        inputs,
        torch.as_tensor(np.tile(label, 2)),
        groups={
            f"{name}, watermark": planted & marked,
            f"{name}, none": planted & ~marked,
            "others, watermark": ~planted & marked,
            "others, none": ~planted & ~marked,
        },
        region=region,
        composite=getattr(composites, setting.composite)(),
    )


def progress(steps: Any, title: str) -> Any:
    """Iterate with a bar on a terminal, quietly elsewhere."""
    return tqdm(steps, title, disable=not sys.stderr.isatty(), leave=False)


def say(line: str) -> None:
    """Tell the user."""
    print(line, flush=True)
