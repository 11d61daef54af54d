"""A run that may or may not fit on its GPU."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, verdict_of
from kaitoc.compiler.memory.result import Verdict
from kaitoc.rules._instances import has_removed_gpu
from kaitoc.rules._memory import gpu_place

CODE = "KT502"
NAME = "tight-fit"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    predicted = footprint_of(job)
    if predicted is None or job.gpu is None or verdict_of(job) is not Verdict.TIGHT or has_removed_gpu(job):
        return
    gpu = job.gpu.value
    yield Fault(
        gpu_place(job),
        f"needs between {gib(predicted.low_bytes)} and {gib(predicted.high_bytes)} GiB of the {gib(gpu.memory_bytes)} "
        f"that one {gpu.name} has; a long batch or fragmentation can stop the run",
        help="`kaitoc compile` finds the smallest change that leaves a margin, if there is one",
    )
