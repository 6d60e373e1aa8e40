"""Images in folders, brought to the size that a model was given, as ViRelAy's projects describe it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PADDED: Final[Mapping[str, dict[str, Any]]] = {
    "fill_zeros": {"mode": "constant", "constant_values": 0},
    "fill_ones": {"mode": "constant", "constant_values": 1},
    "edge_repeat": {"mode": "edge"},
    "mirror_edge": {"mode": "reflect"},
    "wrap_around": {"mode": "wrap"},
}
"""Ways to enlarge a picture by what lies beyond its border, as :func:`numpy.pad` takes them."""
UP: Final = ("none", *PADDED, "resize")
DOWN: Final = ("none", "center_crop", "resize")


def listed(folder: Path) -> list[Path]:
    """Return the images of a folder, or those that the file ``<folder>_paths.txt`` beside it names, sorted."""
    names = folder.with_name(f"{folder.name}_paths.txt")
    if names.is_file():
        lines = names.read_text(encoding="utf-8").split("\n")
        return sorted(folder.parent / line for line in lines if line.strip())
    return sorted(file for file in folder.glob("**/*.*") if file.is_file())


def label_of(file: Path, pattern: str) -> str:
    """Return the first group of a pattern that matches a path from its beginning.

    Raises
    ------
    ValueError
        If it does not match.
    """
    found = re.match(pattern, str(file))
    if found is None or not found.groups():
        raise ValueError(f"the label's pattern {pattern!r} does not match {file}: correct it in the project's YAML")
    return found[1]


def read(file: Path) -> NDArray[np.uint8]:
    """Read an image as (y, x, 3) bytes."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def fitted(
    image: NDArray[np.uint8], width: int, height: int, *, up: str, down: str, turned: bool = False
) -> NDArray[np.uint8]:
    """Bring an image to a size: enlarge it if a side is shorter, then reduce it if a side is longer.

    Parameters
    ----------
    image : numpy.ndarray
        (y, x, channel) bytes.
    width, height : int
        The size.
    up, down : str
        How, of :data:`UP` and :data:`DOWN`; ``none`` leaves what is too small, or too large, as it is.
    turned : bool
        Whether to compare rows with ``width`` and columns with ``height``, as ViRelAy does, except when it resizes.

    Examples
    --------
    >>> fitted(np.ones((2, 3, 1), np.uint8), 3, 3, up="fill_zeros", down="none")[..., 0]
    array([[0, 0, 0],
           [1, 1, 1],
           [1, 1, 1]], dtype=uint8)
    """
    wanted = np.array([width, height] if turned else [height, width])
    small, large = (image.shape[:2] < wanted).any(), (image.shape[:2] > wanted).any()
    if up != "none" and small:
        missing = np.maximum(wanted - image.shape[:2], 0)
        before = -(-missing // 2)
        around = [*zip(before, missing - before, strict=True), (0, 0)]
        image = _resized(image, width, height) if up == "resize" else np.pad(image, around, **PADDED[up])
    if down != "none" and large:
        if down == "resize":
            return _resized(image, width, height)
        surplus = np.maximum(image.shape[:2] - wanted, 0)
        (top, left), (rows, columns) = -(-surplus // 2), np.minimum(wanted, image.shape[:2])
        image = image[top : top + rows, left : left + columns]
    return image


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((width, height)))
