"""Arrays as batches of pictures, and batches as one large picture."""

import math
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import RelfuncError
from ..schema import CHANNEL, SAMPLE, X, Y

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}

Channels = Literal["first", "last"]
Grid = bool | tuple[int, int] | None


class PictureError(RelfuncError, ValueError):
    """An array, a layout or a picture cannot be drawn as asked."""


def real(values: Any) -> NDArray[Any]:
    """Read real numbers; numpy itself reads neither a tensor that requires a gradient nor bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise PictureError(f"values of type {array.dtype} cannot be drawn: give real numbers")
    if not array.size:
        raise PictureError(f"an array of shape {array.shape} is empty: give at least one picture with one pixel")
    return array


def arranged(values: Any, channels: Channels | None, grid: Grid, *, image: bool) -> NDArray[Any]:
    """Arrange as (sample, channel, y, x)."""
    if isinstance(values, xr.DataArray) and {Y, X} <= set(values.dims):
        return _labelled(values, grid)
    array = real(values)
    samples = 1 if grid else 0
    if array.ndim == 2 + samples:
        return array[:, None] if samples else array[None, None]
    if array.ndim != 3 + samples:
        expected = "(sample, y, x) or (sample, channel, y, x) for a grid" if samples else "(y, x) or (channel, y, x)"
        hint = "; pass grid=True to draw a batch" if array.ndim == 4 else ""
        raise PictureError(f"shape {array.shape} is not {expected}{hint}")
    array = array if samples else array[None]
    where = channels or _channels(array.shape, image)
    if where not in ("first", "last"):
        raise PictureError(f"channels={where!r} is no layout: take 'first' or 'last'")
    return array if where == "first" else np.moveaxis(array, -1, 1)


def _channels(shape: tuple[int, ...], image: bool) -> Channels:
    first, last = shape[1] in MODES, shape[-1] in MODES
    if not last:
        return "first"
    if image and not first:
        return "last"
    raise PictureError(
        f"shape {shape[1:]} could have its channels first or last: pass channels='first' or channels='last'"
    )


def _labelled(values: xr.DataArray, grid: Grid) -> NDArray[Any]:
    wrong = set(values.dims) - {SAMPLE, CHANNEL, Y, X}
    if wrong:
        raise PictureError(
            f"dimensions {sorted(map(str, wrong))} cannot be drawn: select one entry of each, or sum over them"
        )
    if SAMPLE in values.dims and not grid:
        raise PictureError(f"{values.sizes[SAMPLE]} samples are no single picture: select one, or pass grid=True")
    missing = [name for name in (SAMPLE, CHANNEL) if name not in values.dims]
    return real(values.expand_dims(missing).transpose(SAMPLE, CHANNEL, Y, X))


def tiled(pictures: NDArray[np.uint8], grid: Grid, fill: int) -> NDArray[np.uint8]:
    """Join (sample, y, x, ...) row by row into (rows · y, columns · x, ...)."""
    if not 0 <= fill <= 255:
        raise PictureError(f"fill {fill!r} is no value of a pixel: give one from 0 to 255")
    count, y, x, *rest = pictures.shape
    rows, columns = _shape(count, grid)
    cells = np.full((rows * columns, y, x, *rest), fill, np.uint8)
    cells[:count] = pictures
    return cells.reshape(rows, columns, y, x, *rest).swapaxes(1, 2).reshape(rows * y, columns * x, *rest)


def _shape(count: int, grid: Grid) -> tuple[int, int]:
    if grid is None or isinstance(grid, bool):
        columns = math.isqrt(count - 1) + 1
        return -(-count // columns), columns
    if (
        not isinstance(grid, tuple)
        or len(grid) != 2
        or not all(isinstance(n, int | np.integer) and n > 0 for n in grid)
    ):
        raise PictureError(f"grid {grid!r} is not (rows, columns): give two positive integers, or True")
    if grid[0] * grid[1] < count:
        raise PictureError(
            f"a grid of {grid[0]} × {grid[1]} cells cannot hold {count} pictures: make it larger, or pass True"
        )
    return grid
