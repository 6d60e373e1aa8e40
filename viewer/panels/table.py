"""Every panel of the page, place by place in the order in which they lie there."""

from typing import Any, Final

from .clusters import CLUSTERS
from .compare import COMPARE
from .eigenvalues import EIGENVALUES
from .findings import FINDINGS
from .gallery import SAMPLES
from .legend import LEGEND
from .map import BAR, PREVIEW
from .means import MEANS
from .pane import MAP, SECOND
from .sidebar import CHOICES, CLASSES
from .wiring import Panel

PANELS: Final[tuple[Panel[Any, Any, Any], ...]] = (
    CHOICES,
    CLASSES,
    BAR,
    MAP,
    SECOND,
    PREVIEW,
    LEGEND,
    MEANS,
    EIGENVALUES,
    FINDINGS,
    SAMPLES,
    CLUSTERS,
    COMPARE,
)
"""Add a panel here, and it is on the page."""
