"""What the sessions of one server share: the few things used last, so that a visitor costs little memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

Value = TypeVar("Value")
MOST: Final = 12
"""How many values are kept."""

_held: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.RLock()


def recent(key: Hashable, make: Callable[[], Value]) -> Value:
    """Return the value of a key, made now unless it was among the last :data:`MOST` asked for.

    Parameters
    ----------
    key : hashable
        Everything that the value depends on.
    make : callable
        Makes the value, which nobody may change. If it raises, nothing is kept.

    Examples
    --------
    >>> recent("a key", lambda: 1), recent("a key", lambda: 2)
    (1, 1)
    """
    with _lock:
        if key not in _held:
            _held[key] = make()
        _held.move_to_end(key)
        while len(_held) > MOST:
            _held.popitem(last=False)
        return _held[key]
