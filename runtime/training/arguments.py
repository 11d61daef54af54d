"""From a plan to the arguments of TRL's trainer."""

from __future__ import annotations

import json
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from kaitoc.compiler.core.redaction import is_secret
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.model.sharding import fsdp_arguments
from kaitoc.runtime.model.tokenizer import APPLIED_TO_TOKENIZER
from kaitoc.runtime.output.names import CHECKPOINTS
from kaitoc.runtime.redact import without_secrets
from kaitoc.runtime.training.integrations import wants_liger

_BEST_BY = "eval_loss"
_CHECKPOINTING = "gradient_checkpointing_kwargs"
_MAPPINGS = (_CHECKPOINTING, "lr_scheduler_kwargs")
_NOT_SFT_CONFIG = {"early_stopping_patience", "report_to", "extra_training_arguments"}
_OWNED = frozenset(
    ("output_dir", "disable_tqdm", "use_cpu", "resume_from_checkpoint", "push_to_hub", "deepspeed", "local_rank",
     "fsdp", "fsdp_config",
     "trust_remote_code", "model_init_kwargs")
)  # fmt: skip
"""Arguments that are decided by how a run is started, so that a plan cannot state them."""
_OF_DATA = frozenset(
    ("max_length", "truncation_mode", "packing", "packing_strategy", "completion_only_loss", "assistant_only_loss",
     "pad_to_multiple_of", "shuffle_dataset", "dataset_text_field")
)  # fmt: skip
"""Arguments by which TRL prepares data, which a plan states among its `data`."""
_OF_TEXT = frozenset(("loss_type", "packing", "packing_strategy"))
"""Arguments that TRL's `DPOConfig` has not, or means something else by; a plan for it leaves them at their defaults."""


def training_arguments(plan: Plan, device: str) -> SFTConfig | DPOConfig:
    """Return TRL's arguments for a plan.

    A CPU has no float16 autocast that trains, so float16 runs are unscaled there. Raises `PlanFailure` that names an
    argument that TRL does not take.
    """
    training = plan.training
    on_cpu = device == "cpu"
    values = {name: value for name, value in training.model_dump(exclude=_NOT_SFT_CONFIG).items() if value is not None}
    values.update(
        output_dir=str(Path(plan.output.path) / CHECKPOINTS),
        fp16=training.fp16 and not on_cpu,
        restore_callback_states_from_checkpoint=True,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        max_length=plan.data.max_length,
        packing=plan.data.packing,
        packing_strategy=plan.data.packing_strategy,
        pad_to_multiple_of=plan.data.pad_to_multiple_of,
        dataloader_pin_memory=not on_cpu,
        ddp_find_unused_parameters=False,
        use_cpu=on_cpu,
        disable_tqdm=True,
        report_to=list(training.report_to) or "none",
    )
    if training.gradient_checkpointing:
        values[_CHECKPOINTING] = checkpointing_settings(plan)
    if on_cpu and training.tf32:
        del values["tf32"]
    values.update(_choosing_the_best(plan))
    values.update(fsdp_arguments(plan))
    config: type[SFTConfig | DPOConfig] = SFTConfig
    if plan.dpo is not None:
        config = DPOConfig
        values = {name: value for name, value in values.items() if name not in _OF_TEXT}
        # TRL switches dropout off, unless the manifest asks for some.
        values.update(beta=plan.dpo.beta, disable_dropout=plan.lora is None or plan.lora.lora_dropout == 0)
    extra = _extra(training.extra_training_arguments, config)
    extra.pop(_CHECKPOINTING, None)
    if on_cpu or plan.num_processes == 1:
        extra.pop("ddp_backend", None)
    if extra.get("padding_free") and not plan.data.packing:
        values["max_length"] = None  # rows are cut already; TRL, which cuts packed ones alone, would refuse it
    if on_cpu and wants_liger(plan):
        del extra["use_liger_kernel"]
    try:
        arguments = config(**{**values, **extra})
    except (TypeError, ValueError) as error:
        raise PlanFailure(f"the training arguments are refused: {error}") from error
    # A process has one GPU, also where CUDA showed it more before they could be hidden.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def checkpointing_settings(plan: Plan) -> dict[str, Any]:
    """Build the checkpointing arguments: non-reentrant unless the plan states otherwise."""
    stated: Any = _read_json(_CHECKPOINTING, plan.training.extra_training_arguments.get(_CHECKPOINTING) or {})
    return {"use_reentrant": False, **stated}


def _choosing_the_best(plan: Plan) -> dict[str, Any]:
    """Return by what checkpoints are compared where a plan wants the best one, or wants to stop when none gets better.

    Raises `PlanFailure` for a plan that wants so and evaluates nothing.
    """
    training = plan.training
    wishes = {
        "load_best_model_at_end": training.load_best_model_at_end,
        "early_stopping_patience": training.early_stopping_patience is not None,
        "save_strategy: best": training.save_strategy == "best",
    }
    wish = next((name for name, is_stated in wishes.items() if is_stated), None)
    if wish is None:
        return {}
    if training.eval_strategy == "no":
        raise PlanFailure(f"`{wish}` compares evaluations, and there are none: set `eval_strategy`")
    if "metric_for_best_model" in training.extra_training_arguments:
        return {}
    return {"metric_for_best_model": _BEST_BY, "greater_is_better": False}


def _extra(stated: dict[str, Any], config: type[SFTConfig | DPOConfig]) -> dict[str, Any]:
    """Return further arguments, of which each must be one that TRL has and that a plan may state.

    Secrets stay out: transformers keeps its arguments beside every checkpoint, and a run pushes nothing that needs one.
    """
    known = {field.name for field in fields(config)} - _OWNED
    for name in stated:
        if name in _OWNED:
            raise PlanFailure(f"`{name}` cannot be set in a plan: it is decided by how the run is started")
        if name in _OF_DATA:
            raise PlanFailure(f"`{name}` cannot be a training argument of a plan: its `data` sets it")
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise PlanFailure(f"there is no training argument `{name}`{hint}")
    passed = {name: value for name, value in stated.items() if name not in APPLIED_TO_TOKENIZER and not is_secret(name)}
    return {name: without_secrets(name, _read_json(name, value)) for name, value in passed.items()}


def _read_json(name: str, value: Any) -> Any:
    """Return a mapping that a manifest states as JSON text, anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise PlanFailure(f"`{name}` is not JSON: {value}") from error
    if name in _MAPPINGS and not isinstance(value, dict | None):
        raise PlanFailure(f"`{name}` must be a mapping, or its JSON text such as '{{\"key\": 1}}', not {value}")
    return value
