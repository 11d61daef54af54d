"""`gradient_checkpointing: false` under QLoRA, where it has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT414"
NAME = "ineffective-checkpointing-off"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when checkpointing is turned off and the preparation of 4-bit weights turns it on."""
    option = job.option("TrainingArguments", "gradient_checkpointing")
    is_off = job.value("TrainingArguments", "gradient_checkpointing") is False
    if option is None or not is_off or not is_on_kaito(job) or not job.flag("QuantizationConfig", "load_in_4bit"):
        return
    yield Fault(
        job.place_of(option),
        "`gradient_checkpointing: false` has no effect under QLoRA: Kaito prepares the model with PEFT's "
        "`prepare_model_for_kbit_training`, which turns checkpointing on, so steps take about a third longer",
        help="write true, which is what runs; only LoRA on unquantized weights can run without it",
        fix=setting_fix(
            job,
            "TrainingArguments",
            "gradient_checkpointing",
            True,
            "Write `gradient_checkpointing: true`",
            Applicability.SAFE,
        ),
    )
