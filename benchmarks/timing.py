"""Time several ways of doing one thing in turns, so that what else the machine does disturbs all of them alike."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """What one candidate took, round by round.

    Parameters
    ----------
    wall, cpu : tuple of float
        Seconds by the clock, and of the process's processor time summed over its threads.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


def interleave(candidates: Mapping[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> dict[str, Timing]:
    """Run all candidates once to warm up, then in turns (A B C, A B C, …).

    Parameters
    ----------
    candidates : mapping
        From name to a function without arguments.
    rounds : int
        How often each is timed.
    device : str
        Where they compute; a GPU is waited for.

    Returns
    -------
    dict
        From name to timing.
    """
    for candidate in candidates.values():
        candidate()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            taken[name].append(timed(candidate, device))
    return {name: Timing(*map(tuple, zip(*pairs, strict=True))) for name, pairs in taken.items()}


def timed(candidate: Callable[[], Any], device: str) -> tuple[float, float]:
    """Return what one call takes: seconds by the clock, and of the processor."""
    gc.collect()
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = candidate()
    _wait(device)
    taken = time.perf_counter() - wall, time.process_time() - cpu
    del result
    return taken


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ratio(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Median over the rounds of how many times longer ``a`` took than ``b`` in the same round."""
    return median(x / y for x, y in zip(a, b, strict=True))


def summary(timings: Mapping[str, Timing], reference: str) -> dict[str, float]:
    """Return the columns of a table: seconds of every candidate, and ratios to one of them.

    Parameters
    ----------
    timings : mapping
        From :func:`interleave`.
    reference : str
        The candidate that the others are compared with.

    Returns
    -------
    dict
        ``"<name> s"`` (median wall seconds), ``"<name> min s"``, ``"<name> cpu s"``, and for all but the reference
        ``"<name>/<reference>"`` by wall and by processor time.
    """
    columns: dict[str, float] = {}
    for name, timing in timings.items():
        columns |= {f"{name} s": median(timing.wall), f"{name} min s": min(timing.wall)}
        columns[f"{name} cpu s"] = median(timing.cpu)
    for name, timing in timings.items():
        if name != reference:
            columns[f"{name}/{reference} wall"] = ratio(timing.wall, timings[reference].wall)
            columns[f"{name}/{reference} cpu"] = ratio(timing.cpu, timings[reference].cpu)
    return columns
