"""Spelling: the pieces of a tokenizer as a person reads them, with a space where a word begins."""

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple


class Piece(NamedTuple):
    """A token as it is shown: whether a space stands before it, and its letters."""

    spaced: bool
    text: str


def pieces(tokens: Sequence[str]) -> list[Piece]:
    r"""Return the tokens of one text as they are read.

    Of the three usual ways to mark where words begin, ``##`` goes on with a word, ``▁`` and ``Ġ`` begin one, and ``Ġ``
    tells that bytes stand for letters. Without any, every token is a word. What cannot be seen is written out.

    Parameters
    ----------
    tokens : sequence of str
        In their order.

    Returns
    -------
    list of Piece

    Examples
    --------
    >>> "".join(" " * spaced + text for spaced, text in pieces(["the", "na", "##ive", "film"]))
    ' the naive film'
    >>> "".join(" " * spaced + text for spaced, text in pieces(["A", "Ġna", "ÃŃ", "ve", "Ċ"]))
    'A naíve↵'
    >>> pieces(["▁a", "\x1b[2J"])
    [Piece(spaced=True, text='a'), Piece(spaced=False, text='\\x1b[2J')]
    """
    if any(token.startswith(BYTES) for token in tokens):
        return [_after_space(_of_bytes(token)) for token in tokens]
    if any(token.startswith(WORD) for token in tokens):
        return [_after_space(token.replace(WORD, " ")) for token in tokens]
    return [
        Piece(not inside, _seen(token.removeprefix(INSIDE) if inside else token))
        for token in tokens
        for inside in [token.startswith(INSIDE) and token != INSIDE]
    ]


WORD: Final = "▁"
INSIDE: Final = "##"
BYTES: Final = ("Ġ", "Ċ")
SEEN: Final = {"\n": "↵", "\t": "⇥", "\r": "␍"}


def _after_space(text: str) -> Piece:
    spaced = text.startswith(" ") and not text.isspace()
    return Piece(spaced, _seen(text[1:] if spaced else text))


def _seen(text: str) -> str:
    """Write out what cannot be seen, or would change how the rest is shown."""
    if text.isspace() or not text:
        return "".join(SEEN.get(char, "␣") for char in text) or "∅"
    return "".join(
        SEEN.get(char, char if char.isprintable() else char.encode("unicode_escape").decode()) for char in text
    )


def _of_bytes(token: str) -> str:
    """Return the text of a token whose letters stand for bytes; as it is if they do not, or are half a letter."""
    known = _bytes()
    if any(char not in known for char in token):
        return token
    try:
        return bytes(known[char] for char in token).decode()
    except UnicodeDecodeError:
        return token


@cache
def _bytes() -> dict[str, int]:
    """Return the byte that each letter stands for in vocabularies of bytes: those that cannot be seen are from Ā on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {**{chr(byte): byte for byte in seen}, **{chr(256 + k): byte for k, byte in enumerate(hidden)}}
