"""Properties of images that a person would name, as one number for each image, everywhere or in a region."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

FINE: Final = 1.0
"""Standard deviation, in pixels, of the Gaussian that takes fine detail away."""


def properties(images: NDArray, regions: Mapping[str, NDArray]) -> Mapping[tuple[str, str], NDArray[np.float64]]:
    """Return what images look like in some regions, in their own units.

    Parameters
    ----------
    images : ndarray, shape (n, channel, y, x)
        Of any type.
    regions : mapping
        From name to where to look: bools, shape (y, x).

    Returns
    -------
    mapping
        From region and property to n numbers: ``brightness``, the mean; ``contrast``, the standard deviation;
        ``sharpness``, the variance of the Laplacian [1]_; ``fine_detail``, the share of the variance that a Gaussian of
        one pixel takes away, the high frequencies of the spectrum. All of these of the mean of the channels. And of
        several channels, ``channel_0``, ``channel_1`` …, the mean of each, and of three ``saturation``, the mean
        difference between the largest and the smallest.

    References
    ----------
    .. [1] Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy, ICPR.

    Examples
    --------
    >>> checkers = np.indices((6, 6)).sum(0) % 2
    >>> found = properties(np.stack([checkers, np.ones((6, 6))])[:, None], {"all": np.ones((6, 6), bool)})
    >>> found["all", "brightness"], found["all", "sharpness"] > 1
    (array([0.5, 1. ]), array([ True, False]))
    """
    from scipy import ndimage  # slow to load

    colours = images.astype(np.float64)
    grey = colours.mean(1)
    edged = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    beside = edged[:, :-2, 1:-1] + edged[:, 2:, 1:-1] + edged[:, 1:-1, :-2] + edged[:, 1:-1, 2:]
    laplacian = beside - 4 * grey
    fine = (grey - ndimage.gaussian_filter(grey, (0, FINE, FINE))) ** 2
    vivid = colours.max(1) - colours.min(1)
    found: dict[tuple[str, str], NDArray] = {}
    for name, inside in regions.items():
        variance = grey[:, inside].var(1)
        detail = fine[:, inside].mean(1)
        own = {
            "brightness": grey[:, inside].mean(1),
            "contrast": np.sqrt(variance),
            "sharpness": laplacian[:, inside].var(1),
            "fine_detail": np.divide(detail, variance, out=np.zeros_like(detail), where=variance != 0),
        }
        if colours.shape[1] > 1:
            own |= {f"channel_{k}": colours[:, k][:, inside].mean(1) for k in range(colours.shape[1])}
        if colours.shape[1] == 3:
            own["saturation"] = vivid[:, inside].mean(1)
        found |= {(name, what): values for what, values in own.items()}
    return found
