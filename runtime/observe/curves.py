"""A curve as SVG that stands inside an HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_WIDTH = 480
_HEIGHT = 180
"""Small enough that a phone shows the labels at a size that can be read."""
_LEFT = 74
_RIGHT = 20
_TOP = 12
_BOTTOM = 28
_COLOR = "#4269d0"
_NUM_STEPS = 4
_STEPS = (1, 2, 2.5, 5, 10)
_SMALLEST_PLAIN = 1e-4
"""Smaller ticks are written with an exponent."""


def curve(title: str, points: Sequence[tuple[float, float]], unit: str = "") -> str:
    """Return a curve of (step, value) points, with the value in `unit`; empty when there are fewer than two."""
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    ticks, labels = axis([value for _, value in points])
    low, high = ticks[0], ticks[-1]
    across = (_WIDTH - _LEFT - _RIGHT) / max(last - first, 1e-12)
    down = (_HEIGHT - _TOP - _BOTTOM) / (high - low)
    path = " ".join(f"{_LEFT + (x - first) * across:.1f},{_TOP + (high - y) * down:.1f}" for x, y in points)
    body = [_tick(_TOP + (high - tick) * down, text + unit) for tick, text in zip(ticks, labels, strict=True)]
    foot = _HEIGHT - 8
    body.append(f'<text x="{_LEFT}" y="{foot}">step {first:g}</text>')
    body.append(f'<text x="{_WIDTH - _RIGHT}" y="{foot}" text-anchor="end">step {last:g}</text>')
    body.append(f'<polyline points="{path}" fill="none" stroke="{_COLOR}" stroke-width="1.5"/>')
    label = escape(f"{title}: {points[0][1]:.4g} at first, {points[-1][1]:.4g} at last")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">\n' + "\n".join(body) + "\n</svg>"


def axis(values: Sequence[float]) -> tuple[list[float], list[str]]:
    """Return round ticks around values and what stands beside each: no two ticks look the same."""
    low, high = _bounds(values)
    step = _round_step((high - low) / _NUM_STEPS)
    first, last = math.floor(low / step + _SLACK), math.ceil(high / step - _SLACK)
    ticks = [number * step for number in range(first, last + 1)]
    return ticks, _labels(ticks, step)


_SLACK = 1e-6
"""What rounding may move a value past a tick that it stands on, in steps."""


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the range to draw, from zero where that wastes no more than half of the picture."""
    low, high = min(values), max(values)
    if 0 <= low <= high / 2:
        low = 0.0
    if high - low > abs(high) * _SLACK:
        return low, high
    around = abs(high) / 2 or 0.5
    return low - around, high + around


def _round_step(raw: float) -> float:
    """Return the next larger step of 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor for factor in _STEPS if factor * power >= raw * (1 - _SLACK)) * power


def _labels(ticks: Sequence[float], step: float) -> list[str]:
    """Return ticks with as many digits as tell them apart."""
    digits = -math.floor(math.log10(step))
    if abs(step * 10.0**digits - round(step * 10.0**digits)) > _SLACK:
        digits += 1
    largest = max(map(abs, ticks))
    if largest < _SMALLEST_PLAIN:
        return [f"{tick:.{digits + math.floor(math.log10(largest))}e}" if tick else "0" for tick in ticks]
    return [f"{tick:,.{max(0, digits)}f}" for tick in ticks]


def _tick(y: float, label: str) -> str:
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
    return f'{line}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
