"""Sweeps of `kaitoc estimate` over a size, and their plots."""

from __future__ import annotations

from kaitoc.compiler.core.progress import tracked
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.job.summary import SweepPoint, Swept
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.solve import SolvedSize, resized
from kaitoc.estimating import Subject, footprint_of

_AXES = {
    SolvedSize.SEQ_LEN: "tokens per sequence",
    SolvedSize.BATCH: "batch size",
    SolvedSize.RANK: "rank",
}


def sweep(subject: Subject, text: str, *, use_trace: bool) -> Swept:
    """Estimate a run at each size of a sweep such as `seq-len=512:8192`. Raises `EstimateError`."""
    dimension, start, stop = _parse_sweep(text)
    gpu, values = subject.gpu, _steps(start, stop)
    points = []
    with tracked(f"estimating {len(values)} sizes", len(values)) as task:
        for value in values:
            predicted = footprint_of(resized(subject.workload, dimension, value), gpu, use_trace=use_trace)
            points.append(
                SweepPoint(value, predicted, verdict(predicted, gpu, subject.margin) if gpu is not None else None)
            )
            task.advance()
    return Swept(dimension, tuple(points))


def plot(subject: Subject, swept: Swept, path: str) -> None:
    """Write the plot of a sweep; the file's ending tells its format. Raises `EstimateError`."""
    from kaitoc.compiler.report.estimate.plot import PlotError, plot_sweep  # matplotlib is optional
    from kaitoc.compiler.report.estimate.text import Sweep, headline

    axis, ending = _AXES[swept.size], path.rpartition(".")[2].lower()
    points = [(point.value, point.footprint) for point in swept.points]
    try:
        title = headline(subject.workload, subject.gpu, swept=Sweep(swept.size, points[0][0], points[-1][0]))
        write_atomically(path, plot_sweep(title, axis, points, subject.gpu, ending))
    except PlotError as error:
        raise EstimateError(str(error), path=path) from error
    except OSError as error:
        raise EstimateError(f"{path}: cannot be written: {error.strerror or error}", path=path) from error


def _parse_sweep(text: str) -> tuple[SolvedSize, int, int]:
    name, _, bounds = text.partition("=")
    start, _, stop = bounds.partition(":")
    names = [size.value for size in SolvedSize]
    if name not in names or not start.isdigit() or not stop.isdigit() or not 0 < int(start) < int(stop):
        expected = "batch, seq-len or rank with a range, such as seq-len=512:8192"
        raise EstimateError(f"--sweep: expected {expected}, got `{text}`")
    return SolvedSize(name), int(start), int(stop)


def _steps(start: int, stop: int) -> list[int]:
    """Return sizes from start to stop, the multiples of a power of two between them, at most 18."""
    step = 1
    while (stop - start) / step > 16:
        step *= 2
    return sorted({start, *range(-(-start // step) * step, stop, step), stop})
