"""What the sessions of one server share: the few things used last, so that a visitor costs little memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

Value = TypeVar("Value")
MOST: Final = 12
"""How many values are kept."""
LARGEST: Final = 32 << 20
"""How many characters of drawings are kept."""

HEAVIEST: Final = 512 << 20
"""How many bytes of values that say how many they have are kept, besides the last one."""


_held: OrderedDict[Hashable, Any] = OrderedDict()
_drawn: OrderedDict[Hashable, dict[str, str]] = OrderedDict()
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
    value = _once(_held, key, ("recent", key), make)
    with _lock:
        if key in _held:
            _held.move_to_end(key)
        heavy = sum(getattr(each, "nbytes", 0) for each in _held.values())
        while len(_held) > MOST or (heavy > HEAVIEST and len(_held) > 1):
            heavy -= getattr(_held.popitem(last=False)[1], "nbytes", 0)
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
        held = _of.setdefault(owner, {})
    return _once(held, key, (id(owner), key), make)


def _once(held: MutableMapping[Hashable, Value], key: Hashable, name: Hashable, make: Callable[[], Value]) -> Value:
    """Make a value in one thread, which the others that want the same one wait for, and nobody else."""
    with _lock:
        if key in held:
            return held[key]
        gate = _making.setdefault(name, threading.RLock())
    with gate:
        with _lock:
            if key in held:
                return held[key]
        try:
            value = make()
            with _lock:
                held[key] = value
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
            _drawn.move_to_end(key)
        held = sum(_size(pictures) for pictures in _drawn.values())
        while held > LARGEST:
            held -= _size(_drawn.popitem(last=False)[1])
    return [made.get(key) or found[key] for key in keys]


def _size(pictures: dict[str, str]) -> int:
    return sum(map(len, pictures.values()))
