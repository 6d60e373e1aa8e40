"""Attribution of a whole dataset: streamed into shards, gone on with after a stop, by one process or many."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias

from ..attribution.explanation import Explain
from ..errors import KeyingError, RunError
from ..keys.identity import identity
from ..keys.values import key
from ..relevance.inputs import has_tokens
from .arguments import key_of
from .locking import alone
from .options import Options
from .run import Run
from .shards import MANIFEST, begin, remove_leftovers, summary, write_manifest
from .sources import Source, source_of
from .workers import compute

P = ParamSpec("P")
Attribute: TypeAlias = Callable[[Explain, Any, str | Path, Options], Path]


def by_name(
    options: Callable[P, Options],
) -> Callable[[Attribute], Callable[Concatenate[Explain, Any, str | Path, P], Path]]:
    """Let a function whose last argument is options take each of them by its name, with its description.

    Parameters
    ----------
    options : type
        A dataclass.
    """

    def decorate(function: Attribute) -> Callable[Concatenate[Explain, Any, str | Path, P], Path]:
        @wraps(function)
        def call(explain: Explain, data: Any, out: str | Path, *args: P.args, **given: P.kwargs) -> Path:
            return function(explain, data, out, options(*args, **given))

        signature, described = inspect.signature(function), inspect.getdoc(options) or ""
        *first, _ = signature.parameters.values()
        each = inspect.signature(options).parameters.values()
        call.__dict__["__signature__"] = signature.replace(parameters=[*first, *each])
        text = described.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
        call.__doc__ = (inspect.getdoc(function) or "").replace(_EACH, text)
        return call

    return decorate


_EACH = "options : Options\n    Each by its name."


@by_name(Options)
def attribute_dataset(explain: Explain, data: Any, out: str | Path, options: Options) -> Path:
    """Attribute every sample of a dataset, and write the results as they come.

    The results go into shards, netCDF-4 files as :mod:`relfunc.schema` describes, beside a manifest that says what the
    run is. Stopped at any moment, and started again with the same arguments, it goes on behind the last whole shard;
    the results are the same to the bit if torch has the same number of threads. With other arguments, another model,
    other data, or code that was edited, it refuses. Data without positions, of which only reading them tells what they
    are, are read again for that. Memory does not grow with the samples.

    Parameters
    ----------
    explain : callable
        ``(x, target) -> (output, attribution)``, such as ``rf.gradient(rf.lrp(model, composite))``; the output, or its
        ``logits``, is ``(sample, class)``.
    data : xarray.Dataset, str, pathlib.Path, torch Dataset, DataLoader, or iterable
        A Dataset with ``input (sample, ...)`` and perhaps ``label``, whose integers are the ids of tokens where the
        model takes such or the dimensions are ``(sample, token)``, and numbers else; a folder of images, with or
        without a subfolder for each class; a torch Dataset of tensors or (tensor, label); or batches of these. Inputs
        of other floating types are converted to that of the model's parameters. In place of a tensor there may be a
        mapping of a model's arguments by name, of which a ``label`` or ``labels`` is none, such as ``{"input_ids":
        (token,), "attention_mask": (token,)}``. Explained is what is in floating point, such as embeddings ``(token,
        feature)``, or else ``input_ids``. Texts need not be of one length: those of one length are attributed together,
        as they are, and the results are as long as the longest of all, with ``token_mask`` to say what is padding.
    out : str or pathlib.Path
        The run's folder.
    options : Options
        Each by its name.

    Returns
    -------
    pathlib.Path
        The manifest: :func:`relfunc.open_attributions` takes it.

    Raises
    ------
    RunError
        If the folder holds another run, or data without positions are to be split among workers; or if something that
        decides the results has no value to tell runs apart by, such as an open file that ``explain`` reads.
    DataError
        If there are no samples, two have one identifier, their order is random, or the class names are too many or too
        few; or if a sample cannot be read or attributed: then the shards written before stay.
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile, numpy as np, torch, xarray as xr, relfunc as rf
    >>> model = torch.nn.Linear(2, 3).eval()
    >>> data = xr.Dataset({"input": (("sample", "feature"), np.eye(2, dtype="float32")), "label": ("sample", [0, 1])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = rf.attribute_dataset(rf.gradient(model), data, folder, keep_input=None)
    ...     with rf.open_attributions(manifest) as results:
    ...         dict(results.sizes)
    {'sample': 2, 'feature': 2, 'class': 3}
    """
    takes_ids = has_tokens(getattr(explain, "f", explain))
    source, folder = source_of(data, options.transform, options.variables, ids=takes_ids), Path(out)
    names = source.classes if options.classes is None else list(map(str, options.classes))
    options = replace(options, classes=names)
    known = _known(explain, source, options)
    if source.length is None and (options.client is not None or options.workers > 1):
        raise RunError("an iterable cannot be split among workers: give a Dataset with positions")
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        manifest = begin(folder, known)
        whole = manifest["complete"] and all((folder / name).exists() for name in manifest["shards"])
        if not whole or source.length is None:
            run = Run(explain, source, folder, options, _kept(known))
            compute(run, complete=manifest["complete"])
            _finish(run, manifest)
    return folder / MANIFEST


def _known(explain: Explain, source: Source, options: Options) -> dict[str, Any]:
    """Say what tells a run from others, as JSON can hold it."""
    how = {name: value for name, value in vars(options).items() if name not in _NOT_HOW}
    try:
        return {
            **identity(explain),
            "data": source.fingerprint(),
            **{name: _plain(value, name) for name, value in how.items()},
            "classes": key(options.classes),
            "variables": list(options.variables),
            **({} if options.tokens is None else {"tokens": key_of(options.tokens)}),
            "attrs": dict(options.attrs or {}),
            "versions": {package: version(package) for package in ("relfunc", "torch")},
        }
    except KeyingError as error:
        raise RunError(f"the run cannot be told from others: {error}") from error


def _plain(value: Any, name: str) -> Any:
    """Return an option as JSON holds it."""
    if isinstance(value, tuple):
        return list(map(int, value))
    return key(value, name) if callable(value) else value


_NOT_HOW = ("classes", "transform", "variables", "tokens", "attrs", "workers", "client", "progress")
"""Options that are known otherwise, such as the transform with the data, or do not change the results."""


def _kept(known: Mapping[str, Any]) -> dict[str, str]:
    """Attributes of every shard: what a reader wants to know, and a digest of all that tells runs apart."""
    return {
        **{name: str(known[name]) for name in ("model", "parameters", "method", "composite") if known.get(name)},
        **known["versions"],
        **known["attrs"],
        "run": hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest(),
    }


def _finish(run: Run, manifest: dict[str, Any]) -> None:
    """Write down what there is, and remove what workers that were lost have left."""
    folder, known = run.folder, run.written
    remove_leftovers(folder)
    paths = sorted(folder.glob("attributions-*.nc"))
    summaries = {path.name: known.get(path.name) or summary(path) for path in paths}
    skipped = [pair for each in summaries.values() for pair in each.skipped]
    write_manifest(
        folder,
        {
            **manifest,
            "complete": True,
            "samples": sum(each.samples for each in summaries.values()),
            "shards": {name: each.samples for name, each in summaries.items()},
            "skipped": skipped,
        },
    )
