"""Combinators: small composites that give a rule to what matches, and composites made of others."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..rules.tables import AnyRule
from .assignment import Composite, Having, Row
from .operation import Operation


def by_type(table: Mapping[str, AnyRule], *, name: str = "by_type") -> Composite:
    """Give rules by type of operation.

    Parameters
    ----------
    table : mapping
        From a type (``convolution``, ``linear``, ``relu``, ``activation``, ``sum``, ``average_pool``, ``max_pool``,
        ``batch_norm``, ``product``, ``matrix_product``, ``move``, or ``*``; several separated by ``|``) to a rule.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> from relfunc import rules
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
    >>> from relfunc import rules
    >>> print(by_name({"features.0": rules.flat()}))
    by_name
      name  features.0                        flat(stabilizer=1e-06)
    """
    return Composite(name, tuple(Row("name", pattern, rule) for pattern, rule in table.items()))


def by_module(table: Mapping[type[nn.Module] | str, AnyRule], *, name: str = "by_module") -> Composite:
    """Give rules by class of the module whose forward calls the operation.

    Parameters
    ----------
    table : mapping
        From a class, or names of classes separated by ``|``, to a rule. Subclasses match too.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> from relfunc import rules
    >>> print(by_module({nn.Conv2d: rules.zplus(), "Attention": rules.gradient()}))
    by_module
      module Conv2d                            zplus(stabilizer=1e-06)
      module Attention                         gradient()
    """
    return Composite(name, tuple(Row("module", pattern, rule) for pattern, rule in table.items()))


def within(table: Mapping[type[nn.Module] | str, AnyRule], *, name: str = "within") -> Composite:
    """Give rules by class of any module that the operation is in.

    Parameters
    ----------
    table : mapping
        As for :func:`by_module`.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> from relfunc import rules
    >>> print(within({"BasicBlock|Bottleneck": rules.gamma(0.1)}))
    within
      within BasicBlock|Bottleneck             gamma(gamma=0.1, stabilizer=1e-06)
    """
    return Composite(name, tuple(Row("within", pattern, rule) for pattern, rule in table.items()))


def by_where(table: Mapping[Callable[[Operation], bool], AnyRule], *, name: str = "by_where") -> Composite:
    """Give rules by whatever a function asks: hyper-parameters, position, modules.

    Parameters
    ----------
    table : mapping
        From a function ``(Operation) -> bool``, or what :func:`having` returns, to a rule.
    name : str
        The composite's name.

    Returns
    -------
    Composite

    Examples
    --------
    >>> from relfunc import rules
    >>> def is_depthwise(operation):
    ...     return operation.groups not in (None, 1) and operation.groups == operation.in_channels
    >>> print(by_where({is_depthwise: rules.gradient(), having(kernel_size=1): rules.epsilon()}))
    by_where
      where is_depthwise                      gradient()
      where kernel_size=1                     epsilon(epsilon=1e-06)
    """
    return Composite(name, tuple(Row("where", function, rule) for function, rule in table.items()))


def having(**values: Any) -> Having:
    """Ask whether an operation has certain values, for :func:`by_where`; unlike a function it goes through TOML.

    Parameters
    ----------
    **values : object
        What attributes of :class:`Operation` are to be; a number stands for the same along every axis.

    Returns
    -------
    Having

    Raises
    ------
    CompositeError
        If an operation has no attribute of that name.

    Examples
    --------
    >>> print(having(type="convolution", stride=2))
    type='convolution', stride=2
    """
    return Having(tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in values.items()))


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
    >>> from relfunc import rules
    >>> print(first(rules.wsquare()))
    first
      first linear|convolution                wsquare(stabilizer=1e-06)
    """
    return Composite(name, (Row("first", types, rule),))


def last(rule: AnyRule, types: str = "linear|convolution", *, name: str = "last") -> Composite:
    """Give a rule to the last operation of a type, in the order in which the model runs.

    Parameters
    ----------
    rule, types, name
        As for :func:`first`.

    Returns
    -------
    Composite

    Examples
    --------
    >>> from relfunc import rules
    >>> print(last(rules.epsilon()))
    last
      last  linear|convolution                epsilon(epsilon=1e-06)
    """
    return Composite(name, (Row("last", types, rule),))


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
    >>> from relfunc import rules
    >>> print(mixed(first(rules.flat()), by_type({"*": rules.gradient()})))
    mixed
      first linear|convolution                flat(stabilizer=1e-06)
      type  *                                 gradient()
    """
    return Composite(
        name, tuple(row for c in composites for row in c.rows), tuple(row for c in composites for row in c.base)
    )
