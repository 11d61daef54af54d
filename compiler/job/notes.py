"""What the prediction of a job assumes, and what it leaves out, beside the findings."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import asks_offload, footprint_of, workload_of
from kaitoc.compiler.memory.notes import notes_on, notes_on_lengths


def notes_of(job: Job) -> Iterator[str]:
    """Yield the notes that `kaitoc estimate` prints of a job under the same assumptions."""
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None:
        return
    gpu = job.gpu.value if job.gpu is not None else None
    asked = job.assumptions.sharing
    yield from notes_on(asked, workload, gpu, predicted, asks_offload=asks_offload(job))
    if job.assumptions.rows is not None:
        yield from notes_on_lengths(workload, predicted.sharding)
