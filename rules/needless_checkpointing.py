"""Gradient checkpointing where everything fits without."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.advice import without_checkpointing
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import GRADIENT_CHECKPOINTING, option_place

CODE = "KT604"
NAME = "needless-checkpointing"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    without = without_checkpointing(job)
    if without is None or job.gpu is None:
        return
    yield Fault(
        option_place(job, "TrainingArguments", GRADIENT_CHECKPOINTING),
        f"gradient checkpointing recomputes every layer to save memory that is not needed: without it the run needs "
        f"{gib(without.device_bytes)} of {gib(job.gpu.value.memory_bytes)} GiB",
        help="write `gradient_checkpointing: false`, as `kaitoc compile --goal throughput` does",
        fix=setting_fix(
            job,
            "TrainingArguments",
            GRADIENT_CHECKPOINTING,
            False,
            "Turn gradient checkpointing off",
            Applicability.UNSAFE,
        ),
    )
