"""What attribution methods return: a function that knows what made it, so that it can be named, sent and made again."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias

Explain: TypeAlias = Callable[..., tuple[Any, Any]]
P = ParamSpec("P")


class Explanation:
    """``(x, target=None) -> (output, attribution)``, made by :func:`relfunc.gradient` and its relatives.

    It pickles if the model does: what unpickles it makes it again from model, method and options.

    Parameters
    ----------
    method : callable
        The transform that made it, such as :func:`relfunc.gradient`.
    f : callable
        The model, or what :func:`relfunc.lrp` returned.
    options : dict
        What the method was given beside ``f``.
    run : callable
        The function itself.
    """

    def __init__(
        self, method: Callable[..., "Explanation"], f: Callable[..., Any], options: dict[str, Any], run: Explain
    ):
        self.method, self.f, self.options, self.run = method, f, options, run

    def __call__(self, x: Any, target: Any = None) -> tuple[Any, Any]:
        """Return the model's output, and the attribution of ``x`` to what ``target`` says."""
        return self.run(x, target)

    def __repr__(self) -> str:
        options = "".join(f", {key}={value!r}" for key, value in self.options.items())
        return f"{self.method.__name__}({type(self.f).__name__}{options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.method, self.f, self.options)


def _make(method: Callable[..., Explanation], f: Callable[..., Any], options: dict[str, Any]) -> Explanation:
    return method(f, **options)


def method(
    make: Callable[Concatenate[Callable[..., Any], P], Explain],
) -> Callable[Concatenate[Callable[..., Any], P], Explanation]:
    """Let a transform of functions return an :class:`Explanation`.

    Parameters
    ----------
    make : callable
        ``(f, *, **options) -> explain``.

    Returns
    -------
    callable
    """

    @wraps(make)
    def transform(f: Callable[..., Any], *args: P.args, **options: P.kwargs) -> Explanation:
        return Explanation(transform, f, dict(options), make(f, *args, **options))

    return transform
