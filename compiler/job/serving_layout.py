"""How the GPUs of a server share its model, and who says so."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_words import CONTROLLER

KAITO = "Kaito's controller"
_SIZES = (("TP", "tensor-parallel-size"), ("PP", "pipeline-parallel-size"), ("DP", "data-parallel-size"))


def origin_of(job: ServingJob, index: int) -> str:
    """Name what sets an option: Kaito's controller, or a line of a file."""
    if index == CONTROLLER:
        return KAITO
    place = job.option_at(index).key
    return f"{place.source.path}:{place.source.position(place.span.start).line}"


def layout_words(job: ServingJob) -> str:
    """Return the sizes of a server's layout above 1, those of one origin together; empty for one GPU."""
    by_origin: dict[str, list[str]] = {}
    for size, origin in _sizes(job):
        by_origin.setdefault(origin, []).append(size)
    return "; ".join(f"{', '.join(sizes)} ({origin})" for origin, sizes in by_origin.items())


def _sizes(job: ServingJob) -> Iterator[tuple[str, str]]:
    for name, option in _SIZES:
        served = job.parsed.values.get(option)
        if served is not None and isinstance(served.value, int) and served.value > 1:
            yield f"{name} {served.value}", origin_of(job, served.index)
    if job.num_nodes > 1:
        yield f"{job.num_nodes} nodes", KAITO
