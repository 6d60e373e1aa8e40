"""Numbers and pictures that say where they come from: a variable of the evidence's file."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from .markup import Markup, element, joined


class Shown(NamedTuple):
    """Evidence, and the name of its file.

    Parameters
    ----------
    tree : xarray.DataTree
        From :func:`analysis.report.evidence.evidence`.
    file : str
        Its file's name.
    """

    tree: xr.DataTree
    file: str

    def node(self, name: str) -> xr.Dataset:
        """Return a group."""
        return self.tree[name].to_dataset()

    def number(self, path: str, layout: str | Callable[[Any], str] = "{:,}", /, **at: int) -> Markup:
        """Return one number, which a program can look up again.

        Parameters
        ----------
        path : str
            Group and variable, as ``findings/effect``.
        layout : str or callable
            How it is written: a format, or a function to text.
        **at : int
            Positions along its dimensions.

        Examples
        --------
        >>> tree = xr.DataTree.from_dict({"/slices": xr.Dataset({"gap": ("slice", [-0.25, 0.0])})})
        >>> Shown(tree, "report.nc").number("slices/gap", "{:.0%}", slice=0)
        '<data value="-0.25" data-source="report.nc: /slices/gap[slice=0]">−25%</data>'
        """
        value: Any = self.tree[path].isel(at).item()
        places = "".join(f"[{dim}={position}]" for dim, position in at.items())
        said = (layout.format if isinstance(layout, str) else layout)(value)
        text = "–" if isinstance(value, float) and np.isnan(value) else said.replace("-", "−")
        return element("data", text, value=repr(value), data_source=f"{self.file}: /{path}{places}")

    def total(self, path: str) -> Markup:
        """Return the sum of a variable, which of yes and no is how many say yes."""
        group, _, name = path.partition("/")
        value = int(np.sum(self.node(group)[name].values))
        return element("data", f"{value:,}", value=repr(value), data_source=f"{self.file}: /{path}:sum")

    def length(self, path: str) -> Markup:
        """Return how many values a variable has."""
        value = self.tree[path].size
        return element("data", f"{value:,}", value=repr(value), data_source=f"{self.file}: /{path}:size")

    def source(self, *paths: str) -> Markup:
        """Return a footnote that says where a table or figure comes from."""
        said = ", ".join(f"/{path}" for path in paths)
        return element("small", f"{self.file}: {said}", class_="source")

    def figure(self, drawn: Markup, caption: str, *paths: str, class_: str = "") -> Markup:
        """Return a figure with its caption and source."""
        said = element("figcaption", caption, " ", self.source(*paths))
        return element("figure", drawn, said, class_=class_ or None, data_source=f"{self.file}: /{', /'.join(paths)}")

    def table(self, titles: list[str], rows: Sequence[Sequence[str]], *paths: str, left: int = 1) -> Markup:
        """Return a table, the first columns of which are text, with its source."""
        sides = ["text" if k < left else "number" for k in range(len(titles))]
        head = element("tr", *(element("th", one, class_=side) for one, side in zip(titles, sides, strict=True)))
        body = [
            element("tr", *(element("td", one, class_=side) for one, side in zip(row, sides, strict=True)))
            for row in rows
        ]
        made = element("table", element("thead", head), element("tbody", *body))
        return element(
            "div", made, self.source(*paths), class_="table", data_source=f"{self.file}: /{', /'.join(paths)}"
        )


def paragraph(*content: str, **attributes: str) -> Markup:
    """Return a paragraph of text and numbers."""
    return element("p", joined(*content), **attributes)


def plain(value: float) -> str:
    """Write a number of any size without powers of ten, where it has none of many zeros.

    Examples
    --------
    >>> plain(826685.6), plain(0.05279), plain(3e-7)
    ('826,686', '0.05279', '3e-07')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
