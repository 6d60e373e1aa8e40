"""Plans are data: which steps, in which order, with which parameters."""

from .places import replace
from .presets import spray
from .toml import from_toml, to_toml
from .tree import Chain, Each, Place, Plan, Step, chain, each, name_of, place, step

__all__ = [
    "Chain",
    "Each",
    "Place",
    "Plan",
    "Step",
    "chain",
    "each",
    "from_toml",
    "name_of",
    "place",
    "replace",
    "spray",
    "step",
    "to_toml",
]
