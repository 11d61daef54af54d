"""The steps over which the learning rate rises from zero."""

from __future__ import annotations

import math

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.job.job import Job

_ARGUMENTS = "TrainingArguments"


def warm_up_steps(job: Job) -> int | None:
    """Return the number of warm-up steps (transformers' `get_warmup_steps`), None where `max_steps` is not set.

    transformers 5 takes `warmup_ratio` for another name of `warmup_steps`, which below one is a share of all steps;
    before it, `warmup_steps` above zero has `warmup_ratio` ignored.
    """
    total, steps, ratio = (job.number(_ARGUMENTS, name, 0.0) for name in ("max_steps", "warmup_steps", "warmup_ratio"))
    if total <= 0 or not math.isfinite(steps) or not math.isfinite(total * ratio):
        return None
    if job.release.has(LibraryChange.ONE_WARM_UP):
        warm_up = steps if reads_warmup_steps(job) else ratio
        return int(warm_up) if warm_up >= 1 else math.ceil(total * warm_up)
    return int(steps) if steps > 0 else math.ceil(total * ratio)


def reads_warmup_steps(job: Job) -> bool:
    """Return whether anything asks for `warmup_steps`, which `warmup_ratio` overrides in transformers 5."""
    return not job.release.has(LibraryChange.ONE_WARM_UP) or job.value(_ARGUMENTS, "warmup_ratio") is None
