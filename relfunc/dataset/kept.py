"""Kept: the labels and inputs of samples as results keep them, and what is wrong with what cannot be kept."""

import math

import numpy as np
from torch import Tensor

from .samples import Samples


def wrong_label(label: np.ndarray) -> str:
    """Say what is wrong with labels; nothing if they are class indices, or yes and no for each class.

    Parameters
    ----------
    label : numpy.ndarray
        ``(sample,)`` or ``(sample, class)``.

    Examples
    --------
    >>> wrong_label(np.array([[0.9, 0.05, 0.05]]))
    'its labels are 0.9, 0.05, 0.05: give a class index, or 0 and 1 for each class'
    >>> wrong_label(np.array([1.0, 2.0]))
    ''
    """
    if label.ndim in {1, 2} and label.dtype.kind in "biuf":
        if label.ndim == 1 and np.all(np.isfinite(label) & (label == np.trunc(label))):
            return ""
        if label.ndim == 2 and np.all((label == 0) | (label == 1)):
            return ""
    few = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in label.reshape(-1)[:8].tolist()]
    more = ", …" if label.size > len(few) else ""
    named = f"its label is {few[0]}" if label.size == 1 else f"its labels are {', '.join(few)}{more}"
    return f"{named}: give a class index, or 0 and 1 for each class"


def as_index(label: np.ndarray) -> np.ndarray:
    """Return class indices as int64, and several labels of each sample as they are."""
    return label.astype(np.int64) if label.ndim == 1 else label


def no_numbers(output: Tensor, attribution: Tensor) -> dict[int, str]:
    """Say of which samples the result is no number, and why; that they are many is unlikely.

    Parameters
    ----------
    output : Tensor
        Scores ``(sample, class)``; a score may be infinite, as that of a class that is ruled out.
    attribution : Tensor
        ``(sample, ...)``.

    Returns
    -------
    dict
        From position to reason.

    Examples
    --------
    >>> import torch
    >>> no_numbers(torch.tensor([[1.0, 2.0], [math.nan, 0.0]]), torch.zeros(2, 3))
    {1: "the model's output for it is NaN"}
    """
    found: dict[int, str] = {}
    if not math.isfinite(attribution.sum()):  # faster than to look at each, but may overflow
        wrong = (~attribution.isfinite()).flatten(1).any(1)
        found |= dict.fromkeys(wrong.nonzero()[:, 0].tolist(), "its attribution has values that are not finite")
    if not math.isfinite(output.sum()):
        wrong = output.isnan().any(1)
        found |= dict.fromkeys(wrong.nonzero()[:, 0].tolist(), "the model's output for it is NaN")
    return found


def kept(samples: Samples, how: str | None) -> np.ndarray | None:
    """Return what is kept of the inputs.

    Parameters
    ----------
    samples : Samples
        One batch.
    how : {"uint8", "float32", None}
        ``uint8`` keeps pictures as the source has them; others as they are where all values lie in 0 … 1, or else
        stretched, each sample from its least to its greatest value. The ids of tokens stay integers.

    Returns
    -------
    numpy.ndarray or None
    """
    if how is None:
        return None
    if samples.are_ids:
        return samples.x.cpu().numpy().astype(np.int64)
    return samples.x.float().numpy() if how == "float32" else _as_bytes(samples)


def _as_bytes(samples: Samples) -> np.ndarray:
    if samples.kept is not None:
        return samples.kept
    x = samples.x.reshape(len(samples), -1).float()
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    inside = (low >= 0) & (high <= 1)
    low, span = low.where(~inside, 0), (high - low).clamp(min=1e-12).where(~inside, 1)
    return ((x - low) / span * 255).round().byte().reshape(samples.x.shape).numpy()
