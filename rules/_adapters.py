"""What rules about adapters share: the `adapter_config.json` that a run will write."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.catalog.linear_modules import match_targets
from kaitoc.compiler.catalog.served_adapters import takes_embeddings
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of, targets_of

SECTION = "LoraConfig"

_DEFAULT_RANK = 8
"""What PEFT takes where the config has no `r` that can be read (`peft/tuners/lora/config.py`)."""


def adapter_config(job: Job) -> Mapping[str, Any]:
    """Predict the `adapter_config.json` that a job will write; raises `UnknownValueError`."""
    config = {argument: job.value(SECTION, argument) for argument in ("use_dora", "modules_to_save", "bias")}
    return {**config, "r": job.integer(SECTION, "r", _DEFAULT_RANK)}


def refused_embeddings(job: Job) -> tuple[str, ...]:
    """Return the embeddings that get an adapter which the release's vLLM refuses, the output's among them."""
    if job.model is None or takes_embeddings(job.model.value.model_type, job.release.vllm):
        return ()
    match = match_targets(job.model.value, targets_of(job), fused_experts=stack_of(job).fused_experts)
    return (*match.embeddings, *(module.name for module in match.modules if module.is_head))
