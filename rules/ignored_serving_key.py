"""A key next to `vllm` that Kaito's launcher does not read."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.serving_config import SERVING_KEYS
from kaitoc.compiler.yaml.tree import Mapping

CODE = "KT722"
NAME = "ignored-serving-key"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield root keys that are not the launcher's: options of vLLM at the wrong place, and words it does not know."""
    config = job.config
    if config is None or not isinstance(config.document_root, Mapping) or not job.uses_vllm:
        return
    for section in config.sections:
        if section.name in SERVING_KEYS:
            continue
        plain = section.name.replace("_", "-")
        close = next((key for key in SERVING_KEYS if key == section.name.lower().replace("-", "_")), "")
        is_option = job.table.option(plain) is not None
        help_text = f"did you mean `{close}`?" if close else "indent it under `vllm`" if is_option else ""
        severity = Severity.WARNING if close or is_option else Severity.INFO
        message = f"Kaito's launcher ignores `{section.name}` here: it reads {', '.join(SERVING_KEYS)}"
        yield Fault(section.key, message, help=help_text, severity=severity)
