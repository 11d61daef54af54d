"""Bring `output_dir` into the one form that Kaito's webhook, controller and runtime agree on."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import canonical_output_dir
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-output-dir"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the path that is mounted, written to and pushed alike."""
    if not job.parsed:
        return
    option = job.option("TrainingArguments", "output_dir")
    written = job.value("TrainingArguments", "output_dir") if option is not None else None
    canonical = canonical_output_dir(written if isinstance(written, str) else None)
    if canonical == written:
        return
    if written is None:
        reason = "without it Kaito mounts /mnt/output and the runtime writes to `trainer_output`, which is lost"
    else:
        reason = "Kaito mounts the path below /mnt but the runtime writes to the path as written, so results are lost"
    yield set_to(job, "TrainingArguments", "output_dir", canonical, reason, Preserves.INTENT)
