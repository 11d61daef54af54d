"""An `inference_config.yaml` that Kaito's launcher cannot read."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.inner_config import is_mapping
from kaitoc.compiler.manifest.serving_config import SERVING_SECTION, ServingConfig
from kaitoc.compiler.yaml.tree import Mapping, ProblemKind, Scalar, Sequence
from kaitoc.compiler.yaml.values import plain_value
from kaitoc.rules._serving import STOPS

CODE = "KT705"
NAME = "unreadable-serving-config"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_OFFLOAD = "kv_cache_cpu_memory_utilization"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a config without a mapping at its root or under `vllm`, and a share of memory that is no number."""
    config = job.config
    if config is None or not job.uses_vllm or config.placeholder or config.is_template:
        return
    if any(problem.kind is not ProblemKind.DUPLICATE_KEY for problem in config.problems):
        return
    if not is_mapping(config.document_root):
        yield Fault(job.config_place, f"Kaito's launcher needs a mapping here, such as `vllm: {{}}`; {STOPS}")
        return
    section = config.section(SERVING_SECTION)
    if section is not None and not section.is_mapping:
        message = f"`vllm` has nothing under it that the launcher can read; {STOPS}"
        yield Fault(section.key, message, help="write `vllm: {}`", fix=_empty_mapping(config))
    share = config.section(_OFFLOAD)
    if share is not None and _is_refused(share.node):
        yield Fault(share.value, f"`{_OFFLOAD}` must be a number without quotes; {STOPS}", fix=_unquoted(config))


def _is_refused(node: Scalar | Mapping | Sequence) -> bool:
    if not isinstance(node, Scalar):
        return True
    value = plain_value(node) if not node.placeholder else 0
    return not (value is None or isinstance(value, (int, float)))


def _empty_mapping(config: ServingConfig) -> Fix | None:
    section = config.section(SERVING_SECTION)
    if section is None or not config.is_editable or not isinstance(section.node, Scalar):
        return None
    start = section.key.span.end
    end = max(start + 1, section.value.span.end)
    return Fix("Write `vllm: {}`", Applicability.SAFE, (Edit(config.host.source, Span(start, end), ": {}"),))


def _unquoted(config: ServingConfig) -> Fix | None:
    share = config.section(_OFFLOAD)
    if share is None or not isinstance(share.node, Scalar) or not config.is_editable or share.node.style is None:
        return None
    try:
        float(share.node.value)
    except ValueError:
        return None
    return Fix("Remove the quotes", Applicability.SAFE,
               (Edit(config.host.source, share.value.span, share.node.value.strip()),))  # fmt: skip
