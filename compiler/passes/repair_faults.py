"""Apply the fixes that rules offer for what no other pass repaired."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.faults import Fault, JobRule
from kaitoc.compiler.findings import Applicability, Severity
from kaitoc.compiler.job import Job
from kaitoc.compiler.passes.model import Change, PassContext, Preserves

NAME = "repair-faults"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the fixes of the rules' faults: safe ones, and for errors also others that stay inside the ConfigMap."""
    for rule in context.job_rules:
        for fault in rule.check(job):
            change = _change(job, rule, fault)
            if change is not None and context.preserve.allows(change.preserves):
                yield change


def _change(job: Job, rule: JobRule, fault: Fault) -> Change | None:
    fix = fault.fix
    if fix is None or fix.applicability is Applicability.DISPLAY:
        return None
    is_error = (fault.severity or rule.SEVERITY) is Severity.ERROR
    if fix.applicability is Applicability.UNSAFE and not (is_error and _stays_in_config(job, fault)):
        return None
    edits = fix.edits
    source = edits[0].source
    return Change(
        what=fault.place.pointer.rpartition("/training_config/")[2].replace("/", ".") or rule.NAME,
        reason=fault.message,
        preserves=Preserves.INTENT if is_error else Preserves.STATISTICAL,
        place=fault.place,
        edits=edits,
        before=" ".join(source.slice(edits[0].span).split()),
        after=" ".join(edits[0].replacement.split()),
        code=rule.CODE,
    )


def _stays_in_config(job: Job, fault: Fault) -> bool:
    if job.config is None or fault.fix is None:
        return False
    host = job.config.host
    return all(edit.source is host.source and host.span.covers(edit.span) for edit in fault.fix.edits)
