"""An option that a later spelling of it replaces."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT726"
NAME = "overridden-serving-option"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield pairs whose option a later pair sets again under another spelling."""
    for index, by in job.parsed.overridden.items() if job.uses_vllm else ():
        if index < 0 or by < 0 or "." in job.option_at(by).name:
            continue
        option, later = job.option_at(index), job.option_at(by)
        message = f"`{option.name}` is replaced by `{later.name}` below: both name `{job.parsed.options[index]}`"
        yield Fault(
            option.key, message, help="remove one of the two", related=(related("this one takes effect", later.key),)
        )
