"""JSON for `compilation-config`, which Kaito's own dotted argument replaces."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT721"
NAME = "discarded-compilation-config"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield an option that dotted arguments replace, as vLLM puts those last and joins nothing."""
    parse = job.parsed
    for index, by in parse.overridden.items() if job.uses_vllm else ():
        name = parse.options.get(index, "")
        is_dotted = by < 0 or "." in job.option_at(by).name
        if index >= 0 and is_dotted and "." not in job.option_at(index).name:
            option = job.option_at(index)
            whose = "Kaito's own" if by < 0 else f"`{job.option_at(by).name}` as a"
            message = f"`{name}` is discarded: {whose} dotted argument replaces the whole of it"
            yield Fault(option.key, message, help=f"write dotted keys, such as `{name}.KEY: VALUE`")
