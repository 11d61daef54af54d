"""A list that reaches vLLM as one string."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.yaml.tree import Scalar

CODE = "KT724"
NAME = "list-as-text"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_NAMES = ("served-model-name", "api-key")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield lists and mappings that an option takes as text, brackets and all."""
    for name, served in job.parsed.values.items() if job.uses_vllm else ():
        known = job.table.option(name)
        if served.index < 0 or known is None or known.kind not in ("str", "json-or-text", "device-ids"):
            continue
        option = job.option_at(served.index)
        if not isinstance(option.node, Scalar) and "." not in option.name:
            message = f"`{option.name}` receives the single string `{served.word}`: Kaito passes a value as one word"
            yield Fault(option.value, message, help="write one value" if name in _NAMES else "")
