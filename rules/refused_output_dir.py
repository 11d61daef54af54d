"""An output folder that Kaito's webhook refuses."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target

CODE = "KT326"
NAME = "refused-output-dir"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ROOT = "/mnt"


def check(job: Job) -> Iterator[Fault]:
    if job.config is None or not job.config.is_readable or job.uses_template or job.target is Target.BUNDLED:
        return
    option = job.config.option("TrainingArguments", "output_dir")
    if option is None:
        return
    written = option.plain
    if not isinstance(written, str):
        yield Fault(option.value, "`output_dir` must be text; Kaito's webhook refuses the Workspace")
        return
    joined = posixpath.normpath(f"{_ROOT}/{written}")
    if joined == _ROOT or not joined.startswith(_ROOT):
        yield Fault(
            option.value,
            f"`output_dir: {written}` is `{joined}` once it is joined to /mnt; Kaito's webhook refuses the Workspace",
            help="use a folder below /mnt, such as /mnt/results",
        )
