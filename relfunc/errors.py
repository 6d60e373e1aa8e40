"""The errors a user can cause and mend; the command line prints their message without a traceback."""

import sys
import warnings
from pathlib import Path


class RelfuncError(Exception):
    """Base of every error whose message says what was wrong, what came, and what to do."""


class CaptureError(RelfuncError, ValueError):
    """A model cannot be turned into a graph of functions, or the graph is not the model."""


class CanonizeError(RelfuncError, ValueError):
    """A graph uses an operation in a way that has no functional form."""


class SharedMemoryError(CanonizeError):
    """Whether a write reaches what is read later depends on the strides of tensors, which export sees."""


class TargetError(RelfuncError, ValueError):
    """A target does not fit the output it was given for."""


class InputError(RelfuncError, ValueError):
    """An input cannot be explained."""


class SchemaError(RelfuncError, ValueError):
    """A file or dataset does not follow the contract in :mod:`relfunc.schema`."""


class DataError(RelfuncError, ValueError):
    """Data to attribute cannot be read, or do not fit together."""


class RunError(RelfuncError, ValueError):
    """A run was started again with other arguments, or cannot go on."""


class RuleError(RelfuncError, ValueError):
    """A rule was given parameters it cannot work with."""


class KeyingError(RelfuncError, TypeError):
    """Code, a parameter or a captured value has no value by which results could be keyed."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that asked for what is warned of.

    Parameters
    ----------
    message : str
        What is to be known.
    category : type
        Of the warning.
    """
    frame, level = sys._getframe(0), 0
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def is_ours(filename: str) -> bool:
    """Whether a file is this package's, so that a user has no use for its lines."""
    return Path(filename).is_relative_to(Path(__file__).parent)
