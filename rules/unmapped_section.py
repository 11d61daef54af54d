"""A section that is not a mapping."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import SECTIONS
from kaitoc.compiler.yaml.tree import Scalar
from kaitoc.rules._problems import STOPS

CODE = "KT327"
NAME = "unmapped-section"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_JUDGED_AT_ADMISSION = ("QuantizationConfig", "TrainingArguments")
"""What the webhook looks a key up in, whatever the method; nothing is found in null, and all else is an error."""


def check(job: Job) -> Iterator[Fault]:
    if job.config is None or job.uses_template:
        return
    for section in job.config.sections:
        if section.name not in SECTIONS or section.is_mapping:
            continue
        is_empty = isinstance(section.node, Scalar) and section.node.value in ("", "~", "null")
        state = "is empty" if is_empty else "is not a mapping"
        help_text = "write `{}` or leave the section out" if is_empty else "indent its keys below it"
        is_refused = section.name in _JUDGED_AT_ADMISSION and not is_empty
        effect = "Kaito's webhook refuses the Workspace" if is_refused else STOPS
        message = f"the section `{section.name}` {state}; {effect}"
        yield Fault(section.key, message, help=help_text)
