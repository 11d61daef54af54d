"""The plot of a sweep: stacked categories against the swept size, with the GPU's memory as a line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.result import Footprint, parts_of

FORMATS = ("svg", "png", "html")
_COLORS = ("#264653", "#2a6f97", "#468faf", "#89c2d9", "#e9c46a", "#f4a261", "#bdbdbd", "#8d99ae", "#5c677d")

_VIEWPORT = "<meta name='viewport' content='width=device-width, initial-scale=1'>"


class PlotError(KaitocError, ValueError):
    """A plot that cannot be made; `str(error)` is for the user."""


def plot_sweep(
    title: str, dimension: str, points: Sequence[tuple[int, Footprint]], gpu: Gpu | None, file_format: str
) -> bytes:
    """Return the plot as SVG, PNG, or one HTML file; raises `PlotError` without matplotlib or for another format."""
    if file_format not in FORMATS:
        raise PlotError(f"a plot can be {', '.join(FORMATS)}, not `{file_format}`")
    try:
        import matplotlib
    except ImportError as error:
        raise PlotError('plots need matplotlib; install it with `pip install "kaitoc[plot]"`') from error
    matplotlib.use("agg")
    image = _draw(title, dimension, points, gpu, "png" if file_format == "png" else "svg")
    if file_format == "html":
        svg = image.decode("utf-8")
        head = f"<!doctype html><meta charset='utf-8'>{_VIEWPORT}<title>{escape(title)}</title>"
        return f"{head}<style>svg {{ width: 100%; height: auto }}</style>{svg[svg.index('<svg') :]}".encode()
    return image


def _draw(title: str, dimension: str, points: Sequence[tuple[int, Footprint]], gpu: Gpu | None, kind: str) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names, layers = _layers(points)
    values = [value for value, _ in points]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(values, layers, labels=names, colors=_COLORS)
    if gpu is not None:
        capacity_gib = gpu.memory_bytes / GIB
        axes.axhline(capacity_gib, color="#c1121f", linewidth=1.6)
        axes.annotate(f"{gpu.name}: {capacity_gib:.1f} GiB", (values[-1], capacity_gib), color="#c1121f",
                      xytext=(-6, -14), textcoords="offset points", fontsize=10, ha="right",
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8})  # fmt: skip
    axes.set(xlabel=dimension, ylabel="GiB", xlim=(values[0], values[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=9, wrap=True)
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", fontsize=8, framealpha=0.9)
    axes.grid(axis="y", alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=130)
    return buffer.getvalue()


def _layers(points: Sequence[tuple[int, Footprint]]) -> tuple[list[str], list[list[float]]]:
    """Return the names and series that are not zero throughout, from the bottom of the stack."""
    rows: dict[str, list[float]] = {}
    for _, predicted in points:
        for name, num_bytes in parts_of(predicted).items():
            rows.setdefault(name, []).append(num_bytes / GIB)
    layers = {name: row for name, row in rows.items() if max(row) > 0}
    return list(layers), list(layers.values())
