"""Options on the command line that are derived from :class:`relfunc.dataset.options.Options`."""

import argparse
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from typing import Any

from ..dataset.options import Options, choices

OTHERWISE = {
    "target": "audit has it too, and a function cannot be written there",
    "classes": "given as a file of names",
    "transform": "given as the name of a function",
    "tokens": "the model's own tokenizer",
    "client": "--scheduler, its address",
    "progress": "a bar on every terminal",
    "attrs": "say the command",
}
"""Options that are not derived, and what the command line has in their place."""


def derived() -> list[str]:
    """Return the names of the options that are derived."""
    return [field.name for field in fields(Options) if field.name not in OTHERWISE]


def add_options(group: "argparse._ArgumentGroup", names: Iterable[str]) -> None:
    """Add options to the command line, with the values, the default and the description that they have in Python.

    Parameters
    ----------
    group : argparse._ArgumentGroup
        Where.
    names : iterable of str
        Some of :func:`derived`.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_options(parser.add_argument_group("running"), ["batch_size", "compiled", "keep_input"])
    >>> vars(parser.parse_args(["--batch-size", "8", "--keep-input", "none"]))
    {'batch_size': 8, 'compiled': False, 'keep_input': 'none'}
    """
    said, listed = descriptions(inspect.getdoc(Options) or ""), {field.name: field for field in fields(Options)}
    for name in names:
        field, shows_default = listed[name], listed[name].default not in (None, False, ())
        text = said.get(name, "").replace("%", "%%") + " [%(default)s]" * shows_default
        group.add_argument(f"--{name.replace('_', '-')}", help=text, **_as_argument(field))


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were derived, by name, as parsed arguments have them."""
    given = {name: getattr(arguments, name) for name in derived()}
    return {name: None if value == _NONE else value for name, value in given.items()}


_NONE = "none"


def _as_argument(field: Field[Any]) -> dict[str, Any]:
    """Say how argparse reads an option, by the option's type."""
    if field.type is bool:
        return {"action": "store_true"}
    if field.type is int:
        return {"type": positive, "metavar": "N", "default": field.default}
    if field.type == Sequence[str]:
        return {"nargs": "+", "metavar": "NAME", "default": field.default}
    if values := choices(field.type):
        others = [value for value in values if value is not None]
        optional = [_NONE] if None in values and field.default is not None else []
        return {"choices": others + optional, "default": field.default}
    return {"default": field.default}


def positive(text: str) -> int:
    """Read a number that is at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


positive.__name__ = "number"  # which argparse calls it


def descriptions(docstring: str) -> dict[str, str]:
    r"""Return what a docstring says of each parameter, as plain text.

    Parameters
    ----------
    docstring : str
        In numpydoc's form.

    Examples
    --------
    >>> descriptions("Add.\n\nParameters\n----------\na : int\n    As :func:`sum`,\n    ``1`` or 2.\n\nReturns\n")
    {'a': 'as sum, 1 or 2'}
    """
    section = docstring.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    found = re.findall(r"^(\w+) : .*\n((?: {4}.*(?:\n|$))+)", section, re.MULTILINE)
    return {name: _plain(text) for name, text in found}


def _plain(text: str) -> str:
    """Take the markup out of a description; it begins small and ends without a full stop, as help does."""
    words = " ".join(re.sub(r":\w+:`([^`]+)`|``([^`]+)``", r"\1\2", text).split()).removeprefix("Whether to ")
    return words[:1].lower() + words[1:].removesuffix(".")
