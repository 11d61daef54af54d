"""A relative `output_dir`, whose results are lost."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    canonical_output_dir,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._output_dir import mounted_at, written_output_dir

CODE = "KT416"
NAME = "relative-output-dir"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"

_WORKING_FOLDER = "/workspace"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when results are written below the working folder while another folder is mounted for them."""
    output_dir = written_output_dir(job)
    if output_dir is None or output_dir[1].startswith("/"):
        return
    option, written = output_dir
    path = posixpath.normpath(f"{_WORKING_FOLDER}/{written}")
    if path == mounted_at(written):
        return
    folder = canonical_output_dir(written)
    yield Fault(
        job.place_of(option),
        f"`output_dir: {written}` is written to {path}, but Kaito mounts "
        f"{mounted_at(written)}: the results are lost, and an image output waits for them forever",
        help=f"write `output_dir: {folder}`",
        fix=setting_fix(job, "TrainingArguments", "output_dir", folder, f"Write to {folder}", Applicability.SAFE),
    )
