"""A chart of memory before and after, as SVG that stands inside an HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.memory.result import Footprint, parts_of
from kaitoc.compiler.report.compile.wording import size_text

_WIDTH = 440
"""Small enough that a phone shows the labels at a size that can be read."""
_LABEL_WIDTH = 44
_RIGHT = 56
_BAR_HEIGHT = 24
_BAR_GAP = 10
_TOP = 24
_LEGEND_TOP = _TOP + 2 * (_BAR_HEIGHT + _BAR_GAP) + 12
_LEGEND_COLUMNS = 4
_LEGEND_ROW_HEIGHT = 17
_SHARE_SHOWN = 0.002

COLORS = {
    "weights": "#4269d0",
    "adapters": "#9c6b4e",
    "gradients": "#3ca951",
    "optimizer": "#ff8ab7",
    "activations": "#efb118",
    "logits": "#ff725c",
    "workspace": "#6cc5b0",
    "fragmentation": "#a463f2",
    "context": "#9498a0",
}
"""One color per part of the memory, told apart by most color-blind readers too (Observable 10)."""


def chart(before: JobSummary, after: JobSummary) -> str:
    """Return two stacked bars on one scale with the GPU's memory marked; empty when either peak is unknown."""
    if before.footprint is None or after.footprint is None:
        return ""
    bars = (("before", before.footprint), ("after", after.footprint))
    largest = max(footprint.device_bytes for _, footprint in bars)
    capacity = after.capacity_bytes
    scale = (_WIDTH - _LABEL_WIDTH - _RIGHT) / max(largest, capacity or 0, 1)
    rows = -(-len(COLORS) // _LEGEND_COLUMNS)
    height = _LEGEND_TOP + rows * _LEGEND_ROW_HEIGHT
    summary = ", ".join(f"{name} {size_text(footprint.device_bytes)}" for name, footprint in bars)
    body = [line for index, (name, footprint) in enumerate(bars) for line in _bar(index, name, footprint, scale)]
    if capacity is not None:
        body.extend(_capacity_mark(capacity, scale))
    body.extend(_legend())
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Peak memory of one GPU: {escape(summary)}">\n' + "\n".join(body) + "\n</svg>"
    )


def _bar(index: int, name: str, footprint: Footprint, scale: float) -> Iterator[str]:
    top = _TOP + index * (_BAR_HEIGHT + _BAR_GAP)
    middle = top + _BAR_HEIGHT / 2 + 4
    yield f'<text x="0" y="{middle:.0f}">{name}</text>'
    offset = 0
    for part, num_bytes in parts_of(footprint).items():
        if num_bytes > footprint.device_bytes * _SHARE_SHOWN:
            yield (
                f'<rect x="{_LABEL_WIDTH + offset * scale:.1f}" y="{top}" width="{num_bytes * scale:.1f}" '
                f'height="{_BAR_HEIGHT}" fill="{COLORS[part]}"><title>{part} {size_text(num_bytes)}</title></rect>'
            )
        offset += num_bytes
    end = _LABEL_WIDTH + footprint.device_bytes * scale
    yield f'<text x="{end + 6:.1f}" y="{middle:.0f}">{size_text(footprint.device_bytes)}</text>'


def _capacity_mark(capacity_bytes: int, scale: float) -> Iterator[str]:
    place = _LABEL_WIDTH + capacity_bytes * scale
    bottom = _TOP + 2 * _BAR_HEIGHT + _BAR_GAP + 6
    yield f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP - 6}" y2="{bottom}" class="capacity"/>'
    yield f'<text x="{place:.1f}" y="{_TOP - 10}" text-anchor="middle">GPU {size_text(capacity_bytes)}</text>'


def _legend() -> Iterator[str]:
    width = _WIDTH / _LEGEND_COLUMNS
    for index, (part, color) in enumerate(COLORS.items()):
        left = index % _LEGEND_COLUMNS * width
        top = _LEGEND_TOP + index // _LEGEND_COLUMNS * _LEGEND_ROW_HEIGHT
        yield f'<rect x="{left:.0f}" y="{top}" width="10" height="10" fill="{color}"/>'
        yield f'<text x="{left + 15:.0f}" y="{top + 9}">{part}</text>'
