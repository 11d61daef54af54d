"""Apply the fixes that rules offer for a config that stops its server, or arrives otherwise than it is written."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault, ServingRule, known_faults
from kaitoc.compiler.job.serving_drift import starts
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.manifest.serving_config import SERVING_DATA_KEY
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.server_model import ServingContext

NAME = "repair-server"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield the fixes of the rules' faults: safe ones, and others for errors at which vLLM stops reading."""
    is_readable = not job.uses_vllm or (job.is_readable and starts(job))
    for rule in context.rules():
        for fault in known_faults(rule, job):
            change = _change(rule, fault, is_readable=is_readable)
            if change is not None and context.preserve.allows(change.preserves):
                yield change


def _change(rule: ServingRule, fault: Fault, *, is_readable: bool) -> Change | None:
    fix = fault.fix
    if fix is None or fix.applicability is Applicability.DISPLAY:
        return None
    severity = fault.severity or rule.SEVERITY
    is_unsafe = fix.applicability is Applicability.UNSAFE
    if severity is Severity.INFO or (is_unsafe and (severity is not Severity.ERROR or is_readable)):
        return None
    written = (edit.source.slice(edit.span) for edit in fix.edits)
    return Change(
        what=fault.place.pointer.rpartition(f"/{SERVING_DATA_KEY}/")[2].replace("/", ".") or rule.NAME,
        reason=fault.message,
        preserves=_preserves(fix),
        place=fault.place,
        edits=fix.edits,
        before=" ".join(" ".join(written).split()),
        after=" ".join(" ".join(edit.replacement for edit in fix.edits).split()),
        code=rule.CODE,
    )


def _preserves(fix: Fix) -> Preserves:
    """Return the intent, which is not kept by a fix that removes what somebody wrote and is not sure to be right."""
    is_removal = all(not edit.replacement.strip() for edit in fix.edits)
    return Preserves.CHANGES if is_removal and fix.applicability is Applicability.UNSAFE else Preserves.INTENT
