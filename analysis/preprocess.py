"""Preprocessing of attributions: from relevance per input value to the feature vector that is compared."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from relfunc.schema import ATTRIBUTION, CHANNEL, FEATURE, SAMPLE

from .errors import DataError
from .steps import FEATURES, choice, transient, variable

NORMS = ("sum", "max", "euclidean")


@transient
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


@transient
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


@transient
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


@transient
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


@transient
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
    return _only(xr.where(attribution < 0, -1, 1) * abs(attribution) ** 0.5)


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
        ``features(sample, feature)``.

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
    return xr.Dataset({FEATURES: ((SAMPLE, FEATURE), ordered.reshape(len(ordered), -1))})


def _only(attribution: xr.DataArray) -> xr.Dataset:
    return xr.Dataset({ATTRIBUTION: attribution.variable})
