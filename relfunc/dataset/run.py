"""Run: how the samples of one shard become its file."""

import contextlib
import copy
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..attribution.explanation import Explain, Explanation
from ..errors import DataError, TargetError
from ..files.netcdf import replacing
from ..relevance.inputs import has_tokens
from ..schema import ATTRIBUTION, INPUT, LABEL, PREDICTION, SAMPLE, TARGET, TOKEN_MASK, TOKEN_TEXT
from .arguments import texts
from .content import Content
from .kept import as_index, kept, no_numbers, wrong_label
from .options import Options
from .samples import Reader, Samples, Unreadable, by_length, together
from .shards import Summary, shard
from .sources import Source
from .start import Start
from .writer import Batch, Writer, joined

log = logging.getLogger("relfunc")


@dataclass
class Run:
    """A method, a source, and where the results go.

    Parameters
    ----------
    explain : callable
        ``(x, target) -> (output, attribution)``.
    source : Source
        The samples.
    folder : pathlib.Path
        Of the shards.
    options : Options
        How.
    attrs : dict
        Attributes of every shard.

    Attributes
    ----------
    batch_limit : int
        Most samples to compute at once: what memory has been enough for.
    written : dict
        What each shard of this process holds, by file name.
    """

    explain: Explain
    source: Source
    folder: Path
    options: Options
    attrs: dict[str, str]
    batch_limit: int = field(init=False)
    written: dict[str, Summary] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.batch_limit = self.options.batch_size

    @cached_property
    def device(self) -> torch.device | None:
        """Where to compute: as told, or a GPU if there is one, or where the model is."""
        if self.options.device is None:
            return None
        if self.options.device == "cuda" and torch.cuda.device_count() > 1:
            free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
            return torch.device("cuda", int(np.argmax(free)))
        return torch.device(self.options.device)

    @cached_property
    def prepared(self) -> Explain:
        """The method with its model where and as the options say; a copy, if that changes the model."""
        explain = self.explain
        model = getattr(explain, "f", None)
        if isinstance(model, nn.Module) and (self.device is not None or self.options.channels_last):
            explain = copy.deepcopy(explain)
            memory = {"memory_format": torch.channels_last} if self.options.channels_last else {}
            explain.f.to(device=self.device, **memory)  # type: ignore[attr-defined]
        if not self.options.compiled:
            return explain
        if isinstance(explain, Explanation):
            return Explanation(explain.method, explain.f, explain.options, torch.compile(explain.run))
        return torch.compile(explain)

    @cached_property
    def _dtype(self) -> torch.dtype | None:
        """Type of the model's parameters, to which inputs are converted; None where no model is known."""
        explain = self.explain
        cells = [cell.cell_contents for cell in getattr(explain, "__closure__", None) or ()]
        held = [getattr(explain, "f", None), explain, getattr(explain, "__self__", None), *cells]
        models = [each for each in held if isinstance(each, nn.Module)]
        found = (p.dtype for model in models for p in model.parameters() if p.is_floating_point())
        return next(found, None)

    def shard(self, number: int, samples: Reader, done: Callable[[int], None], count: int | None = None) -> bool:
        """Attribute samples and write them as one shard.

        Parameters
        ----------
        number : int
            Of the shard.
        samples : Reader
            What it is to hold comes next.
        done : callable
            Told how many samples each finished batch had; what it raises ends the shard, of which nothing is left.
        count : int, optional
            How many samples come, if the source knows.

        Returns
        -------
        bool
            False if there were no samples, so that nothing was written.

        Raises
        ------
        DataError
            If a sample cannot be attributed, or fewer come than ``count``.
        """
        most, seen, like = count or self.options.shard_size, 0, None
        batch = first = list(samples.take(min(self.options.batch_size, most)))
        if not batch and count is None:
            return False
        skipped: list[tuple[str, str]] = []
        content = Content() if count is None else None
        with replacing(shard(self.folder, number)) as temporary, _writing(temporary, self, count) as writing:
            while batch:
                for part in batch if content else ():
                    content.add(part)  # type: ignore[union-attr]
                whole = self._checked(batch, like, skipped)
                if whole:
                    like = like or whole[0]
                    made = self._of_batch(whole, skipped)
                    if made is not None:
                        writing.append(made)
                read = sum(map(len, batch))
                done(read)
                seen += read
                batch = list(samples.take(min(self.options.batch_size, most - seen)))
            if count is not None and seen < count:
                raise DataError(
                    f"the data end {count - seen} samples early: their length is {self.source.length}; correct it"
                )
            labelled_by = {"label": "prediction"} if isinstance(first[0], Samples) and first[0].label is None else {}
            made_of = content.so_far() if content else ""
            writing.close({**self.attrs, **labelled_by, "skipped": json.dumps(skipped), "content": made_of})
        self.written[shard(self.folder, number).name] = Summary(seen - len(skipped), skipped, made_of)
        return True

    def _checked(
        self, batch: Sequence[Samples | Unreadable], like: Samples | None, skipped: list[tuple[str, str]]
    ) -> list[Samples]:
        """Sort out the samples that cannot be attributed, or raise for the first."""
        whole: list[Samples] = []
        for part in batch:
            reason = part.reason if isinstance(part, Unreadable) else self._wrong(part, like)
            if isinstance(part, Samples):
                if reason and len(part) > 1:
                    whole += self._checked(part.singly(), like, skipped)
                    continue
                if not reason:
                    whole.append(part)
                    like = like or part
                    continue
            if self.options.on_error == "raise":
                cause = part.error if isinstance(part, Unreadable) else None
                raise DataError(f"sample '{part.ids[0]}': {reason}; on_error='skip' leaves such samples out") from cause
            skipped.append((str(part.ids[0]), reason))
        return whole

    def _wrong(self, samples: Samples, like: Samples | None) -> str:
        x = samples.x
        if like is not None and samples.shape != like.shape:
            return f"its input has shape {samples.shape}, and others {like.shape}: give a transform to one"
        if like is not None and samples.arguments != like.arguments:
            return f"it has the entries {', '.join(samples.arguments)}, and others {', '.join(like.arguments)}"
        if samples.are_ids:
            if samples.argument is None and not has_tokens(getattr(self.explain, "f", self.explain)):
                return f"its input is {x.dtype}: give a transform to floating point"
            if x.ndim != 2 or x.dtype is torch.bool:
                return f"its token ids are {x.dtype} {tuple(x.shape[1:])}: give integers, (token,) for each sample"
        if not (math.isfinite(x.sum()) or x.isfinite().all()):  # the sum is faster, but may overflow
            return "its input has values that are not finite"
        if samples.label is None:
            return "it has no label: give target='prediction', or a class" if self.options.target == "label" else ""
        return wrong_label(samples.label)

    def _of_batch(self, parts: Sequence[Samples], skipped: list[tuple[str, str]]) -> Batch | None:
        """Attribute a batch: texts of one length together, and all else at once; None if nothing is left of it."""
        places = np.cumsum([0, *map(len, parts)])
        made, rows = [], []
        for group in by_length(parts):
            batch, of_group = self._attributed(together([parts[i] for i in group]), skipped)
            if batch is not None:
                made.append(batch)
                rows.append(np.concatenate([np.arange(places[i], places[i + 1]) for i in group])[of_group])
        if len(made) > 1:
            return joined(made, np.argsort(np.concatenate(rows)))
        return made[0] if made else None

    def _attributed(self, samples: Samples, skipped: list[tuple[str, str]]) -> tuple[Batch | None, list[int]]:
        """Attribute samples of one shape; returns what of each is kept, and of which ones."""
        output, attribution, chosen = self._in_parts(samples)
        wrong = no_numbers(output, attribution)
        of = [i for i in range(len(samples)) if i not in wrong]
        for i, reason in sorted(wrong.items()):
            if self.options.on_error == "raise":
                raise DataError(f"sample '{samples.ids[i]}': {reason}; on_error='skip' leaves such samples out")
            skipped.append((str(samples.ids[i]), reason))
        if not of:
            return None, of
        if wrong:
            samples = together([samples[i : i + 1] for i in of])
            output, attribution, chosen = output[of], attribution[of], None if chosen is None else chosen[of]
        return self._batch(samples, output.numpy(), attribution.numpy(), chosen), of

    def _in_parts(self, samples: Samples) -> tuple[Tensor, Tensor, Tensor | None]:
        """Attribute as many samples at once as memory is enough for."""
        outputs, attributions, targets = [], [], []
        at = 0
        while at < len(samples):
            part = samples[at : at + self.batch_limit]
            try:
                output, attribution, target = self._explained(part)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or len(part) == 1:
                    raise
                self.batch_limit = len(part) // 2
                log.warning("out of memory with %d samples at once: going on with %d", len(part), self.batch_limit)
                continue
            at += len(part)
            outputs.append(output)
            attributions.append(attribution)
            targets.append(target)
        return torch.cat(outputs), torch.cat(attributions), None if targets[0] is None else torch.cat(targets)

    def _batch(self, samples: Samples, prediction: np.ndarray, attribution: np.ndarray, chosen: Tensor | None) -> Batch:
        """Return attributions and inputs as they are kept, and everything else."""
        rest = {
            SAMPLE: np.array(samples.ids),
            PREDICTION: prediction,
            LABEL: self._labels(samples, prediction),
        }
        if chosen is not None:
            rest[TARGET] = chosen.numpy()
        large, inputs = {ATTRIBUTION: attribution}, kept(samples, self.options.keep_input)
        if inputs is not None:
            large[INPUT] = inputs
        if samples.dims is not None:
            large[TOKEN_MASK] = samples.mask
        if self.options.tokens is not None:
            if not samples.are_ids:
                raise DataError(f"tokens= gives ids their text, and the inputs are {samples.x.dtype}: leave it out")
            rest[TOKEN_TEXT] = texts(samples.x.cpu().numpy(), self.options.tokens)
        return Batch(large, {**rest, **samples.variables}, samples.dims)

    def _explained(self, samples: Samples) -> tuple[Tensor, Tensor, Tensor | None]:
        explain, name = self.prepared, samples.argument
        inputs = pytree.tree_map(self._placed, samples.inputs)
        device = pytree.tree_leaves(inputs)[0].device
        label = None if samples.label is None else torch.as_tensor(as_index(samples.label), device=device)
        start = Start(self.options.target, label)
        with self._precision(device.type):
            try:
                output, attribution = explain(inputs, start.before(explain, inputs, len(samples)))
                output = start.scores(output)
            except TargetError as error:
                if label is None or len(samples) == 1:
                    raise DataError(f"sample '{samples.ids[0]}': {error}") from error
                for sample in samples.singly():
                    self._explained(sample)
                raise
        if not isinstance(output, Tensor) or output.ndim != 2:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise DataError(f"the model's output is {got}, not (sample, class): give a model whose output is")
        if isinstance(attribution, Mapping):
            attribution = attribution.get(name)
        if not isinstance(attribution, Tensor):
            raise DataError(f"the method gave no attribution of {name or 'its input'}: give one that does")
        names = self.options.classes
        if names is not None and len(names) != output.shape[1]:
            raise DataError(
                f"there are {len(names)} class names and the model has {output.shape[1]} outputs: give classes= "
                "one name for each"
            )
        chosen = None if start.chosen is None else start.chosen.cpu()
        if chosen is not None and isinstance(self.options.target, tuple):
            chosen = chosen % output.shape[1]
        return output.detach().float().cpu(), attribution.detach().float().cpu(), chosen

    def _placed(self, x: Tensor) -> Tensor:
        """Return a tensor where and as the model takes it."""
        x = x.to(self.device, self._dtype if x.is_floating_point() else None)
        if self.options.channels_last and x.ndim == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def _precision(self, device: str) -> contextlib.AbstractContextManager[Any]:
        if self.options.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(device, getattr(torch, self.options.autocast))

    def _labels(self, samples: Samples, prediction: np.ndarray) -> np.ndarray:
        labels = samples.label
        if labels is None:
            return prediction.argmax(1)
        if labels.ndim > 1:
            if labels.shape[1] != prediction.shape[1]:
                raise DataError(
                    f"sample '{samples.ids[0]}' has labels of {labels.shape[1]} classes, and the model has "
                    f"{prediction.shape[1]}"
                )
            return labels.astype(bool)
        labels = as_index(labels)
        wrong = np.flatnonzero((labels < 0) | (labels >= prediction.shape[1]))
        if wrong.size:
            raise DataError(
                f"sample '{samples.ids[wrong[0]]}' has label {labels[wrong[0]]}, and the model has classes 0 … "
                f"{prediction.shape[1] - 1}"
            )
        return labels


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch's CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)


class _Writing:
    """Writes batches on a thread of its own, one behind the one that is being computed."""

    def __init__(self, writer: Writer, classes: Sequence[str] | None, thread: ThreadPoolExecutor) -> None:
        self._writer, self._classes, self._thread = writer, classes, thread
        self._pending: Future[None] | None = None

    def append(self, batch: Batch) -> None:
        self._wait()
        self._pending = self._thread.submit(self._writer.append, batch)

    def close(self, attrs: dict[str, str]) -> None:
        self._wait()
        self._writer.close(self._classes, attrs)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


@contextlib.contextmanager
def _writing(path: Path, run: Run, count: int | None) -> Iterator[_Writing]:
    certain = count if run.options.on_error == "raise" else None
    writer = Writer(path, run.source.dims, count=certain, half=run.options.dtype == "float16")
    try:
        with ThreadPoolExecutor(1, "relfunc-writer") as thread:
            yield _Writing(writer, run.options.classes, thread)
    finally:
        writer.abort()
