"""Plans are data: which steps, in which order, with which parameters."""

import copy
import importlib
import inspect
import itertools
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from relfunc.keys import described

from . import cluster, embed, graph, preprocess, scores
from .errors import KeyingError, PlanError


@dataclass(frozen=True, eq=False)
class Step:
    """One function with its parameters; see :func:`step`."""

    function: Callable[..., xr.Dataset]
    params: tuple[tuple[str, Any], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self.function == other.function and _value_of(self.params) == _value_of(other.params)

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


Plan = Step | Chain | Each


def step(function: Callable[..., xr.Dataset], /, **params: Any) -> Step:
    """Return a function and its parameters as a plan.

    Parameters
    ----------
    function : callable
        Takes a dataset and keyword parameters, returns a dataset of what it computed.
    **params
        Its parameters. Lists, ranges and iterators become tuples, NumPy scalars Python's numbers; all others, such as
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
    >>> print(step(cluster.kmeans, clusters=range(2, 5), seed=1))
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
    *plans : Step, Chain or Each
        Chains among them are joined to this one.

    Returns
    -------
    Chain

    Examples
    --------
    >>> print(chain(step(preprocess.absolute), step(preprocess.flatten)))
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
    *plans : Step, Chain or Each
        The branches.

    Returns
    -------
    Each

    Examples
    --------
    >>> print(each(step(embed.pca), step(embed.tsne, seed=1)))
    each
    ├─ pca()
    └─ tsne(seed=1)
    """
    return Each(_checked(plans, "each"))


def spray(
    *,
    n_neighbors: int | None = 10,
    n_eigenvalues: int = 16,
    clusters: Iterable[int] = range(2, 9),
    approximate: bool = False,
    tsne: bool = True,
    seed: int = 0,
) -> Chain:
    """Return the plan of spectral relevance analysis (SpRAy) [1]_ with the scores of [2]_.

    Heatmaps are compared as distributions of relevance, by their Hellinger distance. The Euclidean distance of the
    heatmaps themselves, as in [1]_, is ruled by the few strongest pixels.

    Parameters
    ----------
    n_neighbors : int, optional
        Neighbours in the graph; ⌈ln n⌉ for None. Strategies of fewer samples than that cannot stand apart.
    n_eigenvalues : int
        Dimensions of the spectral embedding.
    clusters : iterable of int
        The numbers of clusters that k-means tries.
    approximate : bool
        Whether neighbours are found by :func:`analysis.approximate_neighbor_graph`, for hundreds of thousands of
        samples in one category.
    tsne : bool
        Whether to map the spectral embedding to two dimensions.
    seed : int
        Seed of k-means, t-SNE and the search for approximate neighbours.

    Returns
    -------
    Chain

    References
    ----------
    .. [1] Lapuschkin et al. 2019, Unmasking Clever Hans predictors and assessing what machines really learn, Nature
       Communications 10.
    .. [2] Anders et al. 2022, Finding and removing Clever Hans, Information Fusion 77 (arXiv 1912.11425).

    Examples
    --------
    >>> print(spray(tsne=False))
    chain
    ├─ sum_channels()
    ├─ absolute()
    ├─ normalize(by='sum')
    ├─ square_root()
    ├─ flatten()
    ├─ neighbor_graph(n_neighbors=10)
    ├─ spectral(laplacian='symmetric', n_eigenvalues=16)
    ├─ kmeans(clusters=(2, 3, 4, 5, 6, 7, 8), n_dims=0, seed=0, unit_rows=True)
    └─ each
       ├─ eigengap()
       ├─ separability()
       ├─ silhouette(n_dims=8)
       └─ size()
    """
    exact = step(graph.neighbor_graph, n_neighbors=n_neighbors)
    drawn = (step(embed.tsne, seed=seed),) if tsne else ()
    return chain(
        step(preprocess.sum_channels),
        step(preprocess.absolute),
        step(preprocess.normalize, by="sum"),
        step(preprocess.square_root),
        step(preprocess.flatten),
        step(graph.approximate_neighbor_graph, n_neighbors=n_neighbors, seed=seed) if approximate else exact,
        step(embed.spectral, n_eigenvalues=n_eigenvalues, laplacian="symmetric"),
        step(cluster.kmeans, clusters=clusters, n_dims=0, unit_rows=True, seed=seed),
        each(
            step(scores.eigengap),
            step(scores.separability),
            step(scores.silhouette, n_dims=8),
            step(scores.size),
            *drawn,
        ),
    )


def to_toml(plan: Plan) -> str:
    """Return a plan as TOML text.

    Parameters
    ----------
    plan : Step, Chain or Each
        A plan of named functions.

    Returns
    -------
    str

    Raises
    ------
    PlanError
        If a function cannot be found again by its name, or TOML has no such value.

    Examples
    --------
    >>> print(to_toml(chain(step(preprocess.absolute), step(embed.pca, n_components=3))))
    [[chain]]
    step = "analysis.absolute"
    <BLANKLINE>
    [[chain]]
    step = "analysis.pca"
    n_components = 3
    """
    return "\n\n".join(_blocks(plan if isinstance(plan, Chain) else Chain((plan,)), ""))


def from_toml(text: str) -> Plan:
    """Read a plan as :func:`to_toml` writes it.

    Parameters
    ----------
    text : str
        TOML. ``step`` names a function, ``analysis.pca`` or ``package.module.function``; the other keys of its
        table are parameters. A parameter that is itself a function or class is ``{ function = "package.name" }``.

    Returns
    -------
    Chain
        A plan of one step is a chain of one.

    Raises
    ------
    PlanError
        If the text is not TOML, or a function or parameter does not exist.

    Examples
    --------
    >>> from_toml(to_toml(spray())) == spray()
    True
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan is not TOML: {error}") from error
    return _parsed(table)


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
    if isinstance(value, np.generic):
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


def _value_of(params: tuple[tuple[str, Any], ...]) -> Any:
    """Return what parameters are equal by, whatever they are."""
    try:
        return described(params, "a parameter", "analysis")
    except KeyingError:
        return params


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


def _blocks(plan: Chain | Each, prefix: str) -> list[str]:
    path = f"{prefix}{'chain' if isinstance(plan, Chain) else 'each'}"
    blocks = []
    for inner in plan.plans:
        if isinstance(inner, Step):
            lines = [f"step = {json.dumps(_address(inner.function))}"]
            lines += [f"{name} = {_toml(value, name)}" for name, value in inner.params]
            blocks.append("\n".join([f"[[{path}]]", *lines]))
        else:
            blocks.append(f"[[{path}]]")
            blocks += _blocks(inner, f"{path}.")
    return blocks


def _address(function: Callable[..., Any]) -> str:
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    parents = itertools.accumulate(module.split("."), lambda above, part: f"{above}.{part}")
    for address in (f"{parent}.{name}" for parent in parents):
        try:
            if _found(address) is function:
                return address
        except PlanError:
            continue
    raise PlanError(
        f"{name_of(function)}: {module}.{name} cannot be imported, so TOML cannot name it: move it to a module"
    )


def _found(address: str) -> Callable[..., Any]:
    module, _, name = address.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PlanError(f"no function {address!r} ({error}): name it package.module.function") from error


def _toml(value: Any, name: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            # JSON's escapes are TOML's, but for the one control character that JSON leaves as it is
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return f"[{', '.join(_toml(inner, name) for inner in value)}]"
        case _ if callable(value):
            return f"{{ function = {json.dumps(_address(value))} }}"
        case _:
            raise PlanError(f"{name}={value!r}: TOML has no such value: use numbers, strings and lists of them")


def _parsed(table: Any) -> Plan:
    match table:
        case {"step": str(address), **params}:
            return step(_found(address), **{name: _value(value) for name, value in params.items()})
        case {"chain": [*tables]} if len(table) == 1:
            return chain(*map(_parsed, tables))
        case {"each": [*tables]} if len(table) == 1:
            return each(*map(_parsed, tables))
    came = ", ".join(map(repr, table)) if isinstance(table, Mapping) else repr(table)
    raise PlanError(f"a plan's table holds 'step' and its parameters, or 'chain', or 'each', not {came}")


def _value(value: Any) -> Any:
    match value:
        case {"function": str(address)} if len(value) == 1:
            return _found(address)
        case list():
            return [_value(inner) for inner in value]
        case _:
            return value
