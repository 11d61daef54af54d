"""A mapping or list where vLLM wants JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_parser import ServingProblemKind
from kaitoc.compiler.manifest.serving_config import Option
from kaitoc.compiler.yaml.tree import Scalar
from kaitoc.rules._serving import STOPS, replacement, serving_problems

CODE = "KT704"
NAME = "unquoted-json"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_JSON_KINDS = ("json", "object", "json-or-text")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield mappings and lists that end as Python's notation, which no option reads."""
    for option, problem in serving_problems(job, ServingProblemKind.VALUE):
        if not isinstance(option.node, Scalar):
            name = problem.option or option.name
            message = f"`{name}` receives this in Python notation, not as JSON; it takes {problem.expected}; {STOPS}"
            yield Fault(option.value, message, help="Kaito's webhook refuses it too", fix=_as_json(job, option, name))


def _as_json(job: ServingJob, option: Option, name: str) -> Fix | None:
    known = job.table.option(name)
    if known is None or known.kind not in _JSON_KINDS:
        return None
    try:
        text = json.dumps(option.plain)
    except TypeError:
        return None
    return replacement(job, option, text, Applicability.SAFE)
