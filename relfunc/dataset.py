"""Attribution of a whole dataset: streamed into shards, gone on with after a stop, by one process or many."""

import contextlib
import hashlib
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from tqdm import tqdm

from .content import Content
from .errors import KeyingError
from .explanation import Explain
from .identity import identity
from .keys import key
from .locking import alone
from .run import Options, Run
from .samples import DataError, Reader
from .shards import MANIFEST, RunError, begin, remaining, remove_leftovers, shard, summary, write_manifest
from .sources import source_of
from .storage import replacing

Progress = bool | Callable[[int, int | None], None]


def attribute_dataset(
    explain: Explain,
    data: Any,
    out: str | Path,
    *,
    batch_size: int = 32,
    shard_size: int = 1024,
    target: Literal["label", "prediction"] | int | Callable[[Tensor, Tensor | None], Tensor] = "label",
    classes: Sequence[str] | None = None,
    transform: Callable[[Any], Tensor] | None = None,
    keep_input: Literal["uint8", "float32"] | None = "uint8",
    dtype: Literal["float32", "float16"] = "float32",
    device: str | None = None,
    autocast: Literal["bfloat16", "float16"] | None = None,
    channels_last: bool = False,
    compiled: bool = False,
    workers: int = 1,
    client: Any = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Progress = True,
    attrs: Mapping[str, str] | None = None,
) -> Path:
    """Attribute every sample of a dataset, and write the results as they come.

    The results go into shards, netCDF-4 files as :mod:`relfunc.schema` describes, beside a manifest that says what the
    run is. Stopped at any moment, and started again with the same arguments, it goes on behind the last whole shard;
    the results are the same to the bit if torch has the same number of threads. With other arguments, another model,
    other data, or code that was edited, it refuses. Data without positions, of which only reading them tells what they
    are, are read again for that. Memory does not grow with the samples.

    Parameters
    ----------
    explain : callable
        ``(x, target) -> (output, attribution)``, such as ``rf.gradient(rf.lrp(model, composite))``; the output is
        ``(sample, class)``.
    data : xarray.Dataset, str, pathlib.Path, torch Dataset, DataLoader, or iterable
        A Dataset with ``input (sample, ...)`` and perhaps ``label``; a folder of images, with or without a subfolder
        for each class; a torch Dataset of tensors or (tensor, label); or batches of these. Inputs of other floating
        types are converted to that of the model's parameters.
    out : str or pathlib.Path
        The run's folder.
    batch_size : int
        Samples attributed at once. When memory runs out, it is halved for the rest of the run.
    shard_size : int
        Samples in a file: what is done again at most after a stop.
    target : {"label", "prediction"}, int or callable
        The class to explain, or a function from a batch's outputs and labels to class indices ``(sample,)`` or to
        the relevance to start with ``(sample, class)``.
    classes : sequence of str, optional
        Class names; by default those that the data know, or numbers.
    transform : callable, optional
        From an image of a folder (or an item of other data; a batch's array, for an xarray Dataset) to the model's
        input. Without one, arrays are taken as float32.
    keep_input : {"uint8", "float32"} or None
        How to keep the inputs. As ``uint8`` they are kept as they were before a torchvision normalization at the end
        of the transform; where there is none, from 0 … 1, or stretched per sample if their values lie outside.
    dtype : {"float32", "float16"}
        Precision of the stored attributions. netCDF-4 has no float16: values are rounded to its ten bits of mantissa,
        and the zeros that follow are compressed away.
    device : str, optional
        Where to compute, such as ``"cuda"``; by default where the model is. The model given is not moved.
    autocast : {"bfloat16", "float16"}, optional
        Precision of the model's operations; attributions are converted to float32.
    channels_last, compiled : bool
        Whether to compute in this memory format, and with :func:`torch.compile`.
    workers : int
        Processes on this machine, each with a model of its own.
    client : distributed.Client, optional
        Of a Dask cluster whose workers share the folder ``out``; each shard is a task.
    on_error : {"raise", "skip"}
        What becomes of samples that cannot be read or attributed; the manifest lists those skipped.
    progress : bool or callable
        A bar on a terminal; or a function of the samples done and their number, if that is known.
    attrs : mapping, optional
        Further attributes to keep with the results; part of what tells runs apart.

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
    options = Options(
        batch_size, shard_size, target, keep_input, dtype, device, autocast, channels_last, compiled, on_error
    )
    _check(options, workers)
    source, folder = source_of(data, transform), Path(out)
    names = list(map(str, classes)) if classes is not None else source.classes
    try:
        known = {
            **identity(explain),
            "data": source.fingerprint(),
            **{name: key(value, name) if callable(value) else value for name, value in vars(options).items()},
            "classes": key(names),
            "attrs": dict(attrs or {}),
            "versions": {package: version(package) for package in ("relfunc", "torch")},
        }
    except KeyingError as error:
        raise RunError(f"the run cannot be told from others: {error}") from error
    if source.length is None and (client is not None or workers > 1):
        raise RunError("an iterable cannot be split among workers: give a Dataset with positions")
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        manifest = begin(folder, known)
        whole = manifest["complete"] and all((folder / name).exists() for name in manifest["shards"])
        if not whole or source.length is None:
            run = Run(explain, source, folder, options, _kept(known, attrs), names)
            _run(run, manifest["complete"], workers, client, progress)
            _finished(run, manifest)
    return folder / MANIFEST


def _kept(known: Mapping[str, Any], attrs: Mapping[str, str] | None) -> dict[str, str]:
    """Attributes of every shard: what a reader wants to know, and a digest of all that tells runs apart."""
    return {
        **{name: str(known[name]) for name in ("model", "parameters", "method", "composite") if known.get(name)},
        **known["versions"],
        **(attrs or {}),
        "run": hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest(),
    }


def _run(run: Run, complete: bool, workers: int, client: Any, progress: Progress) -> None:
    length = run.source.length
    if length is None:
        with _bar(progress, None, 0) as tell:
            _through(run, complete, tell)
        return
    todo = list(remaining(run.folder, -(-length // run.options.shard_size)))
    left = sum(len(_positions(run, number)) for number in todo)
    with _bar(progress, length, length - left) as tell:
        if client is not None:
            _on_cluster(run, todo, client, tell)
        elif workers > 1:
            _in_processes(run, todo, workers, tell)
        else:
            _here(run, todo, tell)


def _check(options: Options, workers: int) -> None:
    choices = {
        "keep_input": (None, "uint8", "float32"),
        "dtype": ("float32", "float16"),
        "autocast": (None, "bfloat16", "float16"),
        "on_error": ("raise", "skip"),
    }
    for name, values in choices.items():
        if getattr(options, name) not in values:
            raise RunError(f"{name} is {getattr(options, name)!r}: give {' or '.join(map(repr, values))}")
    for name, value in (("batch_size", options.batch_size), ("shard_size", options.shard_size), ("workers", workers)):
        if value < 1:
            raise RunError(f"{name} is {value}: give at least 1")
    if not (isinstance(options.target, int) or callable(options.target) or options.target in {"label", "prediction"}):
        raise RunError(f"target is {options.target!r}: give 'label', 'prediction', a class index, or a function")


def _finished(run: Run, manifest: dict[str, Any]) -> None:
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


# --- who computes -------------------------------------------------------------------------------------

Tell = Callable[[int], None]


def _here(run: Run, todo: Sequence[int], tell: Tell) -> None:
    with _interruptible(tell) as told:
        for number in todo:
            _one(run, number, told)


def _one(run: Run, number: int, tell: Tell) -> None:
    """Attribute one shard of a source with positions."""
    at = _positions(run, number)
    run.shard(number, Reader(run.source.samples(at.start, at.stop)), tell, len(at))


def _positions(run: Run, number: int) -> range:
    """Where in the source a shard's samples are."""
    size = run.options.shard_size
    return range(run.source.length or 0)[number * size : (number + 1) * size]


def _through(run: Run, complete: bool, tell: Tell) -> None:
    """Attribute a stream: read all of it once; of what earlier runs have done, check that it is the same."""
    samples, number = Reader(run.source.samples(0, None)), 0
    with _interruptible(tell) as told:
        while True:
            path = shard(run.folder, number)
            if path.exists():
                told(_passed(samples, run, path))
            elif complete and next(samples.take(1), None) is not None:
                raise RunError(f"{run.folder} holds a run of fewer samples than the data have now: {_ELSEWHERE}")
            elif complete or not run.shard(number, samples, told):
                break
            number += 1
    if not number:
        raise DataError("the data hold no samples: give data with at least one")


def _passed(samples: Reader, run: Run, path: Path) -> int:
    """Read past what a shard holds, and check that it is what the shard was made of."""
    content = Content()
    count = 0
    for part in samples.take(run.options.shard_size):
        content.add(part)
        count += len(part)
    if content.so_far() != summary(path).content:
        raise RunError(f"{path} was made of other data than come now at its place: {_ELSEWHERE}")
    return count


_ELSEWHERE = "give another folder, or remove this one"


def _in_processes(run: Run, todo: Sequence[int], workers: int, tell: Tell) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with _sent(run) as sent:
        try:
            work = Parallel(n_jobs=workers, return_as="generator_unordered")
            counts: Any = work(delayed(_elsewhere)(*sent, number) for number in todo)
            for count in counts:
                tell(count)
        except TerminatedWorkerError as error:
            raise RunError("a worker process was killed, perhaps for its memory: run again to go on") from error


def _on_cluster(run: Run, todo: Sequence[int], client: Any, tell: Tell) -> None:
    from distributed import as_completed

    with _sent(run) as sent:
        tasks = client.map(lambda number: _elsewhere(*sent, number), todo, pure=False, retries=3)
        try:
            for task in as_completed(tasks):
                tell(task.result())
        finally:
            client.cancel(tasks)


@contextlib.contextmanager
def _sent(run: Run) -> Iterator[tuple[str, str]]:
    """Write the run where workers read it; yield the file and its digest."""
    import cloudpickle

    pickled = cloudpickle.dumps(run)
    path = run.folder / ".run-sent.pickle"
    with replacing(path) as temporary:
        temporary.write_bytes(pickled)
    try:
        yield str(path.resolve()), hashlib.sha256(pickled).hexdigest()
    finally:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _received(path: str, _: str) -> Run:
    """Return a worker's own copy of the run; it keeps one, so that the model is loaded once."""
    return pickle.loads(Path(path).read_bytes())


def _elsewhere(path: str, key: str, number: int) -> int:
    run, counts = _received(path, key), [0]
    if not shard(run.folder, number).exists():
        _one(run, number, counts.append)
    return sum(counts)


# --- progress and interruption ------------------------------------------------------------------------


@contextlib.contextmanager
def _bar(progress: Progress, total: int | None, done: int) -> Iterator[Tell]:
    """Yield what takes the samples done since it was last told."""
    hidden = callable(progress) or not progress or not sys.stderr.isatty()
    with tqdm(total=total, initial=done, unit="sample", desc="attribute", disable=hidden) as bar:
        counted = done

        def tell(count: int) -> None:
            nonlocal counted
            counted += count
            bar.update(count)
            if callable(progress):
                progress(counted, total)

        yield tell


@contextlib.contextmanager
def _interruptible(tell: Tell) -> Iterator[Tell]:
    """Let a first Ctrl-C wait for the batch in hand; a second one acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield tell
        return
    before = signal.getsignal(signal.SIGINT)
    came = threading.Event()

    def note(*_: Any) -> None:
        came.set()
        signal.signal(signal.SIGINT, before)

    def told(count: int) -> None:
        tell(count)
        if came.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)
