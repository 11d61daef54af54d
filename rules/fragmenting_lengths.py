"""Batches of different lengths that fragment the memory of a GPU which holds the longest of them."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import verdict_of
from kaitoc.compiler.job.variation import variation_of
from kaitoc.compiler.memory.result import Verdict
from kaitoc.rules._instances import has_removed_gpu
from kaitoc.rules._memory import option_place

CODE = "KT515"
NAME = "fragmenting-lengths"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a replay of differing batches runs out of memory, though the longest batch alone may fit.

    It is a warning when PyTorch makes room by giving memory back.
    """
    if job.gpu is None or has_removed_gpu(job) or verdict_of(job) in (None, Verdict.DOES_NOT_FIT):
        return
    varied, gpu = variation_of(job), job.gpu.value
    if varied is None or (varied.fits and not varied.num_retries):
        return
    lengths, room_bytes = varied.drawing.lengths, gpu.memory_bytes - varied.context_bytes
    ways = [
        f"with {other.words} it reserves {gib(other.reserved_bytes)} GiB"
        for other in varied.alternatives
        if other.reserved_bytes <= room_bytes
    ]
    freed = f"frees cached blocks about {varied.num_retries} times in {varied.drawing.num_batches} batches"
    effect = freed if varied.fits else "runs out"
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"batches of {varied.batch_size} rows, {lengths.tokens[0]:,} to {lengths.longest:,} tokens long, fragment "
        f"memory: PyTorch reserves up to {gib(varied.reserved_high_bytes)} GiB and {effect}; one {gpu.name} has "
        f"{gib(room_bytes)} GiB for it",
        help="; ".join(ways) or "lower the batch size, or shorten `max_length`",
        severity=Severity.WARNING if varied.fits else None,
    )
