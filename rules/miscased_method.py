"""A method in capitals, together with the default template."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.link import METHODS

CODE = "KT310"
NAME = "miscased-method"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    method = job.method
    if method is None or method.place is None or not job.uses_template:
        return
    lower = method.value.lower()
    if method.value == lower or lower not in METHODS:
        return
    edit = Edit(method.place.source, method.place.span, lower)
    yield Fault(
        method.place,
        f"the webhook admits `{method.value}`, but the controller finds no default template of that name and fails",
        help=f"write `{lower}`",
        fix=Fix(f"Write `{lower}`", Applicability.SAFE, (edit,)),
    )
