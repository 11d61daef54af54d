"""An evaluation whose logits need more memory than training."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.rules._memory import option_place

CODE = "KT513"
NAME = "evaluation-spike"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

LOGITS_BYTES = 6
"""Per logit: the model's half-precision one and a float32 copy for the loss (transformers `ForCausalLMLoss`)."""


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or job.gpu is None:
        return
    if str(job.value("TrainingArguments", "eval_strategy")) in ("no", "None", ""):
        return
    batch = job.integer("TrainingArguments", "per_device_eval_batch_size", 8)
    logits_bytes = batch * workload.seq_len_tokens * workload.architecture.vocab_size * LOGITS_BYTES
    categories = predicted.peak.categories
    resident = categories.weights + categories.adapters + categories.optimizer + predicted.context_bytes
    if resident + logits_bytes <= job.gpu.value.memory_bytes or batch <= workload.batch_size:
        return
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_eval_batch_size"),
        f"evaluation runs batches of {batch}, whose logits alone need {gib(logits_bytes)} GiB on top of "
        f"{gib(resident)} GiB of weights and states; one {job.gpu.value.name} has {gib(job.gpu.value.memory_bytes)}",
        help="write `per_device_eval_batch_size: 1`; the default is 8",
        severity=Severity.WARNING,
    )
