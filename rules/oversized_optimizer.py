"""Optimizer states that take a large part of the memory."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.memory.workload import Optimizer
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import needs, option_place

CODE = "KT510"
NAME = "oversized-optimizer"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

SHARE = 0.25


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or workload.optimizer not in (Optimizer.ADAMW, Optimizer.ADAMW_FUSED):
        return
    states_bytes = predicted.peak.categories.optimizer
    if states_bytes < predicted.allocated_bytes * SHARE:
        return
    small = needs(job, replace(workload, optimizer=Optimizer.PAGED_ADAMW_8BIT))
    if small is None:
        return
    yield Fault(
        option_place(job, "TrainingArguments", "optim"),
        f"optimizer states take {gib(states_bytes)} of {gib(predicted.device_bytes)} GiB; with a paged 8-bit "
        f"optimizer the run needs {gib(small.device_bytes)} GiB",
        help="write `optim: paged_adamw_8bit`, or lower the rank",
        fix=setting_fix(
            job, "TrainingArguments", "optim", "paged_adamw_8bit", "Use the paged 8-bit optimizer", Applicability.UNSAFE
        ),
    )
