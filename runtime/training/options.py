"""Options that a plan states: each has an effect, or is refused by name before weights are loaded."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments, get_scheduler

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure, in_words
from kaitoc.runtime.training.arguments import checkpointing_settings, training_arguments

_REFUSED_OPTIMIZERS = {
    "galore_": "it projects gradients of matrices that are trained in full",
    "apollo_": "it projects gradients of matrices that are trained in full",
    "lomo": "it updates weights within the backward pass, before gradients are accumulated or clipped",
    "adalomo": "it updates weights within the backward pass, before gradients are accumulated or clipped",
}
_REFUSED = {
    "torch_compile": "compiled modules are saved under other names",
    "torch_compile_backend": "compiled modules are saved under other names",
    "torch_compile_mode": "compiled modules are saved under other names",
    "auto_find_batch_size": "it changes the batch of the plan; `kaitoc run --auto-fit` keeps the effective batch",
    "enable_jit_checkpoint": "SIGTERM saves a checkpoint already",
    "bf16_full_eval": "an evaluation between training steps ignores it",
    "fp16_full_eval": "an evaluation between training steps ignores it",
    "save_only_model": "its checkpoints have no optimizer state, so a stopped run could not be resumed exactly",
    "parallelism_config": "processes share a model by `fsdp`",
    "dataset_kwargs": "the runtime prepares the data itself",
}
_NEEDS_A_GPU = ("activation_offloading",)
_METRICS = ("loss", "entropy", "mean_token_accuracy", "num_tokens", "aux_loss")
"""What an evaluation of TRL's trainers can be compared by: `log` of `SFTTrainer` and `DPOTrainer`."""
_METRICS_OF_PAIRS = (
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
    "logits/chosen", "logits/rejected",
)  # fmt: skip
_NO_STEPS = 10


def require_options(plan: Plan, device: str) -> None:
    """Raise `PlanFailure` for an option that the libraries refuse, that has no effect, or that saves another model."""
    stated = plan.training.extra_training_arguments
    for name, reason in _REFUSED.items():
        if stated.get(name):
            raise PlanFailure(f"`{name}` is not supported: {reason}")
    for name in _NEEDS_A_GPU:
        if stated.get(name) and device == "cpu":
            raise PlanFailure(f"`{name}` needs a GPU")
    num_workers = stated.get("dataset_num_proc")
    if isinstance(num_workers, int) and num_workers < 0:
        raise PlanFailure(f"`dataset_num_proc: {num_workers}` must be 0 or above")
    if stated.get("liger_kernel_config") and not stated.get("use_liger_kernel"):
        raise PlanFailure("`liger_kernel_config` has no effect without `use_liger_kernel`")
    for name, reason in _REFUSED_OPTIMIZERS.items():
        if plan.training.optim.startswith(name):
            raise PlanFailure(f"`optim: {plan.training.optim}` is not supported: {reason}")
    arguments = training_arguments(plan, device)
    _require_metric(plan)
    _require_log_level(arguments)
    _require_loading(arguments)
    _require_optimizer(plan, arguments)
    _require_scheduler(plan, arguments)
    _require_checkpointing(plan)


def _require_metric(plan: Plan) -> None:
    """Raise `PlanFailure` for a metric that the first evaluation would miss."""
    name = plan.training.extra_training_arguments.get("metric_for_best_model")
    known = (*_METRICS, *(_METRICS_OF_PAIRS if plan.dpo is not None else ()))
    if name is not None and str(name).removeprefix("eval_") not in known:
        raise PlanFailure(f"`metric_for_best_model: {name}`: an evaluation measures {', '.join(known)}")


def _require_log_level(arguments: TrainingArguments) -> None:
    try:
        arguments.get_process_log_level()
    except KeyError as error:
        raise PlanFailure(f"there is no `log_level` {error}") from error


def _require_loading(arguments: TrainingArguments) -> None:
    """Make a loader of a row: what it is told of its workers is looked at when it is made."""
    names = {
        "prefetch_factor": "dataloader_prefetch_factor",
        "persistent_workers": "dataloader_persistent_workers",
        "multiprocessing_context": "dataloader_multiprocessing_context",
    }
    settings: Any = {name: getattr(arguments, of_run, None) for name, of_run in names.items()}
    settings["persistent_workers"] = bool(settings["persistent_workers"])
    try:
        DataLoader[Any](TensorDataset(torch.zeros(1)), num_workers=arguments.dataloader_num_workers, **settings)
    except ValueError as error:
        stated = ", ".join(f"`{of_run}`" for name, of_run in names.items() if settings[name])
        raise PlanFailure(f"{stated}: {in_words(error)}") from error


def _require_optimizer(plan: Plan, arguments: TrainingArguments) -> None:
    name = plan.training.optim
    try:
        settings = _optimizer(arguments)
        _make_optimizer(*settings)
        if arguments.optim_args is not None:
            arguments.optim_args = None
            if _optimizer(arguments) == settings:
                raise PlanFailure(f"`optim_args` has no effect on `optim: {name}`")
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise PlanFailure(f"`optim: {name}`: {in_words(error)}") from error
    if "optim_target_modules" in plan.training.extra_training_arguments:
        raise PlanFailure(f"`optim_target_modules` has no effect on `optim: {name}`")


def _optimizer(arguments: TrainingArguments) -> tuple[Any, Any]:
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    return kind, settings


def _make_optimizer(kind: Any, settings: Any) -> None:
    """Make the optimizer for a parameter of its own, where that starts no device and no library of another's."""
    if kind.__module__.startswith("torch.optim"):
        kind([torch.nn.Parameter(torch.zeros(1))], **settings)


def _require_scheduler(plan: Plan, arguments: TrainingArguments) -> None:
    """Make the scheduler for a parameter of its own: what it is given is looked at only when it is made."""
    name = plan.training.lr_scheduler_type
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    settings: Any = arguments.lr_scheduler_kwargs
    try:
        get_scheduler(
            arguments.lr_scheduler_type,
            optimizer,
            num_warmup_steps=0,
            num_training_steps=_NO_STEPS,
            scheduler_specific_kwargs=settings,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise PlanFailure(f"`lr_scheduler_type: {name}` with `lr_scheduler_kwargs`: {in_words(error)}") from error


def _require_checkpointing(plan: Plan) -> None:
    if not plan.training.extra_training_arguments.get("gradient_checkpointing_kwargs"):
        return
    if not plan.training.gradient_checkpointing:
        raise PlanFailure("`gradient_checkpointing_kwargs` has no effect without `gradient_checkpointing`")
    known = {*inspect.signature(checkpoint).parameters} - {"function", "args", "kwargs", "context_fn"}
    for name in checkpointing_settings(plan):
        if name not in known:
            raise PlanFailure(f"`gradient_checkpointing_kwargs` has no `{name}`; it takes {', '.join(sorted(known))}")
