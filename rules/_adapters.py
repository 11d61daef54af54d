"""What rules about adapters share: the `adapter_config.json` that a run will write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaitoc.compiler.job.job import Job

SECTION = "LoraConfig"

_DEFAULT_RANK = 8
"""What PEFT takes where the config has no `r` that can be read (`peft/tuners/lora/config.py`)."""


def adapter_config(job: Job) -> Mapping[str, Any]:
    """Predict the `adapter_config.json` that a job will write; raises `UnknownValueError`."""
    config = {argument: job.value(SECTION, argument) for argument in ("use_dora", "modules_to_save", "bias")}
    return {**config, "r": job.integer(SECTION, "r", _DEFAULT_RANK)}
