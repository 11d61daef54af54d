"""Executes a plan: check, read, load, train, save, read back, report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model, prepare_model_for_kbit_training
from transformers import EarlyStoppingCallback, PrinterCallback, set_seed

from kaitoc.compiler.plan import Plan
from kaitoc.compiler.source import write_atomically
from kaitoc.runtime.adapter import place_for_pusher, result_folder, save
from kaitoc.runtime.arguments import CHECKPOINTS, lora_config, training_arguments
from kaitoc.runtime.callbacks import History, MetricsCallback, TerminationCallback
from kaitoc.runtime.checkpoints import (
    newest_whole,
    require_same_plan,
    start_afresh,
    step_of,
    trim_metrics,
    write_plan,
)
from kaitoc.runtime.data import Columns, Rows, read_rows
from kaitoc.runtime.download import local_paths
from kaitoc.runtime.failures import DataFailure, ModelFailure, OutOfMemory, RunFailure, Terminated
from kaitoc.runtime.launch import is_main_process
from kaitoc.runtime.live_memory import MeasureFirstSteps
from kaitoc.runtime.loop import TuningTrainer
from kaitoc.runtime.merge import merge
from kaitoc.runtime.model import check_vocabulary, load_model, load_tokenizer, require_model
from kaitoc.runtime.model_card import write_card
from kaitoc.runtime.oci import write_layout
from kaitoc.runtime.out_of_memory import describe_out_of_memory
from kaitoc.runtime.prediction import predicted_footprint, predicted_live_bytes
from kaitoc.runtime.preflight import check_memory, check_output
from kaitoc.runtime.prepare import Example, Prepared, prepare
from kaitoc.runtime.progress import ProgressCallback
from kaitoc.runtime.prometheus import PrometheusCallback, serving
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.report import RunReport
from kaitoc.runtime.report_html import render

COMPLETED = "fine_tuning_completed.txt"
"""The file that Kaito's pusher waits for before it uploads the adapter."""
METRICS = "metrics.jsonl"
REPORT = "report.json"
PAGE = "report.html"
IMAGE = "image"
MERGED = "merged"
DOWNLOADS = "downloads"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a plan, beside what it says."""

    device: str = "auto"
    resume: bool = False
    show_progress: bool = True
    metrics_port: int | None = None
    metrics_host: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """What training needs, loaded and checked."""

    device: str
    output: Path
    tokenizer: Any
    model: Any
    rows: Rows
    prepared: Prepared
    train_set: Dataset
    eval_set: Dataset | None
    checkpoint: Path | None


def run_plan(plan: Plan, options: RunOptions) -> RunReport:
    """Execute a plan and return its report; raises `RunFailure` with a message for the user."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    port = options.metrics_port if is_main_process() else None
    with quiet_libraries(), serving(port, options.metrics_host) as served:
        return _run(plan, options, served)


def _run(plan: Plan, options: RunOptions, served: PrometheusCallback | None) -> RunReport:
    ready = make_ready(plan, options)
    history = History()
    termination = TerminationCallback()
    trainer = build_trainer(plan, ready)
    memory = MeasureFirstSteps(_tensors(ready.model), trainer) if ready.device == "cpu" else None
    file = ready.output / METRICS if is_main_process() else None
    metrics = MetricsCallback(file, history, lambda: trainer.num_tokens_seen)
    progress = ProgressCallback() if options.show_progress and is_main_process() else None
    for callback in (metrics, termination, memory, progress, served):
        if callback is not None:
            trainer.add_callback(callback)
    with _explained(plan, ready, trainer):
        trainer.train(resume_from_checkpoint=str(ready.checkpoint) if ready.checkpoint is not None else None)
    if termination.requested:
        raise Terminated(f"asked to stop at step {trainer.state.global_step}; `--resume` goes on from its checkpoint")
    return _finish(plan, ready, trainer, history, memory)


def make_ready(plan: Plan, options: RunOptions) -> Ready:
    """Check, read and load everything that training needs, the cheap things first; raises `RunFailure`."""
    output = Path(plan.output.path)
    check_output(output)
    device = choose_device(options.device)
    check_memory(plan, device)
    require_model(plan)
    data = plan.data
    columns = Columns(data.text_column, data.prompt_column, data.completion_column, data.messages_column)
    paths = local_paths(data.paths, output / DOWNLOADS, reuse=options.resume)
    rows = read_rows(paths, columns, data_format=data.format, skip_bad_rows=data.skip_bad_rows)
    set_seed(plan.training.seed)
    tokenizer = load_tokenizer(plan)
    prepared = prepare(tokenizer, rows.rows, data)
    train_set, eval_set = split_examples(plan, prepared.examples)
    checkpoint = _checkpoint(plan, output, resume=options.resume)
    model = build_model(plan, device, tokenizer)
    return Ready(device, output, tokenizer, model, rows, prepared, train_set, eval_set, checkpoint)


def choose_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; raises `RunFailure` when a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise RunFailure("there is no CUDA GPU here, or PyTorch was installed without CUDA; use --device cpu")
    return "cuda" if available and wanted != "cpu" else "cpu"


def build_model(plan: Plan, device: str, tokenizer: Any) -> Any:
    """Return the base model with its adapter, ready to train; raises `ModelFailure`."""
    model = load_model(plan, device)
    check_vocabulary(model, tokenizer)
    model.config.use_cache = False
    if plan.quantization.method != "none" and plan.quantization.kbit_prep:
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.training.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    if plan.lora is None:
        return model
    try:
        return get_peft_model(model, lora_config(plan.lora))
    except ValueError as error:
        raise ModelFailure(f"the adapter does not go with the model: {error}") from error


def split_examples(plan: Plan, examples: list[Example]) -> tuple[Dataset, Dataset | None]:
    """Return the training and evaluation sets as the plan splits and shuffles them; raises `DataFailure`."""
    dataset = Dataset.from_dict(
        {"input_ids": [one.input_ids for one in examples], "labels": [one.labels for one in examples]}
    )
    if plan.data.shuffle:
        dataset = dataset.shuffle(seed=plan.data.shuffle_seed)
    num_train = round(len(dataset) * plan.data.train_fraction)
    fraction = f"train_test_split {plan.data.train_fraction}"
    if num_train == 0:
        raise DataFailure(f"{fraction} leaves none of {len(dataset)} examples to train on")
    if plan.training.eval_strategy == "no":
        return dataset.select(range(num_train)), None
    if num_train == len(dataset):
        raise DataFailure(f"evaluation is asked for, but {fraction} keeps none of {len(dataset)} examples back for it")
    return dataset.select(range(num_train)), dataset.select(range(num_train, len(dataset)))


def build_trainer(plan: Plan, ready: Ready) -> TuningTrainer:
    """Return the trainer of a plan without any output of its own; raises `PlanFailure`."""
    patience = plan.training.early_stopping_patience
    trainer = TuningTrainer(
        model=ready.model,
        args=training_arguments(plan, ready.device),
        train_dataset=ready.train_set,
        eval_dataset=ready.eval_set,
        processing_class=ready.tokenizer,
        callbacks=[EarlyStoppingCallback(patience)] if patience is not None else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _checkpoint(plan: Plan, output: Path, *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from; what an earlier run left that this one writes anew is removed.

    Raises `RunFailure` when the checkpoint was made by another plan.
    """
    folder = output / CHECKPOINTS
    found = newest_whole(folder) if resume else None
    if found is not None:
        require_same_plan(plan, output)
    if not is_main_process():
        return found
    if found is None:
        start_afresh(folder)
    trim_metrics(output / METRICS, step_of(found) if found is not None else -1)
    (output / COMPLETED).unlink(missing_ok=True)
    write_plan(plan, output)
    return found


@contextmanager
def _explained(plan: Plan, ready: Ready, trainer: TuningTrainer) -> Iterator[None]:
    """Turn what stops training and a user can mend into one message."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        footprint = predicted_footprint(plan, ready.model.config, trainer.largest_batch)
        raise OutOfMemory(describe_out_of_memory(plan, footprint, trainer.largest_batch)) from error
    except OSError as error:
        raise RunFailure(f"{ready.output}: cannot be written: {error.strerror or error}") from error


def _finish(
    plan: Plan, ready: Ready, trainer: TuningTrainer, history: History, memory: MeasureFirstSteps | None
) -> RunReport:
    """Save the result and the report; the completion marker comes last."""
    shape = memory.largest_batch if memory is not None else trainer.largest_batch
    measured = memory.peak_bytes if memory is not None else torch.cuda.max_memory_allocated()
    reserved = None if memory is not None else torch.cuda.max_memory_reserved()
    footprint = predicted_footprint(plan, ready.model.config, shape)
    by_module = trainable_by_module(ready.model)
    report = RunReport(
        device=ready.device,
        num_steps=trainer.state.global_step,
        num_examples=len(ready.train_set),
        num_truncated=ready.prepared.num_truncated,
        num_skipped=len(ready.rows.skipped),
        num_trainable_parameters=sum(by_module.values()),
        trainable_by_module=by_module,
        first_loss=history.losses[0] if history.losses else None,
        last_loss=history.losses[-1] if history.losses else None,
        seconds=history.seconds,
        tokens_per_second=trainer.num_tokens_seen / history.seconds if history.seconds else 0.0,
        predicted_allocated_bytes=_predicted_bytes(plan, ready, shape),
        measured_allocated_bytes=measured,
        predicted_reserved_bytes=footprint.reserved_bytes if footprint is not None else None,
        measured_reserved_bytes=reserved,
        adapter_folder=str(_save(plan, ready)),
    )
    if is_main_process():
        write_reports(plan, report, ready.output)
        write_atomically(ready.output / COMPLETED, b"done\n")
    return report


def write_reports(plan: Plan, report: RunReport, output: Path) -> None:
    """Write the report of a run as JSON, as a page and as the result's model card."""
    write_card(result_folder(plan), plan, report)
    entries = [json.loads(line) for line in (output / METRICS).read_text(encoding="utf-8").splitlines()]
    write_atomically(output / REPORT, report.to_json().encode("utf-8"))
    write_atomically(output / PAGE, render(plan.name, report, entries).encode("utf-8"))


def _save(plan: Plan, ready: Ready) -> Path:
    """Write the result, and whatever else the plan asks to make of it, in the main process."""
    folder = result_folder(plan)
    if not is_main_process():
        return folder
    save(ready.model, ready.tokenizer, plan)
    if plan.lora is None:
        return folder
    place_for_pusher(folder, ready.output)
    if plan.output.merge:
        merge(plan, folder, ready.tokenizer, ready.output / MERGED)
    if plan.output.oci_layout:
        write_layout(folder, ready.output / IMAGE, {"org.opencontainers.image.title": plan.name})
    return folder


def trainable_by_module(model: Any) -> dict[str, int]:
    """Return the number of trained parameters by the last part of the name of the module they belong to."""
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            module = name.partition(".lora_")[0].removesuffix(".weight").rpartition(".")[2]
            found[module] = found.get(module, 0) + parameter.numel()
    return found


def _tensors(model: Any) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _predicted_bytes(plan: Plan, ready: Ready, shape: tuple[int, int]) -> int | None:
    """Return the predicted peak of live tensors for the largest batch that was measured."""
    if ready.device == "cpu":
        return predicted_live_bytes(plan, ready.model.config, shape)
    footprint = predicted_footprint(plan, ready.model.config, shape)
    return footprint.allocated_bytes if footprint is not None else None
