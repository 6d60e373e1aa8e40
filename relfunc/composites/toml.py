"""Composites as TOML text, and back: a study's choice of rules in a file that people read and compare."""

import json
import math
import tomllib
from collections.abc import Mapping
from typing import Any, Final, get_args

from ..errors import RuleError
from ..rules import RULES
from ..rules.stabilizers import Clipping, NormScaled, Plain
from ..rules.tables import AnyRule, Elementary, Rule
from .assignment import By, Composite, CompositeError, Having, Row, qualified

_STABILIZERS = {kind.__name__: kind for kind in (Plain, Clipping, NormScaled)}


def to_toml(composite: Composite) -> str:
    """Write a composite as TOML text.

    Parameters
    ----------
    composite : Composite
        A table of relfunc's own rules.

    Returns
    -------
    str

    Raises
    ------
    CompositeError
        If a rule, stabilizer or condition is a function of the user's, which no text can hold.

    Examples
    --------
    >>> from relfunc import composites, rules
    >>> print(to_toml(composites.first(rules.flat())))
    name = "first"
    <BLANKLINE>
    [[rows]]
    by = "first"
    pattern = "linear|convolution"
    rule = {name = "flat", stabilizer = 1e-06}
    """
    blocks = [f"name = {_text(composite.name)}"]
    for key in ("rows", "base"):
        for row in getattr(composite, key):
            rule = _value(_rule_table(row.rule))
            blocks.append(f"[[{key}]]\nby = {_text(row.by)}\npattern = {_value(_pattern(row))}\nrule = {rule}")
    return "\n\n".join(blocks)


def from_toml(text: str) -> Composite:
    """Read a composite as :func:`to_toml` writes it.

    Parameters
    ----------
    text : str
        TOML: ``name``, and tables ``rows`` and ``base`` of ``by``, ``pattern`` and ``rule``. Classes of modules stand
        there by name; a condition is a table such as ``{kernel_size = [1, 1], groups = 1}``.

    Returns
    -------
    Composite

    Raises
    ------
    CompositeError
        If it is not TOML, lacks a key, or names a rule or option that does not exist.

    Examples
    --------
    >>> from relfunc import composites
    >>> from_toml(to_toml(composites.epsilon_plus())) == composites.epsilon_plus()
    True
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CompositeError(f"the composite is not TOML: {error}") from error
    unknown = sorted(set(table) - {"name", "rows", "base"})
    if unknown or not isinstance(table.get("name"), str):
        wrong = f"has the key '{unknown[0]}'" if unknown else "has no name"
        raise CompositeError(f"the composite {wrong}: its keys are name, rows and base")
    return Composite(table["name"], *(tuple(map(_row, table.get(key, ()))) for key in ("rows", "base")))


def _row(table: Any) -> Row:
    match table:
        case {"by": str() as by, "pattern": pattern, "rule": {"name": str(name), **options}} if by in _BY:
            if by == "where" and isinstance(pattern, dict):
                pattern = Having(tuple((key, _option(key, value)) for key, value in pattern.items()))
            return Row(_BY[by], pattern, _rule(name, options))
    raise CompositeError(
        f"{table!r} is no row: give by ({', '.join(map(repr, _BY))}), pattern, and rule = {{name = …}}"
    )


_BY: Final[dict[str, Any]] = {by: by for by in get_args(By)}


def _pattern(row: Row) -> Any:
    """Return what of a pattern text can hold: the name of a class, and values; not what a function asks."""
    if isinstance(row.pattern, type):
        return qualified(row.pattern)
    if isinstance(row.pattern, Having):
        return dict(row.pattern.values)
    if not isinstance(row.pattern, str):
        raise CompositeError(
            f"the row where {row.meant} asks a function of your own, which TOML cannot hold: say which values an "
            "operation has by composites.having()"
        )
    return row.pattern


def _rule(name: str, options: Mapping[str, Any]) -> AnyRule:
    make = RULES[name].make if name in RULES else None
    if make is None:
        raise CompositeError(f"there is no rule '{name}': the rules are {', '.join(sorted(RULES))}")
    try:
        return make(**{key: _option(key, value) for key, value in options.items()})
    except TypeError as error:
        raise CompositeError(f"rule '{name}': {error}") from error


def _option(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        kind = _STABILIZERS.get(str(value.get("kind")))
        if kind is None:
            raise CompositeError(f"{key} = {value!r}: a stabilizer's kind is one of {', '.join(_STABILIZERS)}")
        return kind(**{name: _option(name, inner) for name, inner in value.items() if name != "kind"})
    return tuple(_option(key, inner) for inner in value) if isinstance(value, list) else value


def _rule_table(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, Rule | Elementary) or not _is_ours(rule):
        raise CompositeError(f"the rule {rule} is a function or table of your own, which TOML cannot hold")
    return {"name": rule.name, **dict(rule.options)}


def _is_ours(rule: Rule | Elementary) -> bool:
    """Whether the function of the rule's name makes it from its options; a user's table may have any name."""
    make = RULES[rule.name].make if rule.name in RULES else None
    try:
        return make is not None and make(**dict(rule.options)) == rule
    except (TypeError, RuleError):
        return False


def _value(value: Any, name: str = "") -> str:
    match value:
        case str():
            return _text(value)
        case bool():
            return str(value).lower()
        case int() | float() if math.isfinite(value):
            return repr(value)
        case tuple():
            return f"[{', '.join(_value(inner, name) for inner in value)}]"
        case dict():
            return f"{{{', '.join(f'{key} = {_value(inner, key)}' for key, inner in value.items())}}}"
        case Plain() | Clipping() | NormScaled():
            given = {name: inner for name, inner in vars(value).items() if inner is not None}
            return _value({"kind": type(value).__name__, **given})
    what = "a function of your own" if callable(value) else "no finite number, text, yes or no, or tuple of these"
    raise CompositeError(f"{name}={value!r} is {what}, which TOML cannot hold")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
