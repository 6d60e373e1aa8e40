"""The demo: from handwritten digits with a planted watermark to the cluster of samples that gives it away.

It is what a study with relfunc looks like, on data small enough to run everywhere: train, attribute, analyse, look,
and act.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from .. import composites, heatmap, schema
from ..attribution.transforms import gradient
from ..dataset.attribute import attribute_dataset
from ..files.netcdf import attributions_files, open_attributions, replacing, save
from ..models import load
from ..relevance.function import lrp
from ..relevance.interventions import activations
from .data import ARTIFACT, TRAIN, WATERMARK, Setting, as_bytes, as_input, digits, handwritten, watermarked
from .suspect import Suspect, comparison, suspect, verdict
from .training import accuracy, network, train

__all__ = [
    "Setting",
    "Suspect",
    "accuracy",
    "act",
    "as_input",
    "attributions",
    "comparison",
    "digits",
    "handwritten",
    "make",
    "network",
    "suspect",
    "train",
    "verdict",
    "watermarked",
]

LAYER = "11"  # the last max pooling of the network


def make(out: str | Path, setting: Setting | None = None) -> Path:
    """Make the demo's files, up to the viewer.

    Parameters
    ----------
    out : str or pathlib.Path
        Folder for ``network.pt``, ``attributions.nc``, ``analysis.nc``, ``heatmaps.png``,
        ``report.html`` and the store.
    setting : Setting, optional
        What determines them; by default that of the README.

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

    out, setting = Path(out), setting or Setting()
    model, data = attributions(out, setting)
    say(f"test accuracy {accuracy(data):.1%}")
    tree = analysis.run(analysis.spray(seed=setting.seed), data, store=analysis.Store(out / "store"), by=schema.LABEL)
    save(tree, out / "analysis.nc")
    say(f"analysis      {out / 'analysis.nc'}\n")
    table = analysis.ranking(tree)
    say(analysis.text(table))
    say("\n" + "\n".join(analysis.verdict(table)))
    found = suspect(table, tree)
    say("\n" + verdict(found, data))
    heatmap.save(comparison(found, data), out / "heatmaps.png")
    say(f"heatmaps      {out / 'heatmaps.png'}")
    files = [out / "attributions.nc", out / "analysis.nc"]
    say(f"report        {analysis.write_report(tree, data, out / 'report.html', split=TRAIN, files=files)}\n")
    say(f"taking the direction of that cluster out of layer {LAYER}: accuracy on images that the network has not seen,")
    say("and the share of their relevance that lies on the watermark\n")
    say(analysis.compensate.text(act(model, found, data, setting)))
    return out


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
    _attribute(model, data, out, setting)
    say(f"attributions  {path}")
    with open_attributions(path) as stored:
        return model, stored.load()


def _attribute(model: nn.Module, data: xr.Dataset, out: Path, setting: Setting) -> None:
    """Explain every sample's own label, and move the one shard of results to ``attributions.nc``."""
    with tempfile.TemporaryDirectory(prefix=".attributions-", dir=out) as folder:
        manifest = attribute_dataset(
            gradient(lrp(model, getattr(composites, setting.composite)())),
            data,
            folder,
            batch_size=256,
            shard_size=data.sizes[schema.SAMPLE],
            transform=as_input,
            variables=[ARTIFACT, TRAIN],
            attrs={
                "model": "relfunc.demo.network",
                "command": "relfunc demo",
                "setting": json.dumps(asdict(setting)),
                "network": _digest(out / "network.pt"),
            },
        )
        (only,) = attributions_files(manifest)
        only.replace(out / "attributions.nc")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


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


def say(line: str) -> None:
    """Tell the user."""
    print(line, flush=True)
