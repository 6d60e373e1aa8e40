"""Reading: what the attributions say of some samples, row by row."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from relfunc.schema import (
    ATTRIBUTION,
    CHANNEL,
    CLASS,
    INPUT,
    LABEL,
    PREDICTION,
    SAMPLE,
    TOKEN_MASK,
    TOKEN_TEXT,
    X,
    Y,
)

from .project import UNREADABLE, Pictures, Project, check_whole, class_names, gone, read_rows

NONE: Final = -1
"""Stands for several labels, and for no prediction."""
PART: Final = 1 << 16
"""Samples whose predictions are read at a time."""


@dataclass(frozen=True)
class Outcome:
    """What is known about some samples, in their order.

    Parameters
    ----------
    ids : numpy.ndarray
        Identifiers.
    label : tuple of str
        Class names; several joined by commas if multi-label.
    prediction : tuple of str
        The predicted class's name.
    probability : numpy.ndarray
        Its probability: the model's output if that is a distribution, else its softmax.
    correct : numpy.ndarray
        Whether the predicted class is (one of) the label(s).
    """

    ids: NDArray
    label: tuple[str, ...]
    prediction: tuple[str, ...]
    probability: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """What the model made of many samples, as numbers.

    Parameters
    ----------
    label, prediction : numpy.ndarray
        Positions in ``class``; −1 stands for several labels, or for no prediction.
    probability : numpy.ndarray
        Probability of the prediction.
    correct : numpy.ndarray
        Whether the predicted class is (one of) the label(s).
    """

    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    probability: NDArray[np.float64]
    correct: NDArray[np.bool_]


def outcome(project: Project, rows: NDArray[np.integer]) -> Outcome:
    """Read identifiers, labels and predictions of some rows of ``attributions.nc``.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, in any order.
    """
    data = project.attributions
    names = class_names(project)
    known = verdict(project, rows)
    if data[LABEL].ndim == 2:
        several = read_rows(data[LABEL], rows)
        labels = tuple(", ".join(names[k] for k in np.flatnonzero(row)) for row in several)
    else:
        labels = tuple("none" if k == NONE else names[k] for k in known.label)
    called = tuple("none" if k == NONE else names[k] for k in known.prediction)
    return Outcome(read_rows(data[SAMPLE], rows), labels, called, known.probability, known.correct)


def verdict(project: Project, rows: NDArray[np.integer]) -> Verdict:
    """Read what the model made of some rows, a part of them at a time, so that all of a large file is never held.

    Parameters
    ----------
    project : Project
        Where to read.
    rows : numpy.ndarray
        (k,) positions in ``attributions.nc``, in any order.
    """
    try:
        check_whole(project)
        parts = [_verdict(project, rows[k : k + PART]) for k in range(0, max(rows.size, 1), PART)]
    except UNREADABLE as error:
        raise gone(project, error) from error
    return Verdict(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.prediction for part in parts]),
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.correct for part in parts]),
    )


def labels(project: Project, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Read the labels of some rows as positions in ``class``; −1 stands for several, and for none that is known.

    Raises
    ------
    ProjectError
        If the file cannot be read any more.
    """
    try:
        check_whole(project)
        return _single(read_rows(project.attributions[LABEL], rows), project.attributions.sizes[CLASS])
    except UNREADABLE as error:
        raise gone(project, error) from error


def pixels(project: Project, rows: NDArray[np.integer]) -> Pictures:
    """Read attributions and inputs (None if there are none) of some rows, channels before ``y`` and ``x``.

    Of texts, inputs are the text of tokens, where it is known, and there is nothing of padding.

    Raises
    ------
    ProjectError
        If the file has gone or cannot be read any more.
    """
    data = project.attributions
    try:
        check_whole(project)
        if project.pictures is not None:
            return project.pictures(rows)
        attribution = read_rows(_channels_first(data[ATTRIBUTION]), rows)
        said = TOKEN_TEXT if TOKEN_TEXT in data else INPUT
        shown = read_rows(_channels_first(data[said]), rows) if said in data else None
        mask = read_rows(data[TOKEN_MASK], rows).astype(bool) if TOKEN_MASK in data else None
    except UNREADABLE as error:
        raise gone(project, error) from error
    return _tokens(attribution, mask), None if shown is None else _tokens(shown, mask)


def _tokens(values: NDArray, mask: NDArray[np.bool_] | None) -> list[NDArray]:
    """Return the values of each sample, without those of padding."""
    return list(values) if mask is None else [each[there] for each, there in zip(values, mask, strict=True)]


def _verdict(project: Project, rows: NDArray[np.integer]) -> Verdict:
    each = np.arange(rows.size)
    output = read_rows(project.attributions[PREDICTION], rows)
    best = output.argmax(axis=1) if output.size else np.zeros(rows.size, int)
    best[np.isnan(output[each, best])] = NONE
    label = read_rows(project.attributions[LABEL], rows)
    correct = (label[each, best].astype(bool) if label.ndim == 2 else label == best) & (best != NONE)
    probability = np.nan_to_num(_probability(output)[each, best])
    return Verdict(_single(label, output.shape[1]), best, probability, correct)


def _single(label: NDArray, classes: int) -> NDArray[np.int64]:
    if label.ndim == 2:
        return np.where(label.astype(bool).sum(axis=1) == 1, label.argmax(axis=1), NONE)
    return np.where((label >= 0) & (label < classes), label, NONE).astype(np.int64)


def _channels_first(variable: xr.DataArray) -> xr.DataArray:
    if {Y, X} <= set(variable.dims) and CHANNEL in variable.dims:
        return variable.transpose(SAMPLE, CHANNEL, Y, X)
    return variable


def _probability(output: NDArray) -> NDArray[np.float64]:
    output = output.astype(float)
    there = output[np.isfinite(output).all(axis=1)]
    if there.size == 0 or ((there >= 0).all() and np.allclose(there.sum(axis=1), 1, atol=1e-3)):
        return output
    odds = np.exp(output - output.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
