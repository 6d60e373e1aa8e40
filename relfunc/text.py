"""Text: names as bytes of UTF-8, as netCDF keeps them, and as names of groups, which may not be any text."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np


def characters(names: Sequence[str]) -> np.ndarray:
    r"""Return names as single bytes of UTF-8, ``(name, length)``, whatever letters they have.

    netCDF4's own functions for that take some releases to know that there are others than those of ASCII.

    Examples
    --------
    >>> characters(["ä", "b"]).tolist()
    [[b'\xc3', b'\xa4'], [b'b', b'']]
    """
    encoded = [held_text(name).encode() for name in names]
    width = max(1, *map(len, encoded)) if encoded else 1
    return np.array(encoded, f"S{width}").reshape(-1, 1).view("S1")


def held_text(text: str) -> str:
    r"""Return text as netCDF keeps it: zeros, which end text there, and halves of pairs stand as Python writes them.

    Examples
    --------
    >>> held_text("ä b"), held_text("a\0b"), held_text("\ud800")
    ('ä b', 'a\\x00b', '\\ud800')
    """
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def group_names(names: Iterable[str]) -> list[str]:
    """Return a name of a group for each name, by which every library finds it, and no two of which are the same.

    Most names stay as they are. netCDF and HDF5 would refuse some, take ``/`` for a path, or compose letters and
    accents, so that two names become one: such characters are written as in a URL. A name that is too long is cut, and
    one that was there before gets a number.

    Parameters
    ----------
    names : iterable of str
        Any text.

    Returns
    -------
    list of str

    Examples
    --------
    >>> group_names(["cat", "a/b", "", "..", "cat", "100 %"])
    ['cat', 'a%2Fb', '_', '_%2E.', 'cat%%2', '100 %25']
    """
    found: list[str] = []
    taken: dict[str, int] = {}
    for name in names:
        key = _escaped(name)
        taken[key] = taken.get(key, 0) + 1
        found.append(key if taken[key] == 1 else f"{key}%%{taken[key]}")
    return found


def distinct(names: Iterable[str]) -> list[str]:
    """Tell names that occur more than once apart, by a number behind each but the first.

    Examples
    --------
    >>> distinct(["crane", "crane", "crane (2)"])
    ['crane', 'crane (3)', 'crane (2)']
    """
    given = list(names)
    taken, found = set(given), []
    seen: set[str] = set()
    for name in given:
        shown = name
        number = 1
        while shown in (seen if number == 1 else taken):
            number += 1
            shown = f"{name} ({number})"
        seen.add(shown)
        taken.add(shown)
        found.append(shown)
    return found


def _escaped(name: str) -> str:
    composed = unicodedata.is_normalized("NFC", name)  # netCDF composes names, so that another form would be lost
    last = len(name) - 1
    key = "".join(
        char if _is_plain(char, composed=composed, first=k == 0, last=k == last) else _percent(char)
        for k, char in enumerate(name)
    )
    if len(key.encode()) > _LONGEST:
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=12).hexdigest()
        key = f"{key.encode()[: _LONGEST // 2].decode(errors='ignore')}%%{digest}"
    return key if key and not key.startswith("%") else f"_{key}"


def _is_plain(char: str, *, composed: bool, first: bool, last: bool) -> bool:
    """Whether a character stands in a group's name as it is: netCDF takes few as the first, no space as the last."""
    if char.isascii():
        return (
            char.isalnum() or char == "_" or (not first and char.isprintable() and char not in ("%", "/", " " * last))
        )
    return composed and unicodedata.category(char)[0] in "LN"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode(errors="surrogatepass"))


_LONGEST = 200
"""Bytes of a group's name; netCDF takes 256."""
