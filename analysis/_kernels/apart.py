"""Groups of samples between which and all others there is a gap.

A cluster that is a region of a continuum borders on other samples; one that is a strategy of its own has a gap around
it. So a group is judged by its *margin*: how far its samples lie from all others on the discriminant between the two,
each sample projected by the discriminant that was fitted without it, in standard deviations within the groups.

Groups are sought in every window of every view of the maps (:mod:`.views`) from many starts (the samples beyond the
widest gap along a feature, or a principal component), each fitted and judged anew until it stays the same, which is
clustering by discriminants (De la Torre and Kanade 2006, Discriminative cluster analysis, ICML).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .views import View, views

FEWEST: Final = 10
"""In fewer samples, none is found."""
BLOCK: Final = 4096
"""So many samples are assigned at a time."""
STARTS: Final = 10
"""From so many each window is searched."""
COMPONENTS: Final = 8
"""Along so many principal components of each window gaps are looked for, and along twice as many of a whole view."""
ROUNDS: Final = 15
ERRING: Final = 0.1
"""The share of a group that may lie on the wrong side, and as many of the others."""
SHRINK: Final = 20
"""A group of so many samples keeps 1 / √2 of its margin: small ones are found by luck, and smaller ones by more."""
OVERLAP: Final = 0.1
"""The share of a group that may belong to another of a larger margin."""
LEAST_SPREAD: Final = 1e-3
"""Windows with a smaller share of the mean variance of windows are passed over."""
RESOLVED: Final = 1e-3
"""Principal components with a smaller share of the largest one's standard deviation are rounding errors."""
LEAST_RIDGE: Final = 1e-4
"""Where a discriminant can fit every sample, with a weaker ridge what it leaves would be rounding errors."""


class Groups(NamedTuple):
    """Groups, each at most half of the samples, the one with the largest margin first.

    Of two halves, one is a group, and the other is the rest.

    Parameters
    ----------
    inside : ndarray of bool, shape (n, c)
    margin : ndarray of float64, shape (c,)
    where : ndarray of int, shape (c, 2)
        The view and the window in which a group has that margin.
    """

    inside: NDArray
    margin: NDArray
    where: NDArray


class Components(NamedTuple):
    """Windows by their principal components.

    Parameters
    ----------
    scores : ndarray of float32, shape (w, n, r)
        The samples along them, ascending.
    square : ndarray of float32, shape (w, 1, r)
        The sum of squares along each.
    weight : ndarray of float32, shape (w, 1, r)
        1 / (square + λ), 0 where there is only rounding error.
    number : ndarray of int, shape (w,)
        Which windows of the view these are.
    """

    scores: NDArray
    square: NDArray
    weight: NDArray
    number: NDArray


def rotated(maps: NDArray, rng: np.random.Generator) -> NDArray:
    """Draw samples with the same mean and covariance, as a normal distribution has them.

    If the samples are normal, these are as likely, given mean and covariance: a rotation test (Langsrud 2005,
    Statistics and Computing 15, section 2).
    """
    n, mean = len(maps), maps.mean(0, dtype=np.float64)
    drawn = rng.standard_normal((n, n - 1))
    turned, upper = np.linalg.qr(drawn - drawn.mean(0))
    turned *= np.where(np.diagonal(upper) < 0, -1, 1)  # so that no rotation is likelier than another
    # the rows of a reflection that takes the constant vector to an axis, but for that axis, are a basis of the others
    normal = np.full(n, n**-0.5)
    normal[0] -= 1
    flat = (maps - mean).reshape(n, -1)
    flat -= 2 / np.square(normal).sum() * np.outer(normal, normal @ flat)
    return (turned @ flat[1:]).reshape(maps.shape) + mean


def search(maps: NDArray, *, ridge: float, smallest: int) -> Groups:
    """Return the groups that stay the same when they are fitted anew, and what others are after a few rounds.

    Parameters
    ----------
    maps : ndarray, shape (n, d) or (n, c, ...)
        As :func:`.views.views` takes them.
    ridge : float
        As :func:`fisher.hat` takes it, but for ``LEAST_RIDGE``; a window of a map with less variance than others is
        regularised as if it had as much.
    smallest : int
        Smaller groups are passed over.

    Returns
    -------
    Groups
        None of fewer than ten samples, or of samples that coincide.
    """
    n = len(maps)
    found = [_searched(view, number, ridge, smallest) for number, view in enumerate(views(maps) if n >= FEWEST else [])]
    none = np.zeros((n, 0), dtype=bool), np.zeros(0), np.zeros((0, 2), dtype=int)
    inside = np.concatenate([none[0], *(own.inside for own in found)], axis=1)
    margin = np.concatenate([none[1], *(own.margin for own in found)])
    where = np.concatenate([none[2], *(own.where for own in found)])
    order = np.argsort(-margin, kind="stable")
    first = np.unique(np.packbits(inside[:, order], axis=0), axis=1, return_index=True)[1]
    kept = order[np.sort(first)]
    return Groups(inside[:, kept], margin[kept], where[kept])


def _searched(view: View, number: int, ridge: float, smallest: int) -> Groups:
    """Search all windows of a view; groups may be there several times."""
    n, parts = len(view.values), _components(view, ridge)
    settled = _settled(parts, _starts(view, parts, smallest), smallest)
    inside, projection = (np.moveaxis(one, 1, 0).reshape(n, -1) for one in (settled, _projected(parts, settled)))
    size = inside.sum(0)
    larger = (2 * size > n) | ((2 * size == n) & inside[0])
    inside, projection = inside ^ larger, np.where(larger, -projection, projection)
    enough = inside.sum(0) >= smallest
    where = np.column_stack([np.full(inside.shape[1], number), np.repeat(parts.number, settled.shape[2])])
    inside = inside[:, enough]
    return Groups(inside, margins(projection[:, enough], inside), where[enough])


def margins_of(maps: NDArray, inside: NDArray, *, ridge: float, smallest: int) -> NDArray:
    """Return the margins of given groups, (c,), each as that of its smaller side; NaN where that is too small.

    Of samples that coincide, all are NaN.
    """
    smaller = np.where(inside.sum(0) > len(inside) / 2, ~inside, inside)
    judged = smaller.sum(0) >= smallest
    group, largest = smaller[:, judged], np.full(judged.sum(), np.nan)
    for view in views(maps):
        parts = _components(view, ridge)
        for one in range(len(parts.number)):
            largest = np.fmax(largest, margins(_projected(parts, group, one), group))
    margin = np.full(judged.shape, np.nan)
    margin[judged] = largest
    return margin


def assigned(maps: NDArray, groups: Groups, others: NDArray, *, ridge: float) -> Groups:
    """Return the same groups of samples that had no part in the search.

    Parameters
    ----------
    maps : ndarray
        Those that had.
    groups : Groups
        Of those.
    others : ndarray
    ridge : float
        As :func:`search` took it.

    Returns
    -------
    Groups
        Those of the others that lie on the group's side of the discriminant.
    """
    known = views(maps)
    parts = [_components(view, ridge) for view in known]
    sides = []
    for group, (number, window) in zip(groups.inside.T, groups.where, strict=True):
        view, part = known[number], parts[number]
        one = int(np.flatnonzero(part.number == window)[0])
        scores = part.scores[one]
        dual = scores @ ((scores.T @ (group - group.mean())) * part.weight[one, 0] / _above(part.square[one, 0]))
        x = view.values[:, view.windows[window]]
        weight = x.T @ dual
        own = x @ weight
        sides.append((weight, (own[group].mean() + own[~group].mean()) / 2))
    inside = np.zeros((len(others), len(sides)), dtype=bool)
    for start in range(0, len(others), BLOCK):
        block = slice(start, start + BLOCK)
        new = views(others[block], like=known)
        for column, ((number, window), (weight, middle)) in enumerate(zip(groups.where, sides, strict=True)):
            inside[block, column] = new[number].values[:, known[number].windows[window]] @ weight > middle
    return groups._replace(inside=inside)


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
    return Groups(found.inside[:, kept], found.margin[kept], found.where[kept])


def labels(groups: Groups) -> NDArray[np.int32]:
    """Return 1 for samples of the first group, 2 for those of the second and so on, 0 for those of none, (n,)."""
    inside = groups.inside
    first = inside.argmax(1) if inside.shape[1] else np.zeros(len(inside), dtype=int)
    return np.where(inside.any(1), first + 1, 0).astype(np.int32)


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
        (q_inside − q_outside) / σ · √a · min(1, √(2a)), a = m / (m + 20), for m samples inside, of which a tenth lies
        below q_inside, and as many of the others above q_outside; negative where the two overlap by more. At most
        7 · 10⁷, where all samples of either coincide.
    """
    n, size = len(inside), inside.sum(0)
    low = np.sort(np.where(inside, projection, np.inf), axis=0)
    high = -np.sort(np.where(inside, np.inf, -projection), axis=0)
    erring = np.round(ERRING * size).astype(int)[None]
    gap = (np.take_along_axis(low, erring, 0) - np.take_along_axis(high, erring, 0))[0]
    square = _scatter(projection, inside, size) + _scatter(projection, ~inside, n - size)
    return _in_deviations(gap, square, n, size)


def _in_deviations(gap: NDArray, square: NDArray, n: int, size: NDArray | int) -> NDArray:
    least = np.maximum(np.square(gap) * np.finfo(np.float64).eps, np.finfo(np.float64).tiny)
    share = size / (size + SHRINK)
    return gap / np.sqrt(np.maximum(square / (n - 2), least)) * np.sqrt(share * np.minimum(1, 2 * share))


def _scatter(projection: NDArray, group: NDArray, size: NDArray) -> NDArray:
    mean = np.where(group, projection, 0).sum(0) / size
    return np.where(group, np.square(projection - mean), 0).sum(0)


def _components(view: View, ridge: float) -> Components:
    """Take the windows of a view apart into principal components, but those in which hardly anything varies."""
    n, k = len(view.values), view.windows.shape[1]
    spread = np.square(view.values, dtype=np.float64).sum(0)
    total = spread[view.windows].sum(1)
    number = np.flatnonzero(total > LEAST_SPREAD * total.mean())
    x = np.moveaxis(view.values[:, view.windows[number]], 1, 0)
    if k < n:
        square, axes = np.linalg.eigh(np.swapaxes(x, 1, 2) @ x)
        scores = x @ axes
    else:
        square, axes = np.linalg.eigh(x @ np.swapaxes(x, 1, 2))
        scores = axes * np.sqrt(np.maximum(square, 0))[:, None]
    usual = spread.sum() * k / len(spread) if view.alike else 0
    strength = (ridge if k < n - 1 else max(ridge, LEAST_RIDGE)) * np.maximum(total[number], usual) / min(n, k)
    resolved = square > RESOLVED**2 * square[:, -1:]
    weight = np.where(resolved, 1 / _above(square + strength[:, None]), 0)
    single = scores.astype(np.float32), square[:, None].astype(np.float32), weight[:, None].astype(np.float32)
    return Components(*single, number)


def _above(square: NDArray) -> NDArray:
    return np.maximum(square, np.finfo(np.float32).tiny)


def _projected(parts: Components, inside: NDArray, at: int | slice = slice(None)) -> NDArray:
    """Project every sample by the discriminants of groups, each fitted without it, as :func:`fisher.projected` does.

    Parameters
    ----------
    parts : Components
    inside : ndarray of bool, shape (..., n, c)
    at : int or slice
        In which windows.

    Returns
    -------
    ndarray of float64, shape (..., n, c)
    """
    scores, weight = parts.scores[at], parts.weight[at]
    y = inside - inside.mean(-2, keepdims=True, dtype=np.float32)
    fit = scores @ (np.swapaxes(weight, -1, -2) * (np.swapaxes(scores, -1, -2) @ y))
    leverage = np.minimum((np.square(scores) * weight).sum(-1, dtype=np.float64) + 1 / inside.shape[-2], 1 - 1e-9)
    return y - (y - fit) / (1 - leverage)[..., None]


def _starts(view: View, parts: Components, smallest: int) -> NDArray:
    """Return the groups beyond the widest gaps along a feature or a component of each window, (w, n, s) of bool."""
    scores = parts.scores[..., -COMPONENTS if len(view.windows) > 1 else -2 * COMPONENTS :]
    w, n, c = scores.shape
    margin, inside = _beyond_gaps(view.values, smallest)
    own_margin, own = _beyond_gaps(np.moveaxis(scores, 1, 0).reshape(n, w * c), smallest)
    windows = view.windows[parts.number]
    margin = np.concatenate([margin[windows], own_margin.reshape(w, c)], axis=1)
    inside = np.concatenate([inside[:, windows], own.reshape(n, w, c)], axis=2)
    widest = np.argsort(-margin, axis=1, kind="stable")[:, :STARTS]
    return np.moveaxis(np.take_along_axis(inside, widest[None], 2), 0, 1)


def _beyond_gaps(x: NDArray, smallest: int) -> tuple[NDArray, NDArray]:
    """Return the margin of the samples beyond the widest gap along each feature (n, d), and who they are, (n, d).

    Samples of the same value stay together; where that leaves no group, the margin is −∞, and all are beyond.
    """
    n, d = x.shape
    ascending = np.sort(x, axis=0).astype(np.float64)
    best, bound = np.full(d, -np.inf), np.full(d, -np.inf)
    upper = np.ones(d, dtype=bool)
    for above, ordered in ((True, ascending[::-1]), (False, -ascending)):
        total, square = ordered.cumsum(0), np.square(ordered).cumsum(0)
        ends = np.where(ordered[1:] < ordered[:-1], np.arange(1, n)[:, None], n)
        ends = np.minimum.accumulate(np.concatenate([ends, np.full((1, d), n)])[::-1], axis=0)[::-1]
        for size in _sizes(smallest, n // 2):
            m = np.minimum(ends[size - 1], n - 1)
            first, erring = _at(total, m - 1), np.round(ERRING * m).astype(int)
            within = square[-1] - first**2 / m - (total[-1] - first) ** 2 / (n - m)
            gap = _at(ordered, m - 1 - erring) - _at(ordered, np.minimum(m + erring, n - 1))
            margin = np.where(ends[size - 1] <= n // 2, _in_deviations(gap, within, n, m), -np.inf)
            wider = margin > best
            best[wider], bound[wider], upper[wider] = margin[wider], ordered[size - 1][wider], above
    return best, np.where(upper, x, -x) >= bound


def _at(values: NDArray, position: NDArray) -> NDArray:
    return np.take_along_axis(values, position[None], 0)[0]


def _sizes(smallest: int, most: int) -> list[int]:
    """Return sizes of groups, each about a sixth larger than the one before."""
    return sorted({round(smallest * 1.17**power) for power in range(64) if smallest * 1.17**power < most + 0.5})


def _settled(parts: Components, moving: NDArray, smallest: int) -> NDArray:
    """Fit the groups of each window anew, (w, n, s), until they stay the same, or for 15 rounds.

    Where nothing stands apart, most of them swap sides between the same two groups without an end.
    """
    n = moving.shape[1]
    for _ in range(ROUNDS):
        projection, size = _projected(parts, moving), moving.sum(1, keepdims=True).clip(1, n - 1)
        inner = np.where(moving, projection, 0).sum(1, keepdims=True)
        middle = (inner / size + (projection.sum(1, keepdims=True) - inner) / (n - size)) / 2
        again = projection > middle
        left = again.sum(1, keepdims=True)
        again = np.where((left < smallest) | (n - left < smallest), moving, again)
        if (again == moving).all():
            break
        moving = again
    return moving
