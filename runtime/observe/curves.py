"""A curve as SVG that stands inside an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH = 760
_HEIGHT = 220
_LEFT = 70
_RIGHT = 20
_TOP = 16
_BOTTOM = 30
_COLOR = "#4269d0"
_NUM_TICKS = 4


def curve(title: str, points: Sequence[tuple[float, float]], unit: str = "") -> str:
    """Return a curve of (step, value) points, with the value in `unit`; empty when there are fewer than two."""
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    low, high = _bounds([value for _, value in points])
    across = (_WIDTH - _LEFT - _RIGHT) / max(last - first, 1e-12)
    down = (_HEIGHT - _TOP - _BOTTOM) / (high - low)
    path = " ".join(f"{_LEFT + (x - first) * across:.1f},{_TOP + (high - y) * down:.1f}" for x, y in points)
    ticks = [low + (high - low) * index / _NUM_TICKS for index in range(_NUM_TICKS + 1)]
    body = [_tick(_TOP + (high - tick) * down, tick, unit) for tick in ticks]
    foot = _HEIGHT - 8
    body.append(f'<text x="{_LEFT}" y="{foot}">step {first:g}</text>')
    body.append(f'<text x="{_WIDTH - _RIGHT}" y="{foot}" text-anchor="end">step {last:g}</text>')
    body.append(f'<polyline points="{path}" fill="none" stroke="{_COLOR}" stroke-width="1.5"/>')
    label = escape(f"{title}: {points[0][1]:.4g} at first, {points[-1][1]:.4g} at last")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{label}">\n' + "\n".join(body) + "\n</svg>"
    )


def _bounds(values: list[float]) -> tuple[float, float]:
    """Return the range to draw, from zero where that wastes no more than half of the picture."""
    low, high = min(values), max(values)
    if 0 <= low <= high / 2:
        low = 0.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _tick(y: float, value: float, unit: str) -> str:
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
    return f'{line}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}{escape(unit)}</text>'
