"""Groups of samples between which and all others there is a gap.

A cluster that is a region of a continuum borders on other samples; one that is a strategy of its own has a gap around
it. So a group is judged by its *margin*: how far its samples lie from all others on the discriminant between the two,
each sample projected by the discriminant that was fitted without it, in standard deviations within the groups. The
discriminant may be any direction, so that a mark of a few pixels is seen that no distance of whole heatmaps shows.

Groups are sought from many starts (the samples extreme in a principal component, or in a feature with heavy tails),
each fitted and judged anew until it stays the same, which is clustering by discriminants (De la Torre and Kanade 2006,
Discriminative cluster analysis, ICML).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import fisher

SIZES: Final = (5, 10, 20, 40, 80)
"""How many of the most extreme samples a start holds."""
FEWEST: Final = 2 * SIZES[0]
"""In fewer samples, none is found."""
COMPONENTS: Final = 30
FEATURES: Final = 64
LAGS: Final = (1, 2, 3, 4, 8, 16, 32, 64)
"""How far apart features are whose differences say how rough a sample is."""
ROUNDS: Final = 15
ERRING: Final = 0.1
"""The share of a group that may lie on the wrong side, and as many of the others."""
SHRINK: Final = 20
"""A group of so many samples keeps 1 / √2 of its margin: small ones are found by luck."""
OVERLAP: Final = 0.1
"""The share of a group that may belong to another of a larger margin."""
MOST_FEATURES: Final = 4096
RESOLVED: Final = 1e-4
"""Principal components with a smaller share of the largest one's standard deviation are rounding errors."""
ROUNDED: Final = 8
"""So are those of so many times the precision of the values."""


class Principal(NamedTuple):
    """Samples by their principal components, X = mean + U diag(s) Vᵀ.

    Parameters
    ----------
    scores : ndarray of float32, shape (n, r)
        U, orthonormal columns, each without its mean.
    scale : ndarray of float32, shape (r,)
        s, descending.
    axes : ndarray, shape (r, d)
        Vᵀ.
    mean : ndarray of float32, shape (d,)
    """

    scores: NDArray
    scale: NDArray
    axes: NDArray
    mean: NDArray

    def rotated(self, rng: np.random.Generator) -> "Principal":
        """Draw samples with the same mean and covariance, as a normal distribution has them.

        If the samples are normal, these are as likely, given mean and covariance: a rotation test (Langsrud 2005,
        Statistics and Computing 15, section 2).
        """
        drawn = rng.standard_normal(self.scores.shape)
        return self._replace(scores=np.linalg.qr(drawn - drawn.mean(0))[0].astype(np.float32))


class Groups(NamedTuple):
    """Groups, each at most half of the samples, the one with the largest margin first.

    Parameters
    ----------
    inside : ndarray of bool, shape (n, c)
    margin : ndarray of float64, shape (c,)
    """

    inside: NDArray
    margin: NDArray


def principal(x: NDArray) -> Principal:
    """Return samples (n, d), at least one, by their principal components; none if they coincide."""
    mean = x.mean(0, dtype=np.float64)
    scores, scale, axes = np.linalg.svd(x - mean, full_matrices=False)
    precision = ROUNDED * np.finfo(np.result_type(x, np.float32)).eps
    kept = scale > max(RESOLVED * scale[0], precision * np.linalg.norm(x))
    parts = (scores[:, kept], scale[kept], axes[kept], mean)
    return Principal(*(part.astype(np.float32) for part in parts))


def pooled(x: NDArray) -> NDArray:
    """Average neighbouring features (n, d), so that at most 4,096 are left; where they agree, distances stay."""
    block = -(-x.shape[1] // MOST_FEATURES)
    if block <= 1:
        return x
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % block))).reshape(len(x), -1, block)
    return padded.mean(2) * np.sqrt(block)


def disjoint(found: Groups, *, most: int, least: float = -np.inf) -> Groups:
    """Return the groups that hardly overlap with one of a larger margin.

    Parameters
    ----------
    found : Groups
        As :func:`search` returns it.
    most : int
        How many at most.
    least : float
        Groups of a smaller margin are passed over, but for the first.

    Returns
    -------
    Groups
    """
    kept: list[int] = []
    for column in range(max(int(np.sum(found.margin >= least)), min(found.margin.size, 1))):
        group = found.inside[:, column]
        if len(kept) < most and np.any(found.inside[:, kept], axis=1)[group].mean() <= OVERLAP:
            kept.append(column)
    return Groups(found.inside[:, kept], found.margin[kept])


def labels(groups: Groups) -> NDArray[np.int32]:
    """Return 1 for samples of the first group, 2 for those of the second and so on, 0 for those of none, (n,)."""
    return np.where(groups.inside.any(1), _first(groups.inside) + 1, 0).astype(np.int32)


def assigned(samples: Principal, groups: Groups, others: NDArray, *, ridge: float) -> Groups:
    """Return the same groups of samples that had no part in the search.

    Parameters
    ----------
    samples : Principal
        Those that had.
    groups : Groups
        Of those.
    others : ndarray, shape (m, d)
    ridge : float
        As :func:`search` took it.

    Returns
    -------
    Groups
        Those of the others that lie on the group's side of the discriminant.
    """
    inside, size = groups.inside, groups.inside.sum(0)
    weight = _weight(samples, ridge) * (samples.scores.T @ (inside - inside.mean(0)).astype(np.float32))
    own, new = samples.scores @ weight, ((others - samples.mean) @ samples.axes.T / samples.scale) @ weight
    middle = ((own * inside).sum(0) / size + (own * ~inside).sum(0) / (len(own) - size)) / 2
    return Groups(new > middle, groups.margin)


def search(samples: Principal, *, ridge: float, smallest: int) -> Groups:
    """Return the groups that stay the same when they are fitted anew.

    Parameters
    ----------
    samples : Principal
        As :func:`principal` returns it.
    ridge : float
        As :func:`fisher.hat` takes it.
    smallest : int
        Smaller groups are passed over.

    Returns
    -------
    Groups
        None of fewer than ten samples, or of samples that coincide.
    """
    if len(samples.scores) < FEWEST or not samples.scale.size:
        return Groups(np.zeros((len(samples.scores), 0), dtype=bool), np.zeros(0))
    hat = _hat(samples, ridge)
    settled = np.zeros((len(samples.scores), 0), dtype=bool)
    moving = _distinct(_starts(samples), smallest)
    for _ in range(ROUNDS):
        projection = fisher.projected(hat, moving)
        size = moving.sum(0)
        inner, total = np.einsum("ij,ij->j", projection, moving), projection.sum(0)
        again = projection > (inner / size + (total - inner) / (len(moving) - size)) / 2
        same = (again == moving).all(0)
        settled = np.concatenate([settled, moving[:, same]], axis=1)
        moving = _distinct(again[:, ~same], smallest)
    inside = _distinct(np.concatenate([settled, moving], axis=1), smallest)
    margin = margins(fisher.projected(hat, inside), inside)
    order = np.argsort(-margin, kind="stable")
    return Groups(inside[:, order], margin[order])


def _hat(samples: Principal, ridge: float) -> fisher.Hat:
    """Return what :func:`fisher.hat` does, of the components alone."""
    weight, scores = _weight(samples, ridge), samples.scores
    return fisher.Hat(np.square(scores) @ weight[:, 0], lambda y: scores @ (weight * (scores.T @ y)))


def _weight(samples: Principal, ridge: float) -> NDArray:
    """Return how much of each component a ridge regression keeps, (r, 1)."""
    square = np.square(samples.scale / _unit(samples))
    return (square / (square + ridge * square.sum() / max(min(len(samples.scores), samples.axes.shape[1]), 1)))[:, None]


def _unit(samples: Principal) -> np.float32:
    """Return about the largest scale, a power of two, in which squares neither overflow nor vanish."""
    return np.float32(2.0 ** np.floor(np.log2(samples.scale[0]))) if samples.scale.size else np.float32(1)


def margins_of(samples: Principal, inside: NDArray, *, ridge: float, smallest: int) -> NDArray:
    """Return the margins of given groups, (c,), each as that of its smaller side; NaN where that is too small.

    Of samples that coincide, all are NaN.
    """
    smaller = np.where(inside.sum(0) > len(inside) / 2, ~inside, inside)
    judged = (smaller.sum(0) >= smallest) & bool(samples.scale.size)
    margin = np.full(inside.shape[1], np.nan)
    margin[judged] = margins(fisher.projected(_hat(samples, ridge), smaller[:, judged]), smaller[:, judged])
    return margin


def margins(projection: NDArray, inside: NDArray) -> NDArray:
    """Return the gap between each group and the rest, in standard deviations within them, less for small groups.

    Parameters
    ----------
    projection : ndarray of float64, shape (n, c)
        Larger inside.
    inside : ndarray of bool, shape (n, c)

    Returns
    -------
    ndarray of float64, shape (c,)
        (q_inside − q_outside) / σ · √(m / (m + 20)) for m samples inside, of which a tenth lies below q_inside, and as
        many of the others above q_outside; negative where the two overlap by more. At most 7 · 10⁷, where all samples
        of either coincide.
    """
    n, size = len(inside), inside.sum(0)
    low = np.sort(np.where(inside, projection, np.inf), axis=0)
    high = -np.sort(np.where(inside, np.inf, -projection), axis=0)
    erring = np.round(ERRING * size).astype(int)[None]
    gap = (np.take_along_axis(low, erring, 0) - np.take_along_axis(high, erring, 0))[0]
    square = sum(_scatter(projection, group, count) for group, count in ((inside, size), (~inside, n - size)))
    least = np.maximum(np.square(gap) * np.finfo(np.float64).eps, np.finfo(np.float64).tiny)
    return gap / np.sqrt(np.maximum(square / (n - 2), least)) * np.sqrt(size / (size + SHRINK))


def _scatter(projection: NDArray, group: NDArray, size: NDArray) -> NDArray:
    mean = np.where(group, projection, 0).sum(0) / size
    return np.where(group, np.square(projection - mean), 0).sum(0)


def _first(inside: NDArray) -> NDArray:
    return inside.argmax(1) if inside.shape[1] else np.zeros(len(inside), dtype=int)


def _starts(samples: Principal) -> NDArray:
    """Return groups of extreme samples, (n, c)."""
    unit = _unit(samples)
    x = (samples.scores * (samples.scale / unit)) @ samples.axes
    spread = np.sqrt(np.square(x).mean(0))
    varying = np.flatnonzero(spread > 0.1 * spread.max())
    tails = np.mean((x[:, varying] / spread[varying]) ** 4, axis=0)
    x += samples.mean / unit
    heaviest = varying[np.argsort(-tails, kind="stable")[:FEATURES]]
    rough = [np.square(x[:, lag:] - x[:, :-lag]).sum(1) for lag in LAGS if lag < x.shape[1]]
    signed = np.column_stack([samples.scores[:, :COMPONENTS], *rough])
    values = np.concatenate([signed, -signed, x[:, heaviest]], axis=1)
    sizes = [size for size in SIZES if size <= len(x) // 2]
    least = np.sort(values, axis=0)[[-size for size in sizes]]
    return np.concatenate([values >= bound for bound in least], axis=1)


def _distinct(inside: NDArray, smallest: int) -> NDArray:
    """Return the smaller part of each division, once, of those that are large enough."""
    inside = np.where(inside.sum(0) > len(inside) / 2, ~inside, inside)
    inside = inside[:, inside.sum(0) >= smallest]
    _, first = np.unique(np.packbits(inside, axis=0), axis=1, return_index=True)
    return inside[:, np.sort(first)]
