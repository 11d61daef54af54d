"""An input or output image that is not an image reference."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.image_reference import ImageRefusal, image_refusal

CODE = "KT316"
NAME = "invalid-image-reference"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|<[^>]+>|\$\{?\w+")
_MAX_SHOWN = 80
HELPS: dict[ImageRefusal, str] = {
    "invalid": "write registry/repository:tag; the repository has lower-case letters only",
    "upper case": "write the repository in lower case",
    "image ID": "64 hexadecimal digits are an image ID; write registry/repository:tag",
    "too long": "a repository has at most 255 characters",
    "digest": "a digest is sha256, sha384 or sha512 with 64, 96 or 128 lower-case hexadecimal digits",
}


def check(job: Job) -> Iterator[Fault]:
    if job.workspace is None:
        return
    for section in ("input", "output"):
        field = job.workspace.field("tuning", section, "image")
        if field is None or not field.text:
            continue
        shown = field.text[:_MAX_SHOWN]
        if _PLACEHOLDER.search(field.text):
            message = f"`{shown}` is a placeholder; replace it with the real image before you apply"
            yield Fault(field.value, message, severity=Severity.INFO)
        elif (refusal := image_refusal(field.text)) is not None:
            message = f"`{shown}` is not an image reference; Kaito's webhook refuses the Workspace"
            yield Fault(field.value, message, help=HELPS[refusal])
