"""Concepts: the direction in the space of a layer's values that an artifact has, and moving samples along it."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC
from torch import Tensor

from relfunc.ops.table import Op

from ..errors import DataError


@dataclass(frozen=True, eq=False)
class Concept:
    """The direction of an artifact in the space of some layer's values: a concept activation vector.

    Parameters
    ----------
    vector : Tensor
        Of unit length, towards the artifact; one sample's shape, or ``(channel,)`` for the same direction everywhere.
    absent, present : Tensor
        Mean of the samples without and with the artifact, in the same shape.
    """

    vector: Tensor
    absent: Tensor
    present: Tensor


@dataclass(frozen=True, eq=False)
class ArtifactModel:
    """``h(x) = x − v vᵀ (x − z)``: every sample is moved along a direction to where ``z`` is.

    Its rule of relevance is that of a sum: what the direction contributes to a value and what ``h`` takes away cancel.

    Parameters
    ----------
    v : Tensor
        The direction, of unit length: ``(channel, …)``, or less, for the same direction at every place of what
        follows.
    z : Tensor
        In the same shape.
    """

    v: Tensor
    z: Tensor
    __name__ = "artifact_model"
    op = Op("combination", type="sum")

    def __call__(self, x: Tensor) -> Tensor:
        """Return values ``(sample, channel, …)`` moved."""
        n = self.v.ndim
        if self.v.shape != x.shape[1 : n + 1]:
            raise DataError(
                f"the direction has shape {tuple(self.v.shape)}, and a sample's values there {tuple(x.shape[1:])}: "
                "take it from activations of the same node"
            )
        shape = (*self.v.shape, *(1,) * (x.ndim - 1 - n))
        v, z = self.v.to(x).reshape(shape), self.z.to(x).reshape(shape)
        return x - v * ((x - z) * v).sum(tuple(range(1, n + 1)), keepdim=True)


def signal_pattern(activation: Tensor, artifact: Any) -> Concept:
    """Return the direction in which activations change with the artifact: cov(a, y) / var(y), scaled to unit length.

    Unlike the weights of a classifier, this is not turned by what else varies [1]_ [2]_.

    Parameters
    ----------
    activation : Tensor
        ``(sample, …)``, from :func:`relfunc.activations`. Their mean over places, ``(sample, channel)``, gives a
        direction that holds at every place.
    artifact : array-like of bool
        ``(sample,)``: who has the artifact, such as the members of a cluster.

    Returns
    -------
    Concept

    Raises
    ------
    DataError
        If the two do not fit, all samples have the artifact or none, or nothing differs.

    References
    ----------
    .. [1] Haufe et al. 2014, On the interpretation of weight vectors of linear models in multivariate neuroimaging,
       NeuroImage 87.
    .. [2] Pahde et al. 2022, Navigating neural space: revisiting concept activation vectors to overcome directional
       divergence (arXiv 2202.03482).

    Examples
    --------
    >>> a = torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 1.0], [3.0, 2.0]])
    >>> signal_pattern(a, [False, False, True, True]).vector
    tensor([1., 0.])
    """
    a, y = _checked(activation, artifact)
    centred = y - y.mean()
    return _concept(activation, y, centred @ (a - a.mean(0)) / (centred @ centred))


def linear_probe(
    activation: Tensor, artifact: Any, *, classifier: Literal["svm", "logistic", "ridge"] | Any = "svm"
) -> Concept:
    """Return the normal of the hyperplane by which a linear classifier tells samples with the artifact apart [1]_.

    Parameters
    ----------
    activation, artifact
        As :func:`signal_pattern` takes them.
    classifier : {"svm", "logistic", "ridge"} or estimator
        Scikit-learn's, with classes weighted by their size; or another linear one, with ``coef_``.

    Returns
    -------
    Concept

    Raises
    ------
    DataError
        As :func:`signal_pattern`, or if there is no such classifier.

    References
    ----------
    .. [1] Kim et al. 2018, Interpretability beyond feature attribution: quantitative testing with concept activation
       vectors, ICML.

    Examples
    --------
    >>> a = torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 1.0], [3.0, 2.0]])
    >>> linear_probe(a, [False, False, True, True]).vector
    tensor([1., 0.])
    """
    a, y = _checked(activation, artifact)
    estimator: Any = PROBES.get(classifier) if isinstance(classifier, str) else classifier
    if not hasattr(estimator, "fit"):
        raise DataError(f"linear_probe: classifier={classifier!r} is none of {', '.join(PROBES)}, and no estimator")
    fitted: Any = clone(estimator)
    fitted.fit(a, y > 0)
    return _concept(activation, y, np.ravel(fitted.coef_))


def _checked(activation: Tensor, artifact: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return activations and 0 or 1 for each sample, in double precision."""
    y = np.asarray(artifact)
    if y.dtype != bool or y.shape != activation.shape[:1]:
        raise DataError(
            f"artifact is {y.dtype} of shape {y.shape}, not one bool for each of the {len(activation)} activations"
        )
    if y.all() or not y.any():
        raise DataError(f"{'all' if y.all() else 'none'} of the {len(y)} samples have the artifact: give both")
    a = activation.detach().cpu().double().flatten(1).numpy()
    if not np.isfinite(a).all():
        raise DataError(f"the activation of sample {np.argwhere(~np.isfinite(a))[0][0]} holds NaN or infinity")
    return a, y.astype(np.float64)


def _concept(activation: Tensor, y: np.ndarray, direction: np.ndarray) -> Concept:
    length = np.linalg.norm(direction)
    if not length > 0:
        raise DataError("samples with and without the artifact have the same activations: choose another layer")
    a, shape = activation.detach(), activation.shape[1:]
    has = torch.as_tensor(y > 0, device=a.device)
    return Concept(torch.as_tensor(direction / length).to(a).reshape(shape), a[~has].mean(0), a[has].mean(0))


PROBES: Final[dict[str, Any]] = {
    "svm": SVC(kernel="linear", class_weight="balanced"),
    "logistic": LogisticRegression(class_weight="balanced", max_iter=1000),
    "ridge": RidgeClassifier(class_weight="balanced"),
}
