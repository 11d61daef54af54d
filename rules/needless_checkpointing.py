"""Gradient checkpointing where everything fits without."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.memory.workload import Quantization
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import GRADIENT_CHECKPOINTING, needs, option_place, would_fit

CODE = "KT604"
NAME = "needless-checkpointing"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

SHARE = 0.7


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or job.gpu is None or not workload.gradient_checkpointing:
        return
    if workload.quantization is not Quantization.NONE:
        return
    without = replace(workload, gradient_checkpointing=False)
    larger = needs(job, without)
    if larger is None or not would_fit(job, without) or larger.high_bytes > job.gpu.value.memory_bytes * SHARE:
        return
    yield Fault(
        option_place(job, "TrainingArguments", GRADIENT_CHECKPOINTING),
        f"checkpointing computes every layer twice to save memory that is free: without it the run needs "
        f"{gib(larger.device_bytes)} of {gib(job.gpu.value.memory_bytes)} GiB",
        help="write `gradient_checkpointing: false`",
        fix=setting_fix(
            job,
            "TrainingArguments",
            GRADIENT_CHECKPOINTING,
            False,
            "Turn gradient checkpointing off",
            Applicability.UNSAFE,
        ),
    )
