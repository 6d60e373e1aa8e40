"""Any scikit-learn estimator as a step: a clustering if it predicts, an embedding if it transforms."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from relfunc.schema import COMPONENT, SAMPLE

from ..errors import DataError
from ..roles import CLUSTERING, EMBEDDING, FEATURES, makes, matrix, result
from .cluster import by_size


@makes(CLUSTERING, EMBEDDING)
def estimator(
    data: xr.Dataset,
    *,
    make: Callable[..., Any],
    features: str = FEATURES,
    name: str = "",
    seed: int = 0,
    **parameters: Any,
) -> xr.Dataset:
    """Fit an estimator that follows scikit-learn's conventions.

    Parameters
    ----------
    data : xarray.Dataset
        With the variable ``features``.
    make : type
        The estimator's class, such as ``sklearn.cluster.MeanShift`` or ``umap.UMAP``.
    features : str
        What it is fitted to: "features", or an embedding.
    name : str
        The result's name; the class's in small letters, if not given.
    seed : int
        Its ``random_state``, if it has one.
    **parameters
        Its other parameters.

    Returns
    -------
    xarray.Dataset
        ``<name>(sample)``, int32, of a class with ``fit_predict``, else ``<name>(sample, component)`` of one with
        ``fit_transform``.

    Raises
    ------
    DataError
        If the class has neither, or cannot be fitted.

    Examples
    --------
    >>> from sklearn.cluster import MeanShift
    >>> data = xr.Dataset({"features": (("sample", "feature"), [[0.0], [9.0], [0.1], [0.2]])})
    >>> estimator(data, make=MeanShift, bandwidth=1)["meanshift"].values
    array([0, 1, 0, 0], dtype=int32)
    """
    title = getattr(make, "__name__", str(make))
    name = name or title.lower()
    x = matrix(data, features, f"estimator {title}")
    try:
        random = {"random_state": seed} if "random_state" in inspect.signature(make).parameters else {}
        model = make(**random, **parameters)
        if hasattr(model, "fit_predict"):
            labels = by_size(np.asarray(model.fit_predict(x)))
            return xr.Dataset({name: result(CLUSTERING, (SAMPLE,), labels, embedding=features)})
        if hasattr(model, "fit_transform"):
            embedded = np.asarray(model.fit_transform(x), np.float64)
            return xr.Dataset({name: result(EMBEDDING, (SAMPLE, COMPONENT), embedded, features=features)})
    except (TypeError, ValueError) as error:
        raise DataError(f"estimator {title} cannot be fitted to {len(x)} samples: {error}") from error
    raise DataError(f"estimator {title} has neither fit_predict nor fit_transform: write a step for it")
