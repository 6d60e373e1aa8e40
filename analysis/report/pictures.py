"""Pictures of a report: heatmaps, regions and examples as embedded images, series as vectors, texts as words."""

import base64
import io
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from relfunc import heatmap
from relfunc.heatmap.words import tokens_block
from relfunc.schema import ATTRIBUTION, CHANNEL, INPUT, SAMPLE, TOKEN, TOKEN_MASK, TOKEN_TEXT, X, Y

from .markup import Markup, element, joined

SIDE: Final = 192
"""Pixels of a picture's longer side, and less for examples."""
SMALL: Final = 96
OUTLINE: Final = (255, 179, 0)
HEAVY: Final = 12_000
"""Bytes from which a picture is stored with losses."""
WIDE, HIGH = 640, 120


def is_image(data: xr.Dataset, name: str) -> bool:
    """Whether a variable holds pictures: rows and columns, and perhaps channels."""
    return name in data and {Y, X} <= set(data[name].dims) and data[name].dtype.kind in "fiub"


def is_series(values: xr.DataArray) -> bool:
    """Whether values lie along one dimension, as signals, features and tokens do."""
    return TOKEN in values.dims or len([dim for dim in values.dims if dim not in (SAMPLE, CHANNEL)]) == 1


def plane(values: xr.DataArray) -> NDArray[np.float64]:
    """Return values as (y, x): summed over whatever else they have.

    Examples
    --------
    >>> plane(xr.DataArray(np.ones((3, 2, 4)), dims=("channel", "y", "x")))[0]
    array([3., 3., 3., 3.])
    """
    kept = [Y, X] if {Y, X} <= set(values.dims) else list(values.dims)[-2:]
    others = [dim for dim in values.dims if dim not in kept]
    return values.astype(float).sum(others).transpose(*kept).values


def line(values: xr.DataArray) -> NDArray[np.float64]:
    """Return values along one dimension: that of tokens, or the last, summed over whatever else they have."""
    kept = TOKEN if TOKEN in values.dims else values.dims[-1]
    return values.astype(float).sum([dim for dim in values.dims if dim != kept]).values


def photograph(values: xr.DataArray, *, side: int = SIDE) -> Image.Image:
    """Draw an input; of other than 1, 3 or 4 channels, their mean."""
    others = [dim for dim in values.dims if dim not in (CHANNEL, Y, X)]
    flat = values.mean(others) if others else values
    if CHANNEL in flat.dims and flat.sizes[CHANNEL] not in (1, 3, 4):
        flat = flat.astype(float).mean(CHANNEL)
    if flat.dtype != np.uint8 and 1 < float(flat.max()) <= 255 and float(flat.min()) >= 0:
        flat = flat.round().astype(np.uint8)  # the mean of bytes is drawn as bytes are
    return sized(heatmap.picture(flat).convert("RGB"), side)


def relevance(values: NDArray[np.float64], most: float, *, signed: bool, side: int = SIDE) -> Image.Image:
    """Draw a heatmap up to the given magnitude: from white to red, or from blue to red."""
    cmap, low = ("bwr", None) if signed else ("wred", 0.0)
    drawn = heatmap.heatmap(values, cmap=cmap, symmetric=signed, vmin=low, vmax=most or 1.0)
    return sized(drawn.convert("RGB"), side)


def sized(image: Image.Image, side: int) -> Image.Image:
    """Scale a picture so that its longer side is about as long: up by whole pixels, down smoothly."""
    longest = max(image.size)
    if longest <= side:
        times = max(1, side // longest)
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    shape = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    return image.resize(shape, Image.Resampling.LANCZOS)


def outlined(image: Image.Image, mask: NDArray[np.bool]) -> Image.Image:
    """Draw the edge of a region on a picture, in a colour on black that is seen on any ground."""
    from scipy import ndimage  # slow to load

    whole = Image.fromarray(mask.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    inside = np.asarray(whole) > 127
    edge = inside & ~np.asarray(ndimage.binary_erosion(inside, iterations=2, border_value=0), bool)
    around = np.asarray(ndimage.binary_dilation(edge), bool) & ~edge
    pixels = np.array(image.convert("RGB"))
    pixels[around], pixels[edge] = 0, OUTLINE
    return Image.fromarray(pixels)


def embedded(image: Image.Image, alt: str) -> Markup:
    """Return a picture as an element that holds it."""
    stream, kind = io.BytesIO(), "png"
    image.save(stream, "PNG", optimize=True)
    if stream.tell() > HEAVY:
        stream, kind = io.BytesIO(), "webp"
        image.save(stream, "WEBP", quality=85)
    coded = base64.b64encode(stream.getvalue()).decode()
    size = {"width": str(image.width), "height": str(image.height)}
    return element("img", src=f"data:image/{kind};base64,{coded}", alt=alt, **size)


def curves(
    values: dict[str, NDArray[np.float64]], mask: NDArray[np.bool] | None = None, *, alt: str, high: int = HIGH
) -> Markup:
    """Draw one or several series on one scale, the first in front, on a band where the region is.

    Few values are bars side by side, many are lines.
    """
    count = max(len(one) for one in values.values())
    every = np.nan_to_num(np.concatenate(list(values.values())))
    low, top = min(0.0, every.min()), max(0.0, every.max())
    span = (top - low) or 1.0
    step = WIDE / count
    parts = []
    for start, end in _runs(mask) if mask is not None else ():
        place = {"x": f"{start * step:.1f}", "width": f"{(end - start) * step:.1f}", "height": str(high)}
        parts.append(element("rect", class_="region", y="0", **place))
    zero = high * top / span
    parts.append(element("line", class_="zero", x1="0", x2=str(WIDE), y1=f"{zero:.1f}", y2=f"{zero:.1f}"))
    for k, one in reversed([*enumerate(values.values())]):
        height = high * np.nan_to_num(one) / span
        if count <= 64:
            wide = 0.8 * step / len(values)
            for at, up in enumerate(height):
                place = {"x": f"{at * step + 0.1 * step + k * wide:.1f}", "y": f"{zero - max(up, 0):.1f}"}
                parts.append(
                    element("rect", class_=f"series-{k}", width=f"{wide:.1f}", height=f"{abs(up):.1f}", **place)
                )
        else:
            points = " ".join(f"{(at + 0.5) * step:.1f},{zero - up:.1f}" for at, up in enumerate(height))
            parts.append(element("polyline", class_=f"line series-{k}", points=points))
    frame = {"viewBox": f"0 0 {WIDE} {high}", "role": "img", "aria_label": alt, "preserveAspectRatio": "none"}
    return element("svg", *parts, class_="curves", **frame)


def _runs(mask: NDArray[np.bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def examples(data: xr.Dataset, position: NDArray[np.integer]) -> Markup:
    """Draw samples as they are: input above overlay, series, or words on the colour of their relevance."""
    part = data.isel({SAMPLE: position}).load()
    names = [str(name) for name in part[SAMPLE].values] if SAMPLE in part.coords else [str(at) for at in position]
    if TOKEN in part[ATTRIBUTION].dims and TOKEN_TEXT in part:
        return _texts(part, names)
    one = [part.isel({SAMPLE: k}) for k in range(len(position))]
    drawn = [_example(each, name) for each, name in zip(one, names, strict=True)]
    tiles = [
        element("div", each, element("span", name, class_="name"), class_="tile")
        for each, name in zip(drawn, names, strict=True)
    ]
    wide = " wide" if is_series(part[ATTRIBUTION]) else ""
    return element("div", *tiles, class_=f"tiles{wide}")


def _example(sample: xr.Dataset, name: str) -> Markup:
    heat = sample[ATTRIBUTION]
    if is_series(heat):
        return curves({"relevance": line(heat)}, alt=f"relevance of sample {name}", high=60)
    values = plane(heat)
    if not is_image(sample, INPUT):
        return embedded(relevance(values, _largest(values), signed=True, side=SMALL), f"relevance of sample {name}")
    drawn = photograph(sample[INPUT], side=SMALL)
    grey = heatmap.overlay(values, np.asarray(_ground(sample[INPUT])), vmax=_largest(values) or 1.0, channels="last")
    return joined(
        embedded(drawn, f"input of sample {name}"),
        embedded(sized(grey, SMALL), f"relevance over the input of sample {name}"),
    )


def _ground(values: xr.DataArray) -> Image.Image:
    """Return an input at its own size, grey."""
    return photograph(values, side=max(values.sizes[Y], values.sizes[X])).convert("L")


def _texts(part: xr.Dataset, names: list[str]) -> Markup:
    heat = part[ATTRIBUTION]
    mask = part[TOKEN_MASK].values if TOKEN_MASK in part else None
    block = tokens_block(heat.values, part[TOKEN_TEXT].values.astype(str), mask=mask, titles=names)
    return Markup(block)


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(np.nan_to_num(values)).max(initial=0))
