"""Preprocessing of attributions: from relevance per input value to the feature vector that is compared."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from relfunc.schema import ATTRIBUTION, CHANNEL, FEATURE, SAMPLE, X, Y

from ..errors import DataError
from ..roles import FEATURES, SHAPE, choice, makes, per_sample, transient, variable

NORMS = ("sum", "max", "euclidean")


@makes(ATTRIBUTION)
@per_sample
def sum_channels(data: xr.Dataset, *, dim: str = CHANNEL) -> xr.Dataset:
    """Sum the attribution over channels; where it has none, it stays as it is.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    dim : str
        The dimension to sum over.

    Returns
    -------
    xarray.Dataset
        ``attribution`` without ``dim``.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "channel", "x"), np.ones((2, 3, 4)))})
    >>> sum_channels(data)["attribution"].values[0]
    array([3., 3., 3., 3.])
    """
    attribution = variable(data, ATTRIBUTION, "sum_channels")
    return _only(attribution.sum(dim) if dim in attribution.dims else attribution)


@makes(ATTRIBUTION)
@per_sample
def select_channel(data: xr.Dataset, *, channel: int | str, dim: str = CHANNEL) -> xr.Dataset:
    """Keep one channel.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    channel : int or str
        Its position, or its name in the coordinate.
    dim : str
        The dimension of channels.

    Returns
    -------
    xarray.Dataset
        ``attribution`` without ``dim``.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "channel"), [[1.0, 2.0]])})
    >>> select_channel(data, channel=1)["attribution"].values
    array([2.])
    """
    attribution = variable(data, ATTRIBUTION, "select_channel")
    try:
        chosen = attribution.isel({dim: channel}) if isinstance(channel, int) else attribution.sel({dim: channel})
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"select_channel: {dim}={channel!r} is not in {dict(attribution.sizes)}: {error}") from error
    return _only(chosen)


@makes(ATTRIBUTION)
@per_sample
def absolute(data: xr.Dataset) -> xr.Dataset:
    """Take the absolute value: where relevance is, whatever its sign.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.

    Returns
    -------
    xarray.Dataset
        ``attribution``, not negative.

    Examples
    --------
    >>> absolute(xr.Dataset({"attribution": ("sample", [-1.0, 2.0])}))["attribution"].values
    array([1., 2.])
    """
    return _only(abs(variable(data, ATTRIBUTION, "absolute")))


@makes(ATTRIBUTION)
@per_sample
def positive(data: xr.Dataset) -> xr.Dataset:
    """Keep the positive part: what speaks for the class.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.

    Returns
    -------
    xarray.Dataset
        ``attribution``, negative values replaced by 0.

    Examples
    --------
    >>> positive(xr.Dataset({"attribution": ("sample", [-1.0, 2.0])}))["attribution"].values
    array([0., 2.])
    """
    return _only(variable(data, ATTRIBUTION, "positive").clip(min=0))


@makes(ATTRIBUTION)
@per_sample
def normalize(data: xr.Dataset, *, by: str = "sum") -> xr.Dataset:
    """Divide each sample's attribution by its magnitude, so that confident samples weigh no more than others.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    by : {"sum", "max", "euclidean"}
        The sum of absolute values, the largest of them, or the Euclidean norm. The plain sum is not offered:
        relevance of both signs can cancel, and the quotient then explodes.

    Returns
    -------
    xarray.Dataset
        ``attribution``; a sample without any relevance stays 0.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "x"), [[1.0, -3.0], [0.0, 0.0]])})
    >>> normalize(data)["attribution"].values
    array([[ 0.25, -0.75],
           [ 0.  ,  0.  ]])
    """
    attribution = variable(data, ATTRIBUTION, "normalize")
    rest = [dim for dim in attribution.dims if dim != SAMPLE]
    match choice(by, NORMS, "by", "normalize"):
        case "sum":
            magnitude = abs(attribution).sum(rest)
        case "max":
            magnitude = abs(attribution).max(rest)
        case _:
            magnitude = np.sqrt((attribution**2).sum(rest))
    return _only(attribution / xr.where(magnitude > 0, magnitude, 1))


@makes(ATTRIBUTION)
@per_sample
def square_root(data: xr.Dataset) -> xr.Dataset:
    """Take the square root, keeping the sign, so that little relevance spread widely counts beside much in one place.

    Between samples whose absolute values sum to 1, the Euclidean distance of the square roots is √2 times the
    Hellinger distance of their distributions of relevance.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.

    Returns
    -------
    xarray.Dataset
        ``attribution``.

    Examples
    --------
    >>> square_root(xr.Dataset({"attribution": ("sample", [-4.0, 0.25])}))["attribution"].values
    array([-2. ,  0.5])
    """
    attribution = variable(data, ATTRIBUTION, "square_root")
    root = abs(attribution) ** 0.5
    return _only(xr.where(attribution < 0, -root, root))


@makes(ATTRIBUTION)
@per_sample
def pool(data: xr.Dataset, *, window: int = 2, dims: Sequence[str] = (Y, X)) -> xr.Dataset:
    """Sum the attribution over windows, so that shifts within one do not count; the total is conserved.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    window : int
        Length of the window along each dimension; the last one holds what remains.
    dims : sequence of str
        The dimensions to pool.

    Returns
    -------
    xarray.Dataset
        ``attribution``, with ⌈size / window⌉ values along each of ``dims``.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "x"), [[1.0, 2.0, 3.0, 4.0, 5.0]])})
    >>> pool(data, dims=["x"])["attribution"].values
    array([[3., 7., 5.]])
    """
    attribution = _with_dims(data, dims, "pool")
    if window < 1:
        raise DataError(f"pool: window={window} must be at least 1")
    values = attribution.values
    for dim in dims:
        axis = attribution.get_axis_num(dim)
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], window), axis=axis)
    return xr.Dataset({ATTRIBUTION: (attribution.dims, values)})


@makes(ATTRIBUTION)
@per_sample
def resize(data: xr.Dataset, *, height: int, width: int, dims: Sequence[str] = (Y, X)) -> xr.Dataset:
    """Resample heatmaps on another grid by the area their pixels share; the total is conserved.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    height, width : int
        The new numbers of rows and columns.
    dims : sequence of str
        The two dimensions, rows first.

    Returns
    -------
    xarray.Dataset
        ``attribution``.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "y", "x"), [[[1.0, 2.0, 3.0]]])})
    >>> resize(data, height=1, width=2)["attribution"].values
    array([[[2., 4.]]])
    """
    attribution = _with_dims(data, dims, "resize")
    if min(height, width) < 1 or len(dims) != 2:
        raise DataError(f"resize: height={height}, width={width} along dims={tuple(dims)} make no image")
    values = attribution.values
    for dim, size in zip(dims, (height, width), strict=True):
        axis = attribution.get_axis_num(dim)
        share = _shares(values.shape[axis], size).astype(values.dtype)
        values = np.moveaxis(np.moveaxis(values, axis, -1) @ share, -1, axis)
    return xr.Dataset({ATTRIBUTION: (attribution.dims, values)})


@makes(FEATURES)
@transient
def histogram(data: xr.Dataset, *, bins: int = 32, dim: str | None = None) -> xr.Dataset:
    """Describe each sample by how often which relevance occurs, wherever it lies.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    bins : int
        How many; of equal width from the smallest to the largest attribution of all samples, so that the histograms
        can be compared.
    dim : str, optional
        A dimension, such as ``channel``, along which histograms are made one by one.

    Returns
    -------
    xarray.Dataset
        ``features(sample, feature)``: the shares of the values that fall into each bin.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "x"), [[0.0, 1.0, 4.0], [4.0, 4.0, 4.0]])})
    >>> histogram(data, bins=2)["features"].values.round(3)
    array([[0.667, 0.333],
           [0.   , 1.   ]])
    """
    attribution = _with_dims(data, [dim] if dim else [], "histogram")
    if bins < 1:
        raise DataError(f"histogram: bins={bins} must be at least 1")
    values = attribution.transpose(SAMPLE, *([dim] if dim else []), ...).values
    rows = values.reshape(len(values), attribution.sizes[dim] if dim else 1, -1)
    low, high = float(values.min()), float(values.max())
    position = (rows - low) / (high - low) * bins if high > low else np.zeros_like(rows)
    place = np.minimum(position.astype(np.int64), bins - 1)
    shares = [[np.bincount(part, minlength=bins) / part.size for part in row] for row in place]
    return xr.Dataset({FEATURES: ((SAMPLE, FEATURE), np.array(shares).reshape(len(values), -1))})


@makes(FEATURES)
@transient
def flatten(data: xr.Dataset, *, dims: Sequence[str] | None = None) -> xr.Dataset:
    """Lay each sample's attribution out as one feature vector.

    Parameters
    ----------
    data : xarray.Dataset
        With ``attribution(sample, …)``.
    dims : sequence of str, optional
        The order in which the dimensions are laid out, the last one fastest; as they stand, if not given.

    Returns
    -------
    xarray.Dataset
        ``features(sample, feature)``, with the sizes of the dimensions in the attribute ``shape``.

    Examples
    --------
    >>> data = xr.Dataset({"attribution": (("sample", "y", "x"), np.zeros((5, 2, 3)))})
    >>> dict(flatten(data)["features"].sizes)
    {'sample': 5, 'feature': 6}
    """
    attribution = variable(data, ATTRIBUTION, "flatten")
    rest = tuple(dim for dim in attribution.dims if dim != SAMPLE) if dims is None else tuple(dims)
    if {SAMPLE, *rest} != set(attribution.dims):
        raise DataError(f"flatten: dims={rest} are not those of the attribution beside 'sample', {attribution.dims}")
    ordered = attribution.transpose(SAMPLE, *rest).values
    shape = {SHAPE: ordered.shape[1:]} if ordered.ndim > 1 else {}
    return xr.Dataset({FEATURES: ((SAMPLE, FEATURE), ordered.reshape(len(ordered), -1), shape)})


def _only(attribution: xr.DataArray) -> xr.Dataset:
    return xr.Dataset({ATTRIBUTION: attribution.variable})


def _with_dims(data: xr.Dataset, dims: Sequence[str], step: str) -> xr.DataArray:
    attribution = variable(data, ATTRIBUTION, step)
    for dim in dims:
        if dim not in attribution.dims or dim == SAMPLE:
            raise DataError(
                f"{step}: the attribution has no dimension {dim!r} beside 'sample', only {attribution.dims}"
            )
    return attribution


def _shares(old: int, new: int) -> np.ndarray:
    """Share of each old pixel that lies in each new one, (old, new); every row sums to 1."""
    edges_old, edges_new = np.arange(old + 1) / old, np.arange(new + 1) / new
    upper = np.minimum(edges_old[1:, None], edges_new[None, 1:])
    lower = np.maximum(edges_old[:-1, None], edges_new[None, :-1])
    return np.maximum(upper - lower, 0) * old
