"""What the sessions of one server share: the few things used last, so that a visitor costs little memory."""

import threading
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from cachetools import LRUCache

Value = TypeVar("Value")
MOST: Final = 12
"""How many values are kept."""
LARGEST: Final = 32 << 20
"""How many characters of drawings are kept."""

HEAVIEST: Final = 512 << 20
"""How many bytes of values that say how many they have are kept, besides the last one."""


def _weight(value: Any) -> int:
    return min(getattr(value, "nbytes", 0), HEAVIEST)


def _letters(pictures: dict[str, str]) -> int:
    return min(sum(map(len, pictures.values())), LARGEST)


_recent: LRUCache[Hashable, Any] = LRUCache(HEAVIEST, _weight)
_drawn: LRUCache[Hashable, dict[str, str]] = LRUCache(LARGEST, _letters)
_of: WeakKeyDictionary[Any, dict[Hashable, Any]] = WeakKeyDictionary()
_lock = threading.RLock()
_making: dict[Hashable, threading.RLock] = {}


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
    value = _once(_recent, key, ("recent", key), make)
    with _lock:
        while len(_recent) > MOST:
            _recent.popitem()
    return value


def of(owner: Any, key: Hashable, make: Callable[[], Value]) -> Value:
    """Return what belongs to something, made the first time and kept as long as that lives.

    Parameters
    ----------
    owner : object
        Compared by identity. It must not be reachable from the value.
    key : hashable
        Everything else that the value depends on.
    make : callable
        Makes the value, which nobody may change. If it raises, nothing is kept.
    """
    with _lock:
        own = _of.setdefault(owner, {})
    return _once(own, key, (id(owner), key), make)


def _once(kept: MutableMapping[Hashable, Value], key: Hashable, name: Hashable, make: Callable[[], Value]) -> Value:
    """Make a value in one thread, which the others that want the same one wait for, and nobody else."""
    with _lock:
        if key in kept:
            return kept[key]
        gate = _making.setdefault(name, threading.RLock())
    with gate:
        with _lock:
            if key in kept:
                return kept[key]
        try:
            value = make()
            with _lock:
                kept[key] = value
            return value
        finally:
            with _lock:
                _making.pop(name, None)


def drawn(keys: Sequence[Hashable], make: Callable[[list[int]], list[dict[str, str]]]) -> list[dict[str, str]]:
    """Return the drawings of each key; those that were not drawn lately are made now, together.

    Parameters
    ----------
    keys : sequence of hashable
        Everything that each drawing depends on.
    make : callable
        Takes the positions in ``keys`` to draw, and returns their drawings.

    Examples
    --------
    >>> drawn(["one", "two"], lambda at: [{"input": str(k)} for k in at])
    [{'input': '0'}, {'input': '1'}]
    >>> drawn(["two", "three"], lambda at: [{"input": "new"} for k in at])
    [{'input': '1'}, {'input': 'new'}]
    """
    with _lock:
        found = {key: _drawn[key] for key in keys if key in _drawn}
    missing = [k for k, key in enumerate(keys) if key not in found]
    made = dict(zip((keys[k] for k in missing), make(missing) if missing else [], strict=True))
    with _lock:
        for key in keys:
            _drawn[key] = made.get(key) or found[key]
    return [made.get(key) or found[key] for key in keys]
