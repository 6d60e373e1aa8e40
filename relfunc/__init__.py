"""Attribution for PyTorch as pure functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attribution, canonize, capture, composites, errors, heatmap, ops, rules, schema
    from .attribution import gradient
    from .function import lrp
    from .storage import open_analysis, open_attributions

__all__ = [
    "attribution",
    "canonize",
    "capture",
    "composites",
    "errors",
    "gradient",
    "heatmap",
    "lrp",
    "open_analysis",
    "open_attributions",
    "ops",
    "rules",
    "schema",
]

_HOMES = {
    "gradient": "attribution",
    "lrp": "function",
    "open_analysis": "storage",
    "open_attributions": "storage",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: reading results takes no torch."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
