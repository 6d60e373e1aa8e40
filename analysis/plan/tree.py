"""Plans are data: which steps, in which order, with which parameters."""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from relfunc.keys.values import described, digest

from ..errors import KeyingError, PlanError, listed
from ..roles import ROLES, check_made, made_by


@dataclass(frozen=True, eq=False)
class Step:
    """One function with its parameters; see :func:`step`."""

    function: Callable[..., xr.Dataset]
    params: tuple[tuple[str, Any], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        mine, others = ([(name, _value_of(value)) for name, value in one.params] for one in (self, other))
        return self.function == other.function and mine == others

    def __hash__(self) -> int:
        return hash((self.function, tuple(name for name, _ in self.params)))

    def given(self) -> dict[str, Any]:
        """Return the parameters; of what may be written to, a copy."""
        return {name: value if _is_fixed(value) else copy.deepcopy(value) for name, value in self.params}

    def __str__(self) -> str:
        return f"{name_of(self.function)}({', '.join(f'{name}={value!r}' for name, value in self.params)})"


@dataclass(frozen=True)
class Chain:
    """Plans one after another, each on what those before it left; see :func:`chain`."""

    plans: tuple["Plan", ...]

    def __str__(self) -> str:
        return _tree("chain", self.plans)


@dataclass(frozen=True)
class Each:
    """Plans side by side on the same data; see :func:`each`."""

    plans: tuple["Plan", ...]

    def __str__(self) -> str:
        return _tree("each", self.plans)


@dataclass(frozen=True)
class Place:
    """A plan that another may take the place of; see :func:`place`."""

    name: str
    plan: "Plan"
    takes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name, takes = self.name, self.takes
        if not isinstance(name, str) or not name or set(name) & {"/", "#", "\n"}:
            raise PlanError(f"place: {name!r} names no place: give text without '/' and '#'")
        check_made(takes, f"place '{name}'")
        _checked((self.plan,), f"place '{name}'")
        made = made_in(self.plan)
        if takes and made is not None and not made & set(takes):
            raise PlanError(
                f"place '{name}' takes {listed(takes)}, and its plan makes {listed(sorted(made))}: put a step into it "
                "that makes what it takes, or give it other takes="
            )

    def __str__(self) -> str:
        takes = f" [{' or '.join(self.takes)}]" if self.takes else ""
        return f"{self.name}{takes}: {self.plan}"


Plan = Step | Chain | Each | Place


def step(function: Callable[..., xr.Dataset], /, **params: Any) -> Step:
    """Return a function and its parameters as a plan.

    Parameters
    ----------
    function : callable
        Takes a dataset and keyword parameters, returns a dataset of what it computed.
    **params
        Its parameters. Lists, ranges and iterators become tuples, NumPy's numbers Python's; all others, such as
        dicts and arrays, are copied, and the function is given a copy of the same type.

    Returns
    -------
    Step

    Raises
    ------
    PlanError
        If the function has no such parameter.

    Examples
    --------
    >>> from analysis import kmeans
    >>> print(step(kmeans, clusters=range(2, 5), seed=1))
    kmeans(clusters=(2, 3, 4), seed=1)
    """
    if not callable(function):
        raise PlanError(f"step: {function!r} is not a function")
    signature = inspect.signature(function)
    try:
        signature.bind(None, **params)
    except TypeError as error:
        accepted = ", ".join(list(signature.parameters)[1:]) or "none"
        raise PlanError(f"{name_of(function)}: {error}; its parameters are {accepted}") from error
    given = {name: _frozen(value) for name, value in params.items()}
    unset = {name for name, value in given.items() if value is None and _default(signature, name) is None}
    return Step(function, tuple(sorted((name, value) for name, value in given.items() if name not in unset)))


def chain(*plans: Plan) -> Chain:
    """Return plans that are run one after another.

    Parameters
    ----------
    *plans : Step, Chain, Each or Place
        Chains among them are joined to this one.

    Returns
    -------
    Chain

    Examples
    --------
    >>> from analysis import absolute, flatten
    >>> print(chain(step(absolute), step(flatten)))
    chain
    ├─ absolute()
    └─ flatten()
    """
    joined: list[Plan] = []
    for plan in _checked(plans, "chain"):
        joined += plan.plans if isinstance(plan, Chain) else (plan,)
    return Chain(tuple(joined))


def each(*plans: Plan) -> Each:
    """Return plans that are run side by side on the same data.

    Only results, that is embeddings, clusterings, scores and eigenvalues, leave a branch; working variables end with
    it, so that branches may preprocess differently.

    Parameters
    ----------
    *plans : Step, Chain, Each or Place
        The branches.

    Returns
    -------
    Each

    Examples
    --------
    >>> from analysis import pca, tsne
    >>> print(each(step(pca), step(tsne, seed=1)))
    each
    ├─ pca()
    └─ tsne(seed=1)
    """
    return Each(_checked(plans, "each"))


def place(name: str, plan: Plan, /, *, takes: str | Iterable[str] = ()) -> Place:
    """Return a plan with a name of its own, by which :func:`replace` puts another in its place.

    A step that has no such name is known by its function's.

    Parameters
    ----------
    name : str
        Any text without ``/`` and ``#``.
    plan : Step, Chain, Each or Place
        What stands there.
    takes : str or iterable of str
        What plans that stand there make, at least one of these: "attribution", "features", "graph", "eigenvalue",
        "embedding", "clustering" or "score". If not given, what the step makes, and of several steps anything.

    Returns
    -------
    Place
        It runs as the plan itself, to the same keys.

    Raises
    ------
    PlanError
        If the name cannot be one, there is no such role, or the plan makes none of them.

    Examples
    --------
    >>> from analysis import kmeans
    >>> print(place("groups", step(kmeans), takes="clustering"))
    groups [clustering]: kmeans()
    """
    return Place(name, plan, (takes,) if isinstance(takes, str) else tuple(takes))


def made_in(plan: Plan) -> frozenset[str] | None:
    """Return what the steps of a plan make that those after it see; None if a step does not say."""
    match plan:
        case Step():
            return frozenset(made_by(plan.function)) or None
        case Place():
            return made_in(plan.plan)
    found: frozenset[str] = frozenset()
    for inner in plan.plans:
        made = made_in(inner)
        if made is None:
            return None
        found |= made
    return found & frozenset(ROLES) if isinstance(plan, Each) else found


def without_places(plan: Plan) -> Plan:
    """Return the same plan without the names of places, as it is run."""
    match plan:
        case Place():
            return without_places(plan.plan)
        case Chain():
            return chain(*map(without_places, plan.plans))
        case Each():
            return each(*map(without_places, plan.plans))
    return plan


def name_of(function: Callable[..., Any]) -> str:
    """Name of a function, as a reader knows it."""
    return getattr(function, "__name__", repr(function))


def _checked(plans: Sequence[Any], where: str) -> tuple[Plan, ...]:
    for plan in plans:
        if not isinstance(plan, Plan):
            raise PlanError(f"{where}: {plan!r} is not a plan: wrap the function, analysis.step({plan!r}, ...)")
    if not plans:
        raise PlanError(f"{where}: no plans were given")
    return tuple(plans)


def _frozen(value: Any) -> Any:
    """Values a plan holds: lists and ranges as tuples; all else of the type that was given, and no one else's."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufcUS":  # of a time, Python's has no nanoseconds
        return value.item()
    if isinstance(value, list | tuple | range) and type(value) in (list, tuple, range):
        return tuple(_frozen(inner) for inner in value)
    if isinstance(value, Iterator):
        return tuple(_frozen(inner) for inner in value)
    if _is_fixed(value):
        return value
    try:
        return copy.deepcopy(value)
    except TypeError as error:
        raise PlanError(f"a parameter is a {type(value).__name__}, which cannot be copied ({error})") from error


def _is_fixed(value: Any) -> bool:
    """Whether a value cannot be written to, or is code."""
    if isinstance(value, tuple):
        return all(map(_is_fixed, value))
    return value is None or isinstance(value, bool | int | float | complex | str | bytes | frozenset) or callable(value)


def _value_of(value: Any) -> Any:
    """Return what a parameter is equal by: what it is keyed by, so that 1 is not True; else itself."""
    try:
        return digest(described(value, "a parameter", "analysis"))
    except KeyingError:
        return tuple(map(_value_of, value)) if isinstance(value, tuple) else value


def _default(signature: inspect.Signature, name: str) -> Any:
    parameter = signature.parameters.get(name)
    return inspect.Parameter.empty if parameter is None else parameter.default


def _tree(title: str, plans: tuple[Plan, ...]) -> str:
    lines = [title]
    for position, plan in enumerate(plans):
        last = position == len(plans) - 1
        first, *rest = str(plan).splitlines()
        lines.append(("└─ " if last else "├─ ") + first)
        lines += [("   " if last else "│  ") + line for line in rest]
    return "\n".join(lines)
