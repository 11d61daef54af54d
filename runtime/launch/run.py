"""Executes a plan: check, read, load, train, save, read back, report."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback

from kaitoc.compiler.core.progress import show_progress
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import Stopped
from kaitoc.runtime.launch.answers import answers_in_shares, samples_of
from kaitoc.runtime.launch.ready import Ready, RunOptions, make_ready
from kaitoc.runtime.launch.signals import ended_by_sigterm
from kaitoc.runtime.model.base_model import with_fingerprint
from kaitoc.runtime.model.hub import hub_requests
from kaitoc.runtime.model.loss_tiles import loss_tiles
from kaitoc.runtime.model.shard_loading import is_sharded
from kaitoc.runtime.model.sharding import with_sharding
from kaitoc.runtime.model.trained_modules import trainable_by_module
from kaitoc.runtime.notes import note
from kaitoc.runtime.observe.device import device_bytes, held_bytes
from kaitoc.runtime.observe.prediction import predicted_footprint, predicted_live_bytes
from kaitoc.runtime.observe.progress import ProgressCallback
from kaitoc.runtime.observe.prometheus import PrometheusCallback, serving
from kaitoc.runtime.observe.ranks import largest, largest_batch, of_all_ranks, total
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.observe.report_html import render
from kaitoc.runtime.observe.setup import describe_setup
from kaitoc.runtime.output.adapter import gathered_state, place_for_pusher, result_folder, save
from kaitoc.runtime.output.checkpoints import describe_kept
from kaitoc.runtime.output.earlier_run import is_finished, list_results
from kaitoc.runtime.output.finished_run import report_of_finished_run
from kaitoc.runtime.output.merge import merge
from kaitoc.runtime.output.model_card import write_card
from kaitoc.runtime.output.names import CHECKPOINTS, COMPLETED, MERGED, METRICS, PAGE, REPORT
from kaitoc.runtime.output.oci import write_image
from kaitoc.runtime.output.rotation import remove_damaged
from kaitoc.runtime.peers import decided, require_shared, required, wait_for_all
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.arguments import training_arguments
from kaitoc.runtime.training.callbacks import History, MetricsCallback, TerminationCallback
from kaitoc.runtime.training.explain import explained, out_of_memory_told
from kaitoc.runtime.training.integrations import tensorboard_logs
from kaitoc.runtime.training.live_memory import MeasureFirstSteps
from kaitoc.runtime.training.loop import CheckpointedTrainer, TuningTrainer, name_experts, require_numbers
from kaitoc.runtime.training.preferences import PreferenceTrainer
from kaitoc.runtime.world import grow_segments, hide_other_gpus, is_main_process, leave_others


def run_plan(plan: Plan, options: RunOptions) -> RunReport:
    """Execute a plan and return its report; raises `RunFailure` with a message for the user."""
    grow_segments()
    hide_other_gpus()
    port = options.metrics_port if is_main_process() else None
    logs, hub = tensorboard_logs(Path(plan.output.path)), hub_requests(allowed=plan.model.hub)
    with explained(plan), quiet_libraries(), logs, hub, serving(port, options.metrics_host) as served:
        require_shared(Path(plan.output.path))
        plan = with_fingerprint(with_sharding(plan, options.device))
        if options.resume and decided(lambda: "yes" if is_finished(Path(plan.output.path)) else ""):
            wait_for_all()
            return report_of_finished_run(plan)
        return _run(plan, options, served)


def _run(plan: Plan, options: RunOptions, served: PrometheusCallback | None) -> RunReport:
    held_by_others = held_bytes(options.device)
    shows_progress = options.show_progress and is_main_process()
    if shows_progress:
        show_progress(sys.stderr, os.environ)
    with ended_by_sigterm():
        ready = make_ready(plan, options)
    if shows_progress:
        note(f"data: {ready.data_summary}")
    history = History.of(ready.output / METRICS) if is_main_process() else History()
    termination = TerminationCallback()
    trainer = build_trainer(plan, ready)
    if shows_progress:
        note(f"device: {describe_setup(plan, ready.device, trainer)}")
    measures = ready.device == "cpu" and not is_sharded(plan)
    memory = MeasureFirstSteps(_tensors(ready.model), trainer) if measures else None
    file = ready.output / METRICS if is_main_process() else None
    metrics = MetricsCallback(file, history, lambda: trainer.num_tokens_seen)
    progress = ProgressCallback() if shows_progress else None
    # What it adds to the numbers of a step has to reach the trackers of `report_to` too, which the trainer puts first.
    trainer.callback_handler.callbacks.insert(0, metrics)
    for callback in (termination, memory, progress, served):
        if callback is not None:
            trainer.add_callback(callback)
    try:
        _train(plan, ready, trainer)
    except RuntimeError as error:
        if plan.num_processes == 1 or not termination.requested:
            raise
        # Processes that are stopped at once do not end at once; the others lose them while they save.
        kept = describe_kept(ready.output / CHECKPOINTS)
        stopped = f"stopped at step {trainer.state.global_step} before its checkpoint was saved; {kept}"
        raise Stopped(stopped, termination.exit_code) from error
    finally:
        termination.close()
        if memory is not None:
            memory.close()
    if termination.requested:
        raise Stopped(
            f"asked to stop at step {trainer.state.global_step}; `--resume` continues from its checkpoint",
            termination.exit_code,
        )
    return _finish(plan, ready, trainer, history, memory, held_by_others)


def build_trainer(plan: Plan, ready: Ready) -> TuningTrainer | PreferenceTrainer:
    """Return the trainer of a plan without any output of its own; raises `PlanFailure`."""
    patience = plan.training.early_stopping_patience
    kind = TuningTrainer if plan.dpo is None else PreferenceTrainer
    name_experts(ready.model.config)
    trainer = kind(
        model=ready.model,
        args=training_arguments(plan, ready.device),
        train_dataset=ready.train_set,
        eval_dataset=ready.eval_set,
        processing_class=ready.tokenizer,
        callbacks=[EarlyStoppingCallback(patience)] if patience is not None else None,
    )
    trainer.passed_over = ready.passed_over
    trainer.remove_callback(PrinterCallback)
    if trainer.args.fp16:
        _widen_trained(ready.model)
    return trainer


def _widen_trained(model: torch.nn.Module) -> None:
    """Turn what is trained into float32, which alone has gradients that a scaler for float16 takes on a GPU.

    Sources: TRL turns a quantized model's adapter into bfloat16 (trl/trainer/sft_trainer.py, `__init__`), for which
    CUDA has no `_amp_foreach_non_finite_check_and_unscale_`; "Attempting to unscale FP16 gradients"
    (torch/amp/grad_scaler.py, `_unscale_grads_`).
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _train(plan: Plan, ready: Ready, trainer: CheckpointedTrainer) -> None:
    def predict(shape: tuple[int, int]) -> Footprint | None:
        return predicted_footprint(plan, ready.model.config, shape)

    with out_of_memory_told(plan, lambda: trainer.largest_batch, predict), loss_tiles(ready.device):
        trainer.train(resume_from_checkpoint=str(ready.checkpoint) if ready.checkpoint is not None else None)


def _finish(
    plan: Plan, ready: Ready, trainer: CheckpointedTrainer, history: History, memory: MeasureFirstSteps | None,
    held_by_others: int | None,
) -> RunReport:  # fmt: skip
    """Save the result and the report, and mark the run as complete."""
    shape = memory.largest_batch if memory is not None else trainer.largest_batch
    measured = (*_measured_bytes(ready.device, memory), device_bytes(ready.device, held_by_others))
    of_ranks = of_all_ranks((trainer.num_tokens_seen, *shape, *measured), trainer.args.device)
    tokens, num_sequences, lengths, *measured_by_rank = of_ranks
    allocated, reserved, on_device = map(largest, measured_by_rank)
    shape = largest_batch(num_sequences, lengths)
    is_told = ready.device != "cpu" or not is_sharded(plan)  # live tensors are those of a whole model
    footprint = predicted_footprint(plan, ready.model.config, shape) if is_told else None
    by_module = trainable_by_module(ready.model)
    report = RunReport(
        device=ready.device,
        num_steps=trainer.state.global_step,
        num_examples=len(ready.train_set),
        num_truncated=ready.num_truncated,
        num_skipped=ready.num_skipped,
        num_trainable_parameters=sum(by_module.values()),
        trainable_by_module=by_module,
        first_loss=history.losses[0] if history.losses else None,
        last_loss=history.losses[-1] if history.losses else None,
        seconds=history.seconds,
        tokens_per_second=total(tokens) / history.seconds if history.seconds else 0.0,
        predicted_allocated_bytes=_predicted_bytes(plan, ready, shape) if is_told else None,
        measured_allocated_bytes=allocated,
        predicted_reserved_bytes=footprint.reserved_bytes if footprint is not None else None,
        measured_reserved_bytes=reserved,
        predicted_device_bytes=footprint.device_bytes if footprint is not None and ready.device == "cuda" else None,
        measured_device_bytes=on_device,
        adapter_folder=str(result_folder(plan)),
        first_token_loss=history.token_losses[0] if history.token_losses else None,
        last_token_loss=history.token_losses[-1] if history.token_losses else None,
    )
    model = trainer.accelerator.unwrap_model(trainer.model)
    require_numbers(model, trainer.state.global_step)
    if answers_in_shares(plan):
        return _complete_in_shares(plan, ready, model, report)
    state = gathered_state(model) if is_sharded(plan) else None
    leave_others()
    if not is_main_process():
        return report
    _save(plan, ready, model, state)
    return _complete(plan, replace(report, samples=samples_of(plan, ready, model)), ready.output)


def _complete_in_shares(plan: Plan, ready: Ready, model: Any, report: RunReport) -> RunReport:
    """Complete a run whose processes answer together: one that dies while it answers costs the answers alone.

    Meanwhile the others wait without a collective, whose time is limited where that of `--merge` is not.
    """
    state = gathered_state(model)

    def complete() -> None:
        _save(plan, ready, model, state)
        _complete(plan, report, ready.output)

    required(complete)
    report = replace(report, samples=samples_of(plan, ready, model))
    if is_main_process() and report.samples:
        write_reports(plan, report, ready.output)
    return report


def _complete(plan: Plan, report: RunReport, output: Path) -> RunReport:
    """Write the reports of a run and, last, its completion marker."""
    write_reports(plan, report, output)
    list_results(output)
    write_atomically(output / COMPLETED, b"done\n")
    return report


def write_reports(plan: Plan, report: RunReport, output: Path) -> None:
    """Write the report of a run as JSON, as a page and as the result's model card."""
    write_card(result_folder(plan), plan, report)
    entries = [json.loads(line) for line in (output / METRICS).read_text(encoding="utf-8").splitlines()]
    write_atomically(output / REPORT, report.to_json().encode("utf-8"))
    write_atomically(output / PAGE, render(plan.name, report, entries).encode("utf-8"))


def _save(plan: Plan, ready: Ready, model: Any, state: dict[str, torch.Tensor] | None) -> None:
    """Write the result, and whatever else the plan asks to make of it."""
    folder = save(model, ready.tokenizer, plan, state)
    remove_damaged(ready.passed_over)
    if plan.lora is None:
        return
    place_for_pusher(folder, ready.output)
    if plan.output.merge:
        merge(plan, folder, ready.tokenizer, ready.output / MERGED)
    if plan.output.oci_layout:
        write_image(plan, folder, ready.output)


def _measured_bytes(device: str, memory: MeasureFirstSteps | None) -> tuple[int | None, int | None]:
    """Return the peaks of allocated and of reserved memory, None where they cannot be measured."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return (memory.peak_bytes if memory is not None else None), None


def _tensors(model: Any) -> list[torch.Tensor]:
    """List the loaded tensors: parameters, buffers, and the constants of quantized weights, which are neither."""
    parameters = list(model.parameters())
    states = [getattr(parameter, "quant_state", None) for parameter in parameters]
    nested = [getattr(state, "state2", None) for state in states]
    holders = [holder for holder in (*parameters, *states, *nested) if holder is not None]
    constants = [value for holder in holders for value in vars(holder).values()]
    return [*parameters, *model.buffers(), *(value for value in constants if isinstance(value, torch.Tensor))]


def _predicted_bytes(plan: Plan, ready: Ready, shape: tuple[int, int]) -> int | None:
    """Return the predicted peak of live tensors for the largest batch that was measured."""
    if ready.device == "cpu":
        return predicted_live_bytes(plan, ready.model.config, shape)
    footprint = predicted_footprint(plan, ready.model.config, shape)
    return footprint.allocated_bytes if footprint is not None else None
