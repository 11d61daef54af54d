"""Settings of the preset's image that tuning ignores."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT324"
NAME = "ignored-preset-access"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield settings of the preset's image that Kaito's tuning ignores; the bundled runtime pulls no image at all."""
    workspace = job.workspace
    if workspace is None or not is_on_kaito(job):
        return
    mode = workspace.field("tuning", "preset", "accessMode")
    image = workspace.field("tuning", "preset", "presetOptions", "image")
    if mode is not None and mode.text == "private":
        yield Fault(mode.key, "tuning ignores `accessMode: private` and pulls the public weights")
    if image is not None:
        yield Fault(image.key, "tuning ignores `presetOptions.image` and pulls the public weights")
