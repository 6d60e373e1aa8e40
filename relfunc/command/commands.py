"""What the commands ``attribute``, ``plan``, ``audit``, ``analyze`` and ``report`` do with their arguments."""

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from ..attribution.transforms import seed
from ..columns import fitted
from ..composites.named import attnlrp, epsilon_plus_flat
from ..dataset.attribute import attribute_dataset
from ..dataset.samples import Samples, Unreadable, together
from ..dataset.sources import source_of
from ..errors import DataError
from ..files.netcdf import attributions_files, open_analysis, open_attributions, replacing
from ..models import LoadedModel, LoadError, called, composite_of, find_modules_here, imported, load, method_of
from ..relevance import accounting
from ..relevance.target import part_of
from ..schema import CHANNEL, INPUT, SAMPLE, SCORE_GROUP
from .derived import options_of
from .folders import labelled
from .metadata import with_metadata
from .texts import FORMS, texts_of


def attribute(arguments: argparse.Namespace) -> None:
    """Attribute a whole dataset, and say where the results are."""
    composite = composite_of(arguments.composite) if arguments.composite else None
    found = _trained(arguments)
    if composite is None and arguments.method == "lrp":
        composite = _default(found)
    explain = method_of(arguments.method, found.model, composite, _example(arguments, found))
    _check_device(arguments.device)
    classes = _classes(arguments, found)
    with _data(arguments, found, classes) as data, _client(arguments.scheduler) as client:
        try:
            manifest = attribute_dataset(
                explain,
                data.data,
                arguments.out,
                **options_of(arguments),
                target=arguments.target,
                classes=classes,
                transform=data.transform,
                tokens=found.tokenizer,
                client=client,
                attrs={"command": f"relfunc attribute --model {arguments.model} --method {arguments.method}"},
            )
        except KeyboardInterrupt:
            print("the same command goes on from here", file=sys.stderr)
            raise
    done = json.loads(manifest.read_text(encoding="utf-8"))
    for name, reason in done["skipped"]:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    print(f"{done['samples']} samples, {len(done['skipped'])} skipped: {manifest}")


def plan(arguments: argparse.Namespace) -> None:
    """Print or write the rule of every operation."""
    found = _model(arguments)
    composite = composite_of(arguments.composite) if arguments.composite else _default(found)
    table = accounting.plan(found.model, composite, example_inputs=_example(arguments, found))
    _show(table, arguments.out)
    if arguments.out is None:
        print(f"\n{len(table)} operations, {table['forwards'].sum()} modified forward passes")


def audit(arguments: argparse.Namespace) -> None:
    """Print or write where the relevance of some samples went."""
    found = _trained(arguments)
    composite = composite_of(arguments.composite) if arguments.composite else _default(found)
    with _data(arguments, found, _classes(arguments, found)) as data:
        x, label = _first(data, arguments.samples)
    target = arguments.target
    if target == "label":
        if label is None:
            raise DataError(f"{arguments.data} has no labels: give --target prediction, or the index of a class")
        target = label
    elif target == "prediction":
        target = _predicted
    table = accounting.audit(found.model, composite, x, target, example_inputs=_example(arguments, found))
    _show(table, arguments.out)


def analyze(arguments: argparse.Namespace) -> None:
    """Run a plan on attributions, write the analysis, and print the ranking."""
    import analysis

    plan = _plan_of(arguments.plan)
    paths = arguments.attributions if len(arguments.attributions) > 1 else arguments.attributions[0]
    out = arguments.out / "analysis.nc" if arguments.out.is_dir() else arguments.out
    files = [file / "attributions.nc" if file.is_dir() else file for file in attributions_files(paths)]
    if out.exists() and any(out.samefile(file) for file in files if file.exists()):
        raise LoadError(f"--out {out} is the file of attributions itself: give another name")
    with open_attributions(paths) as data, _client(arguments.scheduler) as client:
        try:
            tree = analysis.run(
                plan,
                data,
                by=None if arguments.by == "none" else arguments.by,
                categories=arguments.categories,
                store=analysis.Store(arguments.store) if arguments.store else None,
                workers=arguments.workers,
                client=client,
                out=out,
            )
        except KeyboardInterrupt:
            if arguments.store:
                print("the same command goes on from here", file=sys.stderr)
            raise
        samples = data.sizes[SAMPLE]
    if tree.attrs["without_samples"]:
        print(f"no samples in {tree.attrs['without_samples']}", file=sys.stderr)
    print(f"{samples} samples, {len(tree.children)} categories: {out}")
    scored = [set(node[SCORE_GROUP].to_dataset().data_vars) for node in tree.children.values()]
    if all({"cluster_separability", "size"} <= names for names in scored):
        table = analysis.ranking(tree)
        print("\n" + analysis.text(table) + "\n")
        print("\n".join(analysis.verdict(table, most=20)))


def report(arguments: argparse.Namespace) -> None:
    """Write a report of attributions and their analysis, and say where it is."""
    import analysis

    run = arguments.run
    if not run.is_dir():
        raise LoadError(f"there is no folder {run}: give the one that relfunc attribute wrote")
    path = arguments.analysis or run / "analysis.nc"
    if not path.is_file():
        raise LoadError(f"there is no analysis {path}: first run relfunc analyze spray {run} --out {path}")
    files = [file / "attributions.nc" if file.is_dir() else file for file in attributions_files(run)]
    given = {"--analysis": arguments.analysis, "--metadata": arguments.metadata}
    options = [str(word) for option, file in given.items() if file for word in (option, file)]
    with open_attributions(run) as data, open_analysis(path) as tree:
        page = analysis.write_report(
            tree,
            with_metadata(data, arguments.metadata) if arguments.metadata else data,
            arguments.out or run / "report.html",
            split=arguments.split,
            files=[*files, path, *filter(None, [arguments.metadata])],
            run=run,
            options=options,
        )
    print(f"report {page}, {page.stat().st_size / 1e6:.1f} MB; its numbers {page.with_suffix('.nc')}")


def _plan_of(name: str) -> Any:
    import analysis

    if not name.endswith(".toml"):
        return called(name, {"spray": analysis.spray}, "plan")
    find_modules_here()
    try:
        return analysis.plan.from_toml(Path(name).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise LoadError(f"{name} is no text ({error}): write a plan with analysis.plan.to_toml") from error


def _predicted(output: Any) -> Any:
    return seed(part_of(0, output).argmax(1))(output)


# --- models -------------------------------------------------------------------------------------------


def _model(arguments: argparse.Namespace) -> LoadedModel:
    return load(arguments.model, weights=arguments.weights, checkpoint=arguments.checkpoint)


def _trained(arguments: argparse.Namespace) -> LoadedModel:
    found = _model(arguments)
    if not found.trained:
        raise LoadError(f"{arguments.model} has random parameters: give --weights DEFAULT, or a --checkpoint")
    return found


def _default(found: LoadedModel) -> Any:
    """Return the composite for a model of images, or of texts."""
    return epsilon_plus_flat() if found.example_inputs is None else attnlrp()


def _example(arguments: argparse.Namespace, found: LoadedModel) -> Any:
    return (torch.zeros(arguments.example_inputs),) if arguments.example_inputs else found.example_inputs


def _classes(arguments: argparse.Namespace, found: LoadedModel) -> tuple[str, ...] | None:
    if arguments.classes is None:
        return found.classes
    return tuple(line.strip() for line in arguments.classes.read_text(encoding="utf-8").splitlines() if line.strip())


def _check_device(name: str | None) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise LoadError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _client(address: str | None) -> Iterator[Any]:
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise LoadError(f'a scheduler needs Dask ({error}): pip install "relfunc[distributed]"') from error
    with Client(address) as client:
        yield client


# --- data ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Data:
    """Data as :func:`relfunc.attribute_dataset` takes them, and their transform, if that is not part of them."""

    data: Any
    transform: Callable[[Any], Any] | None


@dataclass(frozen=True)
class AsTensor:
    """A transform that takes tensors, of arrays.

    Parameters
    ----------
    transform : callable
        Such as that of a torchvision model's weights.
    """

    transform: Callable[[Tensor], Tensor]

    def __call__(self, images: np.ndarray) -> Tensor:
        """Transform images ``(sample, channel, y, x)``."""
        return self.transform(torch.as_tensor(images))


@contextlib.contextmanager
def _data(arguments: argparse.Namespace, found: LoadedModel, classes: tuple[str, ...] | None) -> Iterator[_Data]:
    path = arguments.data.resolve()
    given = imported(arguments.transform) if arguments.transform else None
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {arguments.data}: give a folder of images, or a netCDF file")
    if found.example_inputs is not None or path.suffix.lower() in FORMS:
        if found.tokenizer is None:
            raise LoadError(f"{arguments.model} has no tokenizer, which reads texts: save it to the model's folder")
        yield _Data(texts_of(path, found.tokenizer, classes or (), pads=_pads(found)), None)
        return
    if not path.is_dir():
        with _open(path) as data:
            yield _Data(data, given or _of_arrays(found, data))
        return
    transform = given or found.transform
    if transform is None:
        raise LoadError(
            f"the images of {arguments.data} need a transform to what {arguments.model} takes: give --transform"
        )
    if classes is not None and any(entry.is_dir() for entry in path.iterdir()):
        yield _Data(labelled(path, transform, classes), None)
    else:
        yield _Data(path, transform)


def _pads(found: LoadedModel) -> bool:
    """Whether the model knows what padding is, so that texts can be filled up to a few lengths."""
    known = getattr(getattr(found.model, "config", None), "pad_token_id", None)
    return known is not None and known == found.tokenizer.pad_token_id


def _open(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="netcdf4")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is neither a folder of images nor a netCDF file ({error})") from error


def _of_arrays(found: LoadedModel, data: xr.Dataset) -> Callable[[Any], Any] | None:
    """Return the transform that the weights bring, if the inputs are pictures as they were taken."""
    pictures = INPUT in data and data[INPUT].dtype == np.uint8 and data.sizes.get(CHANNEL) == 3
    return AsTensor(found.transform) if found.transform is not None and pictures else None


def _first(data: _Data, count: int) -> tuple[Any, Tensor | None]:
    """Return the first inputs, and their labels if they have some."""
    whole: list[Samples] = []
    for part in source_of(data.data, data.transform).samples(0, count):
        if isinstance(part, Unreadable):
            raise DataError(f"sample '{part.id}': {part.reason}")
        whole.append(part)
    if len({part.x.shape[1:] for part in whole}) != 1:
        shapes = " and ".join(sorted({str(tuple(part.x.shape[1:])) for part in whole}))
        raise DataError(f"inputs have shapes {shapes}: give a transform to one" if whole else "there are no samples")
    samples = together(whole)
    if samples.label is None:
        return samples.inputs, None
    label = torch.as_tensor(samples.label)
    return samples.inputs, label.float() if label.ndim > 1 else label.long()


# --- tables -------------------------------------------------------------------------------------------


def _show(table: pd.DataFrame, out: Path | None) -> None:
    """Print a table, cut to the width of the terminal if it goes to one; or write it."""
    if out is None:
        print(fitted(table, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        return
    with replacing(out) as temporary:
        table.to_csv(temporary)
    print(f"{len(table)} rows: {out}")
