"""Assignment: what a composite is, and how it gives each operation of a graph its rule.

A composite is any function from an :class:`Operation` to a rule or None. :class:`Composite` is one that is a table of
rows, tried in order.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from torch import fx

from .errors import RelfuncError
from .facts import Facts
from .ops import LATER, name_of
from .tables import AnyRule, Rule


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
        Match the operation's type, its type if none of that type ran before, or its module path.
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
            return fnmatchcase(operation.path, self.pattern) and operation.kind in {
                "affine",
                "combination",
                "activation",
            }
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
            raise CompositeError(f"no rule for {where}: {_way_out(operation)}")
        if isinstance(rule, Rule) and known.data.intersection(_parameter_nodes(node, operation)):
            raise CompositeError(
                f"the weights of {where} depend on the input, so that {rule.name} has no meaning there"
            )
        assigned[node] = rule
    if isinstance(composite, Composite) and composite.rows and not _applies(composite, described.values()):
        wanted = ", ".join(row.pattern for row in composite.rows)
        warnings.warn(
            f"composite {composite.name} matches no operation of this model, which has no {wanted}: "
            "the result is what its other rows give, such as the plain gradient",
            CompositeWarning,
            stacklevel=4,
        )
    return assigned


def _applies(composite: Composite, described: Iterable[Operation]) -> bool:
    return any(row.matches(operation) for operation in described for row in composite.rows)


def _parameter_nodes(node: fx.Node, operation: Operation) -> list[Any]:
    return [a for a in node.args[1:3] if isinstance(a, fx.Node)] if operation.kind == "affine" else []


def _way_out(operation: Operation) -> str:
    if operation.name in LATER:
        return "relfunc has no rule for this operation yet; explain the part of the model before or behind it"
    if operation.kind:
        return "add a row for it to the composite"
    return "pass ops={**OPS, function: Op(...)} to say which kind of operation it is"
