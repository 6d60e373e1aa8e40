"""Words on the colour of their relevance: texts as HTML, and as plain text for a terminal.

Orange speaks for what was explained, blue against it, and the stronger the colour the greater the relevance: a pair
that people tell apart who do not tell red from green, on light ground and on dark. A colour is linear in the relevance,
from nothing to the largest magnitude of the text, or of all texts. Relevance that is not a number has no colour.
"""

import html
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import PictureError, real
from .pictures import Per
from .spelling import Piece, pieces

__all__ = ["tokens_html", "tokens_text"]

FOR: Final = (213, 94, 0)
AGAINST: Final = (0, 114, 178)
STRONGEST: Final = 0.7
"""Opacity of the strongest colour, on which letters can still be read."""
LEVELS: Final = 9


def tokens_html(
    relevance: Any,
    tokens: Any,
    *,
    mask: Any = None,
    titles: Sequence[str] | None = None,
    vmax: float | None = None,
    per: Per = "sample",
) -> str:
    """Draw texts as HTML, each token on the colour of its relevance.

    The page needs nothing else, is light or dark as its reader wants, and its text can be selected. A pointer on a
    token shows its relevance. Marks of subwords become what they mean: a space, or none.

    Parameters
    ----------
    relevance : array_like
        ``(token,)`` of one text, or ``(sample, token)``, or a list of one array for each text; a further axis, such as
        the features of an embedding, is summed.
    tokens : array_like
        The text of each token, of the same lengths.
    mask : array_like, optional
        What is a token and not padding, which is left out; by default, all are tokens.
    titles : sequence of str, optional
        One for each text.
    vmax : float, optional
        The magnitude with the strongest colour; by default the largest that occurs.
    per : {"sample", "batch"}
        Whether each text has its own largest magnitude, or all share one.

    Returns
    -------
    str
        A document. A notebook shows it by ``IPython.display.HTML``.

    Raises
    ------
    PictureError
        If relevance, tokens, mask and titles do not fit each other.

    Examples
    --------
    >>> page = tokens_html([0.5, -1.0], ["a", "<b>"])
    >>> "&lt;b&gt;" in page, "<b>" in page
    (True, False)
    """
    block = tokens_block(relevance, tokens, mask=mask, titles=titles, vmax=vmax, per=per)
    return (
        f'<!doctype html>\n<meta charset="utf-8">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>Relevance of tokens</title>\n<style>{STYLE}</style>\n{block}\n"
    )


def tokens_block(
    relevance: Any,
    tokens: Any,
    *,
    mask: Any = None,
    titles: Sequence[str] | None = None,
    vmax: float | None = None,
    per: Per = "sample",
) -> str:
    """Draw texts as :func:`tokens_html` does, as a part of a page that has :data:`STYLE`.

    Examples
    --------
    >>> print(tokens_block([0.0], ["a"]))
    <div class="relfunc-tokens">
    <section><p><span title="a: 0">a</span></p></section>
    </div>
    """
    texts = _texts(relevance, tokens, mask, vmax, per)
    if titles is not None and len(titles) != len(texts):
        raise PictureError(f"there are {len(titles)} titles and {len(texts)} texts: give one for each")
    parts = []
    for k, text in enumerate(texts):
        title = "" if titles is None else f"<h2>{html.escape(titles[k])}</h2>"
        parts.append(f"<section>{title}<p>{''.join(map(_span, text)).strip()}</p></section>")
    return f'<div class="relfunc-tokens">\n{chr(10).join(parts)}\n</div>'


def tokens_text(
    relevance: Any,
    tokens: Any,
    *,
    mask: Any = None,
    vmax: float | None = None,
    per: Per = "sample",
    ansi: bool = False,
) -> str:
    """Draw texts as plain text, one a line: behind each token stands how much speaks for or against, from 1 to 9.

    Parameters
    ----------
    relevance, tokens, mask, vmax, per
        As :func:`tokens_html` takes them.
    ansi : bool
        Whether to colour tokens in place of numbers, by the codes that terminals know.

    Returns
    -------
    str

    Raises
    ------
    PictureError
        If relevance, tokens and mask do not fit each other.

    Examples
    --------
    >>> tokens_text([0.1, 0.5, -1.0, 0.0], ["a", "good", "fi", "##lm"])
    'a[+1] good[+4] fi[-9]lm'
    """
    show = _coloured if ansi else _numbered
    texts = _texts(relevance, tokens, mask, vmax, per)
    return "\n".join(
        "".join(" " * piece.spaced + show(piece.text, share) for piece, share, _ in text).strip() for text in texts
    )


class _Token(NamedTuple):
    """A token, its share of the strongest relevance, and its relevance."""

    piece: Piece
    share: float
    relevance: float


def _texts(relevance: Any, tokens: Any, mask: Any, vmax: float | None, per: Per) -> list[list[_Token]]:
    said = [list(text) for text in ([tokens] if _is_one(tokens) else tokens)]
    values = [relevance] if _is_one(tokens) else list(relevance)
    masks = [None] * len(said) if mask is None else [mask] if _is_one(tokens) else list(mask)
    if not len(said) == len(values) == len(masks):
        raise PictureError(f"there are {len(said)} texts, {len(values)} of relevance and {len(masks)} masks")
    if per not in ("sample", "batch"):
        raise PictureError(f"per={per!r} is none of 'sample' and 'batch'")
    if vmax is not None and not (np.isfinite(vmax) and vmax > 0):
        raise PictureError(f"vmax={vmax!r} is no positive number: leave it out for the largest magnitude")
    kept = [_kept(*each) for each in zip(values, said, masks, strict=True)]
    largest = [float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0)) for numbers, _ in kept]
    if per == "batch":
        largest = [max(largest, default=0.0)] * len(largest)
    found = []
    for (numbers, words), own in zip(kept, largest, strict=True):
        shares = np.clip(np.nan_to_num(numbers / (vmax or own or 1.0), nan=0.0, posinf=1.0, neginf=-1.0), -1, 1)
        found.append([_Token(*each) for each in zip(pieces(words), shares.tolist(), numbers.tolist(), strict=True)])
    return found


def _is_one(tokens: Any) -> bool:
    """Whether tokens are those of one text."""
    return len(tokens) == 0 or isinstance(tokens[0], str)


def _kept(relevance: Any, said: list[Any], mask: Any) -> tuple[NDArray[np.float64], list[str]]:
    """Return relevance and text of what is no padding."""
    numbers = real(relevance).astype(float) if len(said) else np.zeros(0)
    numbers = numbers.sum(axis=tuple(range(1, numbers.ndim)))
    inside = np.ones(len(said), bool) if mask is None else np.asarray(mask, bool)
    if not numbers.shape == inside.shape == (len(said),):
        raise PictureError(
            f"a text of {len(said)} tokens has {numbers.size} of relevance and a mask of {inside.size}: give as many"
        )
    return numbers[inside], [str(word) for word, there in zip(said, inside.tolist(), strict=True) if there]


def _span(token: _Token) -> str:
    (spaced, text), share, relevance = token
    kind = "for" if share > 0 else "against"
    strength = f' class="{kind}" style="--share:{100 * STRONGEST * abs(share):.1f}%"' if share else ""
    shown = html.escape(text)
    line = "<br>" if text.endswith("↵") else ""
    return f'{" " * spaced}<span{strength} title="{shown}: {relevance:.4g}">{shown}</span>{line}'


def _numbered(text: str, share: float) -> str:
    level = round(LEVELS * share)
    return f"{text}[{level:+d}]" if level else text


def _coloured(text: str, share: float) -> str:
    if not share:
        return text
    opacity, colour = STRONGEST * abs(share), FOR if share > 0 else AGAINST
    red, green, blue = (round(255 * (1 - opacity) + opacity * part) for part in colour)
    return f"\x1b[38;2;0;0;0;48;2;{red};{green};{blue}m{text}\x1b[0m"


def _rgb(colour: tuple[int, int, int]) -> str:
    return f"rgb({' '.join(map(str, colour))} / var(--share))"


STYLE: Final = f"""
.relfunc-tokens {{ color-scheme: light dark; color: light-dark(#16191d, #eef1f5); background: light-dark(#fff, #16191d);
  font: 16px/1.9 system-ui, sans-serif; padding: 12px 16px; }}
.relfunc-tokens h2 {{ font: 600 12px/1.4 system-ui, sans-serif; margin: 0; opacity: .7; }}
.relfunc-tokens p {{ margin: 0 0 12px; max-width: 75ch; overflow-wrap: anywhere; }}
.relfunc-tokens span {{ border-radius: 3px; padding: 2px 1px; }}
.relfunc-tokens .for {{ background: {_rgb(FOR)}; }}
.relfunc-tokens .against {{ background: {_rgb(AGAINST)}; }}
"""
