"""A layout that needs more GPUs than there are, or contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_engine_problem import EngineProblemKind
from kaitoc.rules._serving import configuration_faults

CODE = "KT710"
NAME = "excess-parallelism"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_KINDS = (EngineProblemKind.LAYOUT,)


def check(job: ServingJob) -> Iterator[Fault]:
    return configuration_faults(job, *_KINDS)
