"""Eager attention where a fused kernel is available."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.memory.workload import Attention
from kaitoc.rules._memory import needs, option_place

CODE = "KT504"
NAME = "eager-attention"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or workload.attention is not Attention.EAGER:
        return
    if job.target is not Target.BUNDLED:
        return
    fused = needs(job, replace(workload, attention=Attention.SDPA))
    if fused is None or fused.device_bytes >= predicted.device_bytes:
        return
    yield Fault(
        option_place(job, "ModelConfig", "attn_implementation"),
        f"eager attention stores a score for every pair of tokens: {gib(predicted.device_bytes)} GiB at "
        f"{workload.seq_len_tokens:,} tokens, {gib(fused.device_bytes)} with a fused kernel",
        help='write `attn_implementation: "sdpa"`',
        fix=_fix(job),
    )


def _fix(job: Job) -> Fix | None:
    option = job.option("ModelConfig", "attn_implementation")
    if option is None or job.config is None or not job.config.is_editable:
        return None
    edit = replace_value(job.config, option, "sdpa")
    return Fix("Use a fused kernel", Applicability.UNSAFE, (edit,))
