"""Executes a plan: check, load, prepare, train, save, re-load, report. Read it from the bottom up."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PrinterCallback, set_seed
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from kaitoc.compiler.plan import LoraPlan, Plan
from kaitoc.compiler.source import write_atomically
from kaitoc.runtime.callbacks import History, MetricsCallback, ProgressCallback, TerminationCallback
from kaitoc.runtime.data import Columns, Rows, read_rows
from kaitoc.runtime.failures import ModelFailure, OutputFailure, RunFailure
from kaitoc.runtime.live_memory import MeasureFirstSteps
from kaitoc.runtime.model import check_vocabulary, load_model, load_tokenizer
from kaitoc.runtime.preflight import check_memory, check_output
from kaitoc.runtime.prepare import Collator, Example, Prepared, prepare
from kaitoc.runtime.report import RunReport

COMPLETED = "fine_tuning_completed.txt"
"""The file that Kaito's pusher waits for before it uploads the adapter."""
METRICS = "metrics.jsonl"


class Terminated(RunFailure):
    """The run was asked to stop and saved a checkpoint."""

    exit_code = 143


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a plan, beside what it says."""

    device: str = "auto"
    resume: bool = False
    show_progress: bool = True


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
    if plan.quantization.kbit_prep:
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.training.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    if plan.lora is None:
        return model
    try:
        return get_peft_model(model, _lora_config(plan.lora))
    except ValueError as error:
        raise ModelFailure(f"the adapter does not go with the model: {error}") from error


def _lora_config(lora: LoraPlan) -> LoraConfig:
    """Return PEFT's configuration; the plan has its field names, empty collections mean PEFT's default."""
    values = {name: value for name, value in lora.model_dump().items() if value not in ((), {})}
    lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    return LoraConfig(
        **{**values, **lists, "target_modules": lists.get("target_modules", "all-linear"), "task_type": "CAUSAL_LM"}
    )


def training_arguments(plan: Plan, device: str) -> SFTConfig:
    """Return TRL's arguments for a plan; raises `RunFailure` that names a key that TRL does not take."""
    training = plan.training
    on_cpu = device == "cpu"
    beside = {"early_stopping_patience", "report_to", "extra_training_arguments"}
    values = {name: value for name, value in training.model_dump(exclude=beside).items() if value is not None}
    values.update(
        output_dir=str(Path(plan.output.path) / "checkpoints"),
        fp16=training.fp16 and not on_cpu,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_first_step=True,
        max_length=plan.data.max_length,
        packing=plan.data.packing,
        dataset_kwargs={"skip_prepare_dataset": not plan.data.packing},
        dataloader_pin_memory=not on_cpu,
        use_cpu=on_cpu,
        disable_tqdm=True,
        report_to=list(training.report_to) or "none",
        remove_unused_columns=False,
    )
    try:
        return SFTConfig(**{**values, **training.extra_training_arguments})
    except (TypeError, ValueError) as error:
        raise RunFailure(f"the training arguments are refused: {error}") from error


def split_examples(plan: Plan, examples: list[Example]) -> tuple[Dataset, Dataset | None]:
    """Return the training and evaluation sets as the plan splits and shuffles them."""
    dataset = Dataset.from_list([{"input_ids": one.input_ids, "labels": one.labels} for one in examples])
    if plan.data.shuffle:
        dataset = dataset.shuffle(seed=plan.data.shuffle_seed)
    num_train = round(len(dataset) * plan.data.train_fraction)
    if num_train == 0:
        raise RunFailure(
            f"a train share of {plan.data.train_fraction} leaves none of the {len(dataset)} examples to train on"
        )
    held_out = dataset.select(range(num_train, len(dataset))) if num_train < len(dataset) else None
    if plan.training.eval_strategy != "no" and held_out is None:
        raise RunFailure("evaluation is asked for, but train_test_split keeps nothing back for it")
    return dataset.select(range(num_train)), held_out


def save_adapter(model: Any, tokenizer: Any, plan: Plan, folder: Path) -> None:
    """Write the adapter as PEFT saves it, the tokenizer and the plan; the folder appears in one step."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / "kaitoc-plan.json").write_text(plan.to_json(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as error:
        raise OutputFailure(f"{folder}: the adapter cannot be written: {error.strerror or error}") from error


def verify_adapter(plan: Plan, device: str, folder: Path) -> None:
    """Load the saved adapter onto a fresh base model; raises `OutputFailure` when it does not load."""
    try:
        PeftModel.from_pretrained(load_model(plan, device), folder)
    except Exception as error:
        raise OutputFailure(f"{folder}: the saved adapter does not load: {error}") from error


def columns_of(plan: Plan) -> Columns:
    """Return which columns of the data a plan names."""
    data = plan.data
    return Columns(data.text_column, data.prompt_column, data.completion_column, data.messages_column)


def run_plan(plan: Plan, options: RunOptions) -> RunReport:
    """Execute a plan and return its report; raises `RunFailure` with a message for the user."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    output = Path(plan.output.path)
    check_output(output)
    device = choose_device(options.device)
    check_memory(plan, device)
    rows = read_rows(plan.data.paths, columns_of(plan), skip_bad_rows=plan.data.skip_bad_rows)
    set_seed(plan.training.seed)
    tokenizer = load_tokenizer(plan)
    prepared = prepare(tokenizer, rows.rows, plan.data)
    model = build_model(plan, device, tokenizer)
    train_set, eval_set = split_examples(plan, prepared.examples)
    return _train(plan, options, _Ready(device, output, tokenizer, model, rows, prepared, train_set, eval_set))


@dataclass(frozen=True, slots=True)
class _Ready:
    """What training needs, loaded and checked."""

    device: str
    output: Path
    tokenizer: Any
    model: Any
    rows: Rows
    prepared: Prepared
    train_set: Dataset
    eval_set: Dataset | None


def _train(plan: Plan, options: RunOptions, ready: _Ready) -> RunReport:
    history = History()
    termination = TerminationCallback()
    metrics = ready.output / METRICS
    if not options.resume:
        metrics.unlink(missing_ok=True)
        (ready.output / COMPLETED).unlink(missing_ok=True)
    memory = MeasureFirstSteps(_tensors(ready.model)) if ready.device == "cpu" else None
    callbacks = [MetricsCallback(metrics, history), termination]
    if memory is not None:
        callbacks.append(memory)
    if options.show_progress:
        callbacks.append(ProgressCallback())
    trainer = SFTTrainer(
        model=ready.model,
        args=training_arguments(plan, ready.device),
        train_dataset=ready.train_set,
        eval_dataset=ready.eval_set if plan.training.eval_strategy != "no" else None,
        processing_class=ready.tokenizer,
        data_collator=None if plan.data.packing else Collator(ready.tokenizer.pad_token_id),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=options.resume or None)
    if termination.requested:
        raise Terminated(f"asked to stop at step {trainer.state.global_step}; `--resume` goes on from its checkpoint")
    adapter = ready.output / "adapter"
    save_adapter(ready.model, ready.tokenizer, plan, adapter)
    measured = memory.peak_bytes if memory is not None else torch.cuda.max_memory_allocated()
    report = _report(plan, ready, trainer, history, measured)
    verify_adapter(plan, ready.device, adapter)
    write_atomically(ready.output / "report.json", report.to_json().encode("utf-8"))
    write_atomically(ready.output / COMPLETED, b"done\n")
    return report


def _tensors(model: Any) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _report(plan: Plan, ready: _Ready, trainer: SFTTrainer, history: History, measured_bytes: int) -> RunReport:
    by_module: dict[str, int] = {}
    for name, parameter in ready.model.named_parameters():
        if parameter.requires_grad:
            module = name.partition(".lora_")[0].rpartition(".")[2]
            by_module[module] = by_module.get(module, 0) + parameter.numel()
    num_tokens = sum(len(example["input_ids"]) for example in ready.train_set) * (trainer.state.epoch or 0)
    on_gpu = ready.device == "cuda"
    return RunReport(
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
        tokens_per_second=num_tokens / history.seconds if history.seconds else 0.0,
        predicted_allocated_bytes=_predicted_bytes(plan, ready.device),
        measured_allocated_bytes=measured_bytes,
        predicted_reserved_bytes=plan.predicted.reserved_bytes if plan.predicted is not None else None,
        measured_reserved_bytes=torch.cuda.max_memory_reserved() if on_gpu else None,
        adapter_folder=str(ready.output / "adapter"),
    )


def _predicted_bytes(plan: Plan, device: str) -> int | None:
    """Return the predicted peak of live tensors; the scratch memory of CUDA libraries does not exist on a CPU."""
    if plan.predicted is None:
        return None
    scratch = plan.predicted.workspace if device == "cpu" else 0
    return plan.predicted.allocated_bytes - scratch
