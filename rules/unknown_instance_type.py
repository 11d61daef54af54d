"""An instance type that Kaito does not list."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.rules._instances import unlisted

CODE = "KT320"
NAME = "unknown-instance-type"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for an instance type that the job's release does not know by this name."""
    stated = job.instance_type
    if stated is None or stated.place is None or job.target is Target.BUNDLED:
        return
    effect = "the node is provisioned, then the Job fails with `Unsupported SKU`"
    fault = unlisted(stated.value, stated.place, job.release, effect)
    if fault is not None:
        yield fault
