"""The errors a user can cause and mend; the command line prints their message without a traceback."""


class RelfuncError(Exception):
    """Base of every error whose message says what was wrong, what came, and what to do."""


class SchemaError(RelfuncError, ValueError):
    """A file or dataset does not follow the contract in :mod:`relfunc.schema`."""


class RuleError(RelfuncError, ValueError):
    """A rule was given parameters it cannot work with."""
