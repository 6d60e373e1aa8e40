"""Plans as templates: each place in a plan has a name, by which another step or plan is put there."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ..errors import PlanError, listed
from ..roles import made_by
from .catalogue import STEPS
from .tree import Chain, Each, Place, Plan, Step, chain, each, made_in, name_of

Position = tuple[int, ...]
"""Where a plan stands: which of the plans, then which of those inside it, and so on."""

NOTHING: Final[Mapping[str, Plan | None]] = MappingProxyType({})


def replace(plan: Plan, places: Mapping[str, Plan | None] = NOTHING, /, **named: Plan | None) -> Plan:
    """Return a plan with other steps, whole plans or nothing in some of its places.

    A place has the name that :func:`place` gave it, or else that of its step's function; ``chain`` and ``each``
    inside a plan are places, too. A name that several places have is told apart by what it lies in, as a path: of
    ``"each/pca"`` the end that is unique is enough, and a leading ``/`` begins at the whole plan. Places of one name
    side by side are numbered from 1: ``"chain#2/pca"`` is in the second of several chains.

    Parameters
    ----------
    plan : Step, Chain, Each or Place
        The template, which stays as it is.
    places : mapping, optional
        From name or path to what comes there, as ``named``; for paths, which are no Python names.
    **named : Step, Chain, Each, Place or None
        What comes into the place of that name. A chain in a chain is joined to it, and with None nothing is left
        there. A plan that :func:`place` named keeps its name, unless another named one takes its place.

    Returns
    -------
    Step, Chain, Each or Place
        Equal to the same plan written by hand.

    Raises
    ------
    PlanError
        If no place or more than one has a name, one lies in another, nothing is left, or what comes there makes
        something else than the place takes, or leaves a place around it without what that takes.

    Examples
    --------
    >>> from analysis import each, hdbscan, kmeans, spray, step, tsne
    >>> both = each(step(kmeans, clusters=(2, 3)), step(hdbscan))
    >>> print(replace(spray(tsne=False), kmeans=both, square_root=None, each=None))
    chain
    ├─ sum_channels()
    ├─ absolute()
    ├─ normalize(by='sum')
    ├─ flatten()
    ├─ neighbor_graph(n_neighbors=10)
    ├─ spectral(laplacian='symmetric', n_eigenvalues=16)
    ├─ each
    │  ├─ kmeans(clusters=(2, 3))
    │  └─ hdbscan()
    └─ apart(seed=0)
    >>> replace(spray(), kmeans=step(tsne))
    Traceback (most recent call last):
    analysis.errors.PlanError: replace: the place 'kmeans' takes 'clustering', and tsne() makes 'embedding': these steps
    fit: agglomerative, apart, dbscan, estimator, hdbscan, kmeans, minibatch_kmeans, spectral_clustering
    """
    if not isinstance(plan, Plan):
        raise PlanError(f"replace: {plan!r} is not a plan: make one with analysis.step, chain, each or spray")
    whole = plan if isinstance(plan, Chain) else Chain((plan,))
    known = {path: (position, there) for position, path, there in _places(whole)}
    new: dict[Position, Plan | None] = {}
    taken: dict[Position, str] = {}
    for address, given in [*places.items(), *named.items()]:
        position, there = known[_path(address, list(known))]
        _check_fits(address, there, given)
        for other, before in taken.items():
            shorter = min(len(position), len(other))
            if position[:shorter] == other[:shorter]:
                raise PlanError(f"replace: '{before}' and '{address}' are one place, or one is in the other: give one")
        new[position], taken[position] = given, address
    found = _filled(whole, (), new)
    if found is None:
        raise PlanError(f"replace: without {listed(taken.values())} nothing is left of the plan")
    single = isinstance(found, Chain) and len(found.plans) == 1 and not isinstance(plan, Chain)
    return found.plans[0] if isinstance(found, Chain) and single else found


def _places(plan: Plan, position: Position = (), path: tuple[str, ...] = ()) -> Iterator[tuple[Position, str, Plan]]:
    """Yield the position, the path and the plan of each place inside a plan."""
    members = _members(plan)
    names = [_name(member) for member in members]
    several, seen = Counter(names), Counter[str]()
    for k, (name, member) in enumerate(zip(names, members, strict=True)):
        seen[name] += 1
        label = f"{name}#{seen[name]}" if several[name] > 1 else name
        yield (*position, k), "/".join(["", *path, label]), member
        yield from _places(member, (*position, k), (*path, label))


def _members(plan: Plan) -> tuple[Plan, ...]:
    """Return the plans directly inside one that are places; the one plan of a place is none, unless it has a name."""
    inside = plan.plan if isinstance(plan, Place) else plan
    if isinstance(inside, Chain | Each):
        return inside.plans
    return (inside,) if isinstance(plan, Place) and isinstance(inside, Place) else ()


def _name(plan: Plan) -> str:
    match plan:
        case Place():
            return plan.name
        case Step():
            return name_of(plan.function)
    return "chain" if isinstance(plan, Chain) else "each"


def _path(address: str, paths: list[str]) -> str:
    """Return the one path that an address means."""
    fitting = [path for path in paths if _means(address, path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise PlanError(
            f"replace: {len(fitting)} places are called '{address}': give the path of one, {listed(fitting)}"
        )
    names = {path.rpartition("/")[2]: None for path in paths}
    close = difflib.get_close_matches(address.rpartition("/")[2], names) or names
    raise PlanError(f"replace: the plan has no place '{address}'; there are {listed(close)}")


def _means(address: str, path: str) -> bool:
    asked, there = address.split("/"), path.split("/")
    unnumbered = [part.partition("#")[0] for part in there]
    return len(asked) <= len(there) and all(
        part in both for part, *both in zip(asked, there[-len(asked) :], unnumbered[-len(asked) :], strict=True)
    )


def _check_fits(address: str, there: Plan, given: Plan | None) -> None:
    if given is None:
        return
    if not isinstance(given, Plan):
        raise PlanError(f"replace: {given!r} for '{address}' is not a plan: wrap the function, analysis.step(...)")
    takes, made = _taken(there), made_in(given)
    if not takes or made is None or made & set(takes):
        return
    fit = ", ".join(name_of(step) for step in STEPS if set(made_by(step)) & set(takes)) or "none"
    what = str(given) if isinstance(given, Step) else f"what was given, {_name(given)},"
    raise PlanError(
        f"replace: the place '{address}' takes {listed(takes)}, and {what} makes {listed(sorted(made))}: "
        f"these steps fit: {fit}"
    )


def _taken(plan: Plan) -> tuple[str, ...]:
    """Return what a place takes; nothing for anything."""
    match plan:
        case Step():
            return made_by(plan.function)
        case Place():
            return plan.takes or _taken(plan.plan)
    return ()


def _filled(plan: Plan, position: Position, new: Mapping[Position, Plan | None]) -> Plan | None:
    """Return a plan with others, or nothing, at some positions; None if nothing is left of it."""
    if position in new:
        given = new[position]
        keeps = isinstance(plan, Place) and given is not None and not isinstance(given, Place)
        return dataclasses.replace(plan, plan=given) if keeps else given
    match plan:
        case Step():
            return plan
        case Place():
            named = isinstance(plan.plan, Place)
            inside = _filled(plan.plan, (*position, 0) if named else position, new)
            return None if inside is None else dataclasses.replace(plan, plan=inside)
    filled = (_filled(inner, (*position, k), new) for k, inner in enumerate(plan.plans))
    left = [inner for inner in filled if inner is not None]
    if not left:
        return None
    return chain(*left) if isinstance(plan, Chain) else each(*left)
