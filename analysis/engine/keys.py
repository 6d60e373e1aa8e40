"""Keys by lineage: a digest of the code, the parameters and the data that a result was computed from.

Only a source array is ever read for its key. The key of a result is a digest of its step's code, its parameters and
the keys of what it was computed from, so equal keys mean equal results without a look at the data between. What code
and values are worth, :mod:`relfunc.keys.values` says.
"""

from collections.abc import Callable, Mapping
from typing import Any

from relfunc.keys.code import PROJECT, package
from relfunc.keys.values import Digest, described, digest, of_source

__all__ = ["Digest", "digest", "of_call", "of_code", "of_result", "of_source", "of_step"]


def of_step(function: Callable[..., Any], params: Mapping[str, Any], inputs: tuple[Digest, ...]) -> Digest:
    """Key of a step's result.

    Parameters
    ----------
    function : callable
        The step. A version that :func:`relfunc.versioned` declared of it counts.
    params : mapping
        All its parameters, defaults included.
    inputs : tuple of str
        Keys of what it is given.

    Returns
    -------
    str

    Raises
    ------
    KeyingError
        If code or a parameter refers to something that has no value.

    Examples
    --------
    >>> of_step(len, {}, ()) == of_step(len, {}, ("other",))
    False
    """
    return of_result(of_call(function, params), inputs)


def of_call(function: Callable[..., Any], params: Mapping[str, Any]) -> Digest:
    """Key of a step by itself, its code and its parameters, whatever it is given; see :func:`of_step`."""
    given = [(name, described(params[name], f"parameter {name}")) for name in sorted(params)]
    return digest("call", of_code(function), given)


def of_result(call: Digest, inputs: tuple[Digest, ...]) -> Digest:
    """Key of a step's result: of the step by itself, and of what it is given."""
    return digest("step", call, inputs)


def of_code(function: Callable[..., Any]) -> Digest:
    """Key of a function: its name, bytecode, captured values, and what it refers to.

    Parameters
    ----------
    function : callable
        A function, lambda, closure, partial, method, callable object, or built-in.

    Returns
    -------
    str

    Raises
    ------
    KeyingError
        If it captures or refers to something that has no value, such as an open file.

    Examples
    --------
    >>> of_code(lambda x: x + 1) == of_code(lambda x: x + 2)
    False
    """
    home = package(str(getattr(function, "__globals__", {}).get("__name__", "")))
    own = home if home in PROJECT else ""  # its steps are known by their code, which changes between versions
    return digest("code", described(function, getattr(function, "__qualname__", "the step"), own))
