"""Attribution for PyTorch as pure functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attribution, canonize, composites, errors, heatmap, methods, ops, rules, schema, toml
    from .accounting import audit, plan
    from .attribution import gradient, per_class, relevance_at
    from .captured import Captured, capture
    from .dataset import attribute_dataset
    from .function import lrp
    from .interventions import activations, intervene
    from .keys import versioned
    from .methods import input_x_gradient, integrated_gradients, occlusion, smoothgrad
    from .storage import open_analysis, open_attributions
    from .virelay import to_virelay

__all__ = [
    "Captured",
    "activations",
    "attribute_dataset",
    "attribution",
    "audit",
    "canonize",
    "capture",
    "composites",
    "errors",
    "gradient",
    "heatmap",
    "input_x_gradient",
    "integrated_gradients",
    "intervene",
    "lrp",
    "methods",
    "occlusion",
    "open_analysis",
    "open_attributions",
    "ops",
    "per_class",
    "plan",
    "relevance_at",
    "rules",
    "schema",
    "smoothgrad",
    "to_virelay",
    "toml",
    "versioned",
]

_HOMES = {
    "Captured": "captured",
    "activations": "interventions",
    "attribute_dataset": "dataset",
    "audit": "accounting",
    "capture": "captured",
    "gradient": "attribution",
    "input_x_gradient": "methods",
    "integrated_gradients": "methods",
    "intervene": "interventions",
    "lrp": "function",
    "occlusion": "methods",
    "open_analysis": "storage",
    "open_attributions": "storage",
    "per_class": "attribution",
    "plan": "accounting",
    "relevance_at": "attribution",
    "smoothgrad": "methods",
    "to_virelay": "virelay",
    "versioned": "keys",
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
