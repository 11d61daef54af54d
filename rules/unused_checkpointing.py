"""A long sequence trained without gradient checkpointing."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, verdict_of, workload_of
from kaitoc.compiler.memory.result import Verdict
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import GRADIENT_CHECKPOINTING, needs, option_place

CODE = "KT503"
NAME = "unused-checkpointing"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

LONG_TOKENS = 2048


def check(job: Job) -> Iterator[Fault]:
    """Yield a long sequence trained without gradient checkpointing that leaves no margin of the GPU."""
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or workload.gradient_checkpointing or job.gpu is None:
        return
    if workload.seq_len_tokens < LONG_TOKENS or verdict_of(job) is Verdict.FITS:
        return
    with_checkpointing = needs(job, replace(workload, gradient_checkpointing=True))
    if with_checkpointing is None or with_checkpointing.device_bytes > predicted.device_bytes / 2:
        return
    yield Fault(
        option_place(job, "TrainingArguments", GRADIENT_CHECKPOINTING),
        f"needs {gib(predicted.device_bytes)} GiB at {workload.seq_len_tokens:,} tokens; with gradient checkpointing "
        f"{gib(with_checkpointing.device_bytes)} GiB, with steps about a third longer",
        help="write `gradient_checkpointing: true`",
        fix=setting_fix(
            job,
            "TrainingArguments",
            GRADIENT_CHECKPOINTING,
            True,
            "Turn gradient checkpointing on",
            Applicability.UNSAFE,
        ),
    )
