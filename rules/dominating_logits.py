"""A full-logits loss that dominates the peak."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.manifest.config_edits import replace_value
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.compiler.memory.workload import Loss
from kaitoc.rules._memory import needs

CODE = "KT514"
NAME = "dominating-logits"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

SHARE = 0.8


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    option = job.option("TrainingArguments", "loss_type")
    if workload is None or predicted is None or option is None or workload.loss is not Loss.FULL:
        return
    chunked = needs(job, replace(workload, loss=Loss.CHUNKED))
    if chunked is None or chunked.device_bytes > predicted.device_bytes * SHARE:
        return
    yield Fault(
        job.place_of(option),
        f"full logits dominate the peak ({gib(predicted.device_bytes)} GiB); `chunked_nll` needs "
        f"{gib(chunked.device_bytes)} GiB for the same loss",
        help="write `loss_type: chunked_nll`",
        fix=_fix(job, option),
    )


def _fix(job: Job, option: Option) -> Fix | None:
    if job.config is None or not job.config.is_editable:
        return None
    edit = replace_value(job.config, option, "chunked_nll")
    return Fix("Compute the loss in chunks", Applicability.SAFE, (edit,))
