"""Plans as TOML text, and back."""

import importlib
import itertools
import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import PlanError
from .tree import Chain, Place, Plan, Step, chain, each, name_of, place, step


def to_toml(plan: Plan) -> str:
    """Return a plan as TOML text.

    Parameters
    ----------
    plan : Step, Chain, Each or Place
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
    >>> from analysis import absolute, pca
    >>> print(to_toml(chain(step(absolute), step(pca, n_components=3))))
    [[chain]]
    step = "analysis.absolute"
    <BLANKLINE>
    [[chain]]
    step = "analysis.pca"
    n_components = 3
    """
    return "\n\n".join(_tables(plan if isinstance(plan, Chain) else Chain((plan,)), ""))


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
    >>> from analysis import spray
    >>> from_toml(to_toml(spray())) == spray()
    True
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan is not TOML: {error}") from error
    return _parsed(table)


def _tables(plan: Plan, path: str, header: str = "") -> list[str]:
    """Write a plan as tables; ``path`` is what names of tables inside it begin with."""
    match plan:
        case Step():
            lines = [f"step = {json.dumps(_address(plan.function))}"]
            return ["\n".join([header, *lines, *(f"{name} = {_toml(value, name)}" for name, value in plan.params)])]
        case Place():
            takes = [f"takes = {_toml(plan.takes, 'takes')}"] if plan.takes else []
            inside = f"{path}plan"
            head = "\n".join([header, f"place = {_toml(plan.name, 'place')}", *takes])
            return [head, *_tables(plan.plan, f"{inside}.", f"[{inside}]")]
    inside = f"{path}{'chain' if isinstance(plan, Chain) else 'each'}"
    parts = [table for inner in plan.plans for table in _tables(inner, f"{inside}.", f"[[{inside}]]")]
    return [header, *parts] if header else parts


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
        case {"place": str(name), "plan": inner} if len(table) == 2:
            return place(name, _parsed(inner))
        case {"place": str(name), "plan": inner, "takes": [*takes]} if len(table) == 3:
            return place(name, _parsed(inner), takes=takes)
    came = ", ".join(map(repr, table)) if isinstance(table, Mapping) else repr(table)
    raise PlanError(
        f"a plan's table holds 'step' and its parameters, 'chain', 'each', or 'place' and its 'plan', not {came}"
    )


def _value(value: Any) -> Any:
    match value:
        case {"function": str(address)} if len(value) == 1:
            return _found(address)
        case list():
            return [_value(inner) for inner in value]
        case _:
            return value
