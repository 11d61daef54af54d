"""A base model without a chat template, which conversations need."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.models import lacks_chat_template
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING

CODE = "KT432"
NAME = "missing-chat-template"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when neither the model nor the config has a chat template."""
    if not job.parsed or job.model is None or job.option("ModelConfig", "chat_template") is not None:
        return
    if lacks_chat_template(job.model.value):
        yield Fault(
            job.section_place("ModelConfig"),
            f"{job.model.value.name} has no chat template: if the data has `messages`, {AFTER_LOADING}",
            help="set `ModelConfig.chat_template`, or use columns `prompt` and `completion`",
        )
