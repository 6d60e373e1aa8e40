"""The choices of how samples are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..draw import heat
from ..draw.samples import KINDS, data_uri
from ..state.view import SAMPLINGS, SCALES, View
from ..widgets import Part, bind, card, compact, markup, some_of


def display(view: View) -> Part:
    """Make the choices of how samples are drawn."""
    kinds = some_of({kind.capitalize(): kind for kind in KINDS}, value=list(view.kinds))
    cmap = compact("Colour map", None, view.cmap, width=136, groups=labelled(heat.names()))
    scale = compact("Strongest colour", {called: name for name, called in SCALES.items()}, view.scale, width=146)
    sampling = compact("Small pictures", {called: name for name, called in SAMPLINGS.items()}, view.sampling, width=104)
    strip = markup(align="center")

    def coloured(*_: Any) -> None:
        source = data_uri(heat.strip(view.cmap), 256)
        strip.object = f"<img class='strip' alt='colours of {view.cmap}, from negative to positive' src='{source}'>"

    for widget, name in ((kinds, "kinds"), (cmap, "cmap"), (scale, "scale"), (sampling, "sampling")):
        bind(widget, view, name)
    view.param.watch(coloured, "cmap")
    coloured()
    return card(
        kinds, cmap, strip, scale, sampling, kind="options", row=True, visible=False, sizing_mode="stretch_width"
    )


def labelled(names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return names by group and label; of one that several groups have, the label says which it is.

    Examples
    --------
    >>> labelled({"a": ["jet"], "b": ["b:jet", "b:hot"]})
    {'a': {'jet': 'jet'}, 'b': {'jet (b)': 'b:jet', 'hot': 'b:hot'}}
    """
    taken: set[str] = set()
    groups = {}
    for source, group in names.items():
        short = [name.rpartition(":")[2] for name in group]
        # The browser tells options apart by their label.
        groups[source] = {
            f"{label} ({source})" if label in taken else label: name for label, name in zip(short, group, strict=True)
        }
        taken |= set(short)
    return groups
