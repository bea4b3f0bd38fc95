"""Small figures in SVG, drawn without a script: histograms, and the curve of a training."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

_WIDTH, _HEIGHT, _FOOT = 360, 120, 18


def histogram(title: str, values: Sequence[float], *, bins: int = 24) -> str:
    """Return a histogram of values from 0 up, as an HTML figure; the last bar has those beyond it, too."""
    if not values:
        return ""
    top = max(float(np.quantile(values, 0.99)) * 1.05, 1e-3)
    counts, edges = np.histogram(np.clip(values, 0.0, top), bins=bins, range=(0.0, top))
    most, wide = int(counts.max()), _WIDTH / bins
    bars = "".join(
        f'<rect x="{index * wide + 1:.1f}" y="{_HEIGHT - _HEIGHT * count / most:.1f}" '
        f'width="{wide - 2:.1f}" height="{_HEIGHT * count / most:.1f}">'
        f"<title>{edges[index]:.3g} to {edges[index + 1]:.3g}: {count}</title></rect>"
        for index, count in enumerate(counts)
        if count
    )
    labels = (
        f'<text x="2" y="{_HEIGHT + 13}">0</text>'
        f'<text x="{_WIDTH - 2}" y="{_HEIGHT + 13}" text-anchor="end">{top:.3g} and more</text>'
    )
    median = float(np.median(values))
    said = f"{title}: {len(values)} values, half of them up to {median:.3g}, the highest {max(values):.3g}"
    return _figure(said, bars + labels)


def curve(title: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a curve through points, as an HTML figure."""
    if len(points) < 2:
        return ""
    x, y = (np.asarray(axis, float) for axis in zip(*points, strict=True))
    low, high = float(y.min()), float(y.max())
    across = (x - x.min()) / max(float(np.ptp(x)), 1e-12) * (_WIDTH - 10) + 5
    down = _HEIGHT - 8 - (y - low) / max(high - low, 1e-12) * (_HEIGHT - 16)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in zip(across, down, strict=True))
    labels = (
        f'<text x="2" y="{_HEIGHT + 13}">{x.min():,.0f}</text>'
        f'<text x="{_WIDTH - 2}" y="{_HEIGHT + 13}" text-anchor="end">{x.max():,.0f}</text>'
    )
    said = f"{title}: from {y[0]:.2f} to {y[-1]:.2f}, highest {high:.2f}"
    return _figure(said, f'<polyline points="{path}"/>{dots}{labels}')


def _figure(said: str, drawing: str) -> str:
    text = html.escape(said)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" role="img" aria-label="{text}">'
        f"{drawing}</svg><figcaption>{text}</figcaption></figure>"
    )
