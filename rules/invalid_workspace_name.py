"""A Workspace name that is not a DNS label."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.formats import MAX_LABEL, is_dns_label

CODE = "KT304"
NAME = "invalid-workspace-name"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    name = workspace.ref.name
    if not is_dns_label(name):
        message = f"`{name}` is not a DNS label; Kaito's webhook refuses the Workspace"
        help_text = (
            f"use at most {MAX_LABEL} lower-case letters, digits and hyphens, with a letter or digit at both ends"
        )
        yield Fault(workspace.place, message, help=help_text)
