"""Checks, reads and loads everything that training needs, the cheap things first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import prepare_model_for_kbit_training
from transformers import set_seed

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.download import DOWNLOADS
from kaitoc.runtime.data.load import load_data
from kaitoc.runtime.data.row_lengths import row_lengths
from kaitoc.runtime.launch.device import choose_device
from kaitoc.runtime.launch.preflight import (
    check_lengths,
    check_memory,
    check_output,
    check_room,
    note_lengths,
    require_apart,
)
from kaitoc.runtime.model.adapter import adapt
from kaitoc.runtime.model.load import check_vocabulary, load_config, load_model, load_tokenizer, require_model
from kaitoc.runtime.model.shard_loading import give_addresses, is_read_once, is_sharded
from kaitoc.runtime.notes import note
from kaitoc.runtime.observe.prediction import with_lengths
from kaitoc.runtime.output.checkpoints import (
    newest_whole,
    require_same_plan,
    step_of,
    trim_metrics,
    write_plan,
)
from kaitoc.runtime.output.earlier_run import holds_run, remove_earlier_run, require_free
from kaitoc.runtime.output.names import CHECKPOINTS, COMPLETED, METRICS
from kaitoc.runtime.output.rotation import finish_removals
from kaitoc.runtime.peers import decided, required
from kaitoc.runtime.training.arguments import checkpointing_settings
from kaitoc.runtime.training.integrations import require_integrations
from kaitoc.runtime.training.isolation import require_isolation, require_packable
from kaitoc.runtime.training.options import require_options
from kaitoc.runtime.world import is_main_process


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a plan, beside what it says."""

    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    show_progress: bool = True
    use_cache: bool = True
    metrics_port: int | None = None
    metrics_host: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """What training needs, loaded and checked."""

    device: str
    output: Path
    tokenizer: Any
    model: Any
    data_summary: str
    num_skipped: int
    num_truncated: int
    train_set: Dataset
    eval_set: Dataset | None
    checkpoint: Path | None
    passed_over: tuple[Path, ...]
    """Damaged checkpoints newer than the one that is resumed from; the main process alone knows them."""


def make_ready(plan: Plan, options: RunOptions) -> Ready:
    """Check, read and load everything that training needs, the cheap things first; raises `RunFailure`."""
    output = Path(plan.output.path)
    check_output(output)
    require_apart(plan)
    if not options.resume:
        required(lambda: require_free(output, overwrite=options.overwrite))
    passed_over: list[Path] = []
    checkpoint = _agreed_checkpoint(plan, output, passed_over) if options.resume else None
    device = choose_device(options.device)
    require_integrations(plan, device)
    require_options(plan, device)
    require_model(plan)
    config = load_config(plan)
    require_packable(plan, config.model_type)
    tokenizer = load_tokenizer(plan)
    data = load_data(plan, output / DOWNLOADS, tokenizer, reuse=options.resume, use_cache=options.use_cache)
    set_seed(plan.training.seed)
    check_memory(with_lengths(plan, config, data.longest_tokens), device)
    if device != "cpu" and plan.dpo is None:
        required(lambda: check_lengths(plan, config, row_lengths(data.training, data.longest_tokens), device))
    elif device != "cpu" and is_main_process():
        note_lengths(plan, config, [data.longest_tokens])
    model = build_model(plan, device, tokenizer)
    if is_read_once(plan):
        required(lambda: require_isolation(plan, model, device))  # the others have no weights to compute with
    else:
        require_isolation(plan, model, device)
    check_room(plan, model)
    if is_main_process():
        _prepare_output(plan, output, checkpoint, resume=options.resume)
    counts = data.num_skipped, data.num_truncated
    sets = data.training, data.evaluation
    return Ready(device, output, tokenizer, model, data.summary, *counts, *sets, checkpoint, tuple(passed_over))


def build_model(plan: Plan, device: str, tokenizer: Any) -> Any:
    """Return the base model with its adapter, ready to train; raises `ModelFailure`."""
    model = load_model(plan, device)
    check_vocabulary(model, tokenizer)
    model.config.use_cache = False
    if plan.quantization.method != "none" and plan.quantization.kbit_prep and not is_sharded(plan):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.training.gradient_checkpointing,
            gradient_checkpointing_kwargs=checkpointing_settings(plan),
        )
    adapted = model if plan.lora is None else adapt(model, plan, plan.lora)
    give_addresses(plan, adapted)
    return adapted


def _agreed_checkpoint(plan: Plan, output: Path, passed_over: list[Path]) -> Path | None:
    """Return the checkpoint that the main process chose, so that no process begins elsewhere than the others."""
    name = decided(lambda: one.name if (one := _checkpoint(plan, output, passed_over)) is not None else "")
    return output / CHECKPOINTS / name if name else None


def _checkpoint(plan: Plan, output: Path, passed_over: list[Path]) -> Path | None:
    """Return the checkpoint to continue from; says which damaged ones are passed over, and when there is none.

    Raises `PlanFailure` when the run in the output folder had another plan.
    """
    folder = output / CHECKPOINTS
    checkpoint = newest_whole(folder, passed_over.append)
    for damaged in passed_over:
        note(f"kaitoc: {damaged} is damaged or incomplete and is skipped")
    if holds_run(output):
        require_same_plan(plan, output)
    if checkpoint is None and is_main_process():
        note(f"kaitoc: no checkpoint in {folder}: starting from step 1")
    return checkpoint


def _prepare_output(plan: Plan, output: Path, checkpoint: Path | None, *, resume: bool) -> None:
    """Make the output folder this run's, now that everything is loaded and training can begin."""
    output.mkdir(parents=True, exist_ok=True)
    finish_removals(output / CHECKPOINTS)
    if not resume:
        remove_earlier_run(output)
    trim_metrics(output / METRICS, step_of(checkpoint) if checkpoint is not None else -1)
    (output / COMPLETED).unlink(missing_ok=True)
    write_plan(plan, output)
