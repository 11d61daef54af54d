"""What a job's batches take when their rows differ in length, where the lengths are stated."""

from __future__ import annotations

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.loading import loading_of
from kaitoc.compiler.job.memory import batch_size_of, cap_of, footprint_of, workload_of
from kaitoc.compiler.memory.batches import Lengths
from kaitoc.compiler.memory.variation import Drawing, Variation, can_vary, variation


def lengths_of(job: Job) -> Lengths | None:
    """Return the rows of a job's data as its trainer cuts them, None where nothing is stated of them."""
    rows = job.assumptions.rows
    return rows.cut_at(cap_of(job), batch_size_of(job)) if rows is not None else None


def variation_of(job: Job) -> Variation | None:
    """Replay a job's batches of varying length, None when lengths are not stated or cannot be replayed."""
    return job.memo.get("variation", lambda: _variation(job))


def _variation(job: Job) -> Variation | None:
    lengths, workload, predicted = lengths_of(job), workload_of(job), footprint_of(job)
    if lengths is None or workload is None or predicted is None or not can_vary(workload, predicted.sharding):
        return None
    gpu = job.gpu.value if job.gpu is not None else None
    return variation(workload, gpu, Drawing(lengths, loading_of(job)))
