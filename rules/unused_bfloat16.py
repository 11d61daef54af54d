"""Training without mixed precision on a GPU that has bfloat16."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.advice import bfloat16_gain
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import workload_of
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place

CODE = "KT603"
NAME = "unused-bfloat16"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if job.gpu is None or not job.gpu.value.has_bf16 or not job.is_parsable:
        return
    if job.flag("TrainingArguments", "bf16") or job.flag("TrainingArguments", "fp16"):
        return
    gain = bfloat16_gain(job)
    if gain is None and workload_of(job) is not None:
        return
    is_stated = job.option("TrainingArguments", "bf16") is not None
    speeds = f": {gain.tokens_per_second_then:,.0f} tokens/s, not {gain.tokens_per_second:,.0f}" if gain else ""
    yield Fault(
        option_place(job, "TrainingArguments", "bf16"),
        f"neither `bf16` nor `fp16` is on; {job.gpu.value.name} is faster in bfloat16 than in float32{speeds}",
        help="write `bf16: true`" + ("; `kaitoc compile` keeps a value that is set" if is_stated else ""),
        fix=setting_fix(job, "TrainingArguments", "bf16", True, "Turn bf16 on", Applicability.UNSAFE),
    )
