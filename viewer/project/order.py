"""Orders of samples: which of the selected ones come first."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .outcomes import verdict
from .project import Points, Project

ORDERS: Final = {
    "file": "In file order",
    "cluster": "By cluster",
    "label": "By label",
    "prediction": "By prediction",
    "least": "Least sure first",
    "most": "Most sure first",
    "wrong": "Wrong first",
    "centre": "Most typical first",
    "near": "Nearest to one sample",
}
"""Names of orders, and what they are called."""


def ordered(
    project: Project, points: Points, chosen: NDArray[np.int64], by: str, *, focus: int | None = None
) -> NDArray[np.int64]:
    """Return positions in another order; ties stay in file order.

    Parameters
    ----------
    project : Project
        Where predictions are read, if the order needs them.
    points : Points
        The samples of the category.
    chosen : numpy.ndarray
        (k,) positions to order.
    by : str
        One of :data:`ORDERS`. What is not known (no clustering, no embedding, no focus) leaves the file order.
        ``centre`` puts those first that lie nearest to the centre of their cluster in the embedding.
    focus : int, optional
        The position from which ``near`` measures distances in the embedding.
    """
    if by == "cluster" and points.cluster is not None:
        return chosen[np.argsort(points.cluster[chosen], kind="stable")]
    if by in ("label", "prediction", "least", "most", "wrong"):
        known = verdict(project, points.rows[chosen])
        key = {
            "label": known.label,
            "prediction": known.prediction,
            "least": known.probability,
            "most": -known.probability,
            "wrong": known.correct,
        }[by]
        return chosen[np.argsort(key, kind="stable")]
    if by == "centre" and points.xy is not None:
        return chosen[np.argsort(from_centre(points)[chosen], kind="stable")]
    if by == "near" and points.xy is not None and focus is not None:
        away = points.xy[chosen].astype(float) - points.xy[focus]
        return chosen[np.argsort((away**2).sum(axis=1), kind="stable")]
    return chosen


def from_centre(points: Points) -> NDArray[np.float64]:
    """Return every point's squared distance to the centre of its cluster, infinite for one without a place."""
    assert points.xy is not None
    drawn = points.drawn
    cluster = np.zeros(drawn.size, int) if points.cluster is None else points.cluster
    away = np.full(drawn.size, np.inf)
    _, code = np.unique(cluster[drawn], return_inverse=True)
    xy, number = points.xy[drawn].astype(float), np.bincount(code)
    centre = np.stack([np.bincount(code, weights=column) / number for column in xy.T], axis=1)
    away[drawn] = ((xy - centre[code]) ** 2).sum(axis=1)
    return away
