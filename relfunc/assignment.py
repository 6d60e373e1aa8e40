"""Assignment: what a composite is, and how it gives each operation of a graph its rule.

A composite is any function from an :class:`Operation` to a rule or None. :class:`Composite` is one that is a table of
rows, tried in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias

from torch import fx

from .errors import RelfuncError, warn
from .facts import Facts
from .ops import Op, name_of
from .tables import AnyRule, Rule, Term


class CompositeError(RelfuncError, ValueError):
    """A composite has no rule for an operation, or none that fits."""


class CompositeWarning(UserWarning):
    """A composite does nothing to a model."""


@dataclass(frozen=True)
class Operation:
    """What a composite sees of a node of the graph.

    Parameters
    ----------
    node : str
        The node's name in the graph.
    name : str
        The function's name, such as ``conv2d``.
    type, kind : str
        As :class:`relfunc.ops.Op` says, empty if the operation is unknown.
    path : str
        The module it came from, such as ``layer1.0.conv1``.
    preceding : frozenset of str
        Types and kinds of the operations that run before it.
    line : str
        Source file and line.
    """

    node: str
    name: str
    type: str
    kind: str
    path: str
    preceding: frozenset[str]
    line: str


@dataclass(frozen=True)
class Row:
    """One row of a composite: what it matches, and the rule.

    Parameters
    ----------
    by : {"type", "first", "name"}
        Match the operation's type, its type if none of that type ran before, or its module path (then only if the
        rule is for such operations: a module may run others beside, such as views).
    pattern : str
        Types separated by ``|``, ``*`` for any; or a shell-style pattern for a module path.
    rule : rule
        What the operation gets.
    """

    by: Literal["type", "first", "name"]
    pattern: str
    rule: AnyRule

    def matches(self, operation: Operation) -> bool:
        """Whether an operation gets this row's rule."""
        if self.by == "name":
            return fnmatchcase(operation.path, self.pattern) and _suits(self.rule, operation)
        types = set(self.pattern.split("|"))
        matched = "*" in types or bool(types & {operation.type, operation.kind})
        return matched and (self.by == "type" or not types & operation.preceding)

    def __str__(self) -> str:
        return f"{self.by:<6}{self.pattern:<34}{self.rule}"


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
        return next((row.rule for row in (*self.rows, *self.base) if row.matches(operation)), None)

    def __str__(self) -> str:
        return "\n  ".join([self.name, *map(str, (*self.rows, *self.base))])


AnyComposite: TypeAlias = Callable[[Operation], AnyRule | None]


def operations(graph: fx.Graph, known: Facts) -> dict[fx.Node, Operation]:
    """Describe the data operations of a canonical graph, in the order in which they run.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.

    Returns
    -------
    dict
        From node to description.
    """
    described: dict[fx.Node, Operation] = {}
    preceding: set[str] = set()
    for node in graph.nodes:
        if node.op != "call_function" or node not in known.data:
            continue
        op = known.ops.get(node)
        types = (op.type, op.kind) if op else ("", "")
        meta = node.meta
        described[node] = Operation(
            node.name, name_of(node.target), *types, meta.get("path", ""), frozenset(preceding), meta.get("line", "")
        )
        preceding.update(types)
    return described


def assign(graph: fx.Graph, known: Facts, composite: AnyComposite) -> dict[fx.Node, AnyRule]:
    """Give every data operation its rule.

    Parameters
    ----------
    graph : torch.fx.Graph
        Canonical.
    known : Facts
        Its facts.
    composite : callable
        From :class:`Operation` to a rule or None.

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
        where = f"'{operation.name}' (node '{operation.node}'{f', {operation.line}' if operation.line else ''})"
        if rule is None:
            raise CompositeError(f"no rule for {where}: {_way_out(operation, known.ops.get(node))}")
        if isinstance(rule, Rule) and known.data.intersection(_parameter_nodes(node, operation)):
            raise CompositeError(
                f"the weights of {where} depend on the input, so that {rule.name} has no meaning there"
            )
        assigned[node] = rule
    if isinstance(composite, Composite):
        _warn_of_idle_rows(composite, list(described.values()))
    return assigned


def _warn_of_idle_rows(composite: Composite, described: list[Operation]) -> None:
    """Warn if no row of a composite's own matches anything, or a name in it is no module's."""
    idle = [row for row in composite.rows if not any(map(row.matches, described))]
    if composite.rows and len(idle) == len(composite.rows):
        wanted = ", ".join(row.pattern for row in composite.rows)
        warn(
            f"composite {composite.name} matches no operation of this model, which has no {wanted}: "
            "the result is what its other rows give, such as the plain gradient",
            CompositeWarning,
        )
        return
    for row in idle:
        if row.by == "name":
            paths = list(dict.fromkeys(operation.path for operation in described))
            same = [path for path in paths if fnmatchcase(path, row.pattern)]
            close = get_close_matches(row.pattern, paths)
            hint = f": did you mean {' or '.join(map(repr, close))}?" if close else ": no module has such a path"
            reason = f": {same[0]!r} has no operation that {row.rule} is for" if same else hint
            warn(f"composite {composite.name}: the name {row.pattern!r} matches no operation{reason}", CompositeWarning)


def _suits(rule: AnyRule, operation: Operation) -> bool:
    """Whether a rule given by a module's path is meant for one of the module's operations."""
    if isinstance(rule, Rule):
        in_proportion = all(branch.terms == (Term(),) for branch in rule.branches)
        return operation.kind == "affine" or (operation.kind == "combination" and in_proportion)
    return operation.kind in _MEANT_FOR.get(getattr(rule, "name", ""), _ANY_KIND)


_ANY_KIND: Final = {"affine", "combination", "activation", "pool", "product", "other"}
_MEANT_FOR: Final = {
    "pass": {"activation", "scaling", "affine"},
    "guided_backprop": {"activation"},
    "deconvnet": {"activation"},
    "beta_smooth": {"activation"},
    "proportional": {"pool"},
    "signal": {"product"},
    "bilinear": {"product"},
}


def _parameter_nodes(node: fx.Node, operation: Operation) -> list[Any]:
    return [a for a in node.args[1:3] if isinstance(a, fx.Node)] if operation.kind == "affine" else []


def _way_out(operation: Operation, op: Op | None) -> str:
    if op is None:
        return "pass ops={**OPS, function: Op(...)} to say which kind of operation it is"
    return op.refused or "add a row for it to the composite"
