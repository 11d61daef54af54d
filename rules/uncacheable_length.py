"""A context length that the KV cache cannot hold for one request."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.footprint import ServingFault
from kaitoc.rules._serving import STOPS, replacement
from kaitoc.rules._serving_memory import fitting_length, refused_footprint

CODE = "KT741"
NAME = "uncacheable-length"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a `max-model-len` of which one request takes more than the KV cache has."""
    footprint = refused_footprint(job, ServingFault.LENGTH)
    if footprint is None:
        return
    option = job.option_of("max-model-len")
    if option is None:
        return
    length = fitting_length(job)
    message = (
        f"`max-model-len: {footprint.workload.max_length_tokens}` needs {format_gib(footprint.needed_bytes, 2)} of KV "
        f"cache for one request, and {format_gib(footprint.tightest.available_bytes, 2)} are available; {STOPS}"
    )
    help_text = f"the longest context that fits is {length:,} tokens" if length else ""
    fix = replacement(job, option, length, Applicability.UNSAFE) if length else None
    yield Fault(option.value, message, help=help_text, fix=fix)
