"""A value that vLLM's configuration refuses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_engine_problem import EngineProblemKind
from kaitoc.rules._serving import configuration_faults

CODE = "KT706"
NAME = "refused-serving-value"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_KINDS = (
    EngineProblemKind.BOUND,
    EngineProblemKind.CONDITION,
    EngineProblemKind.BATCH,
    EngineProblemKind.QUANTIZATION,
    EngineProblemKind.NAME,
)


def check(job: ServingJob) -> Iterator[Fault]:
    return configuration_faults(job, *_KINDS)
