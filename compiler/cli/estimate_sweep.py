"""Sweeps of `kaitoc estimate` over a size, and their plots."""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.api.estimating import Subject, footprint_of
from kaitoc.compiler.core.progress import tracked
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.solve import SolvedSize, resized

_AXES = {"seq-len": "tokens per sequence", "batch": "batch size", "rank": "rank"}


def sweep_points(subject: Subject, text: str) -> list[tuple[int, Footprint]]:
    """Return the footprints of a sweep such as `seq-len=512:8192`, by size. Raises `EstimateError`."""
    dimension, start, stop = _parse_sweep(text)
    workload, gpu, sizes = subject.workload, subject.gpu, _steps(start, stop)
    points = []
    with tracked(f"estimating {len(sizes)} sizes", len(sizes)) as task:
        for size in sizes:
            points.append((size, footprint_of(resized(workload, dimension, size), gpu)))
            task.advance()
    return points


def plot(subject: Subject, points: Sequence[tuple[int, Footprint]], sweep: str, path: str) -> None:
    """Write the plot of a sweep; the file's ending tells its format. Raises `EstimateError`."""
    from kaitoc.compiler.report.estimate.plot import PlotError, plot_sweep  # matplotlib is optional
    from kaitoc.compiler.report.estimate.text import Sweep, headline

    axis, ending = _AXES[sweep.partition("=")[0]], path.rpartition(".")[2].lower()
    try:
        title = headline(subject.workload, subject.gpu, swept=Sweep(*_parse_sweep(sweep)))
        write_atomically(path, plot_sweep(title, axis, points, subject.gpu, ending))
    except PlotError as error:
        raise EstimateError(str(error), path=path) from error
    except OSError as error:
        raise EstimateError(f"{path}: cannot be written: {error.strerror or error}", path=path) from error


def _parse_sweep(text: str) -> tuple[SolvedSize, int, int]:
    name, _, bounds = text.partition("=")
    start, _, stop = bounds.partition(":")
    names = [dimension.value for dimension in SolvedSize]
    if name not in names or not start.isdigit() or not stop.isdigit() or not 0 < int(start) < int(stop):
        raise EstimateError(f"--sweep takes {', '.join(names)} and two sizes, such as seq-len=512:8192, not `{text}`")
    return SolvedSize(name), int(start), int(stop)


def _steps(start: int, stop: int) -> list[int]:
    """Return sizes from start to stop, the multiples of a power of two between them, at most 18."""
    step = 1
    while (stop - start) / step > 16:
        step *= 2
    return sorted({start, *range(-(-start // step) * step, stop, step), stop})
