"""Composites: which rule each operation gets, as tables of rows and small combinators of them.

A composite is any function from an :class:`Operation` to a rule or None; those made here are frozen tables that
compare, hash, pickle and print. Rows are tried in order.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from torch import fx

from . import rules
from .errors import RelfuncError
from .facts import Facts
from .ops import LATER, name_of
from .rules import AnyRule, Rule, Stabilizer


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
    >>> print(deconvnet())
    deconvnet
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


# --- combinators --------------------------------------------------------------------------------------


def by_type(table: Mapping[str, AnyRule], *, name: str = "by_type") -> Composite:
    """Give rules by type of operation.

    Parameters
    ----------
    table : mapping
        From a type (``convolution``, ``linear``, ``relu``, ``activation``, ``sum``, ``average_pool``, ``max_pool``,
        ``batch_norm``, ``product``, ``move``, or ``*``; several separated by ``|``) to a rule.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(by_type({"convolution": rules.zplus()}))
    by_type
      type  convolution                       zplus(stabilizer=1e-06)
    """
    return Composite(name, tuple(Row("type", pattern, rule) for pattern, rule in table.items()))


def by_name(table: Mapping[str, AnyRule], *, name: str = "by_name") -> Composite:
    """Give rules by module path.

    Parameters
    ----------
    table : mapping
        From a shell-style pattern, such as ``features.*``, to a rule.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(by_name({"features.0": rules.flat()}))
    by_name
      name  features.0                        flat(stabilizer=1e-06)
    """
    return Composite(name, tuple(Row("name", pattern, rule) for pattern, rule in table.items()))


def first(rule: AnyRule, types: str = "linear|convolution", *, name: str = "first") -> Composite:
    """Give a rule to the first operation of a type, in the order in which the model runs.

    Parameters
    ----------
    rule : rule
        What it gets.
    types : str
        Types separated by ``|``.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(first(rules.wsquare()))
    first
      first linear|convolution                wsquare(stabilizer=1e-06)
    """
    return Composite(name, (Row("first", types, rule),))


def mixed(*composites: Composite, name: str = "mixed") -> Composite:
    """Try composites in order.

    Parameters
    ----------
    *composites : Composite
        The first that has a rule for an operation gives it.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(mixed(first(rules.flat()), by_type({"*": rules.gradient()})))
    mixed
      first linear|convolution                flat(stabilizer=1e-06)
      type  *                                 gradient()
    """
    return Composite(
        name, tuple(row for c in composites for row in c.rows), tuple(row for c in composites for row in c.base)
    )


# --- composites ---------------------------------------------------------------------------------------

_GRADIENT = (Row("type", "*", rules.gradient()),)


def base(stabilizer: float | Stabilizer = 1e-6) -> tuple[Row, ...]:
    """Return the rows that every relevance-conserving composite shares.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps the denominators of sums and means off zero.

    Returns
    -------
    tuple of Row
    """
    return (
        Row("type", "activation|batch_norm|scaling", rules.pass_()),
        Row("type", "sum|average_pool|interpolation", rules.norm(stabilizer=stabilizer)),
        Row("type", "product", rules.signal()),
        Row("type", "max_pool|move", rules.gradient()),
    )


def epsilon_gamma_box(
    low: Any,
    high: Any,
    *,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    stabilizer: float | Stabilizer = 1e-6,
    zero_params: str | tuple[str, ...] = (),
) -> Composite:
    """Epsilon in linear layers, gamma in convolutions, the box rule in the first convolution.

    Parameters
    ----------
    low, high : float, sequence or tensor
        Lowest and highest input, which broadcast to it: (3, 1, 1) for a bound per channel.
    epsilon, gamma : float
        Parameters of the rules.
    stabilizer : float or callable
        Keeps the other denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_gamma_box(-2, 2).rows[0])
    first convolution                       zbox(low=-2.0, high=2.0, stabilizer=1e-06)
    """
    rows = (
        Row("first", "convolution", rules.zbox(low, high, stabilizer=stabilizer, zero_params=zero_params)),
        Row("type", "convolution", rules.gamma(gamma, stabilizer=stabilizer, zero_params=zero_params)),
        Row("type", "linear", rules.epsilon(epsilon, zero_params=zero_params)),
    )
    return Composite("epsilon_gamma_box", rows, base(stabilizer))


def epsilon_plus(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, z-plus in convolutions.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Keeps the other denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_plus().rows[0])
    type  convolution                       zplus(stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.zplus(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_plus", rows, base(stabilizer))


def epsilon_plus_flat(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, z-plus in convolutions, flat in the first of either.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Keeps the other denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_plus_flat().rows[0])
    first linear|convolution                flat(stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.zplus(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_plus_flat", (_flat_first(stabilizer), *rows), base(stabilizer))


def epsilon_alpha2_beta1(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, alpha-beta with α = 2 and β = 1 in convolutions.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Keeps the other denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(epsilon_alpha2_beta1().rows[0])
    type  convolution                       alpha_beta(alpha=2.0, beta=1.0, stabilizer=1e-06)
    """
    rows = _epsilon_and(rules.alpha_beta(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_alpha2_beta1", rows, base(stabilizer))


def epsilon_alpha2_beta1_flat(
    *, epsilon: float = 1e-6, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()
) -> Composite:
    """Epsilon in linear layers, alpha-beta with α = 2 and β = 1 in convolutions, flat in the first of either.

    Parameters
    ----------
    epsilon : float
        Of the epsilon rule.
    stabilizer : float or callable
        Keeps the other denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    Examples
    --------
    >>> len(epsilon_alpha2_beta1_flat().rows)
    3
    """
    rows = _epsilon_and(rules.alpha_beta(stabilizer=stabilizer, zero_params=zero_params), epsilon, zero_params)
    return Composite("epsilon_alpha2_beta1_flat", (_flat_first(stabilizer), *rows), base(stabilizer))


def excitation_backprop(*, stabilizer: float | Stabilizer = 1e-6, zero_params: str | tuple[str, ...] = ()) -> Composite:
    """Z-plus in linear layers and convolutions, proportional sums and means, gradients elsewhere.

    Parameters
    ----------
    stabilizer : float or callable
        Keeps denominators off zero.
    zero_params : str or tuple of str
        ``"weight"`` or ``"bias"`` to take as zero.

    Returns
    -------
    Composite

    References
    ----------
    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, section 3.2.

    Examples
    --------
    >>> print(excitation_backprop().rows[0])
    type  linear|convolution                zplus(stabilizer=1e-06)
    """
    zplus, norm = rules.zplus(stabilizer=stabilizer, zero_params=zero_params), rules.norm(stabilizer=stabilizer)
    rows = (Row("type", "linear|convolution", zplus), Row("type", "sum|average_pool", norm))
    return Composite("excitation_backprop", rows, _GRADIENT)


def guided_backprop() -> Composite:
    """Guided backpropagation through ReLUs, gradients elsewhere.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(guided_backprop().rows[0])
    type  relu                              guided_backprop()
    """
    return Composite("guided_backprop", (Row("type", "relu", rules.guided_backprop()),), _GRADIENT)


def deconvnet() -> Composite:
    """Deconvolution through ReLUs, gradients elsewhere.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(deconvnet().rows[0])
    type  relu                              deconvnet()
    """
    return Composite("deconvnet", (Row("type", "relu", rules.deconvnet()),), _GRADIENT)


def beta_smooth(beta: float = 10.0) -> Composite:
    """Gradients with every ReLU smoothed to a softplus of sharpness β.

    Parameters
    ----------
    beta : float
        Positive.

    Returns
    -------
    Composite

    Examples
    --------
    >>> print(beta_smooth().rows[0])
    type  relu                              beta_smooth(beta=10.0)
    """
    return Composite("beta_smooth", (Row("type", "relu", rules.beta_smooth(beta)),), _GRADIENT)


def _flat_first(stabilizer: float | Stabilizer) -> Row:
    return Row("first", "linear|convolution", rules.flat(stabilizer=stabilizer))


def _epsilon_and(rule: Rule, epsilon: float, zero_params: str | tuple[str, ...]) -> tuple[Row, Row]:
    return Row("type", "convolution", rule), Row("type", "linear", rules.epsilon(epsilon, zero_params=zero_params))
