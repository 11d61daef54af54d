"""An option that `kaitoc run` refuses, though Kaito's parser takes it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.bundled_refusals import refusals
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target

CODE = "KT478"
NAME = "unrunnable-option"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield what stops a run with the bundled runtime before it starts, however it is run."""
    if job.target is not Target.BUNDLED or not job.is_parsable:
        return
    for refusal in refusals(job):
        option = job.option(refusal.section, refusal.option)
        if option is not None:
            yield Fault(job.place_of(option), refusal.what, help=refusal.advice)
