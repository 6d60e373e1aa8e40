"""The spectrum: eigenvalues as a small drawing, with the largest gap marked."""

import html

import numpy as np
from numpy.typing import NDArray

from analysis.measures import largest_gap

WIDTH, HEIGHT, FOOT = 224, 92, 14


def drawing(values: NDArray[np.float64]) -> str:
    """Draw eigenvalues as bars in SVG; those below the largest gap stand out, and each names its value on hover.

    Parameters
    ----------
    values : numpy.ndarray
        Eigenvalues; drawn in rising order.
    """
    ordered = np.sort(values[np.isfinite(values)])
    if not ordered.size:
        return ""
    gap, top = largest_gap(ordered), max(float(ordered.max()), 1e-12)
    step = WIDTH / ordered.size
    bars = []
    for k, value in enumerate(ordered):
        tall = max(2.0, float(value) / top * (HEIGHT - FOOT - 8)) if value > 0 else 2.0
        said = html.escape(f"eigenvalue {k + 1}: {value:.4g}")
        bars.append(
            f'<rect class="bar{" below" if k < gap else ""}" x="{k * step + step * 0.12:.2f}" '
            f'y="{HEIGHT - FOOT - tall:.2f}" width="{step * 0.76:.2f}" height="{tall:.2f}" rx="1">'
            f"<title>{said}</title></rect>"
        )
    at = gap * step
    line = f'<line x1="{at:.2f}" x2="{at:.2f}" y1="0" y2="{HEIGHT - FOOT}"/>' if gap < ordered.size else ""
    return (
        f'<svg class="eigen" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{ordered.size} eigenvalues, the largest gap after {gap}">{"".join(bars)}{line}'
        f'<text x="0" y="{HEIGHT - 2}">1</text><text x="{at:.2f}" y="{HEIGHT - 2}" text-anchor="middle">{gap}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 2}" text-anchor="end">{ordered.size}</text></svg>'
    )
