"""bfloat16 training on a GPU without bfloat16."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.config_edits import set_option
from kaitoc.rules._instances import has_removed_gpu
from kaitoc.rules._memory import option_place

CODE = "KT470"
NAME = "unsupported-bfloat16"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if (
        job.gpu is None
        or job.gpu.value.has_bf16
        or not job.flag("TrainingArguments", "bf16")
        or not job.gpu.value.model
        or has_removed_gpu(job)
    ):
        return
    setting = job.setting("TrainingArguments", "bf16")
    how = "`bf16` is on" if setting.is_stated else f"`bf16` is on by default in {job.args_owner}"
    yield Fault(
        option_place(job, "TrainingArguments", "bf16"),
        f"{how}, and {job.gpu.value.name} has no bfloat16; transformers refuses to start",
        help="use an Ampere or later GPU, or write `bf16: false` and `torch_dtype: float32`",
        fix=_fix(job),
    )


def _fix(job: Job) -> Fix | None:
    config = job.config
    if config is None or not config.is_editable or config.option("TrainingArguments", "bf16") is None:
        return None
    edit = set_option(config, "TrainingArguments", "bf16", False)
    return Fix("Turn bf16 off", Applicability.UNSAFE, (edit,))
