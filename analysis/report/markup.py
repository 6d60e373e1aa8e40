"""HTML made of functions: what is text is escaped, what is markup is not."""

import html
from typing import Final


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    tag : str
        Its name.
    *content : str
        What it holds; escaped, unless it is :class:`Markup`.
    **attributes : str or None
        Names are written with ``-`` for ``_``, without a last one. None leaves an attribute out.

    Examples
    --------
    >>> element("p", "a < b ", element("b", "c"), class_="told", title='"')
    '<p class="told" title="&quot;">a &lt; b <b>c</b></p>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{joined(*content)}</{tag}>")


def joined(*content: str, by: str = "") -> Markup:
    """Return text and markup in a row, as markup.

    Examples
    --------
    >>> joined("<", Markup("<br>"), by=" ")
    '&lt; <br>'
    """
    return Markup(_escaped(by).join(map(_escaped, content)))


def _escaped(text: str) -> str:
    return text if isinstance(text, Markup) else html.escape(text)


_VOID: Final = {"img", "meta", "br"}
