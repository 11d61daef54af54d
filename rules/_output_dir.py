"""Where results go: what rules about `output_dir` share."""

from __future__ import annotations

import posixpath

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._hazards import is_on_kaito

MOUNT_ROOT = "/mnt"


def written_output_dir(job: Job) -> tuple[Option, str] | None:
    """Return the folder that a config states, None where it states none or Kaito's webhook refuses it.

    The webhook joins the text below /mnt and refuses what then is not below it (KT326).
    """
    return job.memo.get("written output_dir", lambda: _written_output_dir(job))


def _written_output_dir(job: Job) -> tuple[Option, str] | None:
    option, value = job.option("TrainingArguments", "output_dir"), job.value("TrainingArguments", "output_dir")
    if not is_on_kaito(job) or option is None or not isinstance(value, str) or option.plain is None:
        return None
    if not value.strip():
        return None
    joined = posixpath.normpath(f"{MOUNT_ROOT}/{value}")
    if joined == MOUNT_ROOT or not joined.startswith(MOUNT_ROOT):
        return None
    return option, value


def mounted_at(written: str) -> str:
    """Compute the path at which Kaito's controller mounts the results: below /mnt unless it already starts there.

    Source: Kaito `pkg/workspace/tuning/preset_tuning.go`, `PrepareOutputDir`.
    """
    below = written if written.startswith(MOUNT_ROOT) else posixpath.join(MOUNT_ROOT, written.lstrip("/"))
    return posixpath.normpath(below)
