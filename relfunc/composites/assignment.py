"""Assignment: what a composite is, and how it gives each operation of a graph its rule.

A composite is any function from an :class:`Operation` to a rule or None. :class:`Composite` is one that is a table of
rows, tried in order.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias

from torch import fx, nn

from ..errors import RelfuncError, warn
from ..graph.facts import Facts
from ..ops.table import Op
from ..rules import row_of
from ..rules.tables import AnyRule
from .operation import Operation, operations


class CompositeError(RelfuncError, ValueError):
    """A composite has no rule for an operation, or none that fits."""


class CompositeWarning(UserWarning):
    """A composite does nothing to a model."""


@dataclass(frozen=True)
class Having:
    """A condition on values of an operation, which compares, pickles, prints, and goes through TOML.

    Parameters
    ----------
    values : tuple of (str, object)
        Names of attributes of :class:`Operation`, and what they are to be; :func:`relfunc.composites.having` makes it.
    """

    values: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        unknown = [name for name, _ in self.values if name not in _COMPARABLE]
        if unknown:
            close = get_close_matches(unknown[0], _COMPARABLE, 1, 0.7)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(_COMPARABLE)}"
            raise CompositeError(f"an operation has no '{unknown[0]}' that could be compared: {hint}")

    def __call__(self, operation: Operation) -> bool:
        """Whether an operation has all of the values; a number stands for the same along every axis."""
        found = ((getattr(operation, name), value) for name, value in self.values)
        return all(a == b or (isinstance(a, tuple) and isinstance(b, int) and set(a) == {b}) for a, b in found)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.values)


_SETS: Final = {"preceding", "following", "module", "around"}
_COMPARABLE: Final = tuple(field.name for field in fields(Operation) if field.name not in _SETS)

By: TypeAlias = Literal["type", "first", "last", "name", "module", "within", "where"]
Pattern: TypeAlias = str | type[nn.Module] | Callable[[Operation], bool]


@dataclass(frozen=True)
class Row:
    """One row of a composite: what it matches, and the rule.

    Parameters
    ----------
    by : {"type", "first", "last", "name", "module", "within", "where"}
        Match the operation's type; its type if none of that type runs before (``first``) or behind it (``last``); its
        module's path (``name``); its module's class (``module``), or that of any module around it (``within``); or
        whatever a function asks (``where``). By ``name``, ``module`` and ``within`` only operations that the rule is
        for are meant: a module may run others beside, such as views.
    pattern : str, type or callable
        Types separated by ``|``, ``*`` for any; a shell-style pattern for a module's path; a class, or names of
        classes separated by ``|``, which match subclasses too; a function ``(Operation) -> bool``.
    rule : rule
        What the operation gets.

    Examples
    --------
    >>> from relfunc import rules
    >>> print(Row("module", nn.Conv2d, rules.zplus()))
    module Conv2d                            zplus(stabilizer=1e-06)
    """

    by: By
    pattern: Pattern
    rule: AnyRule

    def __post_init__(self) -> None:
        takes, what = _TAKES.get(self.by, (None, ""))
        if takes is None:
            raise CompositeError(f"a row matches by {self.by!r}: give one of {', '.join(map(repr, _TAKES))}")
        if not takes(self.pattern):
            raise CompositeError(f"a row by {self.by!r} has the pattern {self.pattern!r}: give {what}")

    def matches(self, operation: Operation) -> bool:
        """Whether an operation gets this row's rule."""
        if not self.concerns(operation):
            return False
        return self.by not in _OF_MODULES or row_of(self.rule).suits(self.rule, operation.kind)

    def concerns(self, operation: Operation) -> bool:
        """Whether an operation is what the pattern says, be the rule for it or not."""
        pattern: Any = self.pattern
        match self.by:
            case "name":
                return fnmatchcase(operation.path, pattern)
            case "module":
                return _is_of(operation.module, pattern)
            case "within":
                return any(_is_of(module, pattern) for module in _modules(operation))
            case "where":
                return _asked(pattern, operation)
        types = set(pattern.split("|"))
        elsewhere = {"first": operation.preceding, "last": operation.following}.get(self.by, frozenset())
        return (
            "*" in types or bool(types & {operation.type, operation.kind, operation.role})
        ) and not types & elsewhere

    @property
    def meant(self) -> str:
        """What the row matches, as text."""
        if isinstance(self.pattern, str | Having):
            return str(self.pattern)
        name = getattr(self.pattern, "__qualname__", type(self.pattern).__name__).rpartition("<locals>.")[2]
        code = getattr(self.pattern, "__code__", None)
        if name != "<lambda>" or code is None:
            return name
        return f"{name} {code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{code.co_firstlineno}"

    def __str__(self) -> str:
        return f"{self.by:<5} {self.meant:<33} {self.rule}"


@dataclass(frozen=True)
class Composite:
    """A table of rows: what the composite is for, and below it what all such composites share.

    Parameters
    ----------
    name : str
        Its name.
    rows : tuple of Row
        Tried first; a composite of which none of these match anything in a model warns.
    base : tuple of Row
        Tried then.

    Examples
    --------
    >>> from relfunc import rules
    >>> print(Composite("mine", (Row("type", "relu", rules.deconvnet()), Row("type", "*", rules.gradient()))))
    mine
      type  relu                              deconvnet()
      type  *                                 gradient()
    """

    name: str
    rows: tuple[Row, ...]
    base: tuple[Row, ...] = ()

    def __call__(self, operation: Operation) -> AnyRule | None:
        """Return the rule of an operation, None if no row matches."""
        row = self.row(operation)
        return None if row is None else row.rule

    def row(self, operation: Operation) -> Row | None:
        """Return the first row that matches an operation."""
        return next((row for row in (*self.rows, *self.base) if row.matches(operation)), None)

    def __str__(self) -> str:
        return "\n  ".join([self.name, *map(str, (*self.rows, *self.base))])


AnyComposite: TypeAlias = Callable[[Operation], AnyRule | None]


def matched(composite: AnyComposite, operation: Operation) -> str:
    """Say which row of a composite gives an operation its rule; for a function, what it is called.

    Parameters
    ----------
    composite : callable
        From :class:`Operation` to a rule or None.
    operation : Operation
        What it is asked for.

    Returns
    -------
    str
    """
    if not isinstance(composite, Composite):
        return getattr(composite, "__name__", type(composite).__name__)
    row = composite.row(operation)
    return "" if row is None else f"{row.by} {row.meant}"


def assign(graph: fx.Graph, known: Facts, composite: AnyComposite, *, warns: bool = True) -> dict[fx.Node, AnyRule]:
    """Give every data operation its rule.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.
    composite : callable
        From :class:`Operation` to a rule or None.
    warns : bool
        Whether to warn of rows that match nothing.

    Returns
    -------
    dict
        From node to rule.

    Raises
    ------
    CompositeError
        If an operation gets no rule; the message names it, its line, and the fix.
    """
    assigned: dict[fx.Node, AnyRule] = {}
    described = operations(graph, known)
    for node, operation in described.items():
        rule = composite(operation)
        where = _place(operation)
        if rule is None:
            raise CompositeError(f"no rule for {where}: {_way_out(operation, known.ops.get(node))}")
        if row_of(rule).constant_weights and known.data.intersection(_parameter_nodes(node, operation)):
            raise CompositeError(
                f"the weights of {where} depend on the input, so that {rule} has no meaning there: write it as a "
                "product of two values, to which another is added"
            )
        assigned[node] = rule
    if warns and isinstance(composite, Composite):
        _warn_of_idle_rows(composite, list(described.values()))
    return assigned


def _warn_of_idle_rows(composite: Composite, described: list[Operation]) -> None:
    """Warn if no row of a composite's own matches anything, or one that is made for a model matches nothing of it."""
    used = {id(composite.row(operation)) for operation in described}
    idle = [row for row in composite.rows if id(row) not in used and not any(_would_match(row, o) for o in described)]
    if composite.rows and len(idle) == len(composite.rows):
        wanted = ", ".join(row.meant for row in composite.rows)
        warn(
            f"composite {composite.name} matches no operation of this model, which has no {wanted}: "
            "the result is what its other rows give, such as the plain gradient",
            CompositeWarning,
        )
        return
    for row in idle:
        if row.by in _MADE_FOR_A_MODEL:
            what = f"the {_MADE_FOR_A_MODEL[row.by]} {row.meant!r}"
            warn(f"composite {composite.name}: {what} matches no operation{_reason(row, described)}", CompositeWarning)


_OF_MODULES: Final = {"name", "module", "within"}
_MADE_FOR_A_MODEL: Final = {"name": "name", "module": "class", "within": "class", "where": "condition"}


def _would_match(row: Row, operation: Operation) -> bool:
    """Whether a row matches an operation; its function need not be made for one that an earlier row took."""
    try:
        return row.matches(operation)
    except CompositeError:
        return False


def _reason(row: Row, described: list[Operation]) -> str:
    """Say why a row matches nothing: what it names is not there, or is nothing that its rule is for."""
    if row.by == "where":
        return ""
    same = [operation.path for operation in described if row.concerns(operation)]
    if same:
        return f": {same[0]!r} has no operation that {row.rule} is for"
    paths = [operation.path for operation in described]
    classes = [module.__name__ for operation in described for module in _modules(operation)]
    close = get_close_matches(row.meant, dict.fromkeys(paths if row.by == "name" else classes))
    if close:
        return f": did you mean {' or '.join(map(repr, close))}?"
    return ": no module has such a path" if row.by == "name" else ": no module is of such a class"


def _modules(operation: Operation) -> list[type[nn.Module]]:
    """Classes of the modules that an operation is in, the model first."""
    return [*(module for _, module in operation.around), operation.module]


def _is_of(module: type, pattern: Any) -> bool:
    """Whether a class, or one that it derives from, is a class or has one of some names, with or without its home."""
    if isinstance(pattern, type):
        return issubclass(module, pattern)
    names = set(pattern.split("|"))
    return any(kind.__name__ in names or qualified(kind) in names for kind in module.__mro__)


def qualified(kind: type) -> str:
    """Return the name of a class with the module that it is of, such as ``torch.nn.modules.conv.Conv2d``."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _asked(function: Any, operation: Operation) -> bool:
    try:
        return bool(function(operation))
    except Exception as error:
        raise CompositeError(
            f"{getattr(function, '__qualname__', function)}, by which a row matches, failed at {_place(operation)}: "
            f"{type(error).__name__}: {error}. What an operation does not have is None"
        ) from error


def _is_module_class(pattern: Any) -> bool:
    return isinstance(pattern, str) or (isinstance(pattern, type) and issubclass(pattern, nn.Module))


def _is_text(pattern: Any) -> bool:
    return isinstance(pattern, str)


_TAKES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    **dict.fromkeys(("type", "first", "last"), (_is_text, "types of operations, separated by |")),
    "name": (_is_text, "a shell-style pattern for paths of modules"),
    **dict.fromkeys(("module", "within"), (_is_module_class, "a class of modules, or names of such, separated by |")),
    "where": (callable, "a function (Operation) -> bool"),
}


def _place(operation: Operation) -> str:
    return f"'{operation.name}' (node '{operation.node}'{f', {operation.line}' if operation.line else ''})"


def _parameter_nodes(node: fx.Node, operation: Operation) -> list[Any]:
    return [a for a in node.args[1:3] if isinstance(a, fx.Node)] if operation.kind == "affine" else []


def _way_out(operation: Operation, op: Op | None) -> str:
    if op is None:
        return "pass ops={**OPS, function: Op(...)} to say which kind of operation it is"
    return op.refused or "add a row for it to the composite"
