"""A chat template that is not a file in the pod."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_engine_problem import EngineProblemKind
from kaitoc.rules._serving import configuration_faults

CODE = "KT708"
NAME = "missing-serving-template"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_KINDS = (EngineProblemKind.TEMPLATE,)


def check(job: ServingJob) -> Iterator[Fault]:
    return configuration_faults(job, *_KINDS)
