"""Sequences truncated to 1,024 tokens because no length is set."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import DEFAULT_CAP_TOKENS
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._memory import option_place

CODE = "KT511"
NAME = "implicit-truncation"
SEVERITY = Severity.INFO
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    setting = job.setting("TrainingArguments", "max_length")
    if setting.is_stated or setting.value != DEFAULT_CAP_TOKENS or not job.is_parsable:
        return
    yield Fault(
        option_place(job, "TrainingArguments", "max_length"),
        f"`max_length` is not set: sequences longer than {DEFAULT_CAP_TOKENS:,} tokens are silently truncated",
        help=f"write the length your data needs, or `max_length: {DEFAULT_CAP_TOKENS}` if truncation is intended",
        fix=setting_fix(
            job,
            "TrainingArguments",
            "max_length",
            DEFAULT_CAP_TOKENS,
            "Write the default explicitly",
            Applicability.SAFE,
        ),
    )
