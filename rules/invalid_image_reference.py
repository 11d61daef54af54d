"""An input or output image that is not an image reference."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT316"
NAME = "invalid-image-reference"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:\[[0-9a-fA-F:]+\]|[a-zA-Z0-9](?:[-a-zA-Z0-9.]*[a-zA-Z0-9])?)(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::\w[\w.-]{{0,127}})?(?:@[a-z0-9]+:[0-9a-fA-F]{{32,}})?", re.ASCII
)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|<[^>]+>|\$\{?\w+")
_MAX_LENGTH = 4096


def check(job: Job) -> Iterator[Fault]:
    """Yield an input or output image that is not an image reference."""
    if job.workspace is None:
        return
    for section in ("input", "output"):
        field = job.workspace.field("tuning", section, "image")
        if field is None or not field.text:
            continue
        if _PLACEHOLDER.search(field.text):
            message = f"`{field.text[:80]}` is a placeholder; put the real image there before it is applied"
            yield Fault(field.value, message, severity=Severity.INFO)
        elif len(field.text) > _MAX_LENGTH or not _REFERENCE.fullmatch(field.text):
            yield Fault(
                field.value,
                f"`{field.text[:80]}` is not an image reference; Kaito's webhook refuses the Workspace",
                help="write registry/repository:tag; the repository has lower-case letters only",
            )
