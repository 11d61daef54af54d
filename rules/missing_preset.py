"""A tuning Workspace without a preset."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT318"
NAME = "missing-preset"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("tuning", "preset", "name")
    if field is not None and field.text:
        return
    tuning = workspace.field("tuning", "preset") or workspace.field("tuning")
    place = tuning.key if tuning is not None else workspace.place
    is_in_preset = (
        workspace.given("tuning", "preset") is not None and workspace.given("tuning", "preset", "name") is None
    )
    judge = "the API server" if is_in_preset else "Kaito's webhook"
    message = f"the Workspace names no model: `tuning.preset.name` is missing; {judge} refuses it"
    yield Fault(place, message, help="name one of " + ", ".join(job.release.tunable_presets))
