"""Pictures of relevance: one palette index per pixel, so that the colours can be changed later.

A relevance is a picture (y, x), a picture with channels (channel, y, x), which are summed, or a batch of either, drawn
as a grid. A labelled :class:`xarray.DataArray` says itself which dimension is which, by the names of
:mod:`relfunc.schema`. Everything numpy reads can be drawn, and torch tensors of any float type, on any device, also
those that require a gradient.

Symmetric drawing divides by the largest magnitude m: index = round(127.5 · (r / m + 1)), so −m is 0, zero is 128 (the
middle node ``80`` of the two-sided colour maps) and m is 255. One-sided drawing is index = round(255 · (r − vmin) /
(vmax − vmin)). Halves are rounded to the even index. NaN is drawn as the neutral index, 128 or 0, and infinities as the
ends; neither counts for the bounds. Where all relevances are equal, one-sided drawing gives 0, and symmetric drawing
gives 128 if they are zero.
"""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..files.netcdf import replacing
from .colormap import COLORMAPS, ColormapError, MatplotlibMissingError, palette, register_matplotlib
from .layout import MODES, Channels, Grid, PictureError, arranged, real, tiled

__all__ = [
    "COLORMAPS",
    "ColormapError",
    "MatplotlibMissingError",
    "PictureError",
    "heatmap",
    "indices",
    "overlay",
    "palette",
    "picture",
    "recolor",
    "register_matplotlib",
    "save",
]

MIDDLE: Final = 128
LUMA: Final = np.array([0.299, 0.587, 0.114])

Per = Literal["sample", "batch"]


def indices(
    relevance: ArrayLike,
    *,
    channel: int | None = None,
    symmetric: bool = True,
    vmin: float | None = None,
    vmax: float | None = None,
    per: Per = "sample",
) -> NDArray[np.uint8]:
    """Return the palette index of every relevance.

    Parameters
    ----------
    relevance : array_like
        Real numbers of shape (..., y, x), in any unit.
    channel : int, optional
        The axis to sum over first; without it no axis is summed.
    symmetric : bool
        Whether zero is the middle index and both signs share one scale; else the range runs from ``vmin`` to ``vmax``.
    vmin, vmax : float, optional
        The relevances drawn with the ends of the colour map; what lies beyond is drawn as the ends. Without them, they
        are taken from the data. In symmetric drawing one follows from the other.
    per : {"sample", "batch"}
        Whether each picture (the last two axes) has its own range, or all share one.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (..., y, x), by the formulas of :mod:`relfunc.heatmap`.

    Raises
    ------
    PictureError
        If the array is not of real numbers, is empty, lacks the two axes, or the bounds make no range.

    Examples
    --------
    >>> indices([[-2.0, 0.0, 1.0, 2.0]]).tolist()
    [[0, 128, 191, 255]]
    >>> indices([[0.0, 1.0, 2.0, 4.0]], symmetric=False).tolist()
    [[0, 64, 128, 255]]
    """
    values = real(relevance)
    if channel is not None:
        if not -values.ndim <= channel < values.ndim:
            raise PictureError(f"channel axis {channel} does not exist in shape {values.shape}: give one that does")
        values = _sum(values, channel)
    if values.ndim < 2:
        raise PictureError(f"shape {values.shape} has no rows and columns: give an array (..., y, x)")
    return _index(_scaled(values, (-2, -1), symmetric, vmin, vmax, per), symmetric)


def heatmap(
    relevance: ArrayLike,
    *,
    cmap: str = "bwr",
    level: float = 1.0,
    symmetric: bool = True,
    vmin: float | None = None,
    vmax: float | None = None,
    grid: Grid = None,
    per: Per = "sample",
    channels: Channels | None = None,
    fill: int | None = None,
) -> Image.Image:
    """Draw relevances as a picture with a palette.

    Parameters
    ----------
    relevance : array_like
        (y, x) or (channel, y, x); with ``grid``, (sample, y, x) or (sample, channel, y, x). Channels are summed.
    cmap : str
        A name in :data:`relfunc.heatmap.colormap.COLORMAPS`, or a text in the notation of
        :mod:`relfunc.heatmap.colormap`.
    level : float
        The contrast of the colour map, as :func:`relfunc.heatmap.colormap.palette` describes it.
    symmetric, vmin, vmax, per
        How relevances become indices, as :func:`indices` describes it.
    grid : bool or (rows, columns), optional
        Draw a batch, row by row. True chooses a grid near to a square, no higher than wide (in cells).
    channels : {"first", "last"}, optional
        Where the channel axis stands. Without it, it stands first, and an array whose last axis could be meant
        (its size is 1, 3 or 4) is an error.
    fill : int, optional
        The index of cells without a picture; without it the neutral one, 128 if symmetric, else 0.

    Returns
    -------
    PIL.Image.Image
        Of mode "P": the pixels are the indices, the palette holds the colours. See :func:`recolor` and :func:`save`.

    Raises
    ------
    ColormapError
        If the colour map or the level is wrong.
    PictureError
        If the array does not have one of these shapes, the grid has too few cells, or the bounds make no range.

    Examples
    --------
    >>> image = heatmap(np.array([[[-1.0, 0.0], [0.5, 1.0]], [[0.0, 0.0], [0.5, 1.0]]]), channels="first")
    >>> image.mode, np.asarray(image).tolist()
    ('P', [[64, 128], [191, 255]])
    """
    summed = _summed(relevance, channels, grid)
    drawn = indices(summed, symmetric=symmetric, vmin=vmin, vmax=vmax, per=per)
    cells = tiled(drawn, grid, _neutral(symmetric) if fill is None else fill)
    return _colored(Image.fromarray(cells), cmap, level)


def picture(
    input: ArrayLike,  # noqa: A002 - the schema's name
    *,
    grid: Grid = None,
    per: Per = "sample",
    channels: Channels | None = None,
    fill: int = 0,
) -> Image.Image:
    """Draw images as they are.

    Parameters
    ----------
    input : array_like
        (y, x) or with 1, 3 or 4 channels (grey, RGB, RGBA); with ``grid``, a batch of either. uint8 is drawn as it is;
        other numbers are scaled from their smallest to their largest, over all channels. Where all are equal, and for
        NaN, the picture is black.
    grid, per
        As in :func:`heatmap`.
    channels : {"first", "last"}, optional
        Where the channel axis stands; needed only where both the first and the last axis could be meant.
    fill : int
        The value, 0 to 255, of cells without a picture.

    Returns
    -------
    PIL.Image.Image
        Of mode "L", "RGB" or "RGBA".

    Raises
    ------
    PictureError
        If the array does not have one of these shapes, or the grid has too few cells.

    Examples
    --------
    >>> picture(np.zeros((3, 16, 32), np.uint8))
    <PIL.Image.Image image mode=RGB size=32x16 ...>
    """
    drawn = tiled(_bytes(input, channels, grid, per), grid, fill)
    return Image.fromarray(drawn[..., 0] if drawn.shape[-1] == 1 else drawn)


def overlay(
    relevance: ArrayLike,
    input: ArrayLike,  # noqa: A002 - the schema's name
    *,
    cmap: str = "bwr",
    level: float = 1.0,
    alpha: float = 0.9,
    symmetric: bool = True,
    vmin: float | None = None,
    vmax: float | None = None,
    grid: Grid = None,
    per: Per = "sample",
    channels: Channels | None = None,
    fill: int = 0,
) -> Image.Image:
    """Lay a heatmap over the grey input, the more opaque the greater the relevance.

    Parameters
    ----------
    relevance : array_like
        As in :func:`heatmap`. If its pictures differ from the input's in size, they are resized to it (bilinear).
    input : array_like
        As in :func:`picture`; colours become grey (0.299 R + 0.587 G + 0.114 B), an alpha channel is left out.
    cmap, level, symmetric, vmin, vmax, grid, per, channels
        As in :func:`heatmap`; ``channels`` and ``grid`` speak of both arrays.
    alpha : float
        The opacity, 0 to 1, of the strongest relevance. It falls in proportion to zero relevance (``vmin`` in one-sided
        drawing), where only the input is seen. NaN is not drawn.
    fill : int
        The grey value of cells without a picture.

    Returns
    -------
    PIL.Image.Image
        Of mode "RGB".

    Raises
    ------
    ColormapError
        If the colour map or the level is wrong.
    PictureError
        If an array has a wrong shape, the numbers of samples differ, or ``alpha`` is not in [0, 1].

    Examples
    --------
    >>> image = overlay([[1.0, 0.0]], np.full((1, 2), 50, np.uint8), alpha=1.0)
    >>> np.asarray(image).tolist()
    [[[255, 0, 0], [50, 50, 50]]]
    """
    if not 0 <= alpha <= 1:
        raise PictureError(f"alpha {alpha!r} is no opacity: give a number from 0 to 1")
    below = _bytes(input, channels, grid, per)
    summed = _summed(relevance, channels, grid)
    if len(summed) != len(below):
        raise PictureError(f"{len(summed)} relevances and {len(below)} inputs: give one input for each relevance")
    grey = below[..., :3] @ LUMA if below.shape[-1] >= 3 else below[..., 0].astype(float)
    scaled = _resized(_scaled(summed, (-2, -1), symmetric, vmin, vmax, per), (grey.shape[1], grey.shape[2]))
    opacity = alpha * np.abs(np.nan_to_num(scaled))[..., None]
    mixed = (1 - opacity) * grey[..., None] + opacity * palette(cmap, level)[_index(scaled, symmetric)]
    return Image.fromarray(tiled(np.rint(mixed).astype(np.uint8), grid, fill))


def recolor(image: Image.Image, cmap: str, *, level: float = 1.0) -> Image.Image:
    """Return a heatmap in other colours; its indices stay.

    Parameters
    ----------
    image : PIL.Image.Image
        A picture of mode "P", as :func:`heatmap` draws it and Pillow reads it from a file.
    cmap, level
        As in :func:`relfunc.heatmap.colormap.palette`.

    Returns
    -------
    PIL.Image.Image
        A new picture of mode "P".

    Raises
    ------
    ColormapError
        If the colour map or the level is wrong.
    PictureError
        If the picture has no palette.

    Examples
    --------
    >>> image = recolor(heatmap([[-1.0, 1.0]]), "coolio")
    >>> np.asarray(image.convert("RGB")).tolist()
    [[[0, 208, 208], [208, 0, 208]]]
    """
    if image.mode != "P":
        raise PictureError(f"a picture of mode {image.mode!r} has no palette: give a heatmap that was kept in mode 'P'")
    return _colored(image.copy(), cmap, level)


def save(image: Image.Image, path: str | Path) -> None:
    """Write a picture as PNG, either completely or not at all.

    Parameters
    ----------
    image : PIL.Image.Image
        What to write. The indices of a heatmap are kept.
    path : str or pathlib.Path
        The file's name, which ends in ``.png``; its folder is made, an existing file is replaced in one step.

    Raises
    ------
    PictureError
        If the name does not end in ``.png``.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(heatmap([[-1.0, 1.0]]), f"{folder}/a.png")
    ...     with Image.open(f"{folder}/a.png") as image:
    ...         np.asarray(image).tolist()
    [[0, 255]]
    """
    if Path(path).suffix.lower() != ".png":
        raise PictureError(f"{path} does not end in '.png': pictures are written as PNG, which keeps every index")
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _scaled(
    values: NDArray[Any],
    axes: tuple[int, ...],
    symmetric: bool,
    vmin: float | None,
    vmax: float | None,
    per: Per,
) -> NDArray[np.float64]:
    """Scale to [−1, 1] if symmetric, else to [0, 1]; NaN stays."""
    if per not in ("sample", "batch"):
        raise PictureError(f"per={per!r} is no range: take 'sample' or 'batch'")
    _check_bounds(symmetric, vmin, vmax)
    # Halves, so that no difference of two finite numbers overflows.
    halves = values.astype(float) / 2
    over: dict[str, Any] = {"axis": axes if per == "sample" else None, "keepdims": True, "where": np.isfinite(halves)}
    with np.errstate(over="ignore"):
        if symmetric:
            given = vmax if vmin is None else -vmin
            bound = np.max(np.abs(halves), initial=0, **over) if given is None else np.float64(given / 2)
            return np.clip(halves / np.where(bound > 0, bound, 1), -1, 1)
        high = np.max(halves, initial=-np.inf if vmin is None else vmin / 2, **over) if vmax is None else vmax / 2
        low = np.min(halves, initial=np.inf if vmax is None else vmax / 2, **over) if vmin is None else vmin / 2
        # Without any finite relevance there is no bound; zero then tells the infinities apart.
        low, high = (np.where(np.isfinite(bound), bound, 0) for bound in (low, high))
        span = high - low
        share = np.clip((halves - low) / np.where(span > 0, span, 1), 0, 1)
        step = np.where(np.isnan(halves), np.nan, halves > low)
        return np.where(span > 0, share, step)


def _check_bounds(symmetric: bool, vmin: float | None, vmax: float | None) -> None:
    given = [bound for bound in (vmin, vmax) if bound is not None]
    if not np.isfinite(given).all():
        raise PictureError(
            f"bounds vmin={vmin!r}, vmax={vmax!r} are not finite: give numbers, or None to take the data's"
        )
    if vmin is not None and vmax is not None and not vmin < vmax:
        raise PictureError(f"vmin={vmin!r} is not below vmax={vmax!r}: exchange them, or leave one out")
    if symmetric and vmin is not None and vmax is not None and vmin != -vmax:
        raise PictureError(f"vmin={vmin!r}, vmax={vmax!r} are not symmetric: give one of them, or symmetric=False")
    if symmetric and ((vmin is not None and vmin >= 0) or (vmax is not None and vmax <= 0)):
        raise PictureError(f"vmin={vmin!r}, vmax={vmax!r} leave no room about zero: give vmax > 0, or symmetric=False")


def _neutral(symmetric: bool) -> int:
    return MIDDLE if symmetric else 0


def _index(scaled: NDArray[np.float64], symmetric: bool) -> NDArray[np.uint8]:
    index = (scaled + 1) * 127.5 if symmetric else scaled * 255
    return np.where(np.isnan(index), _neutral(symmetric), np.rint(index)).astype(np.uint8)


def _summed(relevance: Any, channels: Channels | None, grid: Grid) -> NDArray[np.float64]:
    """Relevance as (sample, y, x)."""
    return _sum(arranged(relevance, channels, grid, image=False), 1)


def _sum(values: NDArray[Any], axis: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.sum(axis, dtype=float)


def _bytes(values: Any, channels: Channels | None, grid: Grid, per: Per) -> NDArray[np.uint8]:
    """Images as (sample, y, x, channel)."""
    images = np.moveaxis(arranged(values, channels, grid, image=True), 1, -1)
    if images.shape[-1] not in MODES:
        raise PictureError(
            f"an image of {images.shape[-1]} channels cannot be drawn: give 1 (grey), 3 (RGB) or 4 (RGBA)"
        )
    if images.dtype == np.uint8:
        return images
    return _index(_scaled(images, (-3, -2, -1), False, None, None, per), False)


def _resized(pictures: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    if pictures.shape[1:] == shape:
        return pictures
    resized = [
        Image.fromarray(one.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        for one in pictures
    ]
    return np.stack([np.asarray(one, float) for one in resized])


def _colored(image: Image.Image, cmap: str, level: float) -> Image.Image:
    image.putpalette(palette(cmap, level).tobytes())
    return image
