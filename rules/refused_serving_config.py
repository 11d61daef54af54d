"""A config that Kaito's webhook refuses though vLLM could read it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.yaml.tree import Mapping, Scalar
from kaitoc.rules._serving import replacement

CODE = "KT350"
NAME = "refused-serving-config"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_ATOI = r"[+-]?[0-9]+"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield lists and mappings under `vllm`, and lengths that are no plain number or more than the model has."""
    if job.view is None or job.config_map is None or not job.uses_vllm or not job.is_readable:
        return
    if not isinstance(job.config.document_root if job.config is not None else None, Mapping):
        return
    for option in job.known_options:
        if not isinstance(option.node, Scalar):
            message = (
                f"Kaito's webhook accepts only one value for `{option.name}` and refuses the object that uses this"
            )
            yield Fault(option.value, message, help="write it as text in quotes")
        elif option.name == "max-model-len" and not re.fullmatch(_ATOI, option.node.value):
            served = job.parsed.values.get("max-model-len")
            value = served.value if served is not None else None
            is_number = isinstance(value, int) and value > 0
            fix = replacement(job, option, value, Applicability.SAFE) if is_number else None
            message = "Kaito's webhook accepts only a whole number for `max-model-len`"
            yield Fault(option.value, message, help="remove it: Kaito sets it" if not is_number else "", fix=fix)
