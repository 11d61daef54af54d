"""An output folder that Kaito's webhook or `kaitoc run` refuses."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.bundled_refusals import leaves_mount
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.manifest.training_config import Option

CODE = "KT326"
NAME = "refused-output-dir"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ROOT = "/mnt"


def check(job: Job) -> Iterator[Fault]:
    if job.config is None or not job.config.is_readable or job.uses_template:
        return
    option = job.config.option("TrainingArguments", "output_dir")
    if option is None:
        return
    written = option.plain
    if job.target is Target.BUNDLED:
        yield from _refused_by_run(option, written)
        return
    if not isinstance(written, str):
        yield Fault(option.value, "`output_dir` must be text; Kaito's webhook refuses the Workspace")
        return
    joined = posixpath.normpath(f"{_ROOT}/{written}")
    if joined == _ROOT or not joined.startswith(_ROOT):
        yield Fault(
            option.value,
            f"joined to /mnt, `output_dir: {written}` is `{joined}`; Kaito's webhook refuses the Workspace",
            help="use a folder below /mnt, such as /mnt/results",
        )


def _refused_by_run(option: Option, written: object) -> Iterator[Fault]:
    """Yield a fault for a folder of the machine that a manifest cannot choose: a run replaces what it finds there."""
    if isinstance(written, str) and written and leaves_mount(written):
        yield Fault(
            option.value,
            f"`output_dir: {written}` is outside /mnt and the working folder; `kaitoc run` refuses it without --output",
            help="use a folder below /mnt, such as /mnt/results, or run with `--output FOLDER`",
            severity=Severity.WARNING,
        )
