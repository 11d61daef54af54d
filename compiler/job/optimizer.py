"""The optimizer that the trainer takes."""

from __future__ import annotations

from kaitoc.compiler.job.job import Job

_ARGUMENTS = "TrainingArguments"


def optimizer_name(job: Job) -> object:
    """Return the name as transformers ends up with it: its `adafactor` option, up to version 4, overrides `optim`."""
    return "adafactor" if job.flag(_ARGUMENTS, "adafactor") else job.value(_ARGUMENTS, "optim")
