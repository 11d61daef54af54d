"""A tuning method that Kaito does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.link import METHODS

CODE = "KT309"
NAME = "unknown-method"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("tuning", "method")
    written = field.text or "" if field is not None else ""
    if written.lower() in METHODS:
        return
    tuning = workspace.field("tuning")
    place = field.value if field is not None else (tuning.key if tuning is not None else workspace.place)
    shown = f"`{written}` is not a tuning method" if written else "the Workspace names no `tuning.method`"
    yield Fault(
        place,
        f"{shown}; Kaito's webhook refuses it",
        help="use `lora`, or `qlora` for 4-bit weights",
    )
