"""Parts of a category in numbers and drawings: its clusters, or any two sets of its samples side by side."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.measures import largest_share
from relfunc.schema import CLASS, NOISE

from ..cache import recent
from ..project.order import from_centre
from ..project.outcomes import NONE, Verdict, verdict
from ..project.project import Points, Project
from ..project.scores import cluster_scores
from .samples import average, bound, draw, drawn_mean, style, summed, thumbnails

PROTOTYPES: Final = 3
"""How many samples nearest to the centre stand for a cluster."""
READ: Final = 1 << 26
"""How many bytes are read for the means of all clusters, if each gets at least :data:`LEAST`."""
LEAST: Final = 1 << 20
TYPICAL: Final = "typical text"
"""What a text is called that stands for a part."""
SMALL: Final = 96
"""Longest side of a picture in the table of clusters, in pixels."""
NAMED: Final = 3
"""How many labels of a part are named."""


@dataclass(frozen=True)
class Summary:
    """A cluster, or another part of a category.

    Parameters
    ----------
    size : int
        How many samples it has.
    accuracy : float
        Share of them whose prediction is right.
    probability : float
        Mean probability of the prediction.
    purity : float
        Share of the commonest label among those that have one.
    labels, predictions : tuple of (str, float)
        The commonest ones, with their shares.
    separability : float
        How far it stands apart, NaN where the analysis does not say.
    """

    size: int
    accuracy: float
    probability: float
    purity: float
    labels: tuple[tuple[str, float], ...]
    predictions: tuple[tuple[str, float], ...]
    separability: float = np.nan


def judged(project: Project, points: Points) -> Verdict:
    """Read what the model made of a category's samples, or take what some session has read lately."""
    return recent((points, "verdict"), lambda: verdict(project, points.rows))


def summary(project: Project, known: Verdict, inside: NDArray, *, separability: float = np.nan) -> Summary:
    """Summarise a part of a category.

    Parameters
    ----------
    project : Project
        Where class names are.
    known : Verdict
        What the model made of the category's samples.
    inside : numpy.ndarray
        Positions, or a mask, of the part; at least one.
    separability : float
        How far the part stands apart.
    """
    names = project.attributions[CLASS].values.astype(str)
    label, prediction = known.label[inside], known.prediction[inside]
    labels = _commonest(label, names, "several")
    purity = largest_share(label[label != NONE])
    accuracy, probability = float(known.correct[inside].mean()), float(known.probability[inside].mean())
    predictions = _commonest(prediction, names, "none")
    return Summary(label.size, accuracy, probability, purity, labels, predictions, separability)


def clusters_of(points: Points) -> dict[int, NDArray[np.int64]]:
    """Return the positions of every cluster, in the order of their numbers."""
    if points.cluster is None or not points.rows.size:
        return {}
    order = np.argsort(points.cluster, kind="stable")
    values, first = np.unique(points.cluster[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, first[1:]), strict=True))


def summaries(project: Project, points: Points, category: str, clustering: str) -> dict[int, Summary]:
    """Summarise every cluster of a category, in the order of their numbers."""
    parts = clusters_of(points)
    if not parts:
        return {}
    apart, known = cluster_scores(project, category, clustering), judged(project, points)
    return {k: summary(project, known, part, separability=apart.get(k, np.nan)) for k, part in parts.items()}


def prototypes(points: Points) -> dict[int, NDArray[np.int64]]:
    """Return of every cluster the positions nearest to its centre in the embedding.

    Without an embedding, they are its first ones. Noise has no centre, and no prototypes.
    """
    away = None if points.xy is None else from_centre(points)
    return {
        k: part[:0]
        if k == NOISE
        else part[:PROTOTYPES]
        if away is None
        else part[np.argsort(away[part], kind="stable")[:PROTOTYPES]]
        for k, part in clusters_of(points).items()
    }


def drawings(project: Project, points: Points, cmap: str) -> dict[int, dict[str, list[tuple[str, str]]]]:
    """Draw the mean input and attribution of every cluster, and its prototypes, as (what, data URI)."""
    parts, nearest = clusters_of(points), prototypes(points)
    found = {}
    for k, part in parts.items():
        rows = points.rows[part]
        shown, relevance, count = average(project, rows, bytes_read=max(READ // len(parts), LEAST))
        means = drawn_mean(project, shown, relevance, cmap, SMALL)
        rows = points.rows[nearest[k]]
        typical = thumbnails(project, rows, kinds=["attribution"], cmap=cmap, largest=SMALL)
        found[k] = {
            "mean": [(f"mean {kind}{_of(count, part.size)}", source) for kind, source in means.items()],
            "typical": [(f"prototype {i + 1}", next(iter(each.values()))) for i, each in enumerate(typical)],
        }
    return found


def comparison(
    project: Project, points: Points, one: NDArray[np.int64], other: NDArray[np.int64], cmap: str
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
    """Draw the means of two parts of a category on one scale, and the difference of their mean attributions.

    Texts have no mean: of each part, the ones nearest to its centre in the embedding are drawn, on one scale.

    Parameters
    ----------
    project : Project
        Where to read.
    points : Points
        The samples of the category.
    one, other : numpy.ndarray
        Positions of the parts; neither may be empty.
    cmap : str
        One of :func:`viewer.draw.heat.names`.

    Returns
    -------
    one, other : list of (str, str)
        Kind and data URI of the means, or of texts.
    difference : str
        Data URI; empty if the shapes differ, or for words.
    """
    how = style(project, cmap, largest=192)
    if how.form == "token":
        chosen = [points.rows[_typical(points, part)] for part in (one, other)]
        most = bound(project, np.concatenate(chosen))
        texts = [thumbnails(project, rows, cmap=cmap, bound=most) for rows in chosen]
        first, second = ([(f"{TYPICAL} {k + 1}", each["attribution"]) for k, each in enumerate(of)] for of in texts)
        return first, second, ""
    means = [average(project, points.rows[part]) for part in (one, other)]
    (_, first, one_count), (_, second, other_count) = means
    if first is None or second is None or first.shape != second.shape:
        return [], [], ""
    most = float(max(np.abs(np.nan_to_num(summed(each, how.form))).max(initial=0) for each in (first, second)))
    same = replace(how, bound=most or None)
    drawn = [
        [(kind + whose, source) for kind in ("input", "attribution") if (source := draw(kind, relevance, shown, same))]
        for (shown, _, _), relevance, whose in zip(
            means, (first, second), (_of(one_count, one.size), _of(other_count, other.size)), strict=True
        )
    ]
    return drawn[0], drawn[1], draw("attribution", first - second, None, how)


def _typical(points: Points, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of a part that are nearest to its centre; its first ones without an embedding."""
    placed = part[:0] if points.xy is None else part[np.isfinite(points.xy[part]).all(axis=1)]
    if points.xy is None or not placed.size:
        return part[:PROTOTYPES]
    away = np.linalg.norm(points.xy[placed] - points.xy[placed].mean(axis=0), axis=1)
    return placed[np.argsort(away, kind="stable")[:PROTOTYPES]]


def _of(count: int, size: int) -> str:
    """Say of how many samples a mean was taken, if not of all."""
    return f" of {count:,}" if count < size else ""


def _commonest(codes: NDArray[np.int64], names: NDArray[np.str_], none: str) -> tuple[tuple[str, float], ...]:
    values, counts = np.unique(codes, return_counts=True)
    best = np.argsort(-counts, kind="stable")[:NAMED]
    return tuple((none if values[k] == NONE else str(names[values[k]]), float(counts[k] / codes.size)) for k in best)
