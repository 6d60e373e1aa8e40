"""Workers: who computes a run's shards, this process, others on this machine, or a cluster; and how far they are."""

import contextlib
import hashlib
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import DataError, RunError
from ..files.netcdf import replacing
from .content import Content
from .options import Progress
from .run import Run
from .samples import Reader
from .shards import remaining, shard, summary

Tell = Callable[[int], None]


def compute(run: Run, *, complete: bool) -> None:
    """Compute the shards of a run that are missing.

    Parameters
    ----------
    run : Run
        Its options say who computes.
    complete : bool
        Whether a run before this has come to the end of the data.

    Raises
    ------
    RunError
        If a worker process was killed, or the data are a stream and other than they were.
    DataError
        As :meth:`Run.shard`, or if there are no samples.
    """
    length, options = run.source.length, run.options
    if length is None:
        with _bar(options.progress, None, 0) as tell:
            _stream(run, complete, tell)
        return
    todo = list(remaining(run.folder, -(-length // options.shard_size)))
    left = sum(len(_positions(run, number)) for number in todo)
    with _bar(options.progress, length, length - left) as tell:
        if options.client is not None:
            _on_cluster(run, todo, tell)
        elif options.workers > 1:
            _in_processes(run, todo, tell)
        else:
            _in_this_process(run, todo, tell)


def _in_this_process(run: Run, todo: Sequence[int], tell: Tell) -> None:
    with _interruptible(tell) as told:
        for number in todo:
            _attribute_shard(run, number, told)


def _attribute_shard(run: Run, number: int, tell: Tell) -> None:
    """Attribute one shard of a source with positions."""
    at = _positions(run, number)
    run.shard(number, Reader(run.source.samples(at.start, at.stop)), tell, len(at))


def _positions(run: Run, number: int) -> range:
    """Where in the source a shard's samples are."""
    size = run.options.shard_size
    return range(run.source.length or 0)[number * size : (number + 1) * size]


def _stream(run: Run, complete: bool, tell: Tell) -> None:
    """Attribute a stream: read all of it once; of what earlier runs have done, check that it is the same."""
    samples, number = Reader(run.source.samples(0, None)), 0
    with _interruptible(tell) as told:
        while True:
            path = shard(run.folder, number)
            if path.exists():
                told(_read_past(samples, run, path))
            elif complete and next(samples.take(1), None) is not None:
                raise RunError(f"{run.folder} holds a run of fewer samples than the data have now: {_TO_DO}")
            elif complete or not run.shard(number, samples, told):
                break
            number += 1
    if not number:
        raise DataError("the data hold no samples: give data with at least one")


def _read_past(samples: Reader, run: Run, path: Path) -> int:
    """Read past what a shard holds, and check that it is what the shard was made of."""
    content = Content()
    count = 0
    for part in samples.take(run.options.shard_size):
        content.add(part)
        count += len(part)
    if content.so_far() != summary(path).content:
        raise RunError(f"{path} was made of other data than come now at its place: {_TO_DO}")
    return count


_TO_DO = "give another folder, or remove this one"


def _in_processes(run: Run, todo: Sequence[int], tell: Tell) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with _sent(run) as sent:
        try:
            work = Parallel(n_jobs=run.options.workers, return_as="generator_unordered")
            counts: Any = work(delayed(_attribute_sent)(*sent, number) for number in todo)
            for count in counts:
                tell(count)
        except TerminatedWorkerError as error:
            raise RunError("a worker process was killed, perhaps for its memory: run again to go on") from error


def _on_cluster(run: Run, todo: Sequence[int], tell: Tell) -> None:
    from distributed import as_completed

    client = run.options.client
    with _sent(run) as sent:
        tasks = client.map(lambda number: _attribute_sent(*sent, number), todo, pure=False, retries=3)
        try:
            for task in as_completed(tasks):
                tell(task.result())
        finally:
            client.cancel(tasks)


@contextlib.contextmanager
def _sent(run: Run) -> Iterator[tuple[str, str]]:
    """Write the run where workers read it; yield the file and its digest."""
    import cloudpickle

    options = replace(run.options, client=None, progress=False)
    pickled = cloudpickle.dumps(replace(run, options=options))
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


def _attribute_sent(path: str, digest: str, number: int) -> int:
    run, counts = _received(path, digest), [0]
    if not shard(run.folder, number).exists():
        _attribute_shard(run, number, counts.append)
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
