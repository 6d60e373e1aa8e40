"""Folders of images whose subfolders are named after a model's classes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import RelfuncError
from ..models import nearest


class FolderError(RelfuncError, ValueError):
    """A folder's name is none of the model's classes."""


def labelled(folder: Path, transform: Callable[[Any], Any], classes: Sequence[str]) -> Any:
    """Read a folder of images with a subfolder for each class, with labels as the model counts them.

    Parameters
    ----------
    folder : pathlib.Path
        Its subfolders are named by :func:`class_index`.
    transform : callable
        From an image to the model's input.
    classes : sequence of str
        The model's.

    Returns
    -------
    torchvision.datasets.ImageFolder

    Raises
    ------
    FolderError
        If a subfolder has no image, or is named after no class.
    """
    from torchvision.datasets import ImageFolder

    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    index = list(range(len(classes))) if len(names) == len(classes) else [class_index(name, classes) for name in names]
    try:
        return ImageFolder(str(folder), transform, target_transform=index.__getitem__)
    except FileNotFoundError as error:
        raise FolderError(f"{folder}: {error}") from error


def class_index(name: str, classes: Sequence[str], *, of: str = "folder") -> int:
    """Return the class that a subfolder's name means, or another's.

    Parameters
    ----------
    name : str
        A class name, in upper or lower case and with ``_`` for spaces, or its index.
    classes : sequence of str
        Class names.
    of : str
        What messages say is named so.

    Raises
    ------
    FolderError
        If it means none, or more than one.

    Examples
    --------
    >>> class_index("Egyptian_cat", ["tabby", "Egyptian cat"]), class_index("0", ["tabby", "Egyptian cat"])
    (1, 0)
    """
    plain = [_plain(each) for each in classes]
    found = [k for k, each in enumerate(plain) if each == _plain(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FolderError(f"{of} '{name}' may be class {' or '.join(map(str, found))}: name it by the index")
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    raise FolderError(
        f"{of} '{name}' is none of the model's {len(classes)} classes{nearest(name, classes)} "
        f"(a {'sub' if of == 'folder' else ''}{of} is named after its class, or by the index of it)"
    )


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()
