"""Checkpoints that an image output does not contain."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault, related
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT452"
NAME = "unpushed-checkpoints"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when checkpoints are asked for and only the last adapter leaves the pod."""
    image = job.workspace.field("tuning", "output", "image") if job.workspace is not None else None
    strategy = job.option("TrainingArguments", "save_strategy")
    value = job.value("TrainingArguments", "save_strategy")
    if image is None or not image.text or strategy is None or value in (None, "no") or not is_on_kaito(job):
        return
    yield Fault(
        job.place_of(strategy),
        f"`save_strategy: {value}` writes checkpoints into the pod, but only the last adapter is pushed to the image; "
        "they are lost with the pod",
        help='write `save_strategy: "no"`, or use a volume output to keep them',
        related=(related("the output is an image", image.value),),
    )
