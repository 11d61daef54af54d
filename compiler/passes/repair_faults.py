"""Apply the fixes that rules offer for what no other pass repaired."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault, JobRule, known_faults
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, PassContext, Preserves

NAME = "repair-faults"

_MEMORY_AND_SPEED = (Area.MEMORY, Area.SPEED)


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the fixes of the rules' faults: safe ones, and for errors also others that stay inside the ConfigMap."""
    for rule in context.job_rules:
        for fault in known_faults(rule, job):
            change = _change(job, rule, fault)
            if change is not None and context.preserve.allows(change.preserves):
                yield change


def _change(job: Job, rule: JobRule, fault: Fault) -> Change | None:
    fix = fault.fix
    if fix is None or fix.applicability is Applicability.DISPLAY:
        return None
    severity = fault.severity or rule.SEVERITY
    is_unsafe = fix.applicability is Applicability.UNSAFE
    if severity is Severity.INFO or (is_unsafe and not (severity is Severity.ERROR and _stays_in_config(job, fix))):
        return None
    edits = fix.edits
    source = edits[0].source
    return Change(
        what=fault.place.pointer.rpartition("/training_config/")[2].replace("/", ".") or rule.NAME,
        reason=fault.message,
        preserves=_preserves(rule, fix),
        place=fault.place,
        edits=edits,
        before=" ".join(source.slice(edits[0].span).split()),
        after=" ".join(edits[0].replacement.split()),
        code=rule.CODE,
    )


def _preserves(rule: JobRule, fix: Fix) -> Preserves:
    """Classify a fix: it preserves the result when only memory or speed was wrong, else the intent.

    The intent is not kept by a fix that removes what somebody wrote and is not sure to be right.
    """
    if area_of(rule.CODE) in _MEMORY_AND_SPEED:
        return Preserves.EXACT
    is_removal = all(not edit.replacement.strip() for edit in fix.edits)
    return Preserves.CHANGES if is_removal and fix.applicability is Applicability.UNSAFE else Preserves.INTENT


def _stays_in_config(job: Job, fix: Fix) -> bool:
    if job.config is None:
        return False
    host = job.config.host
    return all(edit.source is host.source and host.span.covers(edit.span) for edit in fix.edits)
