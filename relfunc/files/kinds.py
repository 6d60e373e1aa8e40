"""Kinds of values that netCDF holds: others are refused by name, before its library says so in its own words."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr

from ..text import held_text


def held_attributes(attrs: Mapping[Any, Any], of: str) -> dict[Any, Any]:
    r"""Return attributes as netCDF holds them.

    Parameters
    ----------
    attrs : mapping
        Text, numbers, or lists of one of them.
    of : str
        What they are attributes of, for the message.

    Raises
    ------
    TypeError
        If netCDF holds no such values.

    Examples
    --------
    >>> held_attributes({"category": "a\0b", "seed": 3}, "group '/a'")
    {'category': 'a\\x00b', 'seed': 3}
    """
    return {name: _attribute(value, f"attribute '{name}' of {of}") for name, value in attrs.items()}


def check_kind(dtype: np.dtype, what: str) -> None:
    """Refuse a variable of a type that netCDF does not have.

    Parameters
    ----------
    dtype : numpy.dtype
        That of the values as they are to be written.
    what : str
        The variable's name and place, for the message.

    Raises
    ------
    TypeError
        If there is no such type.

    Examples
    --------
    >>> check_kind(np.dtype("f2"), "variable 'x'")
    Traceback (most recent call last):
    TypeError: variable 'x' is of the type float16, which netCDF does not have: convert it with .astype('float32')
    """
    if _is_number(dtype) or dtype.kind == "S":
        return
    advice = {
        "f": "convert it with .astype('float32')" if dtype.itemsize < 4 else "convert it with .astype('float64')",
        "c": "give its real and its imaginary part as two variables",
    }.get(dtype.kind, "give numbers, times or text")
    raise TypeError(f"{what} is of the type {dtype}, which netCDF does not have: {advice}")


def held_dataset(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset that xarray can write: its attributes and text as netCDF holds them, all else as it was."""
    found = data.copy(deep=False)
    found.attrs = held_attributes(data.attrs, "the dataset")
    for name, variable in found.variables.items():
        variable.attrs = held_attributes(variable.attrs, f"variable '{name}'")
        if variable.dtype.kind in "fc" and "dtype" not in variable.encoding:
            check_kind(variable.dtype, f"variable '{name}'")
    changed = {}
    for name, variable in found.variables.items():
        if variable.dtype.kind in "UOT":
            texts = variable.values.ravel().tolist()
            plain = [held_text(each) if isinstance(each, str) else each for each in texts]
            if plain != texts:
                changed[name] = variable.copy(data=np.array(plain, object).reshape(variable.shape))
    return found.assign(changed) if changed else found


def _attribute(value: Any, what: str) -> Any:
    if isinstance(value, str):
        return held_text(value)
    if isinstance(value, list | tuple) and value and all(isinstance(text, str) for text in value):
        return [held_text(text) for text in value]  # an array of NumPy's would lose zeros at the end
    try:
        held = np.asarray(value)
    except ValueError:  # lists of several lengths
        held = np.empty((0, 0))
    texts = held.ravel().tolist()
    if held.ndim <= 1 and held.dtype.kind in "UOT" and texts and all(isinstance(text, str) for text in texts):
        plain = [held_text(str(text)) for text in texts]
        return plain if held.ndim else plain[0]
    if held.ndim > 1 or not (_is_number(held.dtype) or (held.dtype.kind in "US")):
        raise TypeError(
            f"{what} is {value!r}: netCDF holds text, integers, floats of 32 or 64 bits, and lists of one of these; "
            "give one of them (1 or 0 for a bool, text for other things), or leave it out"
        )
    return value


def _is_number(dtype: np.dtype) -> bool:
    return dtype.kind in "iuf" and dtype.newbyteorder("=").str[1:] in _NUMBERS


_NUMBERS: Final = frozenset(("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"))
