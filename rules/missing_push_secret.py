"""An output image without a secret to push it with."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT317"
NAME = "missing-push-secret"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    image = workspace.field("tuning", "output", "image")
    if image is None or not image.text or workspace.text("tuning", "output", "imagePushSecret"):
        return
    yield Fault(
        image.key,
        "the output image has no `imagePushSecret`; Kaito's webhook refuses the Workspace",
        help="name a Secret of type kubernetes.io/dockerconfigjson in the same namespace",
    )
