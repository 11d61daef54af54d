"""What `kaitoc estimate` predicts: one footprint, a sweep over sizes, and its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import click

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError, UnknownModelTypeError
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.estimate import EstimateError, has_closed_form
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.solve import Dimension, resized
from kaitoc.compiler.memory.workload import Workload

_AXES = {"seq-len": "tokens per sequence", "batch": "batch size", "rank": "rank"}


def architecture_of(name: str, config: Mapping[str, object]) -> Architecture:
    """Return the architecture of a `config.json`; transformers reads what the catalog of families lacks."""
    try:
        return from_config(name, config)
    except UnknownModelTypeError as error:
        if find_spec("torch") is None:
            raise EstimateError(
                f'{error}; `pip install "kaitoc[runtime]"` traces all that transformers knows'
            ) from error
        unknown = error
    from kaitoc.compiler.memory.trace.architecture import architecture_from_transformers

    try:
        architecture = architecture_from_transformers(name, config)
    except ArchitectureError as error:
        raise EstimateError(f"{unknown}; {error}") from error
    click.echo(f"kaitoc: note: no closed form for `{architecture.model_type}`: its code is traced", err=True)
    return architecture


def predict(workload: Workload, gpu: Gpu | None, *, use_trace: bool = False) -> Footprint:
    """Return the footprint by the closed form, or by the trace where that is asked for or all there is."""
    if not use_trace and has_closed_form(workload.architecture):
        return footprint(workload, gpu)
    if find_spec("torch") is None:
        raise EstimateError('--trace runs the real model code; install it with `pip install "kaitoc[runtime]"`')
    from kaitoc.compiler.memory.trace.run import traced_footprint

    return traced_footprint(workload, gpu)


def sweep_points(workload: Workload, gpu: Gpu | None, text: str) -> list[tuple[int, Footprint]]:
    """Return the footprints of a sweep such as `seq-len=512:8192`, by size. Raises `EstimateError`."""
    dimension, start, stop = _parse_sweep(text)
    return [(value, predict(resized(workload, dimension, value), gpu)) for value in _steps(start, stop)]


def plot(workload: Workload, gpu: Gpu | None, points: Sequence[tuple[int, Footprint]], sweep: str, path: str) -> None:
    """Write the plot of a sweep; the file's ending tells its format. Raises `EstimateError`."""
    from kaitoc.compiler.report.estimate.plot import PlotError, plot_sweep
    from kaitoc.compiler.report.estimate.text import headline

    axis, ending = _AXES[sweep.partition("=")[0]], path.rpartition(".")[2].lower()
    try:
        write_atomically(path, plot_sweep(headline(workload, gpu), axis, points, gpu, ending))
    except PlotError as error:
        raise EstimateError(str(error)) from error
    except OSError as error:
        raise EstimateError(f"{path}: cannot be written: {error.strerror or error}") from error


def _parse_sweep(text: str) -> tuple[Dimension, int, int]:
    name, _, bounds = text.partition("=")
    start, _, stop = bounds.partition(":")
    names = [dimension.value for dimension in Dimension]
    if name not in names or not start.isdigit() or not stop.isdigit() or not 0 < int(start) < int(stop):
        raise EstimateError(f"--sweep takes {', '.join(names)} and two sizes, such as seq-len=512:8192, not `{text}`")
    return Dimension(name), int(start), int(stop)


def _steps(start: int, stop: int) -> list[int]:
    """Return at most 17 sizes from start to stop, evenly spread."""
    count = min(16, stop - start)
    return sorted({start + round(index * (stop - start) / count) for index in range(count + 1)})
